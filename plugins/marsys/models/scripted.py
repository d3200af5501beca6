"""A model that follows a script."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import attrs
import trio

from marsys.models.tokens import count_input, usage_of
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import (
    Capabilities,
    FinishReason,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    TextDelta,
    deltas_of,
)

__all__ = ["Reply", "ScriptedModel"]

Reply = str | ModelResponse | ToolCall | Sequence[ToolCall] | BaseException
"""What comes of a call: an answer, tool calls, or an exception to raise."""

_Answering = Callable[[ModelRequest], Reply]

_CAPABILITIES = Capabilities(tools=True, output_schema=True, streaming=True, images=True)
_WORDS = re.compile(r"\S*\s*")


@attrs.define(eq=False, init=False)
class ScriptedModel:
    """Gives the replies of a list, one to each call, in the order of the calls; or what a function says.

    Use it to test agents, and to show a team at work without a provider. Agents that run at once and share
    one take replies in the order in which they call, which Trio does not promise: give each its own, or a
    function of the request.

    Args:
        replies: Texts, responses, tool calls (one, or several at once) and exceptions to raise, or functions that
            make one of these of the request; or, instead of a list, one function for all calls.
        name: What traces and prices know it by.
        delay: How long each call takes, in seconds.

    Attributes:
        history: The requests so far, in the order of the calls.
    """

    name: str
    delay: float
    history: list[ModelRequest]
    _replies: deque[Reply | _Answering]
    _function: _Answering | None
    _given: int

    def __init__(
        self,
        replies: Iterable[Reply | _Answering] | _Answering = (),
        *,
        name: str = "scripted",
        delay: float = 0.0,
    ) -> None:
        self.name, self.delay, self.history = name, delay, []
        self._function = replies if callable(replies) else None
        self._replies = (
            deque() if callable(replies) else deque([replies] if isinstance(replies, str) else replies)
        )
        self._given = len(self._replies)

    @property
    def capabilities(self) -> Capabilities:
        """What may be asked of it: everything, as the script says what comes of it."""
        return _CAPABILITIES

    @property
    def remaining(self) -> int:
        """How many replies are left in the list."""
        return len(self._replies)

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Give the next reply.

        Raises:
            ModelError: No reply is left.
            BaseException: The script says so.
        """
        # Kept as it is now: the messages of a request are a view, which a step that fails takes back.
        self.history.append(attrs.evolve(request, messages=list(request.messages)))
        reply = self._next(request)
        if self.delay > 0:
            await trio.sleep(self.delay)
        else:
            await trio.lowlevel.checkpoint()
        if isinstance(reply, BaseException):
            raise reply
        return self._response(reply, request)

    def count_tokens(self, request: ModelRequest) -> int:
        """Return how many tokens the input of `request` has, as its usage will say."""
        return count_input(request)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Give the next reply word by word.

        Raises:
            ModelError: No reply is left.
            BaseException: The script says so.
        """
        for delta in deltas_of(await self.generate(request)):
            if not isinstance(delta, TextDelta):
                yield delta
                continue
            for word in filter(None, _WORDS.findall(delta.text)):
                yield TextDelta(word, delta.key)

    def _next(self, request: ModelRequest) -> Reply:
        if self._function is not None:
            return self._function(request)
        if self._replies:
            reply = self._replies.popleft()
            return reply(request) if callable(reply) else reply
        msg = (
            f"the model {self.name!r} has no reply left for call {len(self.history)}: its script has "
            f"{self._given}; give it more, as in ScriptedModel(['one', 'two']), or a function that answers "
            f"every call, as in ScriptedModel(lambda request: 'one')"
        )
        return ModelError(msg, kind=ModelErrorKind.BAD_REQUEST)

    def _response(self, reply: Reply, request: ModelRequest) -> ModelResponse:
        if isinstance(reply, ModelResponse):
            response = attrs.evolve(reply, model=reply.model or self.name)
        elif isinstance(reply, str):
            response = ModelResponse(content=reply, model=self.name)
        else:
            calls = (reply,) if isinstance(reply, ToolCall) else tuple(reply)  # type: ignore[arg-type]  # never an exception here
            response = ModelResponse(tool_calls=calls, finish_reason=FinishReason.TOOL_CALLS, model=self.name)
        if response.usage == Usage():
            response.usage = usage_of(request, response)
        return response
