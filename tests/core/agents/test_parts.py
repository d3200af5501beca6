"""Images and files: in tasks, in what others hand over, in what tools return, in answers."""

from __future__ import annotations

from typing import Any

import pytest

from marsys_core.agents import Agent, FunctionAgent
from marsys_core.agents.parts import as_content, spoken
from marsys_core.messages import DataPart, Message, NativePart, ReasoningPart, TextPart
from marsys_core.models import ModelResponse
from marsys_core.tools import tool
from marsys_core.values import JoinInput, render
from tests.core.fakes import FakeModel, call, run
from tests.core.models.answers import plain

DOT = DataPart("image/png", "AA==", name="dot.png")
PAGE = DataPart("application/pdf", url="https://example.org/page.pdf")


def shown(content: Any) -> Any:
    return content if isinstance(content, str) else [plain(part) for part in content]


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("text", "text"),
        ({"a": 1}, '{"a": 1}'),
        (["a", "b"], '["a", "b"]'),
        ([], "[]"),
        (DOT, (TextPart("[attachment 1: image/png, dot.png]"), DOT)),
        (["What is this?", DOT], (TextPart("What is this?"), DOT)),
        ([TextPart("a"), PAGE, "b"], (TextPart("a"), PAGE, TextPart("b"))),
        (
            {"ask": "Which?", "of": [DOT, {"page": PAGE}]},
            (
                TextPart(
                    '{"ask": "Which?", "of": ["[attachment 1: image/png, dot.png]", '
                    '{"page": "[attachment 2: application/pdf]"}]}'
                ),
                DOT,
                PAGE,
            ),
        ),
        (
            JoinInput([("B", "0.0", DOT), ("C", "0.1", Message("assistant", (TextPart("see "), PAGE)))]),
            (
                TextPart(
                    "[from B (branch 0.0)]\n[attachment 1: image/png, dot.png]\n\n"
                    "[from C (branch 0.1)]\nsee [attachment 2: application/pdf]"
                ),
                DOT,
                PAGE,
            ),
        ),
    ],
)
def test_what_is_shown_of_a_value_is_its_text_and_what_is_attached(value: Any, content: Any) -> None:
    assert shown(as_content(value, render)) == shown(content)


@pytest.mark.parametrize("task", [["What is this?", DOT], Message("user", (TextPart("What is this?"), DOT))])
def test_a_task_may_hold_images(task: Any) -> None:
    model = FakeModel(["a dot"])
    run(task, "A", [Agent("A", model=model)])

    [message] = model.requests[0].messages
    assert shown(message.content) == shown((TextPart("What is this?"), DOT))


def test_what_an_agent_hands_over_keeps_its_images() -> None:
    async def camera(prompt: Any) -> Any:
        return {"taken": DOT}

    model = FakeModel(["a dot"])
    run("x", "camera -> A", [FunctionAgent(camera), Agent("A", model=model)])

    [message] = model.requests[0].messages
    assert shown(message.content[1:]) == shown((DOT,))


def test_a_tool_may_return_an_image() -> None:
    @tool
    async def photograph() -> Any:
        """Take a photograph."""
        return ["taken", DOT]

    model = FakeModel([call("photograph"), "a dot"])
    run("x", "A", [Agent("A", model=model, tools=[photograph])])

    result = model.requests[1].messages[-1]
    assert result.role == "tool"
    assert shown(result.content) == shown((TextPart("taken"), DOT))


def test_an_answer_with_an_image_is_handed_on_with_it() -> None:
    drawn = ModelResponse(
        content=(ReasoningPart("hm", "sig"), TextPart("here", {"n": 1}), DOT, NativePart({"a": 1}))
    )
    model = FakeModel(["nice"])
    run("x", "A -> B", [Agent("A", model=FakeModel([drawn])), Agent("B", model=model)])

    [message] = model.requests[0].messages
    assert shown(message.content) == shown((TextPart("here"), DOT))


def test_an_answer_of_texts_is_a_text() -> None:
    assert spoken("text") is None
    assert spoken((TextPart("a"), ReasoningPart("b"))) is None
