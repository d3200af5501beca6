"""Runs in the states of sessions."""

from __future__ import annotations

import hashlib

import pytest
import trio

from marsys_core.backend import BackendStore
from marsys_core.errors import LifecycleError, RunHeld, StoreError, UnknownName
from marsys_core.protocols.store import RunInfo
from tests.core.backend.backends import Kept, entry, opened


async def ended(store, name, session="s", status="succeeded"):
    log = await store.create(RunInfo(run_id=name, session_id=session))
    log.append(entry(0))
    log.update(status=status)
    await log.release()


def test_a_run_lies_in_the_state_of_its_session_or_in_its_own():
    backend = Kept()

    async def main(store):
        await ended(store, "a", "s")
        await ended(store, "b", "")
        await ended(store, "c", "nul \0")

    opened(backend, main)
    assert list(backend.states) == ["s", "b", "nul \x100000"]


def test_a_run_is_found_by_its_session():
    backend = Kept()

    async def write(store):
        await ended(store, "a", "s")

    async def read(store):
        for ask in (store.info, store.take, store.entries, store.blobs):
            with pytest.raises(
                UnknownName,
                match=r"^no run is called 'a'; there are: none\. A run is found by its session here: ask",
            ):
                await ask("a")
        assert [info.run_id for info in await store.runs(session_id="s")] == ["a"]
        assert (await store.info("a")).status == "succeeded"
        await (await store.take("a")).release()

    opened(backend, write)
    other = Kept(backend.states)
    opened(other, read)


def test_what_needs_all_sessions_is_refused(tmp_path):
    async def main(store):
        for ask in (store.runs, store.check, lambda: store.expire(5)):
            with pytest.raises(StoreError, match="^Kept keeps states by their sessions, and cannot "):
                await ask()
        await store.vacuum()

    opened(Kept(), main)


def test_the_runs_of_a_session_are_listed_newest_first_in_pages():
    class All(Kept):
        keep_runs = 9

    async def main(store):
        for number in range(4):
            await ended(store, f"r{number}", status="failed" if number == 2 else "succeeded")

        async def listed(**wanted):
            return [each.run_id for each in await store.runs(session_id="s", **wanted)]

        assert await listed() == ["r3", "r2", "r1", "r0"]
        assert await listed(limit=2) == ["r3", "r2"]
        assert await listed(limit=2, before="r2") == ["r1", "r0"]
        assert await listed(status="failed") == await listed(status=["failed"]) == ["r2"]
        assert await store.runs(session_id="other") == []
        with pytest.raises(UnknownName):
            await listed(before="r9")
        with pytest.raises(ValueError, match="^limit is how many runs are listed at most, and not -1$"):
            await listed(limit=-1)

    opened(All(), main)


def test_runs_that_ended_leave_the_session_when_later_ones_begin():
    backend = Kept()

    async def main(store):
        for name in "abc":
            await ended(store, name)
        assert [info.run_id for info in await store.runs(session_id="s")] == ["c", "b"]
        with pytest.raises(UnknownName):
            await store.info("a")

    opened(backend, main)


def test_a_run_is_held_by_one_in_this_process():
    backend = Kept()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"), "first")
        async with BackendStore(backend) as other:
            for each in (store, other):
                with pytest.raises(
                    RunHeld,
                    match=r"^run 'r' is held by 'first' in this process, since 1970-01-01 00:01:40 UTC; end",
                ) as told:
                    await each.take("r")
                assert (told.value.run_id, told.value.holder, told.value.since) == ("r", "first", 100.0)
                with pytest.raises(RunHeld):
                    await each.remove(["r"])
                with pytest.raises(StoreError, match="^there is a run 'r' already"):
                    await each.create(RunInfo(run_id="r"))
                assert (await each.info("r")).holder == "first"
            await log.release()
            taken = await other.take("r")
            assert (await store.info("r")).holder == "this process"
            await taken.release()
        assert ((await store.info("r")).holder, (await store.info("r")).status) == ("", "interrupted")

    opened(backend, main, clock=lambda: 100.0)


def test_a_log_goes_on_where_it_ended():
    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        with pytest.raises(ValueError, match="^the next entry of run 'r' has seq 0, not 1$"):
            log.append(entry(1))
        log.append(entry(0))
        with pytest.raises(ValueError, match="^the status of a run is one of running, .*, not 'done'$"):
            log.update(status="done")
        await log.release()
        await log.release()
        for use in (lambda: log.append(entry(1)), lambda: log.put("", b""), lambda: log.update(steps=1)):
            with pytest.raises(LifecycleError, match="^the log of run 'r' was released; take the run again"):
                use()
        log = await store.take("r")
        assert (log.run_id, log.next_seq) == ("r", 1)

    opened(Kept(), main)


def test_runs_of_one_session_share_its_writes():
    backend = Kept()

    async def main(store):
        logs = [await store.create(RunInfo(run_id=f"r{number}", session_id="s")) for number in range(20)]
        before = backend.saves

        async def one(log):
            log.append(entry(0))
            await log.commit()

        async with trio.open_nursery() as nursery:
            for log in logs:
                nursery.start_soon(one, log)
        assert backend.saves - before <= 2
        for log in logs:
            assert len(await store.entries(log.run_id)) == 1

    opened(backend, main)


def test_a_commit_that_has_nothing_to_write_writes_nothing():
    backend = Kept()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        await log.commit()
        assert backend.saves == 1
        log.append(entry(0))
        await log.commit()
        await log.commit()
        assert backend.saves == 2
        await log.release()
        assert backend.saves == 2

    opened(backend, main)


def test_with_save_every_steps_share_a_write_and_effects_do_not_wait():
    class Seldom(Kept):
        save_every = 3

    backend = Seldom()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        saves = []
        for seq, kind in enumerate(
            ["StepFinished"] * 7 + ["ModelReplied", "ToolStarted", "StepFinished", "UserAsked"]
        ):
            log.append(entry(seq, kind=kind))
            await log.commit()
            saves.append(backend.saves)
        assert saves == [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5]
        log.append(entry(11))
        await log.release()
        assert backend.saves == 6

    opened(backend, main)


def test_what_could_not_be_written_is_written_with_the_next_commit():
    backend = Kept()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.append(entry(0))
        backend.refusal = OSError("full")
        for write in (log.commit, log.release):
            with pytest.raises(StoreError, match="^Kept could not save session 'r': OSError: full$"):
                await write()
        with pytest.raises(StoreError, match="^Kept could not load session 'r': OSError: full$"):
            await store.info("r")
        with pytest.raises(StoreError):
            await store.create(RunInfo(run_id="r2"))
        backend.refusal = None
        log.append(entry(1))
        await log.commit()
        assert len(await store.entries("r")) == 2
        await (await store.create(RunInfo(run_id="r2"))).release()

    opened(backend, main)


def test_a_run_that_could_not_be_created_is_not_in_its_session():
    backend = Kept()

    async def main(store):
        log = await store.create(RunInfo(run_id="a", session_id="s"))
        backend.refusal = OSError("full")
        with pytest.raises(StoreError):
            await store.create(RunInfo(run_id="b", session_id="s"))
        backend.refusal = None
        log.append(entry(0))
        await log.commit()
        assert [info.run_id for info in await store.runs(session_id="s")] == ["a"]

    opened(backend, main)


def test_large_values_are_kept_with_their_run():
    data = b"\xff" * 10
    sha256 = hashlib.sha256(data).hexdigest()

    async def main(store):
        log = await store.create(RunInfo(run_id="r"))
        log.put(sha256, data)
        log.put(sha256, data)
        await log.commit()
        assert await store.blobs("r") == {sha256: data}
        assert await store.blob(sha256) == data
        with pytest.raises(KeyError, match="other"):
            await store.blob("other")

    opened(Kept(), main)


def test_runs_are_removed_all_of_a_session_or_none():
    backend = Kept()

    async def main(store):
        for name in "ab":
            await (await store.create(RunInfo(run_id=name, session_id="s"))).release()
        with pytest.raises(UnknownName):
            await store.remove(["a", "x"])
        backend.refusal = None
        await store.remove(["a"])
        assert [info.run_id for info in await store.runs(session_id="s")] == ["b"]
        await store.remove("b")
        assert backend.states == {"s": {}}
        with pytest.raises(UnknownName):
            await store.info("b")

    opened(backend, main)


def test_a_run_goes_from_one_backend_to_another_as_a_file(tmp_path):
    file = tmp_path / "run.jsonl"

    async def write(store):
        log = await store.create(RunInfo(run_id="r", session_id="s", task="why?"))
        log.append(entry(0, "é\0"))
        log.put(hashlib.sha256(b"\xff").hexdigest(), b"\xff")
        await log.release()
        await store.export("r", file)
        with pytest.raises(StoreError, match="^there is a run 'r' already"):
            await store.import_(file)
        return await store.info("r"), await store.entries("r"), await store.blobs("r")

    async def read(store):
        assert await store.import_(file) == "r"
        return await store.info("r"), await store.entries("r"), await store.blobs("r")

    assert opened(Kept(), write) == opened(Kept(), read)


@pytest.mark.parametrize("ticks", range(0, 30, 2))
def test_whatever_is_cancelled_nothing_hangs_and_what_is_there_is_whole(ticks):
    backend = Kept()

    async def write(store):
        async def one(number):
            log = await store.create(RunInfo(run_id=f"r{number}", session_id="s"))
            for seq in range(3):
                log.append(entry(seq))
                await log.commit()
            await log.release()
            await store.entries(f"r{number}")

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(one, number)
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    async def read(store):
        for info in await store.runs(session_id="s"):
            assert info.holder == ""
            assert len(await store.entries(info.run_id)) in range(4)
            await (await store.take(info.run_id)).release()

    opened(backend, write)
    opened(backend, read)
