"""`Run`: a run in the background of an open `Orchestra`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any

import trio

from marsys_core.agents.registry import current_lease
from marsys_core.errors import Cancelled, LifecycleError, UnknownName
from marsys_core.hosts.crossing import hosted
from marsys_core.protocols.channel import refuse_elsewhere

if TYPE_CHECKING:
    from marsys_core.engine.deltas import Feed
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.opening import Request
    from marsys_core.engine.run import RunShell
    from marsys_core.events import Event
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.questions import Question
    from marsys_core.results import RunResult

__all__ = ["Run"]


class Run:
    """A run in the background of an open `Orchestra`; made by `Orchestra.start`, `take_up` and `start_fork`.

    Attributes:
        id: The run's id.
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self._shell: RunShell | None = None
        self._starting = trio.CancelScope()
        self._ready = trio.Event()
        self._over = trio.Event()
        self._cancelled = False
        self._pausing: bool | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._result: RunResult | None = None
        self._error: BaseException | None = None
        self._feeds: list[Feed] = []

    def __repr__(self) -> str:
        return f"<Run {self.id!r} {self.status}>"

    def _work(self, orchestra: Orchestra, engine: Engine, request: Request) -> Coroutine[Any, Any, None]:
        from marsys_core.engine.opening import execute

        return self._look_after(execute(orchestra, engine, request, self.id, self._adopt))

    def _go_on(
        self,
        orchestra: Orchestra,
        engine: Engine,
        topology: Any,
        options: RunOptions,
        accept_changes: bool,
        answer: tuple[str, Any] | None,
    ) -> Coroutine[Any, Any, None]:
        if answer is None:
            from marsys_core.engine.resuming import resume

            work = resume(orchestra, engine, self.id, topology, options, accept_changes, self._adopt)
        else:
            from marsys_core.engine.answering import answer as answered
            from marsys_core.engine.people import GivenAnswer

            given = GivenAnswer(self.id, *answer, "answer")
            work = answered(orchestra, engine, given, topology, options, accept_changes, self._adopt)
        return self._look_after(work)

    def _part(
        self,
        orchestra: Orchestra,
        engine: Engine,
        run_id: str,
        at: int,
        accept_changes: bool,
        changes: dict[str, Any],
    ) -> Coroutine[Any, Any, None]:
        from marsys_core.engine.resuming import fork

        return self._look_after(
            fork(orchestra, engine, run_id, at, accept_changes, changes, self.id, self._adopt)
        )

    async def _look_after(self, work: Coroutine[Any, Any, RunResult]) -> None:
        self._token = trio.lowlevel.current_trio_token()
        current_lease.set(None)  # the step that has started it goes on beside it, with its instance
        try:
            with self._starting:
                self._result = await work
        except Exception as error:
            self._error = error
        finally:
            self._ready.set()
            self._over.set()
            if self._shell is not None and self._shell.news is not None:
                self._shell.news.set()

    def _adopt(self, shell: RunShell) -> None:
        self._shell, self.id = shell, shell.run_id  # with resume=True it may be an earlier one
        for feed in self._feeds:
            shell.hear(feed)
        self._ready.set()
        if self._pausing is not None:
            self._pause(shell, self._pausing)

    @property
    def status(self) -> str:
        """``starting``, ``running``, ``paused``, ``waiting``, ``succeeded``, ``failed`` or ``cancelled``."""
        if not self._over.is_set():
            return "starting" if self._shell is None else "running"
        if self._result is not None and self._result.status in ("succeeded", "paused", "waiting"):
            return self._result.status
        nothing = self._result is None and self._error is None  # it ended with its engine
        return "cancelled" if self._cancelled or nothing else "failed"

    def events(self) -> AsyncGenerator[Event, None]:
        """Yield the run's events from its first, and go on as they happen until it has ended.

        Models that can are asked to answer in pieces meanwhile: from now on `ModelDelta` events are among the others,
        which are not recorded.
        """
        feed: Feed = deque()
        if not self._over.is_set():
            self._feeds.append(feed)
            if self._shell is not None:
                self._shell.hear(feed)
        return self._events(feed)

    async def _events(self, feed: Feed) -> AsyncGenerator[Event, None]:
        try:
            await _until(self._ready)
            at = 0
            while (shell := self._shell) is not None:
                events = shell.journal.events
                while feed or at < len(events):
                    if feed and feed[0].seq - shell.skipped <= at:
                        yield feed.popleft()
                    else:
                        yield events[at]
                        at += 1
                if self._over.is_set():
                    return
                if shell.news is None:
                    shell.news = trio.Event()
                await _until(shell.news)
        finally:
            self._feeds = [each for each in self._feeds if each is not feed]
            if self._shell is not None:
                self._shell.unhear(feed)

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the run waits for people to answer at this moment, in branch order; then its nested runs."""
        people = None if self._shell is None else self._shell.people
        return () if people is None else people.questions

    def answer(self, question: Question | str, value: Any, *, run_id: str | None = None) -> None:
        """Answer an open question, whoever else was asked; the first answer counts.

        Args:
            question: The question, or its request id.
            value: The answer.
            run_id: The question's run; needed with an id that a nested run has open as well.

        Raises:
            UnknownName: No question with this id is open; those that are, are listed.
            ConfigError: Several are, of different runs.
            AnswerRefused: The question does not allow this answer; it stays open.
            LifecycleError: It was called from another thread; the question stays open.
        """
        request_id = question if isinstance(question, str) else question.request_id
        run_id = run_id if isinstance(question, str) else question.run_id
        people = None if self._shell is None else self._shell.people
        if people is None:
            raise UnknownName("open question", str(request_id))
        people.asking(request_id, run_id).answer(request_id, value, "run")

    def cancel(self) -> None:
        """End the run. `result` returns when everything under it has ended.

        Raises:
            LifecycleError: It was called from another thread; the run goes on.
        """
        if self._token is not None and not self._over.is_set():
            refuse_elsewhere(self._token, "Run.cancel")
        self._cancelled = self._cancelled or not self._over.is_set()
        (self._starting if self._shell is None else self._shell.scope).cancel()

    def pause(self, *, immediate: bool = False) -> None:
        """Let the run rest, with work left, once the steps that are under way have ended.

        `result` then returns, with the status ``paused``, and the run goes on with `Orchestra.resume`, in any process.
        One that ends before is not paused. A step that only waits, for a person or for a time, is not waited for.

        Args:
            immediate: Whether to cut steps off. They are taken again later, and their calls answered from the
                record; a tool call that is cut off is one whose outcome nobody knows, as after a crash.

        Raises:
            LifecycleError: The run is kept nowhere, so that nothing could go on with it; or it was called from another
                thread. The run goes on.
        """
        if self._token is not None and not self._over.is_set():
            refuse_elsewhere(self._token, "Run.pause")
        if self._over.is_set():
            return
        if self._shell is None:
            self._pausing = immediate or bool(self._pausing)
        else:
            self._pause(self._shell, immediate)

    def _pause(self, shell: RunShell, immediate: bool) -> None:
        if shell.rest is None:
            msg = "only a run that is kept can be paused; open the Orchestra with storage='runs.db'"
            raise LifecycleError(msg)
        shell.rest.pause(immediate)

    async def _end(self) -> None:
        """Wait for the end, whoever cancels that."""
        if not self._over.is_set():
            await _shielded(self._over)

    async def result(self) -> RunResult:
        """Wait for the end and return what the run came to.

        Raises:
            CriticalError: A cause that no agent can mend.
            RecoverableError: A passing cause that was still there after the retries.
        """
        await _until(self._over)
        if self._error is not None:
            raise self._error
        if self._result is not None:
            return self._result
        if self._shell is not None:  # it ended with its engine: what it had done by then counts
            from marsys_core.engine.report import report

            return report(self._shell)
        from marsys_core.results import RunResult

        error = Cancelled("the run was cancelled before it began")
        return RunResult(success=False, final_response=None, error=error, run_id=self.id)


async def _until(event: trio.Event) -> None:
    """Wait for `event`, where it has not happened already."""
    if event.is_set() and not trio.lowlevel.in_trio_task():
        return
    await _wait(event)


@hosted
async def _wait(event: trio.Event) -> None:
    await event.wait()


@hosted
async def _shielded(event: trio.Event) -> None:
    with trio.CancelScope(shield=True):
        await event.wait()
