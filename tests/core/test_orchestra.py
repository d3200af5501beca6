"""The public face: what a caller gives, gets back, and may listen to."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import trio

from marsys_core import Provider, hookimpl
from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry, Team, agent
from marsys_core.config import ExecutionConfig, StatusConfig
from marsys_core.errors import (
    ConfigError,
    CriticalError,
    GuardRefused,
    LifecycleError,
    PluginError,
    RecoverableError,
    TopologyError,
)
from marsys_core.events import identity
from marsys_core.messages import ToolCall
from marsys_core.models import ModelRequest
from marsys_core.orchestra import Orchestra
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.protocols.guard import GuardSubject
from marsys_core.tools import tool
from tests.core.engine.cancelling import all_tasks, assert_complete
from tests.core.fakes import BARE, FakeModel, Heard, Reply, bare, call, invoking, run, virtually


@agent
async def echo(prompt: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return prompt


def echoing(*names: str) -> list[BaseAgent]:
    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return prompt

    return [FunctionAgent(act, name=name) for name in names]


# -- many at once --------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_thousand_runs_of_the_same_agents_do_not_cross() -> None:
    @tool
    async def look(at: str) -> str:
        """Look."""
        await trio.sleep(0.5)
        return f"seen {at}"

    def canary(request: ModelRequest) -> str:
        """The number of the run, which every message of its conversation has to agree on."""
        found = {word for m in request.messages for word in m.text.split() if word.startswith("canary-")}
        assert len(found) == 1, found
        return found.pop()

    def hub(request: ModelRequest) -> Reply:
        if any(m.role == "tool" for m in request.messages):
            return f"hub of {canary(request)}"
        requests = [{"agent_name": name, "request": canary(request)} for name in ("S", "T")]
        return call("invoke_agent", invocations=requests)

    def spoke(request: ModelRequest) -> Reply:
        own = canary(request)
        return f"spoke of {own}" if request.messages[-1].role == "tool" else call("look", at=own)

    agents = [
        Agent("H", model=FakeModel(hub, delay=1)),
        Agent("S", model=FakeModel(spoke, delay=1), tools=[look]),
        *[FunctionAgent(echo.function, name="T")],
    ]
    heard = Heard()
    results = {}

    async def main() -> None:
        async with bare(sinks=[heard]) as orchestra, trio.open_nursery() as nursery:

            async def one(number: int) -> None:
                task = f"canary-{number} "
                results[number] = await orchestra.execute(
                    task, "H <-> [S, T]", agents=agents, context={"own": number}
                )

            for number in range(1000):
                nursery.start_soon(one, number)

    virtually(main)
    assert len({result.run_id for result in results.values()}) == 1000
    for number, result in results.items():
        own = f"canary-{number}"
        assert result.unwrap() == f"hub of {own}"
        assert [b.response.split()[-1] for b in result.branch_results] == [own] * 3
        assert result.total_steps == 4
    assert len(heard.of(e.RunFinished)) == 1000
    assert len(heard.of(e.ToolFinished)) == 1000


def test_runs_side_by_side_have_equal_journals() -> None:
    def team() -> dict[str, BaseAgent]:
        spoke = FakeModel(lambda request: f"spoke {len(request.messages)}", delay=1)
        hub = FakeModel([invoking("S", "S", "T"), invoking("S", "T"), "done"], delay=2)
        return {
            "H": Agent("H", model=hub),
            "S": Agent("S", model=spoke),
            "T": FunctionAgent(echo.function, name="T"),
        }

    async def main() -> list[Any]:
        async with bare() as orchestra:
            runs = [orchestra.start("x", "H <-> [S, T]", agents=team()) for _ in range(10)]
            found = []
            for handle in runs:
                async with contextlib.aclosing(handle.events()) as events:
                    mine = [each async for each in events]
                assert_complete(mine)
                found.append([identity(each) for each in sorted(mine, key=lambda each: each.id)])
            return found

    first, *others = virtually(main)
    assert len(first) > 20
    assert all(other == first for other in others)


# -- what is given -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [list, tuple, iter, lambda agents: {a.name: a for a in agents}])
def test_agents_may_come_in_any_form(form: Any) -> None:
    with Registry():
        agents = echoing("A", "B")
    assert run("x", "A -> B", form(agents)).result.unwrap() == "x"


def test_agents_of_a_call_come_before_those_of_the_orchestra_and_the_registry() -> None:
    def saying(text: str) -> BaseAgent:
        async def act(prompt: Any) -> str:
            return text

        return FunctionAgent(act, name="A")

    own, shared, registered = saying("own"), saying("shared"), saying("registered")

    async def main() -> list[Any]:
        async with bare(agents=[shared]) as orchestra, bare() as other:
            return [
                (await orchestra.execute("x", "A", agents=[own])).unwrap(),
                (await orchestra.execute("x", "A")).unwrap(),
                (await other.execute("x", "A")).unwrap(),
            ]

    assert virtually(main) == ["own", "shared", "registered"]
    assert registered.name == "A"


@pytest.mark.parametrize(
    ("agents", "text"),
    [
        (lambda: echoing("A", "A"), "agents= has two agents called 'A'; give a dict of names"),
        (lambda: {"A": print}, "under 'A', which is no agent; subclass BaseAgent or use @agent"),
        (lambda: [echo.function], "which is no agent"),
    ],
)
def test_wrong_agents_are_refused(agents: Any, text: str) -> None:
    async def main() -> None:
        async with bare() as orchestra:
            await orchestra.execute("x", "A", agents=agents())

    with pytest.raises(ConfigError) as raised:
        virtually(main)
    assert text in str(raised.value)


def test_all_unknown_agents_are_named_at_once() -> None:
    error = run("x", "A -> Bb -> Cc", echoing("A", "B", "C")).result.error
    assert type(error) is TopologyError
    assert "'Bb'" in str(error)
    assert "'Cc'" in str(error)


def test_an_agent_may_stand_at_several_nodes() -> None:
    from marsys_core.topology import Node, Topology

    topology = Topology([Node("first", agent="echo"), Node("second", agent="echo")], ["first -> second"])
    ran = run("x", topology, [echo])
    assert [event.node for event in ran.of(e.StepStarted)] == ["first", "second"]


@pytest.mark.parametrize("steps", [0, -1, 1.5, True])
def test_a_limit_on_steps_that_makes_no_sense_is_refused(steps: Any) -> None:
    async def main() -> Any:
        async with bare() as orchestra:
            return await orchestra.execute("x", "echo", agents=[echo], max_steps=steps)

    with pytest.raises(ConfigError, match="max_steps"):
        virtually(main)


def test_the_class_method_runs_in_an_engine_of_its_own() -> None:
    class Own(Orchestra):
        def __init__(self) -> None:
            super().__init__(plugins=BARE, new_id=lambda: "the-id")

    async def main() -> Any:
        before = all_tasks()
        result = await Own.run("x", "echo", agents=[echo], session_id="s", max_steps=1)
        assert all_tasks() == before
        return result

    result = virtually(main)
    assert (result.unwrap(), result.run_id, result.session_id, result.response) == ("x", "the-id", "s", "x")


# -- lifetime ------------------------------------------------------------------------------------


def test_an_orchestra_is_used_while_it_is_open_and_opened_once() -> None:
    async def main() -> None:
        orchestra = bare()
        with pytest.raises(LifecycleError, match="^the Orchestra is not open; use it inside 'async with"):
            await orchestra.execute("x", "echo")
        async with orchestra:
            pass
        with pytest.raises(LifecycleError, match="^the Orchestra is closed"):
            orchestra.start("x", "echo")
        with pytest.raises(LifecycleError, match="^an Orchestra is opened once; make a new one$"):
            await orchestra.__aenter__()

    virtually(main)


def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    async def main() -> None:
        async with bare() as orchestra:
            orchestra.start("x", "echo", agents=[echo])
            raise ValueError("mine")

    with pytest.raises(ValueError, match="^mine$"):
        virtually(main)


# -- runs in the background ----------------------------------------------------------------------


def test_several_readers_hear_every_event_also_after_the_end() -> None:
    async def main() -> list[list[e.Event]]:
        heard: list[list[e.Event]] = [[], [], []]
        async with bare() as orchestra:
            handle = orchestra.start("x", "A -> [B, C]", agents=echoing("A", "B", "C"))

            async def read(index: int, pause: float) -> None:
                async with contextlib.aclosing(handle.events()) as events:
                    async for event in events:
                        heard[index].append(event)
                        await trio.sleep(pause)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, 0, 0)
                nursery.start_soon(read, 1, 3)
                await handle.result()
                assert handle.status == "succeeded"
                await read(2, 0)
        return heard

    first, second, third = virtually(main)
    assert_complete(first)
    assert first == second == third


def test_a_reader_that_stops_early_leaves_the_run_alone() -> None:
    async def main() -> Any:
        async with bare() as orchestra:
            handle = orchestra.start("x", "A -> B", agents=echoing("A", "B"))
            async with contextlib.aclosing(handle.events()) as events:
                async for _ in events:
                    break
            return (await handle.result()).unwrap()

    assert virtually(main) == "x"


def test_a_run_that_cannot_be_put_together_has_no_events_and_raises_at_its_result() -> None:
    async def main() -> None:
        async with bare() as orchestra:
            handle = orchestra.start("x", "Nobody")
            async with contextlib.aclosing(handle.events()) as events:
                assert [event async for event in events] == []
            assert handle.status == "failed"
            with pytest.raises(TopologyError):
                await handle.result()

    virtually(main)


def test_a_stream_yields_the_events_and_then_raises_what_the_run_raises() -> None:
    @agent
    async def broken(prompt: str) -> str:
        raise RecoverableError("later")

    async def main() -> list[e.Event]:
        heard: list[e.Event] = []

        async def read(orchestra: Orchestra) -> None:
            async with contextlib.aclosing(orchestra.stream("x", "broken", agents=[broken])) as events:
                async for event in events:
                    heard.append(event)

        async with bare() as orchestra:
            with pytest.raises(RecoverableError, match="later"):
                await read(orchestra)
        return heard

    assert_complete(virtually(main))


def test_closing_a_stream_half_way_cancels_the_run() -> None:
    ended, heard = [], Heard()

    @agent
    async def sleeper(prompt: str) -> str:
        try:
            await trio.sleep(99)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ended.append(trio.current_time())
        return ""

    async def main() -> None:
        async with bare(sinks=[heard]) as orchestra:
            async with contextlib.aclosing(orchestra.stream("x", "sleeper", agents=[sleeper])) as events:
                async for event in events:
                    if type(event) is e.StepStarted:
                        await trio.sleep(5)
                        break
            assert ended == [6]

    virtually(main)
    assert_complete(heard.events)


# -- sinks ---------------------------------------------------------------------------------------


def test_a_sink_that_raises_is_disabled_and_the_run_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        calls = 0

        def on_step_started(self, event: e.Event) -> None:
            self.calls += 1
            raise ValueError("broken")

    broken, heard = Broken(), Heard()

    async def main() -> Any:
        async with bare(sinks=[broken, heard]) as orchestra:
            return await orchestra.execute("x", "A -> B", agents=echoing("A", "B"))

    with caplog.at_level(logging.ERROR, "marsys.plugins"):
        assert virtually(main).success
    assert broken.calls == 1
    assert [record.getMessage() for record in caplog.records] == [
        "event sink 'Broken-0' raised on StepStarted and is disabled"
    ]
    assert_complete(heard.events)


def test_a_sink_that_hears_nothing_or_something_unknown_is_refused() -> None:
    async def opened(sink: Any) -> None:
        async with bare(sinks=[sink]):
            pass

    with pytest.raises(PluginError, match="has no on_event"):
        virtually(opened, object())
    with pytest.raises(PluginError, match="no such kind of event"):
        virtually(opened, SimpleNamespace(on_step_startd=print))


def test_a_status_that_nobody_shows_is_an_error() -> None:
    error = run("x", "echo", [echo], status=StatusConfig()).result.error
    assert type(error) is PluginError
    assert "needs an event sink that shows runs" in str(error)


# -- guards --------------------------------------------------------------------------------------


class Watchman:
    """A guard that notes what it is asked, and does what it was made for."""

    name = "watchman"

    def __init__(self, kind: str = "", error: Exception | None = None) -> None:
        self.kind, self.error = kind, error
        self.seen: list[GuardSubject] = []

    async def check(self, subject: GuardSubject) -> None:
        await trio.lowlevel.checkpoint()
        self.seen.append(subject)
        if subject.kind == self.kind and self.error is not None:
            raise self.error


def guarded(watchman: Any) -> PluginSettings:
    @contextlib.asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[Any]:
        yield watchman

    class Plugin:
        @hookimpl
        def marsys_guards(self) -> list[Provider[Any]]:
            return [Provider("watchman", opened)]

    return PluginSettings(discover=False, plugins={"watching": Plugin()})


@tool
async def look(at: str) -> str:
    """Look."""
    return f"seen {at}"


def watched(watchman: Watchman, **config: Any) -> Any:
    model = FakeModel([call("look", at="it"), "done"])
    one = Agent("A", model=model, tools=[look])
    return run("task", "A", [one], plugins=guarded(watchman), **config), model


def test_guards_are_asked_about_the_task_and_every_tool_call() -> None:
    watchman = Watchman()
    ran, _ = watched(watchman)
    assert ran.result.unwrap() == "done"
    assert [(s.kind, s.value, s.name, s.node) for s in watchman.seen] == [
        ("task", "task", "", ""),
        ("tool", {"at": "it"}, "look", "A"),
    ]
    assert {s.run_id for s in watchman.seen} == {ran.result.run_id}


@pytest.mark.parametrize("kind", ["task", "tool"])
def test_a_refusal_ends_the_run_and_is_recorded(kind: str) -> None:
    refusal = GuardRefused("not today")
    ran, model = watched(Watchman(kind, refusal))
    assert ran.result.error is refusal
    assert len(model.requests) == (kind == "tool")
    [event] = ran.of(e.GuardRefusedInput)
    assert (event.subject, event.reason[:9]) == (kind, "not today")
    assert_complete(ran.heard.events)


def test_a_guard_that_breaks_has_refused() -> None:
    ran, model = watched(Watchman("task", ValueError("broken")))
    assert type(ran.result.error) is GuardRefused
    assert "guard 'watchman' broke on a task: ValueError: broken" in str(ran.result.error)
    assert model.requests == []


def test_a_refused_task_is_raised_with_its_result() -> None:
    refusal = GuardRefused("not today")

    async def main() -> None:
        async with Orchestra(plugins=guarded(Watchman("task", refusal))) as orchestra:
            await orchestra.execute("x", "echo", agents=[echo])

    with pytest.raises(GuardRefused) as raised:
        virtually(main)
    assert raised.value is refusal
    assert refusal.result is not None
    assert refusal.result.total_steps == 0


# -- middleware ----------------------------------------------------------------------------------


class Layered:
    """Middleware that notes when it is entered and left."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def _around(self, what: str, call: Any, proceed: Any) -> Any:
        self.log.append(f"{self.name} into {what}")
        try:
            return await proceed(call)
        finally:
            self.log.append(f"{self.name} out of {what}")

    async def agent_step(self, call: Any, proceed: Any) -> Any:
        return await self._around("step", call, proceed)

    async def model_call(self, call: Any, proceed: Any) -> Any:
        return await self._around("model", call, proceed)

    async def tool_call(self, call: Any, proceed: Any) -> Any:
        return await self._around("tool", call, proceed)


def test_middleware_stands_round_calls_in_its_order() -> None:
    log: list[str] = []
    model = FakeModel([call("look", at="it"), "done"])
    agents = [Agent("A", model=model, tools=[look])]
    ran = run("x", "A", agents, middleware=[Layered("outer", log), Layered("inner", log)])
    assert ran.result.unwrap() == "done"

    def round_of(what: str) -> list[str]:
        return [f"outer into {what}", f"inner into {what}", f"inner out of {what}", f"outer out of {what}"]

    model_call, tool_call = round_of("model"), round_of("tool")
    step = round_of("step")
    assert log == [*step[:2], *model_call, *tool_call, *model_call, *step[2:]]


def test_middleware_may_retry_a_model_and_each_attempt_is_recorded() -> None:
    from marsys_core.errors import ModelError, ModelErrorKind

    class Again:
        name = "again"

        async def model_call(self, call: Any, proceed: Any) -> Any:
            try:
                return await proceed(call)
            except ModelError:
                return await proceed(attrs.evolve(call, attempt=2))

    model = FakeModel([ModelError("busy", kind=ModelErrorKind.OVERLOADED), "done"])
    ran = run("x", "A", [Agent("A", model=model)], middleware=[Again()])
    assert ran.result.unwrap() == "done"
    assert [event.attempt for event in ran.of(e.ModelCalled)] == [1, 2]


def test_middleware_may_change_what_an_agent_is_given_and_answer_in_its_place() -> None:
    class Changing:
        name = "changing"

        async def agent_step(self, call: Any, proceed: Any) -> Any:
            if call.agent.name == "B":
                return "not B"
            call.prompt = f"changed {call.prompt}"
            return await proceed(call)

    ran = run("x", "A -> B -> C", echoing("A", "B", "C"), middleware=[Changing()])
    assert ran.result.unwrap() == "changed not B"


def test_middleware_that_raises_is_the_steps_error() -> None:
    class Strict:
        name = "strict"

        async def tool_call(self, call: Any, proceed: Any) -> Any:
            raise CriticalError(f"no {call.tool.name} with {dict(call.arguments)} in step {call.step.step}")

    model = FakeModel([ToolCall("1", "look", '{"at": "it"}'), "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[look])], middleware=[Strict()])
    assert "no look with {'at': 'it'} in step 1" in str(ran.result.error)


def test_settings_of_the_orchestra_hold_where_a_run_brings_none() -> None:
    async def main() -> Any:
        config = ExecutionConfig(max_steps=1)
        async with bare(execution_config=config) as orchestra:
            first = await orchestra.execute("x", "A -> B", agents=echoing("A", "B"))
            second = await orchestra.execute(
                "x", "A -> B", agents=echoing("A", "B"), execution_config=ExecutionConfig()
            )
            return first.success, second.success

    assert virtually(main) == (False, True)


@pytest.mark.parametrize("messages", ["hello", [{"role": "user", "content": "old"}], [1]])
def test_messages_are_message_objects(messages: Any) -> None:
    async def main() -> None:
        async with Orchestra(plugins=BARE) as orchestra:
            with pytest.raises(
                ConfigError, match=r"^messages= takes Message objects, such as result\.messages"
            ):
                await orchestra.execute("go", "A", messages=messages)

    trio.run(main)


def test_what_belongs_elsewhere_is_said_to() -> None:
    async def main() -> None:
        async with Orchestra(plugins=BARE) as orchestra:
            with pytest.raises(ConfigError, match=r"Did you mean 'output_type'"):
                await orchestra.execute("go", "A", output_typ=int)  # type: ignore[call-overload]
            with pytest.raises(ConfigError, match=r"ExecutionConfig\(timeout=\.\.\.\)\.$"):
                await orchestra.execute("go", "A", timeout=3)  # type: ignore[call-overload]

    trio.run(main)


def test_a_team_in_the_wrong_place_is_told_where_it_belongs() -> None:
    with Registry():
        team = Team("A", [FunctionAgent(lambda prompt: prompt, name="A")])

    async def main() -> None:
        async with Orchestra(plugins=BARE) as orchestra:
            with pytest.raises(CriticalError, match=r"a team runs by itself: await team\.run\(task\)$"):
                await orchestra.execute("go", team)
            with pytest.raises(ConfigError, match=r"write team\.as_node\('A'\)$"):
                await orchestra.execute("go", "A", agents={"A": team})  # type: ignore[dict-item]

    trio.run(main)
    with pytest.raises(ConfigError, match=r"write as_tool\(\)$"):
        BaseAgent(name="B", tools=[team])


def test_a_forgotten_await_is_guessed() -> None:
    async def later() -> str:
        return "x"

    @agent
    async def A(prompt: Any) -> Any:
        return later()

    result = run("go", "A", [A]).result
    assert "is still to be awaited; is an await missing?" in str(result.error)


def test_a_run_says_who_it_is_and_how_it_stands() -> None:
    async def main() -> list[str]:
        async with bare(new_id=lambda: "r1") as orchestra:
            handle = orchestra.start("x", "A", agents=echoing("A"))
            said = [repr(handle)]
            await handle.result()
            return [*said, repr(handle)]

    assert virtually(main) == ["<Run 'r1' starting>", "<Run 'r1' succeeded>"]


def test_a_cancel_from_another_thread_is_refused_and_the_run_goes_on() -> None:
    async def main() -> Any:
        may_end = trio.Event()

        @agent(name="Waits")
        async def waits(prompt: Any) -> Any:
            await may_end.wait()
            return prompt

        async with bare() as orchestra:
            handle = orchestra.start("x", "Waits", agents=[waits])
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(LifecycleError, match=r"^Run\.cancel is called in the thread of the run; "):
                await trio.to_thread.run_sync(handle.cancel)
            assert handle.status == "running"
            may_end.set()
            result = await handle.result()
            await trio.to_thread.run_sync(handle.cancel)
            return result.unwrap(), handle.status

    assert trio.run(main) == ("x", "succeeded")
