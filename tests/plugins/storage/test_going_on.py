"""Runs that go on: after a failure, after a crash, from another step; in a real SQLite file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, Registry, Team, agent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import (
    ChangedRun,
    ConfigError,
    CriticalError,
    LifecycleError,
    NondeterminismError,
    RunHeld,
    UncertainOutcome,
    UnknownName,
    ValueRefused,
)
from marsys_core.orchestra import Orchestra
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, call


class Shop:
    """A team whose agents say what they did, and fail where they are told to."""

    def __init__(self, *, breaks: str = "") -> None:
        self.took: list[str] = []
        self.paid: list[int] = []
        self.breaks = breaks
        self.model = FakeModel(self.reply)
        paid = self.paid

        @tool
        async def pay(amount: int) -> str:
            """Pay."""
            paid.append(amount)
            return f"paid {amount}"

        self.agents = [
            *[self.worker(name) for name in "ACE"],
            Agent("B", model=self.model, tools=[pay]),
            Team(["In"], [self.worker("In")]).as_node("T"),
        ]

    def reply(self, request: Any) -> Any:
        last = request.messages[-1]
        return f"{last.content}!" if last.role == "tool" else call("pay", amount=3)

    def worker(self, name: str) -> Any:
        took, shop = self.took, self

        @agent(name=name)
        async def work(prompt: Any) -> Any:
            took.append(name)
            await trio.lowlevel.checkpoint()
            if shop.breaks == name:
                msg = f"{name} broke"
                raise CriticalError(msg)
            return f"{prompt}{name}" if isinstance(prompt, str) else [entry.value for entry in prompt]

        return work


TEAM = "A -> T -> [B, C] -> E"
ANSWER = ["paid 3!", "xAInC"]


@pytest.fixture(autouse=True)
def _own_registry() -> Any:
    with Registry():
        yield


@pytest.fixture
def file(tmp_path: Any) -> Any:
    return tmp_path / "runs.db"


async def ids(orchestra: Orchestra) -> list[str]:
    return [info.run_id for info in await orchestra.runs() if not info.parent]


def first_life(file: Any, shop: Shop, **options: Any) -> None:
    async def main() -> None:
        async with Orchestra(storage=file, agents=shop.agents) as orchestra:
            await orchestra.run("x", TEAM, **options)

    trio.run(main)


def test_a_run_that_failed_goes_on_from_the_step_that_did(file: Any) -> None:
    with pytest.raises(CriticalError, match="C broke"):
        first_life(file, Shop(breaks="C"), session_id="s1")
    shop = Shop()

    async def main() -> Any:
        async with Orchestra(storage=file, agents=shop.agents) as orchestra:
            (run_id,) = await ids(orchestra)
            failed = await orchestra.runs(status="failed")
            result = await orchestra.resume(run_id)
            return failed, result, await orchestra.runs(status="succeeded"), await orchestra.history(run_id)

    failed, result, succeeded, history = trio.run(main)

    assert [info.error for info in failed if not info.parent][0].startswith("ConvergenceError: ")
    assert result.final_response == ANSWER
    assert (shop.took, shop.paid, len(shop.model.requests)) == (["C", "E"], [], 0)
    assert (result.total_steps, result.usage.model_calls) == (6, 2)
    assert [info.session_id for info in succeeded if not info.parent] == ["s1"]
    assert [event for event in history if isinstance(event, e.RunResumed)] != []


def test_it_may_fail_and_go_on_again_and_again(file: Any) -> None:
    with pytest.raises(CriticalError, match="A broke"):
        first_life(file, Shop(breaks="A"))

    async def life(breaks: str) -> Any:
        shop = Shop(breaks=breaks)
        async with Orchestra(storage=file, agents=shop.agents) as orchestra:
            (run_id,) = await ids(orchestra)
            try:
                result = await orchestra.resume(run_id)
            except CriticalError as error:
                return str(error).partition(" (")[0], shop.took
            return result.final_response, shop.took

    seen = [trio.run(life, breaks) for breaks in ("A", "In", "C", "E", "", "")]

    assert [answer for answer, _ in seen] == [
        "A broke",
        "team 'team' failed: In broke",
        "C broke",
        "E broke",
        ANSWER,
        ANSWER,
    ]
    assert [took for _, took in seen] == [["A"], ["A", "In"], ["In", "C"], ["C", "E"], ["E"], []]


def test_the_newest_run_of_a_session_goes_on_or_a_new_one_begins(file: Any) -> None:
    with pytest.raises(CriticalError):
        first_life(file, Shop(breaks="E"), session_id="s1")
    shop = Shop()

    async def main() -> Any:
        answers = []
        for session in ("s1", "s1", "s2"):
            result = await Orchestra.run(
                "x", TEAM, agents=shop.agents, storage=file, session_id=session, resume=True
            )
            answers.append((result.final_response, list(shop.took)))
            shop.took.clear()
        return answers

    answers = trio.run(main)

    assert answers == [(ANSWER, ["E"]), (ANSWER, []), (ANSWER, ["A", "In", "C", "E"])]


def test_going_on_with_something_else_is_refused_and_the_differences_are_told(file: Any) -> None:
    with pytest.raises(CriticalError):
        first_life(file, Shop(breaks="E"))
    shop = Shop()

    @agent(name="C")
    async def other(prompt: Any) -> Any:
        return prompt

    async def main(**options: Any) -> Any:
        async with Orchestra(storage=file, agents=[*shop.agents[:1], other, *shop.agents[2:]]) as orchestra:
            (run_id,) = await ids(orchestra)
            return await orchestra.resume(run_id, **options)

    async def refused() -> Any:
        await main(execution_config=ExecutionConfig(max_steps=50))

    with pytest.raises(ChangedRun, match="began with something else than what is here now") as caught:
        trio.run(refused)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "agents.C.source",
        "settings.max_steps",
    ]

    async def accepted() -> Any:
        return await main(accept_changes=True)

    assert trio.run(accepted).final_response == ANSWER


def test_an_open_orchestra_refuses_another_place_for_one_run(file: Any) -> None:
    async def main(**settings: Any) -> None:
        async with Orchestra(agents=Shop().agents, **settings) as orchestra:
            for call in (orchestra.run, orchestra.start):
                with pytest.raises(
                    ConfigError, match="^storage= is for Orchestra.run, on the class; an open one keeps"
                ):
                    await call("x", TEAM, storage=file)

    trio.run(main)

    assert not file.exists()
    with pytest.raises(ConfigError, match="^storage= takes a file, the name of a store"):
        Orchestra(storage=5)


def test_a_run_in_the_background_that_goes_on_is_the_earlier_one_and_tells_its_events(file: Any) -> None:
    with pytest.raises(CriticalError):
        first_life(file, Shop(breaks="E"), session_id="s1")
    shop = Shop()

    async def main() -> Any:
        async with Orchestra(storage=file, agents=shop.agents) as orchestra:
            (run_id,) = await ids(orchestra)
            run = orchestra.start("x", TEAM, session_id="s1", resume=True)
            result = await run.result()
            streamed = [event async for event in orchestra.stream("x", TEAM, session_id="s1", resume=True)]
            return (
                run_id,
                run.id,
                run.status,
                result.final_response,
                [event async for event in run.events()],
                streamed,
            )

    run_id, id, status, answer, events, streamed = trio.run(main)

    assert (id, status, answer) == (run_id, "succeeded", ANSWER)
    assert isinstance(events[-1], e.RunFinished)
    assert isinstance(streamed[-1], e.RunFinished)


def test_an_agent_that_goes_on_has_every_error_in_the_result(file: Any) -> None:
    async def main() -> Any:
        worker = Shop().worker("A")
        return [
            await worker.run("x", storage=file, resume=True),
            await worker.run(
                "x", storage=file, session_id="s1", execution_config=ExecutionConfig(max_steps=50)
            ),
            await worker.run("x", storage=file, session_id="s1", resume=True),
        ]

    nameless, fine, changed = trio.run(main)

    assert isinstance(nameless.error, ConfigError)
    assert fine.success
    assert isinstance(changed.error, ChangedRun)


def test_a_fork_with_what_cannot_be_recorded_leaves_no_run_behind(file: Any) -> None:
    first_life(file, Shop())

    async def main() -> Any:
        async with Orchestra(storage=file, agents=Shop().agents) as orchestra:
            (run_id,) = await ids(orchestra)
            with pytest.raises(ValueRefused):
                await orchestra.fork(run_id, 1, edit=object())
            return await ids(orchestra) == [run_id]

    assert trio.run(main)


def test_a_directory_is_made_and_holds_the_runs(tmp_path: Any) -> None:
    async def main() -> Any:
        async with Orchestra.open(tmp_path / "some" / "where", agents=Shop().agents) as orchestra:
            return (await orchestra.run("x", TEAM)).final_response

    assert trio.run(main) == ANSWER
    assert (tmp_path / "some" / "where" / "runs.db").is_file()


def test_a_run_that_somebody_has_is_refused(file: Any) -> None:
    shop = Shop()
    waits, told = trio.Event(), []

    @agent(name="Waiter")
    async def wait(prompt: Any) -> Any:
        waits.set()
        await trio.sleep_forever()

    async def main() -> None:
        async with (
            Orchestra(storage=file, agents=[wait]) as one,
            Orchestra(storage=file, agents=[wait]) as other,
            trio.open_nursery() as nursery,
        ):
            run = one.start("x", "Waiter")
            await waits.wait()
            with pytest.raises(RunHeld) as caught:
                await other.resume(run.id)
            told.append(caught.value)
            run.cancel()
            await run.result()
            nursery.cancel_scope.cancel()

    trio.run(main)

    assert told[0].holder.startswith("process ")
    assert shop.took == []


def test_what_cannot_be_gone_on_with_is_told(file: Any) -> None:
    async def unknown() -> None:
        async with Orchestra(storage=file) as orchestra:
            await orchestra.resume("nothing")

    async def nowhere() -> None:
        async with Orchestra() as orchestra:
            await orchestra.resume("nothing")

    async def no_session() -> None:
        await Orchestra.run("x", TEAM, agents=Shop().agents, storage=file, resume=True)

    with pytest.raises(UnknownName):
        trio.run(unknown)
    with pytest.raises(
        LifecycleError, match="^this Orchestra keeps no runs; open it with Orchestra\\(storage="
    ):
        trio.run(nowhere)
    with pytest.raises(ConfigError, match="resume=True goes on with a run of a session"):
        trio.run(no_session)


def test_a_fork_at_every_step_asks_no_model_and_comes_to_the_same(file: Any) -> None:
    first_life(file, Shop())
    shop = Shop()

    async def main() -> Any:
        async with Orchestra(storage=file, agents=shop.agents) as orchestra:
            (run_id,) = await ids(orchestra)
            forked = [await orchestra.fork(run_id, at) for at in range(1, 6)]
            infos = [await orchestra.runs(limit=50)]
            return run_id, forked, infos[0]

    run_id, forked, infos = trio.run(main)

    assert [result.final_response for result in forked] == [ANSWER] * 5
    assert (shop.took, shop.paid, shop.model.requests) == ([], [], [])
    assert {info.forked_from[0] for info in infos if info.forked_from} == {run_id}
    assert len({result.run_id for result in forked}) == 5


def test_a_fork_with_another_input_takes_again_what_depends_on_it_and_nothing_else(file: Any) -> None:
    first_life(file, Shop())
    shop = Shop()

    async def main() -> Any:
        async with Orchestra(storage=file, agents=shop.agents) as orchestra:
            (run_id,) = await ids(orchestra)
            begun = [event for event in await orchestra.history(run_id) if isinstance(event, e.StepStarted)]
            at = next(n for n, event in enumerate(begun, 1) if event.node == "C")
            edited = await orchestra.fork(run_id, at, edit="y")
            again = await orchestra.resume(edited.run_id)
            with pytest.raises(
                ConfigError, match=f"^run '{run_id}' has taken 5 steps; at= is one of them, from 1, not 7$"
            ):
                await orchestra.fork(run_id, 7)
            return edited, again

    edited, again = trio.run(main)

    assert edited.final_response == again.final_response == ["paid 3!", "yC"]
    assert shop.took == ["C", "E"]
    assert (shop.paid, shop.model.requests) == ([], [])


def test_a_step_that_takes_another_way_than_it_had_is_refused(file: Any) -> None:
    sent: list[str] = []
    breaks = [True]

    @tool
    async def send(text: str) -> str:
        """Send."""
        sent.append(text)
        return "sent"

    class Fickle(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            if breaks:
                await context.call_tool("send", text="a")
                msg = "broke"
                raise CriticalError(msg)
            return "something else"

    fickle = Fickle(tools=[send])

    async def main() -> Any:
        async with Orchestra(storage=file, agents=[fickle]) as orchestra:
            with pytest.raises(CriticalError, match="^broke"):
                await orchestra.run("x", "Fickle")
            breaks.clear()
            (run_id,) = await ids(orchestra)
            with pytest.raises(
                NondeterminismError,
                match=r"^agent 'Fickle' took its step again and left out calls .*: send\(",
            ):
                await orchestra.resume(run_id)

    trio.run(main)

    assert sent == ["a"]


CRASH = """
import json, os, sys
import trio
from marsys_core.agents import agent
from marsys_core.tools import tool
from marsys_core.agents import Agent
from marsys_core.orchestra import Orchestra
from tests.core.fakes import FakeModel, call

from marsys_core.config import ExecutionConfig
from marsys_core.tools import ToolContext

file, side, kind = sys.argv[1:]

def look(text):
    with open(side) as found:
        return "seen" if text in found.read() else None

@tool(idempotent=kind == "idempotent", verify=look if kind == "verify" else None)
async def send(text: str, context: ToolContext) -> str:
    "Send."
    with open(side, "a") as out:
        out.write(text)
    with open(side + ".keys", "a") as keys:
        print(context.idempotency_key, file=keys)
    if os.environ.get("CRASH"):
        os._exit(9)
    return "sent"

model = FakeModel(lambda request: "done" if request.messages[-1].role == "tool" else call("send", text="hello "))
agents = [Agent("Sender", model=model, tools=[send])]

async def main():
    async with Orchestra(storage=file, agents=agents) as orchestra:
        if os.environ.get("CRASH"):
            await orchestra.run("x", "Sender")
        (info,) = await orchestra.runs(status="interrupted")
        try:
            config = ExecutionConfig(on_uncertain="retry" if kind == "retry" else "fail")
            result = await orchestra.resume(info.run_id, execution_config=config, accept_changes=True)
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error), len(model.requests)]))
        else:
            print(json.dumps([result.final_response, "", len(model.requests)]))

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["idempotent", "retry", "verify", "not"])
def test_a_process_that_dies_in_a_tool_leaves_a_call_that_nobody_repeats_silently(
    tmp_path: Any, kind: str
) -> None:
    side = tmp_path / "side.txt"

    def life(**environment: str) -> subprocess.CompletedProcess[str]:
        import os

        return subprocess.run(
            [sys.executable, "-c", CRASH, str(tmp_path / "runs.db"), str(side), kind],
            capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment},
            cwd=str(__import__("pathlib").Path(__file__).resolve().parents[3]),
        )  # fmt: skip

    assert life(CRASH="1").returncode == 9
    ran = life()
    answer, text, asked = json.loads(ran.stdout)

    keys = (tmp_path / "side.txt.keys").read_text().split()
    assert len(set(keys)) == 1  # a call that is made again has the same

    if kind == "idempotent":
        assert (answer, side.read_text(), len(keys)) == ("done", "hello hello ", 2)
        assert asked == 2  # nothing of the step was on disk, and nothing had to be
    elif kind == "retry":
        assert (answer, side.read_text(), asked) == ("done", "hello hello ", 1)
    elif kind == "verify":
        assert (answer, side.read_text(), asked) == ("done", "hello ", 1)
    else:
        assert (answer, side.read_text(), asked) == (UncertainOutcome.__name__, "hello ", 0)
        assert (
            "tool 'send' had been called with '{\"text\": \"hello \"}' when the run was interrupted" in text
        )


def test_a_part_of_a_history_is_read_with_the_long_texts_that_it_refers_to(tmp_path):
    said = "a long text that is handed on from one to the next " * 5

    async def hand_on(prompt: Any) -> Any:
        return prompt

    agents = [agent(hand_on, name=name) for name in "ABC"]

    async def main():
        async with Orchestra(storage=tmp_path / "runs.db", agents=agents) as orchestra:
            result = await orchestra.execute(said, "A -> B -> C")
            whole = await orchestra.history(result.run_id)
            for start in range(len(whole)):
                part = await orchestra.history(result.run_id, start, start + 3)
                assert list(map(e.identity, part)) == list(map(e.identity, whole[start : start + 3]))
            assert len(await orchestra.history(result.run_id, len(whole))) == 0
            return whole

    assert sum(said in str(e.identity(event)) for event in trio.run(main)) > 3
