"""What every store of runs does. A test of a store subclasses `StoreContract` and says how to open one."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import pytest
import trio

from marsys_core.errors import LifecycleError, RunHeld, StoreError, UnknownName
from marsys_core.protocols.store import Entry, Recalled, RunInfo, Said, Store


def entry(seq: int, text: str = "", *, branch: str = "0", kind: str = "StepFinished") -> Entry:
    return Entry(seq, branch, seq, (branch, seq - 1), kind, seq / 8, json.dumps({"text": text or f"t{seq}"}))


def hashed(data: bytes) -> tuple[str, bytes]:
    return hashlib.sha256(data).hexdigest(), data


def begun(session_id: str, version: int) -> Entry:
    """Return the first entry of a run whose agents go on with a session."""
    data = json.dumps({"session_id": session_id, "session_version": version})
    return Entry(0, "", 0, ("", -1), "RunStarted", 0.0, data)


def nesting(seq: int, inner: str) -> Entry:
    """Return the entry of a run in which another one that is nested in it begins."""
    return Entry(seq, "0", seq, ("0", seq - 1), "TeamStarted", seq / 8, json.dumps({"inner": inner}))


async def nested(store: Store, status: str = "waiting") -> dict[str, Any]:
    """Make runs that are nested in each other, and return what the store has of them."""
    runs = {"r": ("", ["r-1", "r-2", "r-3"]), "r-1": ("r", ["r-1-1"]), "r-1-1": ("r-1", []), "r-2": ("r", [])}
    for run_id, (parent, inner) in runs.items():
        info = RunInfo(run_id=run_id, parent=parent, session_id="" if parent else "s", status=status)
        log = await store.create(info)
        for seq, name in enumerate(inner):
            log.append(nesting(seq, name))
        log.append(entry(len(inner), f"in {run_id}"))
        log.put(*hashed(run_id.encode()))
        await log.release()
    return {run_id: await known(store, run_id) for run_id in runs}


async def known(store: Store, run_id: str) -> Any:
    return await store.info(run_id), list(await store.entries(run_id)), await store.blobs(run_id)


class Clock:
    """Seconds since 1970 that pass when told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class StoreContract:
    """The behaviour of `marsys_core.protocols.store.Store`."""

    def opened(self, place: Any, clock: Clock) -> AbstractAsyncContextManager[Store]:
        """Return an open store at `place`, a folder that is the test's own."""
        raise NotImplementedError

    def run(self, tmp_path, main, clock=None):
        async def opened() -> Any:
            async with self.opened(tmp_path, clock or Clock()) as store:
                return await main(store)

        return trio.run(opened)

    def test_it_is_a_store(self, tmp_path):
        async def main(store):
            assert isinstance(store, Store)

        self.run(tmp_path, main)

    def test_what_is_committed_is_read_as_it_was_appended(self, tmp_path):
        wanted = [
            Entry(0, "", 0, ("", -1), "RunStarted", 0.0, "{}"),
            Entry(1, "0.1", 0, ("", 0), "Ünï", 0.1 + 0.2, '{"a": "\\u0000 \\ud800 é 漢 😀"}'),
            Entry(2, "0.1", 1, ("0.1", 0), "X", 1e-300, "[" + "1," * 5000 + "2]"),
        ]

        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            for each in wanted:
                log.append(each)
            await log.commit()
            assert list(await store.entries("r")) == wanted
            assert list(await store.entries("r", 1)) == wanted[1:]
            assert list(await store.entries("r", 1, 2)) == wanted[1:2]
            assert list(await store.entries("r", 3)) == list(await store.entries("r", 2, 1)) == []

        self.run(tmp_path, main)

    def test_another_opening_reads_what_was_committed(self, tmp_path):
        async def write(store):
            log = await store.create(RunInfo(run_id="r", session_id="s", task="Why?"))
            log.append(entry(0))
            log.put(*hashed(b"large"))
            log.update(status="waiting", steps=3)
            await log.release()

        async def read(store):
            assert [each.seq for each in await store.entries("r")] == [0]
            info = await store.info("r")
            assert (info.session_id, info.task, info.status, info.steps) == ("s", "Why?", "waiting", 3)
            assert await store.blobs("r") == dict([hashed(b"large")])

        self.run(tmp_path, write)
        self.run(tmp_path, read)

    def test_everything_known_of_a_run_comes_back(self, tmp_path):
        info = RunInfo(
            run_id="r",
            session_id="s",
            status="paused",
            task="t",
            fingerprint='{"a":1}',
            origin='{"by":"ünï"}',
            created=5.0,
            updated=6.0,
            steps=7,
            error="e",
            parent="p",
            forked_from=("f", 8),
            format=9,
        )

        async def main(store):
            log = await store.create(info)
            await log.release()
            assert await store.info("r") == info

        self.run(tmp_path, main)

    def test_the_steps_of_a_run_that_goes_on_are_those_that_are_committed(self, tmp_path):
        async def steps(store):
            (listed,) = await store.runs(session_id="s")
            assert listed == await store.info("r")
            return listed.steps

        async def main(store):
            log = await store.create(RunInfo(run_id="r", session_id="s"))
            seen = []
            for seq, kind in enumerate(["StepStarted", "StepFinished", "StepStarted", "X", "StepStarted"]):
                log.append(entry(seq, kind=kind))
                await log.commit()
                seen.append(await steps(store))
            log.append(Entry(5, "", 5, ("", 0), "RunResumed", 1.0, '{"at": 2}'))
            log.append(entry(6, kind="StepStarted"))
            await log.commit()
            seen.append(await steps(store))
            log.update(status="failed", steps=7)
            await log.release()
            assert [*seen, await steps(store)] == [1, 1, 2, 2, 3, 2, 7]

        self.run(tmp_path, main)

    def test_times_are_the_stores_where_none_are_given(self, tmp_path):
        clock = Clock(50.0)

        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            clock.now = 60.0
            log.update(error="broken")
            await log.commit()
            info = await store.info("r")
            assert (info.created, info.updated, info.error) == (50.0, 60.0, "broken")

        self.run(tmp_path, main, clock)

    @pytest.mark.parametrize("seq", [-1, 0, 2])
    def test_an_entry_that_is_not_the_next_is_refused(self, tmp_path, seq):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            with pytest.raises(ValueError, match=rf"^the next entry of run 'r' has seq 1, not {seq}$"):
                log.append(entry(seq))
            log.append(entry(1))
            await log.commit()
            assert len(await store.entries("r")) == 2

        self.run(tmp_path, main)

    def test_text_that_utf_8_does_not_have_is_refused_at_once(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            with pytest.raises(UnicodeEncodeError):
                log.append(attrs.evolve(entry(0), data='"\ud800"'))
            log.append(entry(0))
            await log.commit()

        self.run(tmp_path, main)

    def test_a_status_that_there_is_not_is_refused(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            for status in ("done", "interrupted"):
                with pytest.raises(
                    ValueError, match=rf"^the status of a run is one of running, .*, not '{status}'$"
                ):
                    log.update(status=status)
            with pytest.raises(ValueError, match="'status' must be in"):
                RunInfo(run_id="r", status="done")

        self.run(tmp_path, main)

    def test_large_values_are_kept_once_for_all_runs(self, tmp_path):
        async def main(store):
            text, raw = hashed(b"x" * 100_000), hashed(bytes(range(256)))
            for name in "ab":
                log = await store.create(RunInfo(run_id=name))
                log.put(*text)
                log.put(*text)
                log.put(*raw)
                await log.release()
            assert await store.blobs("a") == await store.blobs("b") == dict([text, raw])
            assert await store.blob(raw[0]) == raw[1]
            assert (await store.check()).blobs == 2
            await store.remove(["a"])
            assert await store.blobs("b") == dict([text, raw])
            await store.remove(["b"])
            with pytest.raises(KeyError, match=text[0]):
                await store.blob(text[0])

        self.run(tmp_path, main)

    def test_a_run_is_created_once(self, tmp_path):
        async def main(store):
            await store.create(RunInfo(run_id="r"))
            with pytest.raises(
                StoreError, match=r"^there is a run 'r' already; take it to go on with it, or give"
            ):
                await store.create(RunInfo(run_id="r"))

        self.run(tmp_path, main)

    def test_a_run_that_is_not_there_is_named_with_those_that_are(self, tmp_path):
        async def main(store):
            await (await store.create(RunInfo(run_id="run-1"))).release()
            for ask in (store.take, store.info, store.entries, store.blobs):
                with pytest.raises(
                    UnknownName,
                    match=r"^no run is called 'run-2'; there are: run-1\. Did you mean 'run-1'\?$",
                ):
                    await ask("run-2")
            with pytest.raises(UnknownName):
                await store.remove(["run-1", "run-2"])
            assert len(await store.runs()) == 1

        self.run(tmp_path, main)

    def test_a_run_that_is_held_is_refused_and_its_holder_named(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"), "first")
            async with self.opened(tmp_path, Clock()) as other:
                for each in (store, other):
                    with pytest.raises(
                        RunHeld, match=r"^run 'r' is held by 'first', process \d+ on .+, since 1970-01-12"
                    ) as told:
                        await each.take("r", "second")
                    assert (told.value.holder, told.value.run_id) == ("first", "r")
                    assert told.value.since == 1_000_000.0
                    assert told.value.pid
                    assert told.value.host
                    with pytest.raises(RunHeld):
                        await each.remove(["r"])
                    assert (await each.info("r")).holder.startswith("first, process ")
                await log.release()
                taken = await other.take("r", "second")
                assert (await store.info("r")).holder.startswith("second, ")
                await taken.release()
            assert (await store.info("r")).holder == ""

        self.run(tmp_path, main)

    def test_a_run_that_is_taken_goes_on_where_its_log_ended(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            log.append(entry(1))
            await log.release()
            log = await store.take("r")
            assert (log.run_id, log.next_seq) == ("r", 2)
            log.append(entry(2))
            await log.commit()
            assert [each.seq for each in await store.entries("r")] == [0, 1, 2]

        self.run(tmp_path, main)

    def test_a_log_that_was_released_takes_nothing_more(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            await log.release()
            await log.release()
            await log.commit()
            for use in (lambda: log.append(entry(0)), lambda: log.put("", b""), lambda: log.update(steps=1)):
                with pytest.raises(LifecycleError, match=r"^the log of run 'r' was released; take the run"):
                    use()

        self.run(tmp_path, main)

    def test_a_running_run_without_a_holder_is_interrupted(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            await (await store.create(RunInfo(run_id="w", status="waiting"))).release()
            assert (await store.info("r")).status == "running"
            assert await store.runs(status=["interrupted"]) == []
            await log.release()
            assert (await store.info("r")).status == "interrupted"
            assert [each.run_id for each in await store.runs(status=["interrupted"])] == ["r"]
            assert await store.runs(status=["running"]) == []
            assert (await store.info("w")).status == "waiting"

        self.run(tmp_path, main)

    def test_runs_are_listed_newest_first_in_pages(self, tmp_path):
        async def main(store):
            for number in range(7):
                info = RunInfo(run_id=f"r{number}", session_id=f"s{number % 2}", status="succeeded")
                await (await store.create(info)).release()

            async def listed(**wanted):
                return [each.run_id for each in await store.runs(**wanted)]

            assert await listed() == ["r6", "r5", "r4", "r3", "r2", "r1", "r0"]
            assert await listed(limit=2) == ["r6", "r5"]
            assert await listed(limit=2, before="r5") == ["r4", "r3"]
            assert await listed(session_id="s1") == ["r5", "r3", "r1"]
            assert await listed(session_id="s1", before="r3", status=["succeeded", "failed"]) == ["r1"]
            assert await listed(status=["failed"]) == await listed(session_id="") == []
            with pytest.raises(UnknownName):
                await listed(before="r9")
            with pytest.raises(ValueError, match="^limit is how many runs are listed at most, and not -1$"):
                await listed(limit=-1)

        self.run(tmp_path, main)

    def test_runs_that_ended_long_ago_expire(self, tmp_path):
        clock = Clock()

        async def main(store):
            for status in ("running", "paused", "waiting", "succeeded", "failed", "cancelled"):
                log = await store.create(RunInfo(run_id=status, status=status))
                log.append(entry(0))
                log.put(*hashed(status.encode()))
                await log.release()
            held = await store.create(RunInfo(run_id="held", status="succeeded"))
            clock.now += 100
            await (await store.create(RunInfo(run_id="new", status="succeeded"))).release()
            assert await store.expire(100) == 0
            assert await store.expire(99) == 3
            assert {each.run_id for each in await store.runs()} == {
                "running",
                "paused",
                "waiting",
                "held",
                "new",
            }
            assert (await store.check()).blobs == 3
            await held.release()
            assert await store.expire(99) == 1
            await store.vacuum()
            assert (await store.check()).ok

        self.run(tmp_path, main, clock)

    def test_a_run_goes_from_one_store_to_another_as_a_file(self, tmp_path):
        clock = Clock()
        (tmp_path / "other").mkdir()
        file = tmp_path / "run.jsonl"

        async def main(store):
            log = await store.create(RunInfo(run_id="r", session_id="s", forked_from=("a", 1)))
            for seq in range(3):
                log.append(entry(seq, "é\u2028\x85 \n" * 100))
            log.put(*hashed(b"text"))
            log.put(*hashed(b"\xff"))
            await log.commit()
            await store.export("r", file)
            with pytest.raises(StoreError, match="^there is a run 'r' already"):
                await store.import_(file)
            async with self.opened(tmp_path / "other", clock) as other:
                assert await other.import_(file) == "r"
                assert await other.entries("r") == await store.entries("r")
                assert await other.blobs("r") == await store.blobs("r")
                wanted = attrs.evolve(await store.info("r"), status="interrupted", holder="")
                assert await other.info("r") == wanted
                taken = await other.take("r")
                taken.append(entry(3))
                await taken.commit()
            with pytest.raises(UnknownName):
                await store.export("x", file)

        self.run(tmp_path, main, clock)

    def test_a_run_takes_those_that_are_nested_in_it_along(self, tmp_path):
        (tmp_path / "other").mkdir()
        file, alone = tmp_path / "run.jsonl", tmp_path / "alone.jsonl"

        async def main(store):
            made = await nested(store)
            await (await store.create(RunInfo(run_id="x", parent="elsewhere"))).release()
            await store.export("r", file)
            await store.export("r-1", alone)
            async with self.opened(tmp_path / "other", Clock()) as other:
                assert await other.import_(file) == "r"
                assert {run_id: await known(other, run_id) for run_id in made} == made
                with pytest.raises(UnknownName):
                    await other.info("x")
                await other.remove(["r"])
                assert await other.import_(alone) == "r-1"
                assert await known(other, "r-1-1") == made["r-1-1"]
                with pytest.raises(UnknownName):
                    await other.info("r-2")

        self.run(tmp_path, main)

    @pytest.mark.parametrize("there", ["r", "r-1-1", "r-2"])
    def test_where_one_of_the_runs_of_a_file_is_there_none_is_taken(self, tmp_path, there):
        (tmp_path / "other").mkdir()
        file = tmp_path / "run.jsonl"

        async def main(store):
            made = await nested(store)
            await store.export("r", file)
            async with self.opened(tmp_path / "other", Clock()) as other:
                session_id = "s" if there == "r" else ""
                log = await other.create(RunInfo(run_id=there, session_id=session_id))
                await log.release()
                for held in (False, True):
                    log = await other.take(there) if held else log
                    with pytest.raises(StoreError, match=f"^there is a run '{there}' already"):
                        await other.import_(file)
                    for run_id in made.keys() - {there}:
                        with pytest.raises(UnknownName):
                            await other.info(run_id)
                    assert not await other.entries(there)
                await log.release()
                await other.remove([there])
                assert await other.import_(file) == "r"
                assert {run_id: await known(other, run_id) for run_id in made} == made

        self.run(tmp_path, main)

    def test_a_nested_run_is_removed_with_the_run_that_it_is_part_of_and_not_before(self, tmp_path):
        async def main(store):
            made = await nested(store, "succeeded")
            for gone in (["r-2"], ["r-1-1"], ["r-1", "r-1-1"]):
                with pytest.raises(
                    StoreError,
                    match=rf"^run '{gone[0]}' is nested in run 'r', and is removed with it: remove 'r'$",
                ):
                    await store.remove(gone)
            held = await store.take("r-1-1")
            with pytest.raises(RunHeld, match="^run 'r-1-1' is held"):
                await store.remove(["r"])
            await held.release()
            assert {run_id: await known(store, run_id) for run_id in made} == made
            await store.remove(["r-2", "r"])
            for run_id in made:
                with pytest.raises(UnknownName):
                    await store.info(run_id)
            await (await store.create(RunInfo(run_id="left", parent="r"))).release()
            await store.remove(["left"])
            with pytest.raises(UnknownName):
                await store.info("left")

        self.run(tmp_path, main)

    def test_nested_runs_expire_with_the_run_that_they_are_part_of(self, tmp_path):
        clock = Clock()

        async def main(store):
            made = await nested(store, "succeeded")
            log = await store.take("r")
            log.update(status="waiting")
            await log.release()
            await (await store.create(RunInfo(run_id="left", parent="gone", status="failed"))).release()
            clock.now += 100
            assert await store.expire(50) == 1
            assert {info.run_id for info in await store.runs()} == made.keys()
            for run_id, status in (("r", "succeeded"), ("r-1", "waiting")):
                log = await store.take(run_id)
                log.update(status=status)
                await log.release()
            assert await store.expire(50) == 0
            clock.now += 100
            log = await store.take("r-2")
            assert await store.expire(50) == 0
            await log.release()
            assert await store.expire(50) == 1
            assert await store.runs() == []
            report = await store.check()
            assert report.ok
            assert report.blobs == 0

        self.run(tmp_path, main, clock)

    def test_a_file_that_is_not_whole_is_refused(self, tmp_path):
        file = tmp_path / "run.jsonl"

        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            log.put(*hashed(b"text"))
            await log.release()
            await store.export("r", file)
            await store.remove(["r"])
            whole = file.read_bytes()
            for cut in (b"", whole[:10], whole[: len(whole) // 2], whole[:-2], whole.replace(b"t0", b"t1")):
                file.write_bytes(cut)
                with pytest.raises(StoreError, match="is not a run that was exported"):
                    await store.import_(file)
            file.write_bytes(whole.replace(b'"version":1', b'"version":2'))
            with pytest.raises(
                StoreError, match="is version 2 of the format, and this one knows 1; update MARSYS$"
            ):
                await store.import_(file)
            with pytest.raises(StoreError, match="^could not read .*: No such file or directory$"):
                await store.import_(tmp_path / "nothing")
            assert await store.runs() == []
            file.write_bytes(whole)
            assert await store.import_(file) == "r"

        self.run(tmp_path, main)

    @pytest.mark.parametrize(
        ("line", "change"),
        [
            (0, {"info": {"run_id": 7}}),
            (0, {"info": {"run_id": "r", "steps": "many"}}),
            (0, {"info": {"run_id": "r", "forked_from": [1, 2]}}),
            (0, {"info": {"run_id": "r", "new": 1}}),
            (1, {"blob": "0" * 64, "text": "x"}),
            (1, {"entry": [1, "", 0, ["", 0], "", 0, ""]}),
            (1, {"entry": [0, "", "0", ["", 0], "", 0, ""]}),
            (1, {"entry": [0, "", 0, ["", 0], "", 0]}),
            (1, ["entry"]),
        ],
    )
    def test_a_file_that_holds_something_else_is_refused(self, tmp_path, line, change):
        file = tmp_path / "run.jsonl"
        info = {"run_id": "r", "forked_from": None}
        lines = [
            {"format": "marsys-run", "version": 1, "info": info},
            {"entry": [0, "", 0, ["", 0], "", 0, ""]},
        ]

        def write():
            text = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
            end = json.dumps({"end": hashlib.sha256(text).hexdigest()})
            file.write_bytes(text + end.encode() + b"\n")

        async def main(store):
            write()
            await store.import_(file)
            await store.remove(["r"])
            if line == 0:
                lines[0] |= {"info": {"forked_from": None, **change["info"]}}
            else:
                lines[1] = change
            write()
            with pytest.raises(StoreError, match="is not a run that was exported"):
                await store.import_(file)
            assert await store.runs() == []

        self.run(tmp_path, main)

    def test_many_runs_share_commits(self, tmp_path):
        async def main(store):
            async def one(number):
                log = await store.create(RunInfo(run_id=f"r{number}"))
                for seq in range(10):
                    log.append(entry(seq))
                    await log.commit()
                log.update(status="succeeded")
                await log.release()

            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(one, number)
            report = await store.check()
            assert (report.runs, report.entries, report.ok) == (50, 500, True)

        self.run(tmp_path, main)

    def test_what_a_cancelled_commit_was_to_write_is_written(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            with trio.CancelScope() as scope:
                scope.cancel()
                await log.commit()
            assert scope.cancelled_caught
            await log.commit()
            log.append(entry(1))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log.commit)
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            await log.release()
            assert len(await store.entries("r")) == 2

        self.run(tmp_path, main)

    @pytest.mark.parametrize("ticks", range(0, 24, 2))
    def test_whatever_is_cancelled_nothing_hangs_and_what_is_there_is_whole(self, tmp_path, ticks):
        async def write(store):
            async def one(number):
                log = await store.create(RunInfo(run_id=f"r{number}"))
                for seq in range(5):
                    log.append(entry(seq))
                    log.put(*hashed(b"%d" % seq))
                    await log.commit()
                await log.release()
                await store.runs()

            async with trio.open_nursery() as nursery:
                for number in range(4):
                    nursery.start_soon(one, number)
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

        async def read(store):
            assert (await store.check()).ok
            for info in await store.runs():
                assert info.holder == ""
                assert len(await store.blobs(info.run_id)) == len(await store.entries(info.run_id))
                await (await store.take(info.run_id)).release()

        self.run(tmp_path, write)
        self.run(tmp_path, read)

    def test_what_was_never_committed_is_written_when_the_store_closes(self, tmp_path):
        async def write(store):
            log = await store.create(RunInfo(run_id="r"))
            log.append(entry(0))
            return log

        async def read(store):
            assert len(await store.entries("r")) == 1
            assert (await store.info("r")).holder == ""
            await store.take("r")

        log = self.run(tmp_path, write)
        with pytest.raises(LifecycleError):
            log.append(entry(1))
        self.run(tmp_path, read)

    def test_what_runs_add_to_a_session_is_recalled_in_order(self, tmp_path):
        async def write(store):
            assert await store.recall("s") == Recalled()
            for number, said in enumerate(({"A": '["é \\u0000"]', "B": "[0]"}, {"A": "[1,2]"}, {"B": "[3]"})):
                log = await store.create(RunInfo(run_id=f"r{number}", session_id="s"))
                log.remember("s", said)
                await log.release()

        async def read(store):
            wanted = [
                Said("A", "r0", '["é \\u0000"]'),
                Said("B", "r0", "[0]"),
                Said("A", "r1", "[1,2]"),
                Said("B", "r2", "[3]"),
            ]
            found = await store.recall("s")
            assert list(found.said) == wanted
            assert found.by_agent() == {"A": '["é \\u0000",1,2]', "B": "[0,3]"}
            assert await store.recall("t") == Recalled()
            assert not (await store.recall("s", after=found.version)).said

        self.run(tmp_path, write)
        self.run(tmp_path, read)

    def test_how_a_session_was_at_each_version_can_still_be_told(self, tmp_path):
        async def main(store):
            logs, seen = {}, [await store.recall("s")]
            for run_id, text in (
                ("a", "[1]"),
                ("b", "[2]"),
                ("a", "[3]"),
                ("c", "[4]"),
                ("a", "[5]"),
                ("b", "[6]"),
            ):
                if run_id not in logs:
                    logs[run_id] = await store.create(RunInfo(run_id=run_id, session_id="s"))
                logs[run_id].remember("s", {"A": text})
                await logs[run_id].commit()
                seen.append(await store.recall("s"))
            assert [[each.data for each in recalled.said] for recalled in seen] == [
                [],
                ["[1]"],
                ["[1]", "[2]"],
                ["[2]", "[3]"],
                ["[2]", "[3]", "[4]"],
                ["[2]", "[4]", "[5]"],
                ["[4]", "[5]", "[6]"],
            ]
            versions = [recalled.version for recalled in seen]
            assert versions == sorted(set(versions))
            for recalled in seen:
                assert await store.recall("s", version=recalled.version) == recalled
            late = await store.recall("s", after=seen[3].version)
            assert (late.version, [each.data for each in late.said]) == (
                seen[-1].version,
                ["[4]", "[5]", "[6]"],
            )

        self.run(tmp_path, main)

    def test_what_a_run_adds_twice_is_added_once(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r", session_id="s"))
            log.remember("s", {"A": "[1]", "B": "[2]"})
            log.remember("s", {"A": "[1]", "B": "[2]"})
            await log.release()
            once = await store.recall("s")
            log = await store.take("r")
            log.remember("s", {"B": "[2]", "A": "[1]"})
            await log.commit()
            assert await store.recall("s") == once
            log.remember("s", {})
            await log.commit()
            assert not (await store.recall("s")).said
            assert await store.recall("s", version=once.version) == once
            log.remember("t", {"A": "[3]"})  # that of a run round it
            await log.release()
            assert [each.data for each in (await store.recall("t")).said] == ["[3]"]
            for use in (lambda: log.remember("s", {"A": "[1]"}), lambda: log.remember("s", {})):
                with pytest.raises(LifecycleError, match=r"^the log of run 'r' was released; take the run"):
                    use()

        self.run(tmp_path, main)

    def test_what_is_remembered_is_text_that_utf_8_has(self, tmp_path):
        async def main(store):
            log = await store.create(RunInfo(run_id="r", session_id="s"))
            with pytest.raises(UnicodeEncodeError):
                log.remember("s", {"A": "[\ud800]"})
            await log.release()
            assert await store.recall("s") == Recalled()

        self.run(tmp_path, main)

    def test_many_runs_that_end_at_once_lose_nothing_of_a_session(self, tmp_path):
        async def main(store):
            logs = [await store.create(RunInfo(run_id=f"r{number}", session_id="s")) for number in range(20)]
            for number, log in enumerate(logs):
                log.remember("s", {"A": f"[{number}]"})
            async with trio.open_nursery() as nursery:
                for log in logs:
                    nursery.start_soon(log.release)
            recalled = await store.recall("s")
            assert {each.run_id: each.data for each in recalled.said} == {
                f"r{n}": f"[{n}]" for n in range(20)
            }

        self.run(tmp_path, main)

    def test_what_two_openings_add_at_once_is_all_there(self, tmp_path):
        async def main(store):
            async with self.opened(tmp_path, Clock()) as other:

                async def add(where, number):
                    log = await where.create(RunInfo(run_id=f"r{number}", session_id="s"))
                    log.remember("s" if number % 3 else "t", {"A": f"[{number}]"})
                    log.remember("t" if number % 3 else "s", {"A": f"[{number}]"})
                    await log.release()

                async with trio.open_nursery() as nursery:
                    for number in range(40):
                        nursery.start_soon(add, (store, other)[number % 2], number)
                for session_id in "st":
                    recalled = await other.recall(session_id)
                    assert {each.data for each in recalled.said} == {f"[{number}]" for number in range(40)}
                    assert len(recalled.said) == 40

        self.run(tmp_path, main)

    def test_a_session_is_forgotten_and_its_runs_stay(self, tmp_path):
        async def main(store):
            for run_id, session in (("r", "s"), ("q", "t")):
                log = await store.create(RunInfo(run_id=run_id, session_id=session))
                log.append(begun(session, 0))
                log.remember(session, {"A": "[1]"})
                await log.release()
            await store.forget_session("s")
            await store.forget_session("s")
            await store.forget_session("unheard of")
            assert await store.recall("s") == Recalled()
            assert (await store.recall("t")).said
            assert len(await store.entries("r")) == 1
            log = await store.take("r")
            log.remember("s", {"A": "[2]"})
            await log.release()
            assert [each.data for each in (await store.recall("s")).said] == ["[2]"]

        self.run(tmp_path, main)

    def test_a_session_outlives_its_runs_until_it_was_not_used_for_as_long(self, tmp_path):
        clock = Clock()

        async def main(store):
            for run_id, session, status in (
                ("a", "over", "succeeded"),
                ("b", "open", "succeeded"),
                ("c", "open", "waiting"),
                ("d", "removed", "succeeded"),
            ):
                log = await store.create(RunInfo(run_id=run_id, session_id=session))
                log.remember(session, {"A": "[1]"})
                log.update(status=status)
                await log.release()
            await store.remove(["d"])
            assert (await store.recall("removed")).said
            clock.now += 50
            log = await store.create(RunInfo(run_id="e", session_id="over"))
            log.remember("over", {"A": "[2]"})
            log.update(status="failed")
            await log.release()
            clock.now += 51
            assert await store.expire(100) == 2  # a and b
            assert [each.data for each in (await store.recall("over")).said] == ["[1]", "[2]"]
            assert (await store.recall("open")).said
            assert await store.recall("removed") == Recalled()
            clock.now += 50
            assert await store.expire(100) == 1  # e, and the session with it
            assert await store.recall("over") == Recalled()
            assert (await store.check()).ok

        self.run(tmp_path, main, clock)

    def test_a_run_takes_what_its_session_remembered_along(self, tmp_path):
        (tmp_path / "new").mkdir()
        (tmp_path / "other").mkdir()
        file = tmp_path / "run.jsonl"

        async def main(store):
            for number, version in enumerate((0, 1, 1)):
                log = await store.create(RunInfo(run_id=f"r{number}", session_id="s"))
                log.append(begun("s", version))
                log.remember("s", {"A": f"[{number}]"})
                await log.release()
            whole = await store.recall("s")
            await store.export("r1", file)
            await store.remove(["r1"])
            await store.import_(file)
            assert await store.recall("s") == whole
            sha256, data = hashed(b"[0]")
            assert await store.blobs("r1") == {sha256: data}  # what it began with
            async with self.opened(tmp_path / "new", Clock()) as new:
                await new.import_(file)
                assert [(each.run_id, each.data) for each in (await new.recall("s")).said] == [
                    ("r0", "[0]"),
                    ("r1", "[1]"),
                ]
            async with self.opened(tmp_path / "other", Clock()) as other:
                log = await other.create(RunInfo(run_id="x", session_id="s"))
                log.remember("s", {"A": "[9]"})
                await log.release()
                await other.import_(file)
                assert [each.data for each in (await other.recall("s")).said] == ["[9]", "[1]"]
                assert await other.blobs("r1") == {sha256: data}

        self.run(tmp_path, main)
