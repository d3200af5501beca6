"""A file whose disk has rotted, looked at through the engine and the command line."""

from __future__ import annotations

import os
import random
import re
import sqlite3
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from marsys.cli.process import run_process
from marsys.storage import SQLiteStore
from marsys_core.agents import FunctionAgent
from marsys_core.errors import StoreDamaged, StoreError, UnknownName
from marsys_core.orchestra import Orchestra
from tests.core.fakes import BARE

FLIPS = 400 if os.environ.get("MARSYS_SIMULATE") == "1" else 40
PAGE = 4096
RUNS = ("one", "two", "three")


async def answer(prompt: Any) -> str:
    return f"{prompt} is answered"


async def long(prompt: Any) -> str:
    return f"the long answer to {prompt}: {prompt * 3000}"


AGENTS = [FunctionAgent(answer, name="Answer"), FunctionAgent(long, name="Long")]


async def result_of(orchestra: Orchestra, run_id: str) -> Any:
    try:
        return (await orchestra.resume(run_id, agents=AGENTS)).final_response
    except (StoreError, UnknownName) as error:
        return error


def expected(run_id: str) -> str:
    return f"the long answer to {run_id} is answered: {f'{run_id} is answered' * 3000}"


@attrs.frozen
class Looked:
    """What the engine found in a file."""

    listed: dict[str, str]
    results: dict[str, Any]


def looked_at(path: Path) -> Looked | StoreError:
    """List the runs, and go on with each; return the error where the whole file is refused."""

    async def main() -> Looked:
        async with SQLiteStore(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            try:
                listed = {info.run_id: info.status for info in await orchestra.runs()}
            except StoreError as error:
                listed = {"": str(error)}
            return Looked(listed, {run_id: await result_of(orchestra, run_id) for run_id in RUNS})

    try:
        return trio.run(main)
    except StoreError as error:
        return error


def checked(path: Path) -> bool:
    """Return whether a look at everything finds nothing."""

    async def main() -> bool:
        async with SQLiteStore(path) as store:
            return (await store.check()).ok

    return trio.run(main)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with three runs, each with a large value."""
    path, names = tmp_path_factory.mktemp("kept") / "runs.db", list(RUNS)

    async def main() -> None:
        async with (
            SQLiteStore(path) as store,
            Orchestra(plugins=BARE, storage=store, new_id=lambda: names.pop(0)) as orchestra,
        ):
            for run_id in RUNS:
                result = await orchestra.execute(run_id, "Answer -> Long", agents=AGENTS)
                assert result.final_response == expected(run_id)

    trio.run(main)
    return path.read_bytes()


def rotten(path: Path, whole: bytes, place: int) -> None:
    broken = bytearray(whole)
    broken[place] ^= 0x10
    path.write_bytes(broken)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run_process(arguments)
    return (code, *capsys.readouterr())


@pytest.mark.parametrize(
    ("needle", "listed", "error", "found"),
    [
        (
            b'"two is answered"',
            "succeeded",
            r"entry (\d+) of run 'two' in '.*' is damaged \(it is missing, or is not what its checksum says\);",
            r"run two, entry \d+: it is missing, or is not what its checksum says",
        ),
        (
            b"two is answeredtwo is answered",
            "succeeded",
            r"the large value \w{64} of run 'two' in '.*' is damaged: its hash is another",
            r"run two: the large value \w{64} has another hash",
        ),
        (
            b'"task": "two"',
            "damaged",
            r"run 'two' in '.*' is damaged: what is known of it is not what its checksum says",
            r"run two: what is known of it is not what its checksum says",
        ),
    ],
    ids=["an entry", "a large value", "the row of a run"],
)
def test_a_flipped_bit_is_told_with_its_run_and_the_others_are_as_they_were(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kept: bytes,
    needle: bytes,
    listed: str,
    error: str,
    found: str,
) -> None:
    path = tmp_path / "runs.db"
    rotten(path, kept, kept.index(needle) + len(needle) - 2)

    looked = looked_at(path)

    assert isinstance(looked, Looked)
    assert looked.listed == {"one": "succeeded", "two": listed, "three": "succeeded"}
    damaged = looked.results.pop("two")
    assert isinstance(damaged, StoreDamaged)
    assert re.match(error, str(damaged))
    assert damaged.run_id == "two"
    assert looked.results == {run_id: expected(run_id) for run_id in ("one", "three")}
    code, out, err = said(capsys, "store", "check", "--storage", str(path))
    assert code == 1
    assert re.fullmatch(
        rf"2 runs, \d+ entries and {2 if 'large' in found else 3} large values can be read\n", out
    )
    assert re.fullmatch(found, err.strip())
    code, out, err = said(capsys, "runs", "--storage", str(path))
    assert (code, err) == (0, "")
    assert re.search(rf"^two +{listed} ", out, re.MULTILINE)


def test_a_flipped_bit_in_an_index_keeps_no_run_from_being_read_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes
) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(kept)
    connection = sqlite3.connect(path)
    ((page,),) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_runs_1'"
    )
    connection.close()
    rotten(path, kept, kept.index(b"two", (page - 1) * PAGE, page * PAGE))

    looked = looked_at(path)

    assert isinstance(looked, Looked)
    assert looked.results == {run_id: expected(run_id) for run_id in RUNS}
    code, _, err = said(capsys, "store", "check", "--storage", str(path))
    assert code == 1
    assert "the store: " in err
    assert "index" in err


@pytest.mark.parametrize("size", [0, 1, 100, 511, 512, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE])
def test_a_file_that_was_cut_off_is_refused_or_told_in_plain_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: bytes, size: int
) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(kept[:size])

    for command in (["runs"], ["store", "check"], ["show", "two"], ["resume", "two"]):
        code, _, err = said(capsys, *command, "--storage", str(path))
        assert code in (1, 2)
        assert "Traceback" not in err
        assert re.search(r"damaged|the store: |no tables of this version yet", err), err
    looked = looked_at(path)
    if size == 0:  # what a new file is
        assert isinstance(looked, Looked)
        assert looked.listed == {}
    else:
        assert isinstance(looked, StoreDamaged) or not any(
            result == expected(run_id) for run_id, result in looked.results.items()
        )


@pytest.mark.slow
def test_a_flipped_bit_anywhere_gives_the_right_results_or_the_stores_errors_and_is_found(
    tmp_path: Path, kept: bytes
) -> None:
    path, chance, right = tmp_path / "runs.db", random.Random(11), 0
    for number in range(FLIPS):
        start = number * len(kept) // FLIPS
        rotten(path, kept, start + chance.randrange(len(kept) // FLIPS))
        looked = looked_at(path)
        if isinstance(looked, StoreError):
            continue
        good = {run_id for run_id, result in looked.results.items() if result == expected(run_id)}
        assert all(isinstance(looked.results[run_id], Exception) for run_id in RUNS if run_id not in good)
        right += len(good)
        if len(good) < len(RUNS) or "" in looked.listed:
            assert not checked(path)
    assert right > FLIPS * 2
