"""Code written for asyncio inside a run: each kind of object that an engine takes, by itself and on a host's loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core import hookimpl
from marsys_core.actions import Invoke, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, agent
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig
from marsys_core.errors import AgentError, AsyncioError, ConfigError, GuardRefused, StepTimeout
from marsys_core.hosts.declared import uses_asyncio
from marsys_core.messages import Message
from marsys_core.models import ModelResponse, ToolSpec
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings
from marsys_core.plugins.providers import Provider
from marsys_core.results import RunResult
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, Heard, bare, call
from tests.core.hosts.guests import HOSTS


@pytest.fixture(params=["trio", "asyncio"])
def host(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return HOSTS[request.param]


def ran(host: Any, task: Any, topology: Any, agents: Any, *, given: Any = None, **settings: Any) -> RunResult:
    """Run `task` in an orchestra of its own."""
    config = ExecutionConfig(raise_errors=False, **settings.pop("config", {}))

    async def main() -> RunResult:
        async with Orchestra(**{"plugins": PluginSettings(discover=False), **settings}) as orchestra:
            return await orchestra.execute(
                task, topology, agents=agents, execution_config=config, **(given or {})
            )

    result: RunResult = host(main)
    assert [each.name for each in threading.enumerate() if each.name == "marsys asyncio"] == []
    return result


async def here() -> str:
    """Wait as asyncio code does, and say where."""
    await asyncio.sleep(0)
    assert asyncio.current_task() is not None
    return "asyncio"


def plugged(**hooks: Any) -> PluginSettings:
    class Plugin:
        pass

    for name, declared in hooks.items():
        setattr(
            Plugin, name, staticmethod(hookimpl(specname=name)(lambda settings, declared=declared: declared))
        )
    return PluginSettings(discover=False, plugins={"own": Plugin()})


class Model:
    name, async_library = "m", "asyncio"

    async def generate(self, request: Any) -> ModelResponse:
        return ModelResponse(content=await here())


@uses_asyncio
class Team(BaseAgent):
    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        context.state["seen"] = await here()
        context.memory.add(Message("user", "noted"))
        first, second = await asyncio.gather(
            context.generate("x"), context.call_tool("look", at="it"), return_exceptions=True
        )
        results = await context.call_tools([call("look", at="that")])
        assert context.budget.steps > 0
        assert len(context.memory) == 1
        return f"{first.text}, {second}, {results[0].text}, {context.node}, {context['given']}"


@tool(async_library="asyncio")
async def look(at: str, context: Any) -> str:
    """Look at something."""
    context.state[at] = await here()
    return f"seen {at} at {context.node}"


def test_an_agent_uses_all_of_its_context(host):
    made = Team(FakeModel(["hello"]), name="A", tools=[look])
    result = ran(host, "x", "A", [made], given={"context": {"given": 1}}, config={"timeout": 9})

    assert result.unwrap() == "hello, seen it at A, seen that at A, A, 1"
    assert result.state == {"seen": "asyncio", "it": "asyncio", "that": "asyncio"}


def test_a_function_says_it_in_either_order(host):
    @agent
    @uses_asyncio
    async def above(prompt: Any, context: Any) -> str:
        return f"{prompt} {await here()} {context.node}"

    @uses_asyncio
    @agent
    async def below(prompt: Any) -> str:
        return f"{prompt} {await here()}"

    assert ran(host, "x", "above -> below", [above, below]).unwrap() == "x asyncio above asyncio"


def test_a_subclass_of_agent_may_call_the_loop_of_its_class(host):
    @uses_asyncio
    class Own(Agent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            await here()
            return await super()._run(prompt, context, **kwargs)

    made = Own("A", model=FakeModel([call("look", at="it"), "done"]), tools=[look])
    assert ran(host, "x", "A", [made]).unwrap() == "done"


def test_an_agent_asks_a_team(host):
    from marsys_core.agents import Team as Crew

    crew = Crew("B", [FunctionAgent(lambda prompt: f"{prompt}!", name="B")], name="crew")

    @uses_asyncio
    async def asks(prompt: Any, context: Any) -> Any:
        return await context.run_team(crew, await here())

    assert ran(host, "x", "A", [FunctionAgent(asks, name="A")]).unwrap() == "asyncio!"


def test_an_error_of_an_agent_is_its_own(host):
    error = ValueError("x")

    @agent
    @uses_asyncio
    async def fails(prompt: Any) -> Any:
        await here()
        raise error

    found = ran(host, "x", "fails", [fails]).error

    assert type(found) is AgentError
    assert found.__cause__ is error


def test_an_agent_is_cancelled_at_its_limit(host):
    ended = []

    @agent
    @uses_asyncio
    async def slow(prompt: Any) -> Any:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.append(prompt)

    assert type(ran(host, "x", "slow", [slow], config={"step_timeout": 0.01}).error) is StepTimeout
    assert ended == ["x"]


def test_a_model_of_an_agent_and_one_that_is_named_in_a_call(host):
    @agent
    async def names(prompt: Any, context: Any) -> Any:
        return f"{prompt} {(await context.generate('x', model=Model())).text}"

    assert ran(host, "x", "A -> names", [Agent("A", model=Model()), names]).unwrap() == "asyncio asyncio"


def test_an_agent_is_looked_up_once_though_its_model_is_adapted(host):
    made = Agent("A", model=Model())

    async def main() -> Any:
        async with bare() as orchestra:
            await orchestra.execute("x", "A", agents=[made])
            prepared = await orchestra._engine.prepared(made)
            await orchestra.execute("x", "A", agents=[made])
            return prepared is await orchestra._engine.prepared(made), prepared.model == made.model

    assert host(main) == (True, True)


def test_an_object_that_is_a_tool(host):
    class Looking:
        spec = ToolSpec("look", "Look.", {"type": "object", "properties": {}})
        async_library = "asyncio"

        async def call(self, arguments: Any, context: Any) -> str:
            return f"{await here()} {context.node}"

    heard = Heard()
    ran(
        host,
        "x",
        "A",
        [Agent("A", model=FakeModel([call("look"), "done"]), tools=[Looking()])],
        sinks=[heard],
    )

    assert [event.result for event in heard.of(e.ToolFinished)] == ["asyncio A"]


def test_guards_of_an_agent(host):
    asked = []

    @uses_asyncio
    async def function(subject: Any) -> bool:
        asked.append((subject.kind, await here()))
        return True

    @uses_asyncio
    class Strict:
        async def __call__(self, subject: Any) -> bool:
            await here()
            return subject.kind == "input"

    guarded = FunctionAgent(lambda prompt: prompt, name="A", guards=[function, Strict()])
    result = ran(host, "x", "A", [guarded])

    assert asked == [("input", "asyncio"), ("output", "asyncio")]
    assert type(result.error) is GuardRefused
    assert str(result.error).startswith("guard 'Strict' of agent 'A' refused the output: it does not say why")


def test_middleware_goes_on_in_trio(host):
    seen = []

    @uses_asyncio
    class Around:
        name = "around"

        def applies(self, config: Any) -> bool:
            return True

        async def model_call(self, call: Any, proceed: Any) -> Any:
            seen.append(("model", await here()))
            return await proceed(call)

        async def agent_step(self, call: Any, proceed: Any) -> Any:
            seen.append(("step", await here()))
            result = await proceed(call)
            await here()
            return result

    result = ran(host, "x", "A", [Agent("A", model=FakeModel(["said"], delay=0))], middleware=[Around()])

    assert result.unwrap() == "said"
    assert seen == [("step", "asyncio"), ("model", "asyncio")]


def test_a_sink_hears_events_on_the_loop_in_order_and_one_that_raises_is_disabled(host, caplog):
    kinds = []

    @uses_asyncio
    class Listening:
        def on_event(self, event: Any) -> None:
            assert asyncio.get_running_loop() is not None
            kinds.append(type(event))

    @uses_asyncio
    class Broken:
        def on_step_started(self, event: Any) -> None:
            raise ValueError("x")

    @agent
    async def one(prompt: Any) -> Any:
        return prompt

    heard = Heard()
    ran(host, "x", "one -> two", {"one": one, "two": FunctionAgent(lambda prompt: prompt, name="two")},
        sinks=[heard, Listening(), Broken()])  # fmt: skip

    assert kinds == [type(event) for event in heard.events]
    assert [record.getMessage() for record in caplog.records] == [
        "event sink 'Broken-2' raised on StepStarted and is disabled"
    ]


def test_a_channel_and_a_function_that_asks(host):
    @uses_asyncio
    class Person:
        name = "person"

        async def ask(self, question: Any) -> Any:
            return await here()

    @uses_asyncio
    async def function(question: Any) -> Any:
        return await here()

    from marsys_core.actions import AskUser

    for channel in (Person(), function):
        asking = FunctionAgent(lambda prompt: prompt if prompt == "asyncio" else AskUser("may I?"), name="A")
        assert ran(host, "x", "A -> user", [asking], given={"channel": channel}).unwrap() == "asyncio"


def test_instances_of_a_pool_work_and_close_on_the_loop(host):
    closed = []

    @uses_asyncio
    class Worker(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return f"{prompt} {await here()} {context.node}"

        async def aclose(self) -> None:
            closed.append(await here())

    pool = AgentPool(Worker, 2, name="P")
    boss = iter([Invoke([("P", 1), ("P", 2)]), Return("done")])

    async def main() -> Any:
        async with bare() as orchestra, pool:
            result = await orchestra.execute(
                "x", "A <-> P", agents={"A": FunctionAgent(lambda _: next(boss), name="A"), "P": pool}
            )
            async with pool.acquire():
                pass
            return result.unwrap()

    assert host(main) == "done"
    assert closed == ["asyncio", "asyncio"]


def test_a_provider_is_opened_and_closed_in_one_task_and_its_object_works_on_that_loop(host):
    tasks = []

    class Opened(Model):
        async_library = "trio"  # the provider says it

    @contextlib.asynccontextmanager
    async def opener(context: Any, settings: Any) -> Any:
        tasks.append(asyncio.current_task())
        await here()
        try:
            yield Opened()
        finally:
            await here()
            tasks.append(asyncio.current_task())

    plugins = plugged(marsys_models=[Provider("m", opener, async_library="asyncio")])
    result = ran(host, "x", "A", [Agent("A", model="m")], plugins=plugins)

    assert result.unwrap() == "asyncio"
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]


def test_guards_memories_and_toolboxes_of_plugins(host):
    asked = []

    @uses_asyncio
    class Watch:
        name = "watch"

        async def check(self, subject: Any) -> None:
            asked.append((subject.kind, await here()))

    @uses_asyncio
    class Box:
        def tools(self) -> Any:
            return [inside]

    @tool
    async def inside() -> str:
        """Look inside."""
        return await here()

    @uses_asyncio
    class Recalling:
        def recall(self, conversation: Any) -> Any:
            return conversation

    plugins = plugged(
        marsys_guards=[Provider("watch", make=lambda context, settings: Watch())],
        marsys_tools=[Provider("box", make=lambda context, settings: Box())],
        marsys_memory=[Provider("recalling", make=lambda context, settings: Recalling())],
    )
    heard = Heard()
    made = Agent(
        "A", model=FakeModel([call("inside"), "done"]), tools=["box", "box:inside"], memory="recalling"
    )
    ran(host, "x", "A", [made], plugins=plugins, sinks=[heard])

    assert asked == [("task", "asyncio"), ("tool", "asyncio")]
    assert [event.result for event in heard.of(e.ToolFinished)] == ["asyncio"]


def test_a_client_that_one_call_opens_is_used_by_the_next(host):
    @tool(async_library="asyncio")
    async def ask() -> str:
        """Ask."""
        loops.append(asyncio.get_running_loop())
        if not client:
            client.append(asyncio.Queue())
            client.append(asyncio.create_task(client[0].get()))
            await asyncio.sleep(0)
            return "opened"
        client[0].put_nowait("used")
        return str(await client[1])

    client: list[Any] = []
    loops: list[Any] = []
    heard = Heard()
    ran(
        host,
        "x",
        "A",
        [Agent("A", model=FakeModel([call("ask"), call("ask", "c2"), "done"]), tools=[ask])],
        sinks=[heard],
    )

    assert [event.result for event in heard.of(e.ToolFinished)] == ["opened", "used"]
    assert loops[0] is loops[1]


# -- what does not say so ------------------------------------------------------------------------


async def forgets(prompt: Any) -> Any:
    await asyncio.sleep(0)


class Forgetful(BaseAgent):
    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(1):
            return prompt


class ForgetfulModel:
    name = "forgetful"

    async def generate(self, request: Any) -> Any:
        await asyncio.sleep(0)


@tool
async def forgetting() -> None:
    """Forget."""
    await asyncio.sleep(0)


UNDECLARED = {
    "function": (
        lambda: FunctionAgent(forgets, name="A"),
        "agent 'A' awaits asyncio and does not say so: asyncio.sleep at ",
        "Write @uses_asyncio above the function forgets, and it runs on an asyncio loop.",
    ),
    "class": (
        lambda: Forgetful(name="A"),
        "agent 'A' awaits asyncio and does not say so: asyncio.timeout at ",
        'Write async_library = "asyncio" in the class Forgetful, and it runs on an asyncio loop.',
    ),
    "model": (
        lambda: Agent("A", model=ForgetfulModel()),
        "model 'forgetful' awaits asyncio and does not say so: asyncio.sleep at ",
        'Write async_library = "asyncio" in the class ForgetfulModel, and it runs on an asyncio loop.',
    ),
    "tool": (
        lambda: Agent("A", model=FakeModel([call("forgetting"), "done"]), tools=[forgetting]),
        "tool 'forgetting' awaits asyncio and does not say so: asyncio.sleep at ",
        "Write @uses_asyncio above the function forgetting, and it runs on an asyncio loop.",
    ),
    "one of two tools": (
        lambda: Agent(
            "A", model=FakeModel([[call("forgetting"), call("forgetting", "c2")], "done"]), tools=[forgetting]
        ),
        "tool 'forgetting' awaits asyncio and does not say so: asyncio.sleep at ",
        "Write @uses_asyncio above the function forgetting, and it runs on an asyncio loop.",
    ),
}


@pytest.mark.parametrize("what", UNDECLARED)
def test_code_that_does_not_say_so_fails_its_step_and_is_told_what_to_write(host, what):
    make, begins, declares = UNDECLARED[what]
    error = ran(host, "x", "A", [make()]).error

    assert type(error) is AsyncioError
    text = str(error)
    assert text.startswith(f"{begins}{__file__}:")
    assert declares in text
    assert text.endswith("(at branch 0, node 'A', step 1)")


@uses_asyncio
async def mistaken(prompt: Any) -> None:
    await trio.sleep(0)


class Mistaken(BaseAgent):
    async_library = "asyncio"

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> None:
        with trio.fail_after(1):
            await asyncio.sleep(0)


@tool
@uses_asyncio
async def mistaking() -> None:
    """Mistake."""
    await trio.sleep(0)


MISTAKEN = {
    "function": (
        lambda: FunctionAgent(mistaken, name="A"),
        "agent 'A' awaits Trio on an asyncio loop: trio.sleep at ",
    ),
    "class": (lambda: Mistaken(name="A"), "agent 'A' awaits Trio on an asyncio loop: trio.fail_after at "),
    "tool": (
        lambda: Agent("A", model=FakeModel([call("mistaking"), "done"]), tools=[mistaking]),
        "tool 'mistaking' awaits Trio on an asyncio loop: trio.sleep at ",
    ),
}


@pytest.mark.parametrize("what", MISTAKEN)
def test_code_that_says_asyncio_and_awaits_trio_fails_its_step_and_is_told_so(host, what):
    make, begins = MISTAKEN[what]
    error = ran(host, "x", "A", [make()]).error

    assert type(error) is AsyncioError
    text = str(error)
    assert text.startswith(f"{begins}{__file__}:")
    assert "Write no declaration of asyncio for this code, or await asyncio in it. What it raised: " in text
    assert text.endswith("(at branch 0, node 'A', step 1)")


def test_a_library_that_is_not_known_is_refused_before_the_run():
    class Odd(BaseAgent):
        async_library = "curio"

    with pytest.raises(
        ConfigError, match=r"^agent 'A' says async_library='curio', which is 'trio' or 'asyncio'"
    ):
        raise ran(trio.run, "x", "A", [Odd(name="A")]).error  # type: ignore[misc]
    with pytest.raises(
        ConfigError, match=r"^provider 'm' says async_library='curio', which is 'trio' or 'asyncio'"
    ):
        Provider("m", make=lambda context, settings: None, async_library="curio")


def test_two_hundred_agents_at_once_share_the_loop(host):
    loops = set()

    @uses_asyncio
    async def one(prompt: Any, context: Any) -> Any:
        loops.add(asyncio.get_running_loop())
        return (await context.generate("x", model=Model())).text

    boss = FunctionAgent(
        lambda _: Invoke([("B", n) for n in range(200)]) if not loops else Return("done"), name="A"
    )
    assert (
        ran(host, "x", "A <-> B", [boss, FunctionAgent(one, name="B")], config={"max_steps": 500}).unwrap()
        == "done"
    )
    assert len(loops) == 1
