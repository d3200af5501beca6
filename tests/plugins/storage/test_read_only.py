"""Files and folders that may not be written, for a user who is not root."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from marsys.storage import SQLiteStore
from marsys_core.errors import StoreError
from marsys_core.protocols.store import RunInfo
from tests.plugins.storage.contract import entry
from tests.plugins.storage.test_crash import program, told

AS_NOBODY = (
    "import sys; from tests.plugins.storage import nobody as n; n.main(n.Path(sys.argv[1]), sys.argv[2])"
)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users may look into; pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def found_by_nobody(folder: Path, how: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(told(program(AS_NOBODY, folder, how)))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a file", "a folder", "both"])
def test_what_may_be_read_and_not_written_is_read_and_writing_is_refused(open_to_all: Path, how: str) -> None:
    found = found_by_nobody(open_to_all, how)
    path = open_to_all / "kept" / "runs.db"
    refusal = f"could not open the store in {str(path)!r}: it is read-only for this user; allow writing to the file and its folder"  # fmt: skip

    for engine in ("open", "storage"):
        assert found[engine].startswith(refusal)
    code, out, err = found["run"]
    assert (code, out) == (2, "")
    assert err.startswith(f"marsys: the run cannot be kept: {refusal}")
    code, out, err = found["vacuum"]
    assert (code, out) == (1, "")
    assert err.startswith(f"marsys: StoreError: {refusal}")

    assert found["read"][1:] == [
        True,
        f"the store of {str(path)!r} was opened with read_only=True, and nothing is written there",
    ]
    assert len(found["read"][0]) == 3
    code, out, err = found["runs"]
    assert (code, err, len(out.splitlines())) == (0, "", 4)
    code, out, err = found["check"]
    assert (code, err) == (0, "")
    assert out.startswith("3 runs, ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "told", "reading"),
    [
        (
            "nothing there",
            "it cannot be opened; its folder has to be there, and be writable for this user",
            "marsys: no runs are kept in {path!r}: there is no such file; name another with --storage FILE\n",
        ),
        (
            "a secret",
            "this user may not use it",
            "marsys: StoreError: could not open the store in {path!r}: this user may not use it (",
        ),
    ],
)
def test_what_may_not_be_made_or_not_be_read_is_told(
    open_to_all: Path, how: str, told: str, reading: str
) -> None:
    found = found_by_nobody(open_to_all, how)
    path = str(open_to_all / "kept" / "runs.db")

    for each in (
        found["open"],
        found["storage"],
        found["run"][2].removeprefix("marsys: the run cannot be kept: "),
    ):
        assert each.startswith(f"could not open the store in {path!r}: {told}")
    for command in ("runs", "check", "vacuum"):
        code, out, err = found[command]
        assert code > 0
        assert out == ""
        assert err.startswith(reading.format(path=path))


def test_a_store_that_only_reads_sees_what_others_write_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def main() -> Any:
        async with SQLiteStore(path) as writing:
            log = await writing.create(RunInfo(run_id="r"), "the writer")
            async with SQLiteStore(path, read_only=True) as reading:
                seen = [len(await reading.entries("r"))]
                log.append(entry(0))
                await log.commit()
                seen.append(len(await reading.entries("r")))
                for asked in (
                    reading.create(RunInfo(run_id="s")),
                    reading.take("r"),
                    reading.remove(["r"]),
                    reading.expire(0),
                    reading.vacuum(),
                    reading.import_(path),
                ):
                    with pytest.raises(
                        StoreError, match="was opened with read_only=True, and nothing is written"
                    ):
                        await asked
                held = (await reading.info("r")).holder
                await reading.export("r", tmp_path / "r.jsonl")
        return seen, held

    seen, held = trio.run(main)

    assert seen == [0, 1]
    assert held.startswith("the writer, process ")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["r.jsonl", "runs.db"]


def test_a_store_that_only_reads_is_there_and_one_of_ours(tmp_path: Path) -> None:
    async def main(path: Path) -> None:
        async with SQLiteStore(path, read_only=True):
            pass

    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match=r"^could not open the store in '.*none.db': it cannot be opened;"):
        trio.run(main, tmp_path / "none.db")
    with pytest.raises(
        StoreError, match=r"^'.*empty.db' has no tables of this version yet; open it to write"
    ):
        trio.run(main, tmp_path / "empty.db")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["empty.db"]
