"""Answers in pieces: who hears them, when, and what becomes of a stream that ends otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.errors import ModelError, ModelErrorKind, ModelTimeout
from marsys_core.hosts.declared import uses_asyncio
from marsys_core.messages import Usage
from marsys_core.models import (
    Accumulator,
    Capabilities,
    FinishReason,
    ModelDelta,
    ModelResponse,
    StreamAbandoned,
    StreamEnded,
    TextDelta,
    deltas_of,
)
from tests.core.fakes import FakeModel, Heard, StreamingFake, bare, call, run, virtually
from tests.core.models.answers import plain
from tests.core.stores import MemoryStore


class Listening(Heard):
    """A sink that asks for deltas."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas: list[e.ModelDelta] = []

    def on_model_delta(self, event: e.ModelDelta) -> None:
        self.deltas.append(event)

    @property
    def text(self) -> str:
        return "".join(event.delta.text for event in self.deltas)


def heard(model: Any, **config: Any) -> tuple[Any, Listening]:
    """Run one agent with a sink that asks for deltas."""
    sink = Listening()

    async def main() -> Any:
        settings = ExecutionConfig(**{"raise_errors": False, **config})
        async with bare(sinks=[sink]) as orchestra:
            return await orchestra.execute(
                "x", "A", agents=[Agent("A", model=model)], execution_config=settings
            )

    return virtually(main), sink


async def streamed(model: Any, **options: Any) -> list[e.Event]:
    async with bare() as orchestra:
        stream = orchestra.stream("x", "A", agents=[Agent("A", model=model)], **options)
        return [event async for event in stream]


def test_nobody_listens_and_the_model_answers_as_a_whole() -> None:
    model = StreamingFake(["one", "two"])
    ran = run("x", "A", [Agent("A", model=model)])

    assert ran.result.unwrap() == "one"
    assert model.streams == 0
    assert ran.heard.events  # a sink that hears every event of the record does not ask for deltas


def test_a_sink_that_asks_for_deltas_hears_them() -> None:
    model = StreamingFake(["some words"])
    result, sink = heard(model)
    [called] = sink.of(e.ModelCalled)

    assert result.unwrap() == "some words"
    assert model.streams == 1
    assert sink.text == "some words"
    assert [event.n for event in sink.deltas] == list(range(len(sink.deltas)))
    assert {(event.cause, event.attempt, event.node, event.model) for event in sink.deltas} == {
        (called.id, 1, "A", "fake")
    }
    assert isinstance(sink.deltas[-1].delta, StreamEnded)


def test_the_deltas_add_up_to_what_is_recorded() -> None:
    given = ModelResponse(content="word", usage=Usage(3, 2), finish_reason=FinishReason.LENGTH, model="m")
    _, sink = heard(StreamingFake([given]))
    total = Accumulator()
    for event in sink.deltas:
        total.feed(event.delta)
    [replied] = sink.of(e.ModelReplied)

    assert plain(total.response(finish_reason=given.finish_reason, model="m")) == plain(given)
    assert (replied.content, replied.usage) == ("word", Usage(3, 2))


def test_the_record_is_the_same_whether_somebody_listens_or_not() -> None:
    replies = [call("nothing"), "done"]
    _, sink = heard(StreamingFake(replies))
    ran = run("x", "A", [Agent("A", model=StreamingFake(replies))])

    assert sink.journal == ran.heard.journal


def test_a_model_that_cannot_stream_is_asked_as_ever() -> None:
    class Whole:
        name = "whole"

        async def generate(self, request: Any) -> ModelResponse:
            return ModelResponse(content="all")

    for model in (FakeModel(["all"]), Whole()):
        result, sink = heard(model)
        assert (result.unwrap(), sink.deltas) == ("all", [])


def test_the_stream_of_a_run_has_deltas_among_its_events_in_order() -> None:
    events = virtually(streamed, StreamingFake(["words"], delay=1))
    kinds = [type(event).__name__ for event in events]
    first = kinds.index("ModelDelta")
    count = kinds.count("ModelDelta")

    assert count >= 3
    assert kinds[first - 1] == "ModelCalled"
    assert kinds[first : first + count + 1] == ["ModelDelta"] * count + ["ModelReplied"]
    assert [event.time for event in events] == sorted(event.time for event in events)
    assert {event.seq for event in events[first : first + count + 1]} == {events[first + count].seq}


def test_whoever_listens_later_hears_what_comes_from_then_on() -> None:
    async def main() -> tuple[list[str], list[str]]:
        model = StreamingFake([ModelResponse(content="a"), "b"], delay=1)
        async with bare() as orchestra:
            handle = orchestra.start("x", "A -> B", agents=[Agent(name, model=model) for name in "AB"])
            await trio.sleep(0.5)
            assert model.streams == 0  # it was asked before anybody listened
            texts: list[list[str]] = [[], []]

            async def listen(into: list[str]) -> None:
                async for event in handle.events():
                    if isinstance(event, e.ModelDelta):
                        into.append(event.delta.text)

            async with trio.open_nursery() as nursery:
                for into in texts:
                    nursery.start_soon(listen, into)
            return texts[0], texts[1]

    one, two = virtually(main)
    assert "".join(one) == "".join(two) == "b"


def test_when_the_last_listener_leaves_models_answer_as_a_whole_again() -> None:
    async def main() -> int:
        model = StreamingFake(["a", "b"], delay=1)
        async with bare() as orchestra:
            handle = orchestra.start("x", "A -> B", agents=[Agent(name, model=model) for name in "AB"])
            async with aclosing(handle.events()) as events:
                async for event in events:
                    if isinstance(event, e.ModelDelta):
                        break
            await handle.result()
        return model.streams

    assert virtually(main) == 1


def test_deltas_are_not_kept() -> None:
    store = MemoryStore()

    async def main() -> None:
        async with bare(storage=store, sinks=[Listening()], new_id=lambda: "r") as orchestra:
            await orchestra.execute("x", "A", agents=[Agent("A", model=StreamingFake(["word"]))])
            history = [type(event).__name__ for event in (await orchestra.history("r"))]
            assert "ModelDelta" not in history

    virtually(main)
    assert "ModelDelta" not in {entry.kind for entry in store.kept["r"].entries}


def test_an_abandoned_attempt_says_so_and_the_next_one_has_another_number() -> None:
    model = StreamingFake(
        ["lost", "found"],
        breaks=[ModelError("cut", kind=ModelErrorKind.NETWORK)],
    )
    sink = Listening()

    class Retries:
        async def model_call(self, given: Any, proceed: Any) -> Any:
            try:
                return await proceed(given)
            except ModelError:
                given.attempt += 1
                return await proceed(given)

    async def main() -> Any:
        async with bare(sinks=[sink], middleware=[Retries()]) as orchestra:
            return await orchestra.execute("x", "A", agents=[Agent("A", model=model)])

    assert virtually(main).unwrap() == "found"
    first, second = ([event for event in sink.deltas if event.attempt == attempt] for attempt in (1, 2))
    assert isinstance(first[-1].delta, StreamAbandoned)
    assert first[-1].delta.reason == "cut"
    assert first[0].cause != second[0].cause
    assert [called.id for called in sink.of(e.ModelCalled)] == [first[0].cause, second[0].cause]
    assert "".join(event.delta.text for event in second) == "found"
    assert model.open == 0


def test_a_stream_that_is_too_slow_is_closed_and_abandoned() -> None:
    model = StreamingFake(["slow"], delay=10)
    result, sink = heard(model, model_timeout=15)

    assert isinstance(result.error, ModelTimeout)
    assert model.open == 0
    assert sink.deltas[-1].delta.reason == "interrupted"
    assert model.requests[0].deadline is not None


def test_a_run_that_is_cancelled_in_the_middle_of_a_stream_closes_it() -> None:
    model = StreamingFake(["long"], delay=1)

    async def main() -> str:
        async with bare() as orchestra:
            handle = orchestra.start("x", "A", agents=[Agent("A", model=model)])
            reason = ""
            async for event in handle.events():
                if isinstance(event, e.ModelDelta):
                    assert model.open == 1 or isinstance(event.delta, StreamAbandoned)
                    reason = getattr(event.delta, "reason", reason)
                    handle.cancel()
            return reason

    assert virtually(main) == "interrupted"
    assert model.open == 0


@pytest.mark.parametrize(
    ("deltas", "text", "retryable"),
    [
        (
            [TextDelta("a")],
            "the stream of model 'odd' ended before the answer was complete",
            True,
        ),
        (["text"], "model 'odd' streamed 'text', and not a ModelDelta", False),
        (
            [ModelDelta(response=5)],  # type: ignore[arg-type]
            "model 'odd' returned 5, and not a ModelResponse",
            False,
        ),
        (
            [*deltas_of(ModelResponse(finish_reason=FinishReason.REFUSAL))],
            "model 'odd' refused to answer",
            False,
        ),
    ],
)
def test_a_stream_that_comes_to_nothing_is_an_error(deltas: Any, text: str, retryable: bool) -> None:
    class Odd(FakeModel):
        capabilities = Capabilities(streaming=True)

        async def stream(self, request: Any) -> AsyncIterator[Any]:
            for delta in deltas:
                yield delta

    result, sink = heard(Odd(name="odd"), retry=RetryConfig(max_attempts=1))
    [failed] = sink.of(e.ModelFailed)

    assert (failed.error, failed.retryable) == (text, retryable)
    assert isinstance(sink.deltas[-1].delta, StreamAbandoned)
    assert not result.success


def test_a_stream_need_not_be_a_generator() -> None:
    class Counting:
        def __init__(self, response: ModelResponse) -> None:
            self.deltas = deltas_of(response)

        def __aiter__(self) -> Counting:
            return self

        async def __anext__(self) -> ModelDelta:
            try:
                return next(self.deltas)
            except StopIteration:
                raise StopAsyncIteration from None

    class Plain(StreamingFake):
        def stream(self, request: Any) -> Any:
            return Counting(ModelResponse(content="x"))

    result, sink = heard(Plain())
    assert (result.unwrap(), sink.text) == ("x", "x")


def test_a_model_that_is_written_for_asyncio_streams_too() -> None:
    @uses_asyncio
    class Elsewhere:
        name = "elsewhere"
        capabilities = Capabilities(streaming=True)

        async def generate(self, request: Any) -> ModelResponse:
            raise NotImplementedError

        async def stream(self, request: Any) -> AsyncIterator[ModelDelta]:
            import asyncio

            for delta in deltas_of(ModelResponse(content="from there")):
                await asyncio.sleep(0)
                yield delta

    sink = Listening()

    async def main() -> Any:
        async with bare(sinks=[sink]) as orchestra:
            return await orchestra.execute("x", "A", agents=[Agent("A", model=Elsewhere())])

    assert trio.run(main).unwrap() == "from there"
    assert sink.text == "from there"


def test_a_sink_that_raises_on_a_delta_is_disabled_and_the_answer_comes_all_the_same(caplog: Any) -> None:
    class Breaks(Listening):
        def on_model_delta(self, event: e.ModelDelta) -> None:
            raise ValueError("no")

    sink = Breaks()

    async def main() -> Any:
        async with bare(sinks=[sink]) as orchestra:
            return await orchestra.execute("x", "A", agents=[Agent("A", model=StreamingFake(["fine"]))])

    assert virtually(main).unwrap() == "fine"
    assert "raised on ModelDelta and is disabled" in caplog.text
