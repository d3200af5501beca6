from __future__ import annotations

import dataclasses
import enum
from collections import OrderedDict
from typing import Any, NamedTuple

import attrs
import pytest
import trio

from marsys_core import events as e
from marsys_core.actions import Finish, Return
from marsys_core.agents import BaseAgent
from marsys_core.errors import ActionError, ConfigError, ValueRefused
from marsys_core.messages import Message, TextPart
from marsys_core.tools import tool
from marsys_core.values import JoinInput
from tests.core.fakes import run, virtually


class Giving(BaseAgent):
    """Gives back what it was made with."""

    def __init__(self, value: Any, name: str = "Giving") -> None:
        super().__init__(name=name)
        self.value = value

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return self.value


class Taking(BaseAgent):
    """Keeps what it was given."""

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        self.taken = prompt
        return "taken"


# -- names ---------------------------------------------------------------------------------------


def test_an_agent_is_called_after_its_class_unless_it_is_given_a_name() -> None:
    class Researcher(BaseAgent):
        pass

    assert Researcher().name == "Researcher"
    assert Researcher(name="Ada").name == Researcher(agent_name="Ada").agent_name == "Ada"
    assert Researcher(name="Ada", agent_name="Ada").name == "Ada"
    assert repr(Researcher(name="Ada")) == "<Researcher 'Ada'>"


def test_two_different_names_are_refused() -> None:
    with pytest.raises(
        ConfigError, match="^name and agent_name are the same thing, and here they differ: 'a' and 'b'$"
    ):
        BaseAgent(name="a", agent_name="b")


@pytest.mark.parametrize("name", ["  ", 5, ("a",)])
def test_a_name_that_no_topology_could_use_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="an agent's name is text"):
        BaseAgent(name=name)


def test_an_agent_that_does_not_say_what_it_does_is_a_critical_error() -> None:
    error = virtually(BaseAgent(name="Empty").run, "task").error
    assert type(error) is ConfigError
    assert "write its _run(self, prompt, context, **kwargs)" in str(error)


def test_run_may_be_a_plain_method() -> None:
    class Plain(BaseAgent):
        def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return f"{prompt} at {context.node}"

    assert virtually(Plain().run, "here").unwrap() == "here at Plain"


@pytest.mark.parametrize("name", ["a name with (odd) signs!", "start", "end", "user"])
def test_an_agent_may_run_alone_under_any_name(name: str) -> None:
    assert virtually(Giving("fine", name).run, "task").unwrap() == "fine"


def test_an_agent_run_alone_sees_its_context_and_session() -> None:
    class Asking(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            return [context["key"], context.get("other"), context.session_id, context.task, context.step]

    async def main() -> Any:
        return await Asking().run("task", context={"key": "value"}, session_id="s1")

    result = virtually(main)
    assert result.unwrap() == ["value", None, "s1", "task", 1]
    assert result.session_id == "s1"


# -- what agents return --------------------------------------------------------------------------


@attrs.frozen
class Point:
    x: int
    y: float


@dataclasses.dataclass
class Size:
    width: int
    inner: Any = None


class Modelled:
    model_fields = {"a": int}

    def model_dump(self, mode: str = "python") -> dict[str, Any]:
        return {"a": 1, "mode": mode}


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    a: int
    b: int


class Shouted(str):
    __slots__ = ()


GIVEN = [
    ("text", "text"),
    ("", ""),
    (0, 0),
    (False, False),
    (1.5, 1.5),
    ([], []),
    ({}, {}),
    ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
    ((1, 2), [1, 2]),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (Point(1, 2.5), {"x": 1, "y": 2.5}),
    (Size(1, Size(2)), {"width": 1, "inner": {"width": 2, "inner": None}}),
    (Modelled(), {"a": 1, "mode": "json"}),
    ([Point(1, 2), Modelled()], [{"x": 1, "y": 2}, {"a": 1, "mode": "json"}]),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Shouted("hey"), "hey"),
    ("\ud800 lone", "\ud800 lone"),
]


@pytest.mark.parametrize(("given", "taken"), GIVEN, ids=repr)
def test_what_an_agent_returns_reaches_the_next_as_plain_data(given: Any, taken: Any) -> None:
    last = Taking()
    ran = run("x", "Giving -> Taking", [Giving(given), last])
    assert ran.result.unwrap() == "taken"
    assert last.taken == taken
    assert type(last.taken) is type(taken)


@pytest.mark.parametrize("action", [Return({"a": Point(1, 2)}), Finish({"a": Point(1, 2)})], ids=repr)
def test_the_value_of_an_action_is_made_plain_too(action: Any) -> None:
    assert run("x", "Giving", [Giving(action)]).result.unwrap() == {"a": {"x": 1, "y": 2}}


def test_a_message_is_handed_on_as_one() -> None:
    last = Taking()
    message = Message("assistant", (TextPart("a"), TextPart("b")))
    run("x", "Giving -> Taking", [Giving(message), last])
    assert last.taken is message


def test_what_the_next_agent_does_to_a_value_does_not_change_the_record() -> None:
    class Greedy(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            prompt.append("mine")
            return prompt

    own = ["shared"]
    ran = run("x", "Giving -> Greedy", [Giving(own), Greedy()])
    own.append("later")
    assert ran.of(e.StepFinished)[0].action.value == ["shared"]
    assert ran.result.unwrap() == ["shared", "mine"]


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


REFUSED = [
    (float("nan"), "nan has no place in JSON @ $"),
    ({"a": [float("inf")]}, "inf has no place in JSON @ $.a[0]"),
    ({1: "a"}, "a key must be text, not 1 (int) @ $"),
    ({"a": object}, "a value of type 'type' cannot be recorded"),
    ([b"bytes"], "a value of type 'bytes' cannot be recorded"),
    ({1, 2}, "a value of type 'set' cannot be recorded"),
    (Size(1, print), "@ $.inner"),
    ("x" * 5_000_000, "the value is larger than max_value_bytes (4194304) @ $"),
    (deep(65), "the value is nested deeper than 64 @ $" + "[0]" * 64),
]


@pytest.mark.parametrize(("given", "text"), REFUSED, ids=lambda value: str(value)[:30])
def test_a_value_that_cannot_be_recorded_fails_the_step_and_says_where(given: Any, text: str) -> None:
    error = run("x", "Giving", [Giving(given)]).result.error
    assert type(error) is ValueRefused
    assert text in str(error)
    assert "branch 0, node 'Giving', step 1" in str(error)


def test_a_value_as_deep_as_allowed_is_taken() -> None:
    assert run("x", "Giving", [Giving(deep(64))]).result.unwrap() == deep(64)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    error = run("x", "Giving", [Giving(loop)]).result.error
    assert type(error) is ValueRefused


def test_an_agent_that_returns_none_has_failed() -> None:
    error = run("x", "Giving", [Giving(None)]).result.error
    assert type(error) is ActionError
    assert "the agent returned None; return text, data or an action" in str(error)


def test_several_inputs_come_as_a_join_with_their_sources() -> None:
    last = Taking()
    run("x", "[A, B] -> Taking", [Giving(1, "A"), Giving([2], "B"), last])
    assert last.taken == JoinInput([("A", "0.0", 1), ("B", "0.1", [2])])


def test_a_registered_type_is_handed_on_as_it_is() -> None:
    last = Taking()
    run("x", "Giving -> Taking", [Giving(Point(1, 2)), last], types=[Point])
    assert last.taken == Point(1, 2)


def test_what_one_branch_does_to_its_input_is_not_seen_by_another() -> None:
    class Greedy(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            prompt["taken"].append(self.name)
            await trio.sleep(1)
            return prompt

    agents = [Giving({"taken": []}, "A"), Greedy(name="B"), Greedy(name="C")]
    ran = run("x", "A -> [B, C]", agents)
    assert ran.result.unwrap() == [{"taken": ["B"]}, {"taken": ["C"]}]
    assert ran.of(e.StepFinished)[0].action.value == {"taken": []}


def test_nor_does_what_is_done_to_the_task_or_the_result_of_a_tool_change_the_record() -> None:
    @tool
    async def fetch() -> list[int]:
        """Fetch."""
        return [1]

    class Greedy(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            found = await context.call_tool("fetch")
            found.append(2)
            context.task.append("mine")
            prompt.append("mine too")
            return [found, context.task]

    ran = run(["task"], "Greedy", [Greedy(tools=[fetch])])
    assert ran.result.unwrap() == [[1, 2], ["task"]]
    assert ran.of(e.ToolFinished)[0].result == [1]
    assert ran.of(e.RunStarted)[0].task == ["task"]
    ran.result.final_response.append("later")
    assert ran.of(e.StepFinished)[0].action.value == [[1, 2], ["task"]]
