"""Actions: what they refuse when they are made, and reading one from what an agent returned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core.actions import (
    Action,
    AskUser,
    CallTools,
    Content,
    EndConversation,
    Fail,
    Finish,
    Invoke,
    Malformed,
    Return,
    read_action,
)
from marsys_core.topology import ConvergencePolicy

NAMES = [
    "invoke_agent",
    "parallel_invoke",
    "call_tool",
    "final_response",
    "ask_user",
    "end_conversation",
    "dance",
]
FIELDS = [
    "action_input", "invocations", "agent_name", "request", "content", "agents", "agent_requests", "tool_calls",
    "function", "name", "tool_name", "arguments", "response", "question", "options",
    "summary",
]  # fmt: skip
atoms = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["", "A", "B"])
json_values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=60)
@given(
    st.sampled_from(NAMES) | json_values, st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=5)
)
def test_every_json_with_next_action_is_an_action_or_malformed(name: Any, fields: dict[str, Any]) -> None:
    action = read_action(json.dumps({"next_action": name, **fields}))
    assert type(action) in {Invoke, Return, AskUser, CallTools, EndConversation, Malformed}
    if type(action) is Malformed:
        assert action.reason


@pytest.mark.parametrize(
    ("fields", "action"),
    [
        ({"next_action": "invoke_agent", "action_input": "B", "request": "go"}, Invoke([("B", "go")])),
        (
            {"next_action": "invoke_agent", "action_input": [{"agent_name": "B", "request": 1}, "C"]},
            Invoke([("B", 1), ("C", "")]),
        ),
        (
            {
                "next_action": "parallel_invoke",
                "agents": ["B", "C"],
                "agent_requests": {"B": {"request": "b"}},
            },
            Invoke([("B", "b"), ("C", "")]),
        ),
        ({"next_action": "final_response", "action_input": {"response": "x"}}, Return("x")),
        ({"next_action": "final_response", "content": "x"}, Return("x")),
        ({"next_action": "ask_user", "action_input": "why?"}, AskUser("why?")),
        ({"next_action": "ask_user", "question": "why?", "options": ["a"]}, AskUser("why?", ("a",))),
        (
            {"next_action": "call_tool", "tool_calls": [{"function": {"name": "x", "arguments": "{}"}}]},
            CallTools((("x", "{}"),)),
        ),
    ],
)
def test_an_action_is_read_from_json(fields: dict[str, Any], action: Action) -> None:
    assert read_action(json.dumps(fields)) == action
    assert read_action(f"```json\n{json.dumps(fields)}\n```") == action


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"next_action": "call_tool", "tool_calls": [{"function": "x"}]},
            "next_action 'call_tool': the function of a tool call is {name, arguments}, not 'x'",
        ),
        (
            {"next_action": "parallel_invoke", "agents": ["B", 5]},
            "next_action 'parallel_invoke': agents is a list of names, and 5 is none",
        ),
        (
            {"next_action": "ask_user", "action_input": [1]},
            "next_action 'ask_user': action_input is a question or {question, options}, not [1]",
        ),
        (
            {"next_action": "ask_user", "question": "q", "options": "yes"},
            "next_action 'ask_user': options is a list of texts, not 'yes'",
        ),
        (
            {"next_action": "ask_user", "options": []},
            "next_action 'ask_user': the field 'question' is missing",
        ),
    ],
)
def test_what_is_wrong_with_json_is_said(fields: dict[str, Any], reason: str) -> None:
    text = json.dumps(fields)
    assert read_action(text) == Malformed(reason, text)


@pytest.mark.parametrize(
    "action",
    [
        Invoke([("B", 1)], wait=False),
        Return(1),
        Finish(1),
        AskUser("q", ("a",), {"type": "string"}, 3, "a"),
        Fail("no"),
        Content(1),
    ],
)
def test_a_subclass_is_read_as_the_action_it_derives_from(action: Action) -> None:
    cls = type(action)
    mine = type("Mine", (type("Between", (cls,), {}),), {})
    fields = {field.name: getattr(action, field.name) for field in attrs.fields(cls)}  # type: ignore[arg-type]
    read = read_action(mine(**fields))
    assert type(read) is cls
    assert read == action
    assert read_action(action) is action


class MyAction(Action):
    pass


class Unmade(Return):
    def __init__(self) -> None:
        """Forget the base."""


def test_an_action_of_no_known_kind_is_malformed() -> None:
    assert read_action(MyAction()) == Malformed(
        "MyAction is no action of MARSYS; return Invoke, Return, Finish, AskUser, EndConversation or Fail"
    )
    unmade = read_action(Unmade())
    assert type(unmade) is Malformed
    assert unmade.reason.startswith("Unmade cannot be read as Return: AttributeError(")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (5, r"^Fail takes a text or an exception, not 5$"),
        (None, r"^Fail takes a text or an exception, not None$"),
        (ValueError, r"^Fail takes a text or an exception, not <class 'ValueError'>; write Fail\(ValueError\(\.\.\.\)\)$"),
    ],
)  # fmt: skip
def test_fail_takes_a_text_or_an_exception(given: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Fail(given)
    error = ValueError("why")
    assert (Fail(error).error, Fail("why").error, Fail().error) == (error, "why", "the agent gave up")


@pytest.mark.parametrize("wait", ["no", None, 0])
def test_wait_is_true_or_false(wait: Any) -> None:
    with pytest.raises(TypeError, match=f"^wait is True or False, not {wait!r}$"):
        Invoke([("B", 1)], wait)


class Broken(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise OSError

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["quorum"])


@pytest.mark.parametrize(
    "policy", [None, 0.5, 7.5, "all", "most", {"quorum": 1}, {"quorums": 1}, ConvergencePolicy(quorum=2)]
)
def test_a_policy_is_kept_as_it_was_given(policy: Any) -> None:
    assert Invoke([("B", 1), ("C", 1)], policy=policy).policy == policy


def test_a_policy_that_is_changed_later_changes_no_action() -> None:
    policy = {"quorum": 1}
    action = Invoke([("B", 1)], policy=policy)
    policy["quorum"] = 9
    assert action.policy == {"quorum": 1}


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (1, r", a ConvergencePolicy or None, not 1; for a number of calls write \{'quorum': n\}$"),
        (True, r", a ConvergencePolicy or None, not True$"),
        ([0.5], r"^policy is a float, 'all', 'majority', 'any', a mapping, a ConvergencePolicy or None, not \[0\.5\]$"),
    ],
)  # fmt: skip
def test_a_policy_of_another_kind_is_refused(policy: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Invoke([("B", 1)], policy=policy)


def test_a_policy_whose_code_raises_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^the policy .* cannot be read: OSError$"):
        Invoke([("B", 1)], policy=Broken())


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ([10**10000], r"^Invoke takes a sequence of \(node, payload\), not a whole number of 33220 bits"),
        ([(10**10000, 1)], r"^the node of a call is its name, not a whole number of 33220 bits$"),
        ([("A", 10**10000, 1)], r"^a call is \(node, payload\), not <tuple whose repr raised ValueError>$"),
    ],
    ids=["number", "name", "triple"],
)
def test_a_call_that_cannot_be_shown_is_refused_all_the_same(calls: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        Invoke(calls)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"options": "yes"}, r"^options is a list of texts, not 'yes'$"),
        ({"options": [1]}, r"^options is a list of texts, not \[1\]$"),
        ({"timeout": 0}, r"^timeout is a number of seconds above 0, or None, not 0$"),
        ({"timeout": "soon"}, r"^timeout is a number of seconds above 0, or None, not 'soon'$"),
        ({"schema": "string"}, r"^schema is a mapping, a JSON Schema, or None, not 'string'$"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_when_it_is_made(given, told) -> None:
    with pytest.raises(TypeError, match=told):
        AskUser("why?", **given)
