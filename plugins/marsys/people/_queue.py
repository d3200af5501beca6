"""A channel that the application reads and answers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import attrs
import trio

from marsys_core.errors import ConfigError, UnknownName
from marsys_core.protocols.channel import refuse_elsewhere
from marsys_core.questions import Question

__all__ = ["QueueChannel"]


@attrs.define(eq=False)
class _Open:
    question: Question
    answered: trio.Event = attrs.field(factory=trio.Event)
    token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)
    value: Any = None


class QueueChannel:
    """Questions that the application takes and answers, in any order and any number at a time.

    Use it where questions go to a web page, a chat or a test::

        channel = QueueChannel()
        async for question in channel:
            channel.answer(question, "yes")

    Each question is given to one reader, once; one whose run has ended meanwhile is left out. Without a
    reader questions stay open, and `Run.answer` answers them. Request ids repeat from run to run: where one
    channel serves several runs, answer the `Question`, or say which run.
    """

    name = "queue"

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], _Open] = {}
        self._untaken: deque[tuple[str, str]] = deque()
        self._readers = trio.lowlevel.ParkingLot()

    async def ask(self, question: Question) -> Any:
        """Keep `question` open until it is answered."""
        key = question.run_id, question.request_id
        entry = self._open[key] = _Open(question)
        self._untaken.append(key)
        self._readers.unpark()
        try:
            await entry.answered.wait()
        finally:
            del self._open[key]
        return entry.value

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is open, in the order in which it was asked."""
        return tuple(entry.question for entry in self._open.values() if not entry.answered.is_set())

    def answer(self, question: Question | str, value: Any, *, run_id: str | None = None) -> None:
        """Answer an open question.

        Args:
            question: The question, or its request id.
            value: The answer.
            run_id: The question's run; needed with an id that several runs have open.

        Raises:
            UnknownName: No question with this id is open.
            ConfigError: Several are, of different runs.
            AnswerRefused: The question does not allow this answer; it stays open.
            LifecycleError: It was called from another thread; the question stays open.
        """
        request_id = question if isinstance(question, str) else question.request_id
        run_id = run_id if isinstance(question, str) else question.run_id
        found = [
            entry
            for (run, id), entry in self._open.items()
            if id == request_id and run_id in (None, run) and not entry.answered.is_set()
        ]
        if len(found) != 1:
            if found:
                runs = ", ".join(repr(entry.question.run_id) for entry in found)
                msg = f"question {request_id!r} is open in the runs {runs}; give the Question, or say which with run_id="
                raise ConfigError(msg)
            raise UnknownName("open question", request_id, [each.request_id for each in self.questions])
        found[0].question.check(value)
        refuse_elsewhere(found[0].token, "QueueChannel.answer")
        found[0].value = value
        found[0].answered.set()

    def __aiter__(self) -> AsyncIterator[Question]:
        return self

    async def __anext__(self) -> Question:
        if trio.lowlevel.in_trio_task():
            return await self._take()
        from marsys_core.hosts.crossing import cross

        return await cross(self._take, self._put_back)

    async def _take(self) -> Question:
        # Nothing waits between a question being taken and given out: a reader that is cancelled has taken none.
        await trio.lowlevel.checkpoint()
        while True:
            while self._untaken:
                entry = self._open.get(self._untaken.popleft())
                if entry is not None and not entry.answered.is_set():
                    return entry.question
            await self._readers.park()

    async def _put_back(self, question: Question) -> None:
        """Give it to the next reader: one in asyncio was cancelled while it was on its way there."""
        self._untaken.appendleft((question.run_id, question.request_id))
        self._readers.unpark()
