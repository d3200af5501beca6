"""Stand-ins that need no plugin: a scripted model that checks its histories, and ways to run things on a virtual clock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import attrs
import trio
import trio.testing

from marsys_core.config import ExecutionConfig
from marsys_core.errors import ModelError
from marsys_core.events import Event, identity
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.models import (
    Capabilities,
    FinishReason,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    deltas_of,
)
from marsys_core.orchestra import Orchestra
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.results import RunResult

T = TypeVar("T")
Reply = str | ModelResponse | ToolCall | Sequence[ToolCall] | BaseException

BARE = PluginSettings(discover=False)


class Heard:
    """A sink that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) in kinds]

    @property
    def journal(self) -> list[tuple[Any, ...]]:
        """What two equal runs have in common."""
        return [identity(event) for event in sorted(self.events, key=lambda event: event.id)]


class FakeModel:
    """Replies from a list, or with what a function of the request gives; refuses an invalid history."""

    capabilities = Capabilities(output_schema=True)

    def __init__(
        self,
        replies: Iterable[Reply] | Callable[[ModelRequest], Reply] = (),
        *,
        name: str = "fake",
        delay: float | None = None,
    ) -> None:
        self.name, self.delay = name, delay
        self.requests: list[ModelRequest] = []
        self._replies = replies if callable(replies) else iter(list(replies))

    def skip(self, count: int) -> None:
        """Leave out what an earlier process was told."""
        if not callable(self._replies):
            for _ in range(count):
                next(self._replies, None)

    async def generate(self, request: ModelRequest) -> ModelResponse:
        problem = invalid(request.messages)
        if problem is not None:
            raise AssertionError(problem)
        self.requests.append(attrs.evolve(request, messages=list(request.messages)))
        if self.delay is None:
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(self.delay)
        reply = self._replies(request) if callable(self._replies) else next(self._replies, None)
        if reply is None:
            msg = f"the script of {self.name!r} is over"
            raise ModelError(msg)
        return respond(reply)

    def stream(self, request: ModelRequest) -> Any:
        raise NotImplementedError

    def said(self, index: int = -1) -> list[tuple[str, Any]]:
        """What the request at `index` held: (role, text) pairs."""
        return [(message.role, message.content) for message in self.requests[index].messages]

    def offered(self, index: int = -1) -> list[str]:
        """The names of the tools that were offered with the request at `index`."""
        return [spec.name for spec in self.requests[index].tools]


class StreamingFake(FakeModel):
    """The same, in pieces: each in `delay` seconds, with `open` streams at this moment.

    An exception in a reply's place is raised as the stream begins, one in `breaks` after the first piece.
    """

    capabilities = Capabilities(output_schema=True, streaming=True)

    def __init__(self, *args: Any, breaks: Iterable[BaseException | None] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.open = self.streams = 0
        self._breaks = iter(list(breaks))

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        self.open += 1
        self.streams += 1
        try:
            breaks, first = next(self._breaks, None), True
            for delta in deltas_of(await self.generate(request)):
                if breaks is not None and not first:
                    raise breaks
                first = False
                yield delta
                await trio.lowlevel.checkpoint() if self.delay is None else await trio.sleep(self.delay)
        finally:
            self.open -= 1


def respond(reply: Reply) -> ModelResponse:
    if isinstance(reply, BaseException):
        raise reply
    if isinstance(reply, ModelResponse):
        return reply
    usage = Usage(2, 1, model_calls=1)
    if isinstance(reply, str):
        return ModelResponse(content=reply, usage=usage)
    calls = (reply,) if isinstance(reply, ToolCall) else tuple(reply)
    return ModelResponse(tool_calls=calls, finish_reason=FinishReason.TOOL_CALLS, usage=usage)


def invalid(messages: Sequence[Message]) -> str | None:
    """Say what a provider would refuse: a call that is not answered exactly once, at once, or an answer to none."""
    open_calls: list[str] = []
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                return f"message {index} answers {message.tool_call_id!r}, which is not open: {open_calls}"
            open_calls.remove(message.tool_call_id)
            continue
        if open_calls:
            return f"message {index} ({message.role}) comes before the answers to {open_calls}"
        open_calls = [call.id for call in message.tool_calls]
    return f"the calls {open_calls} have no answer" if open_calls else None


def call(name: str, id: str = "c1", /, **arguments: Any) -> ToolCall:
    import json

    return ToolCall(id, name, json.dumps(arguments))


def invoking(*names: str, id: str = "c1") -> ToolCall:
    """A call of `invoke_agent` that asks each of `names`."""
    return call("invoke_agent", id, invocations=[{"agent_name": n, "request": f"for {n}"} for n in names])


def bare(**settings: Any) -> Orchestra:
    """An orchestra without installed plugins."""
    return Orchestra(plugins=BARE, **settings)


def virtually(main: Callable[..., Awaitable[T]], *args: Any, seed: int = 0) -> T:
    """Run `main` on a clock that jumps, with a schedule that depends on `seed` only."""
    with seeded(seed):
        return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make Trio's order of what is ready at once depend on `seed` only, as Trio's own tests do."""
    from trio._core import _run

    scheduler: Any = _run
    before, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before
        scheduler._r.setstate(state)


@attrs.define
class Ran:
    """What a run came to, and its events."""

    result: RunResult
    heard: Heard

    def of(self, *kinds: type[Event]) -> list[Any]:
        return self.heard.of(*kinds)


def run(
    task: Any,
    topology: Any,
    agents: Any = None,
    *,
    schedule: int = 0,
    context: Any = None,
    plugins: PluginSettings = BARE,
    max_threads: int = 40,
    middleware: Sequence[Any] = (),
    types: Sequence[type] = (),
    state: Any = None,
    **config: Any,
) -> Ran:
    """Run `task` in an orchestra of its own; critical and recoverable errors are in the result.

    `schedule` decides Trio's order of what is ready at once; `config` are fields of `ExecutionConfig`.
    """
    heard = Heard()
    settings = ExecutionConfig(**{"raise_errors": False, **config})

    async def main() -> RunResult:
        async with Orchestra(
            plugins=plugins, sinks=[heard], max_threads=max_threads, middleware=middleware, types=types
        ) as orchestra:
            return await orchestra.execute(
                task,
                topology,
                agents=agents,
                execution_config=settings,
                context=context,
                state=state,
                session_id="s",
            )

    return Ran(virtually(main, seed=schedule), heard)
