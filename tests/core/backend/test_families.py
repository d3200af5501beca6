"""Nested runs in a backend, where each has a state of its own."""

from __future__ import annotations

import pytest

from marsys_core.errors import StoreError, UnknownName
from marsys_core.protocols.store import Entry, RunInfo
from tests.core.backend.backends import Kept, opened


def naming(*inner: str) -> list[Entry]:
    return [
        Entry(seq, "0", seq, ("", -1), "TeamStarted", 0.0, f'{{"inner":"{name}"}}')
        for seq, name in enumerate(inner)
    ]


async def keep(store, run_id, parent="", inner=(), session_id=""):
    log = await store.create(RunInfo(run_id=run_id, parent=parent, session_id=session_id, status="waiting"))
    for entry in naming(*inner):
        log.append(entry)
    await log.release()


async def family(store):
    await keep(store, "r-1", "r")
    await keep(store, "r-2", "r")
    await keep(store, "q-1", "q")
    await keep(store, "r", inner=("r-1", "r-9", "r-2", "q-1", "r"), session_id="s")


class Full(Kept):
    """Has no room for one state."""

    def __init__(self, without):
        super().__init__()
        self.without = without

    async def save_state(self, session_id, state):
        if session_id == self.without and state:
            msg = "no room"
            raise OSError(msg)
        await super().save_state(session_id, state)


def test_only_the_nested_runs_of_a_run_go_with_it():
    async def main(store):
        await family(store)
        await store.remove(["r"])
        for run_id in ("r", "r-1", "r-2"):
            with pytest.raises(UnknownName):
                await store.info(run_id)
        assert (await store.info("q-1")).parent == "q"

    opened(Kept(), main)


@pytest.mark.parametrize("without", ["r-1", "r-2", "s"])
def test_where_a_run_of_a_file_cannot_be_written_none_is_left(tmp_path, without):
    file, full = tmp_path / "run.jsonl", Full(without)

    async def export(store):
        await family(store)
        await store.export("r", file)

    async def take(store):
        for _ in range(2):
            with pytest.raises(
                StoreError, match=rf"^Full could not save session '{without}': OSError: no room$"
            ):
                await store.import_(file)
            assert not any(full.states.values())
        full.without = ""
        assert await store.import_(file) == "r"
        assert [(await store.info(run_id)).parent for run_id in ("r", "r-1", "r-2")] == ["", "r", "r"]

    opened(Kept(), export)
    opened(full, take)
