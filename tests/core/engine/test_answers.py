"""An answer of a model stays whole: what its provider needs back is in the next request, and in a run that goes on."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    Usage,
)
from marsys_core.models import FinishReason, ModelResponse
from marsys_core.orchestra import Orchestra
from marsys_core.results import RunResult
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, bare, invoking, run, virtually
from tests.core.models.answers import plain
from tests.core.stores import MemoryStore

LONG = "s" * 5000
ANSWER = ModelResponse(
    content=(
        ReasoningPart("first", "sig-1", native={"id": "rs_1"}),
        ReasoningPart("", LONG, redacted=True),
        NativePart({"type": "search", "query": ["a", 1]}),
        TextPart("looking", {"citations": [{"url": "u"}]}),
        DataPart("image/png", "AA", name="dot.png"),
    ),
    tool_calls=(
        ToolCall("c1", "look", '{"at": "x"}', 1, {"signature": LONG}),
        ToolCall("c2", "look", '{"at": "y"}', native={"id": "fc_2"}),
    ),
    finish_reason=FinishReason.TOOL_CALLS,
    raw_finish_reason="tool_use",
    usage=Usage(10, 5, 4, 2, 1, 0.5, 3),
    model="big-2",
    metadata={"request_id": "req_1", "rate_limit": {"requests": 9}},
    provider="acme",
    id="msg_1",
)


@tool
async def look(at: str) -> str:
    """Look.

    Args:
        at: Where.
    """
    return f"seen {at}"


def assert_sent_back(message: Message) -> None:
    assert (message.role, message.provider) == ("assistant", "acme")
    assert [plain(part) for part in message.content] == [plain(part) for part in ANSWER.content]  # type: ignore[arg-type]
    assert [plain(call) for call in message.tool_calls] == [plain(call) for call in ANSWER.tool_calls]


def test_what_a_provider_needs_back_is_in_the_next_request() -> None:
    model = FakeModel([ANSWER, "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[look])])

    assert ran.result.unwrap() == "done"
    assert_sent_back(model.requests[1].messages[1])


@pytest.mark.parametrize("history", ["own", "branch", "run"])
def test_it_is_in_the_history_of_later_steps(history: str) -> None:
    model = FakeModel([ANSWER, invoking("B"), "done"])
    agents = [Agent("A", model=model, tools=[look], history=history), Agent("B", model=FakeModel(["back"]))]
    ran = run("x", "A <-> B", agents)

    assert ran.result.unwrap() == "done"
    assert len(model.requests) == 3
    assert_sent_back(next(each for each in model.requests[2].messages if each.tool_calls))


def going_on(cut_after: type[e.Event]) -> tuple[RunResult, FakeModel, MemoryStore]:
    """Run it, and go on with the run as if the process had died after the first event of that kind."""
    store = MemoryStore()

    def agents(model: FakeModel) -> list[BaseAgent]:
        return [Agent("A", model=model, tools=[attrs.evolve(look, idempotent=True)])]

    async def first() -> None:
        async with bare(storage=store, new_id=lambda: "r") as orchestra:
            await orchestra.execute("x", "A", agents=agents(FakeModel([ANSWER, "done"])))

    virtually(first)
    kinds = [entry.kind for entry in store.kept["r"].entries]
    left = store.cut("r", kinds.index(cut_after.__name__) + 1)
    model = FakeModel(["done"])

    async def later() -> RunResult:
        orchestra: Orchestra
        async with bare(storage=left) as orchestra:
            return await orchestra.resume("r", agents=agents(model))

    return virtually(later), model, left


def test_a_run_that_goes_on_sends_the_recorded_answer_back_whole() -> None:
    result, model, _ = going_on(e.ModelReplied)

    assert result.unwrap() == "done"
    assert_sent_back(model.requests[0].messages[1])
    assert result.usage is not None
    assert (result.usage.cache_write_tokens, result.usage.cost) == (3, 0.5)


def test_a_recorded_answer_is_the_one_that_was_given() -> None:
    store, got = MemoryStore(), []

    class Asker(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
            got.append(await context.generate("q", model=FakeModel([ANSWER])))
            await context.generate("r", model=FakeModel(["more"]))
            return "done"

    async def first() -> None:
        async with bare(storage=store, new_id=lambda: "r") as orchestra:
            await orchestra.execute("x", "A", agents=[Asker(name="A")])

    async def later(left: MemoryStore) -> None:
        async with bare(storage=left) as orchestra:
            await orchestra.resume("r", agents=[Asker(name="A")])

    virtually(first)
    kinds = [entry.kind for entry in store.kept["r"].entries]
    virtually(later, store.cut("r", kinds.index("ModelReplied") + 1))

    assert len(got) == 2
    assert plain(got[1]) == plain(got[0]) == plain(ANSWER)


def test_the_record_of_an_answer_says_who_gave_it() -> None:
    ran = run("x", "A", [Agent("A", model=FakeModel([ANSWER, "done"]), tools=[look])])
    first, second = ran.of(e.ModelReplied)

    assert (first.answered_by, first.provider, first.response_id, first.raw_finish_reason) == (
        "big-2", "acme", "msg_1", "tool_use",
    )  # fmt: skip
    assert first.metadata == ANSWER.metadata
    assert (second.provider, second.metadata) == ("", None)


def test_metadata_that_cannot_be_recorded_stands_as_text() -> None:
    response = ModelResponse(content="x", metadata={"odd": object})
    [replied] = run("x", "A", [Agent("A", model=FakeModel([response]))]).of(e.ModelReplied)

    assert replied.metadata == "{'odd': <class 'object'>}"


def test_a_refusal_is_an_error_of_its_kind_and_costs_what_it_cost() -> None:
    refused = ModelResponse(
        content=(RefusalPart("I will not"),), finish_reason=FinishReason.REFUSAL, usage=Usage(7, 3)
    )
    ran = run("x", "A", [Agent("A", model=FakeModel([refused]))])
    [failed] = ran.of(e.ModelFailed)

    assert isinstance(ran.result.error, ModelError)
    assert ran.result.error.kind is ModelErrorKind.REFUSAL
    assert (failed.kind, failed.error) == ("refusal", "model 'fake' refused to answer: I will not")
    assert failed.usage == ran.result.usage == Usage(7, 3)


def test_what_the_provider_said_of_an_error_is_in_its_record() -> None:
    error = ModelError(
        "too busy", kind=ModelErrorKind.OVERLOADED, status=529, code="busy", request_id="req_9", said="busy"
    )
    [failed] = run("x", "A", [Agent("A", model=FakeModel([error]))], auto_retry_on_error=False).of(
        e.ModelFailed
    )

    assert (failed.status, failed.code, failed.request_id) == (529, "busy", "req_9")


def test_a_model_that_paused_is_sent_its_answer_back() -> None:
    paused = ModelResponse(
        content=(NativePart({"type": "search"}),), finish_reason=FinishReason.PAUSED, provider="acme"
    )
    model = FakeModel([paused, "found"])
    ran = run("x", "A", [Agent("A", model=model)])

    assert ran.result.unwrap() == "found"
    assert [message.role for message in model.requests[1].messages] == ["user", "assistant"]
