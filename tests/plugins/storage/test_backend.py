"""A backend beside the SQLite store: the same contract as far as sessions go, and the same results of resuming."""

from __future__ import annotations

import json

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys import Agent, Orchestra, agent, tool
from marsys.storage import DatabaseBackend, SQLiteStore
from marsys_core.backend import BackendStore
from marsys_core.errors import UncertainOutcome
from marsys_core.events import identity
from tests.core.backend.backends import Kept, jsonb
from tests.core.fakes import FakeModel, call, seeded
from tests.plugins.storage.contract import StoreContract


class OnDisk(Kept):
    """States as one file each."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    async def save_state(self, session_id, state):
        await super().save_state(session_id, state)
        self.file(session_id).write_text(json.dumps(state))

    async def load_state(self, session_id):
        file = self.file(session_id)
        return file.read_text() if file.exists() else None

    def file(self, session_id):
        return self.folder / f"{session_id.encode().hex()}.json"


class TestContract(StoreContract):
    def opened(self, place, clock):
        return BackendStore(OnDisk(place), clock=clock)

    # A backend has no list of its sessions, and no lease; tests/core/backend says what it does instead.
    test_another_opening_reads_what_was_committed = None
    test_large_values_are_kept_once_for_all_runs = None
    test_a_run_that_is_not_there_is_named_with_those_that_are = None
    test_a_run_that_is_held_is_refused_and_its_holder_named = None
    test_a_running_run_without_a_holder_is_interrupted = None
    test_runs_are_listed_newest_first_in_pages = None
    test_runs_that_ended_long_ago_expire = None
    test_nested_runs_expire_with_the_run_that_they_are_part_of = None
    test_a_session_outlives_its_runs_until_it_was_not_used_for_as_long = None
    test_what_two_openings_add_at_once_is_all_there = None
    test_a_file_that_is_not_whole_is_refused = None
    test_a_file_that_holds_something_else_is_refused = None
    test_many_runs_share_commits = None
    test_whatever_is_cancelled_nothing_hangs_and_what_is_there_is_whole = None


class Crashes(Kept):
    """Remembers what every write left behind: what the next process would find."""

    def __init__(self, effects):
        super().__init__()
        self.effects, self.left = effects, []

    async def save_state(self, session_id, state):
        await super().save_state(session_id, state)
        self.left.append((json.dumps(self.states), len(self.effects)))


class World:
    """A team that works on something outside: it pays, and it looks up."""

    def __init__(self, text):
        self.text, self.effects = text, []

        @tool
        async def pay(amount: int) -> str:
            """Pay."""
            self.effects.append(f"paid {amount}")
            return f"paid {text} {amount}"

        @tool(idempotent=True)
        async def look(name: str) -> str:
            """Look something up."""
            return f"{name} is {text}"

        self.tools = [pay, look]

    def team(self):
        script = [
            [call("look", "c1", name=self.text), call("look", "c2", name="b")],
            call("pay", "c3", amount=1),
        ]

        def reply(request):
            done = sum(message.role == "assistant" for message in request.messages)
            return script[done] if done < len(script) else f"done {self.text}"

        async def ending(prompt):
            return {"said": prompt, "text": self.text, "large": self.text * 5000}

        with_tools = Agent("Buyer", model=FakeModel(reply), instruction="Buy.", tools=self.tools)
        return [with_tools, agent(name="Last")(ending)]


async def carried_out(store, world, run_id=None):
    async with Orchestra(storage=store, agents=world.team()) as orchestra:
        if run_id is None:
            return await orchestra.run(world.text, "Buyer -> Last", session_id="s")
        return await orchestra.resume(run_id)


async def outcome(store, world, run_id):
    """Return what going on comes to, and the run's journal then."""
    try:
        found = (await carried_out(store, world, run_id)).final_response
    except UncertainOutcome as error:
        return str(error).partition(" (call ")[0], None
    async with Orchestra(storage=store) as orchestra:
        events = sorted(await orchestra.history(run_id), key=lambda event: event.id)
    return found, [identity(event) for event in events]


async def copied(state, database):
    """Move the one run of a state to the SQLite store, and return its id."""
    async with BackendStore(Kept(json.loads(state))) as source:
        (info,) = await source.runs(session_id="s")
        log = await database.create(attrs.evolve(info, status="running"))
        for entry in await source.entries(info.run_id):
            log.append(entry)
        for sha256, data in (await source.blobs(info.run_id)).items():
            log.put(sha256, data)
        await log.release()
        return info


texts = st.text(st.sampled_from('a"\\\x00\x10\ud800é😀 \n1.0'), min_size=1, max_size=6)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(texts)
def test_after_a_crash_at_any_write_a_backend_comes_to_what_the_other_store_does(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("runs")

    async def main():
        world = World(text)
        first = Crashes(world.effects)
        wanted = (await carried_out(first, world)).final_response
        assert world.effects == ["paid 1"]
        assert len(first.left) >= 5
        uncertain = 0
        # The first write says that there is a run, and nothing of it.
        for number, (state, effects) in enumerate(first.left[1:]):
            mine, theirs = World(text), World(text)
            mine.effects[:] = theirs.effects[:] = world.effects[:effects]
            async with SQLiteStore(folder / f"{number}.db") as database:
                info = await copied(state, database)
                expected = await outcome(database, theirs, info.run_id)
            backend = Kept(json.loads(state), given_back=lambda state: json.dumps(jsonb(state)))
            async with BackendStore(backend) as store:
                assert (await store.runs(session_id="s"))[0].run_id == info.run_id
                found = await outcome(store, mine, info.run_id)
            assert found == expected
            assert mine.effects == theirs.effects
            if found[1] is None:
                uncertain += 1
            else:
                assert found[0] == wanted
                assert mine.effects == ["paid 1"]
        assert uncertain == 1

    with seeded(0):
        trio.run(main)


def test_a_run_is_picked_up_by_its_session_with_one_argument():
    world = World("x")
    first = Crashes(world.effects)

    async def main():
        wanted = await carried_out(first, world)
        state = next(state for state, effects in first.left if effects)
        world.effects.clear()
        backend = Kept(json.loads(state))
        again = await Orchestra.run(
            "x", "Buyer -> Last", storage=backend, agents=world.team(), session_id="s", resume=True
        )
        once_more = await Orchestra.run(
            "x", "Buyer -> Last", storage=backend, agents=world.team(), session_id="s", resume=True
        )
        assert wanted.final_response == again.final_response == once_more.final_response
        assert again.run_id == once_more.run_id

    trio.run(main)
    assert world.effects == []


def test_a_run_is_forked_within_its_session():
    backend, world = Kept(), World("x")

    async def main():
        wanted = await carried_out(backend, world)
        async with Orchestra(storage=backend, agents=world.team()) as orchestra:
            forked = await orchestra.fork(wanted.run_id, 2)
            found = [(info.run_id, info.status) for info in await orchestra.runs(session_id="s")]
        assert forked.final_response == wanted.final_response
        assert found == [(forked.run_id, "succeeded"), (wanted.run_id, "succeeded")]

    trio.run(main)
    assert world.effects == ["paid 1"]


def test_the_name_is_that_of_the_core():
    import marsys_core.backend

    assert DatabaseBackend is marsys_core.backend.DatabaseBackend
