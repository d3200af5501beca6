"""What a user finds who may read a store and not write it; run by test_read_only.py in a process of its own.

It does everything once as it is, which also reads all the modules, and once more as a user who is not root.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from marsys.cli.process import run_process
from marsys.storage import SQLiteStore
from marsys_core.agents import FunctionAgent
from marsys_core.errors import StoreError
from marsys_core.orchestra import Orchestra

TEAM = '[agents.A]\nmodel = "scripted"\n[plugins.models]\nreplies = ["Forty-two."]\n'
NOBODY = 65534


async def answer(prompt: Any) -> str:
    return "Forty-two."


def said(*arguments: str) -> tuple[int, str, str]:
    """Carry out a command of the command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_process(arguments)
    return code, out.getvalue(), err.getvalue()


async def run(engine: Callable[[], Orchestra]) -> str:
    try:
        async with engine() as orchestra:
            agents = [FunctionAgent(answer, name="A")]
            return str((await orchestra.execute("x", "A", agents=agents)).final_response)
    except StoreError as error:
        return str(error)


async def read(path: Path) -> list[Any]:
    """Read a store, and try to write there."""
    try:
        async with SQLiteStore(path, read_only=True) as store:
            infos = await store.runs()
            entries = [len(await store.entries(info.run_id)) for info in infos]
            try:
                await store.take(infos[0].run_id)
            except StoreError as error:
                return [entries, (await store.check()).ok, str(error)]
    except StoreError as error:
        return [str(error)]
    return ["it was written"]


def everything(folder: Path) -> dict[str, Any]:
    path = folder / "runs.db"
    where = ("--storage", str(path))
    found: dict[str, Any] = {
        "open": trio.run(run, lambda: Orchestra.open(folder)),
        "storage": trio.run(run, lambda: Orchestra(storage=path)),
        "read": trio.run(read, path),
    }
    for command in (["runs"], ["store", "check"], ["store", "vacuum"]):
        found[command[-1]] = said(*command, *where)
    found["run"] = said("run", str(folder.parent / "team.toml"), "--task", "x", "-q", *where)
    return found


def close(folder: Path, how: str) -> None:
    """Take from others what they need to write."""
    path = folder / "runs.db"
    if how == "nothing there":
        path.unlink()
    else:
        path.chmod({"a folder": 0o644, "a secret": 0o000}.get(how, 0o444))
    folder.chmod(0o777 if how == "a file" else 0o555)


def main(top: Path, how: str) -> None:
    folder = top / "kept"
    folder.mkdir()
    (top / "team.toml").write_text(TEAM)
    everything(folder)
    close(folder, how)
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    print(json.dumps(everything(folder)))
    if os.getuid() != NOBODY:
        folder.chmod(0o755)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
