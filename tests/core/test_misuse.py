"""What people try that cannot work: each is refused where it is written, in words that say what to write instead."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
import trio.testing

from marsys_core.actions import Invoke
from marsys_core.agents import Agent, BaseAgent, agent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import Cancelled, ConfigError, LifecycleError, PluginError, RunTimeout
from marsys_core.events import Dropped
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import Capabilities, ModelResponse
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings
from marsys_core.protocols.event_sink import bind_sinks
from marsys_core.tools import tool
from tests.core.fakes import BARE, FakeModel, Heard, run


@agent
async def Still(prompt: Any) -> str:
    return "still"


@tool
def add(a: int) -> int:
    """Add nothing."""
    return a


class Unmade(BaseAgent):
    def __init__(self) -> None:
        """Forget the base."""


class PlainModel:
    name = "plain"

    def generate(self, request: Any) -> str:
        return "hello"


class Nameless:
    async def generate(self, request: Any) -> str:
        return "hello"


MISUSES = [
    (lambda: Orchestra(execution_config={"timeout": 3}), r"^execution_config= takes ExecutionConfig\(\.\.\.\), not \{'timeout': 3\}$"),
    (lambda: Orchestra(plugins={"search": {}}), r"^plugins= takes PluginSettings\(\.\.\.\), not \{'search': \{\}\}$"),
    (lambda: PluginSettings(onyl=["x"]), r"unknown field 'onyl'\. Did you mean 'only'\? @ \$\.plugins$"),
    (lambda: Agent("A", tools=add), r"^tools is a list of tools, functions or names, not <Tool 'add'>; write tools=\[<Tool 'add'>\]$"),
    (lambda: Agent("A", tools="search"), r"^tools is a list .*; write tools=\['search'\]$"),
    (lambda: agent("Named"), r"^@agent takes the name as a keyword: @agent\(name='Named'\)$"),
    (lambda: agent(lambda context, prompt: ""), r"^an agent function takes the prompt first, then the context: "),
    (lambda: Orchestra(agents=[Unmade()]), r"^a Unmade was made without BaseAgent's part; call super\(\)\.__init__"),
]  # fmt: skip


@pytest.mark.parametrize(("attempt", "text"), MISUSES)
def test_a_mistake_is_told_in_words_that_mend_it(attempt: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        attempt()


def test_a_call_of_three_parts_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^a call is \(node, payload\), not \('Q', 'x', 'y'\)$"):
        Invoke([("Q", "x", "y")])


@pytest.mark.parametrize(
    "call",
    [
        lambda: Orchestra.run("x", "Still", agents=[Still]),
        lambda: Still.run("x"),
        lambda: Orchestra(plugins=BARE).__aenter__(),
    ],
)
def test_without_a_loop_the_hint_says_how_to_start(call: Any) -> None:
    hint = (
        "no event loop is running here: start the program with asyncio.run(main()) or trio.run(main), "
        "or write Orchestra.run_sync(...) in plain code"
    )
    with pytest.raises(LifecycleError, match=f"^{re.escape(hint)}$"):
        call().send(None)


def test_one_agent_may_be_given_as_it_is() -> None:
    async def main() -> None:
        async with Orchestra(plugins=BARE, agents=Still) as orchestra:
            assert (await orchestra.execute("x", "Still")).response == "still"
            assert (await orchestra.execute("x", "Still", agents=Still)).response == "still"

    trio.run(main)


def test_run_on_an_open_orchestra_is_a_run_in_it() -> None:
    heard = Heard()

    async def main() -> None:
        config = ExecutionConfig(max_steps=1)
        async with Orchestra(
            plugins=BARE, agents=[Still], execution_config=config, sinks=[heard]
        ) as orchestra:
            result = await orchestra.run(
                "x", {"nodes": ["Still", "Again"], "edges": ["Still -> Again"]}, agents={"Again": Still}
            )
            assert not result.success
        assert heard.events

    trio.run(main)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (PlainModel(), r"^the model of agent 'A' is .*, whose generate is a plain function; write `async def generate`$"),
        (Nameless(), r"^the model of agent 'A' is .*, which is no model: an instance with a name and "),
        (FakeModel, r"^the model of agent 'A' is <class .*, which is no model: "),
        (lambda request: "x", r"^the model of agent 'A' is <function .*, which is no model: "),
    ],
)  # fmt: skip
def test_what_is_no_model_is_refused_before_anything_runs(model: Any, text: str) -> None:
    error = run("x", "A", [Agent("A", model=model)], raise_errors=False).result.error
    assert isinstance(error, ConfigError)
    with pytest.raises(ConfigError, match=text):
        raise error


class Talks:
    """A model that has only what is asked for, and returns text instead of a response."""

    name = "talks"

    async def generate(self, request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return "hello"


def test_a_model_that_returns_something_else_is_named_with_it() -> None:
    error = run("x", "A", [Agent("A", model=Talks())]).result.error
    assert str(error).startswith("model 'talks' returned 'hello', and not a ModelResponse")


class Able(Talks):
    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities

    async def generate(self, request: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return ModelResponse(content="done", usage=Usage(1, 1, model_calls=1))


def test_a_model_is_not_asked_for_what_it_says_it_cannot_do() -> None:
    no_tools = run("x", "A", [Agent("A", model=Able(Capabilities(tools=False)), tools=[add])]).result
    assert str(no_tools.error).startswith("model 'talks' cannot call tools, and was asked to")


def test_a_model_is_not_held_to_a_schema_of_an_agents_own_where_it_cannot_be() -> None:
    class Asks(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return await context.generate(prompt, output_schema={"type": "object"})

    error = run("x", "Asks", [Asks(Able(Capabilities()))]).result.error
    assert str(error).startswith("model 'talks' cannot be held to an output schema")
    assert run("x", "Asks", [Asks(Able(Capabilities(output_schema=True)))]).result.response == "done"


def test_a_response_that_an_agent_returns_is_its_text() -> None:
    class Asks(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return await context.generate(prompt)

    assert run("x", "Asks", [Asks(FakeModel(["an answer"]))]).result.response == "an answer"


def test_a_model_that_does_not_count_its_calls_is_counted() -> None:
    class Counts(Talks):
        async def generate(self, request: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return ModelResponse(content="done", usage=Usage(3, 2))

    usage = run("x", "A -> B", [Agent("A", model=Counts()), Agent("B", model=Counts())]).result.usage
    assert usage == Usage(6, 4, model_calls=2)


def test_a_context_is_told_in_a_line() -> None:
    @agent
    async def Says(prompt: Any, context: Any) -> str:
        return repr(context)

    told = run("x", "Says", [Says]).result.response
    assert told.startswith("<context of step 1 at 'Says', branch 0, run ")
    assert len(told) < 100


def test_arguments_of_a_tool_call_may_be_given_as_an_object() -> None:
    assert ToolCall("1", "add", {"a": 1}).arguments == '{"a": 1}'


def test_a_default_in_an_agent_function_is_left_alone() -> None:
    made = []
    for name in "AB":

        @agent(name=name)
        async def f(prompt: Any, bound: str = name) -> str:
            return f"{prompt}{bound}"

        made.append(f)
    assert run("x", "A -> B", made).result.response == "xAB"


def test_what_is_no_middleware_is_refused_with_the_nearest_name() -> None:
    class Typo:
        async def agent_steps(self, call: Any, proceed: Any) -> Any:
            return await proceed(call)

    async def main() -> None:
        with pytest.raises(PluginError) as caught:
            async with Orchestra(plugins=BARE, middleware=[Typo(), "retry"]):
                pass
        assert "Did you mean 'agent_step'?" in caught.value.problems[0]
        assert caught.value.problems[1].startswith("'retry' has none of model_call, tool_call, agent_step.")

    trio.run(main)


def test_middleware_that_forgets_to_return_is_among_the_suspects() -> None:
    class Forgets:
        name = "forgets"

        async def agent_step(self, call: Any, proceed: Any) -> None:
            await proceed(call)

    async def main() -> Any:
        async with Orchestra(plugins=BARE, middleware=[Forgets()], agents=[Still]) as orchestra:
            return await orchestra.execute("x", "Still")

    [warning] = trio.run(main).metadata["warnings"]
    assert "or middleware round its step" in warning


def test_an_async_method_of_a_sink_is_refused() -> None:
    class Waits:
        async def on_event(self, event: Any) -> None:
            """Never heard."""

    with pytest.raises(
        PluginError, match=r"sink 'w' has an async 'on_event'; a sink's methods are plain functions"
    ):
        bind_sinks({"w": Waits()}, [Dropped])


@agent
async def Swallows(prompt: Any) -> str:
    try:
        await trio.sleep(9)
    except trio.Cancelled:
        return "swallowed"
    return "slept"


def test_a_cancellation_that_an_agent_swallows_still_ends_the_run() -> None:
    ran = run("x", "Swallows", [Swallows], timeout=1)
    assert type(ran.result.error) is RunTimeout
    assert ran.result.response is None
    assert [event.value for event in ran.of(Dropped)] == ["swallowed"]


def test_a_run_that_ends_with_its_engine_tells_what_it_had_done() -> None:
    @agent
    async def Sleeps(prompt: Any) -> str:
        await trio.sleep_forever()
        return ""

    async def main() -> None:
        async with Orchestra(plugins=BARE, agents=[Still, Sleeps]) as orchestra:
            started = orchestra.start("x", "Still -> Sleeps")
            await trio.testing.wait_all_tasks_blocked()
        result = await started.result()
        assert (result.total_steps, started.status) == (2, "cancelled")
        assert isinstance(result.error, Cancelled)
        assert [each.outcome for each in result.branch_results] == ["failed"]
        assert result.metadata == {"warnings": ()}

    trio.run(main)
