"""The people of one run: its open questions, who is asked, and what stands still meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.engine.clocks import Clock
from marsys_core.errors import (
    AnswerRefused,
    Cancelled,
    ConfigError,
    ToolError,
    UnknownName,
    UserUnavailable,
    ValueRefused,
    told,
)
from marsys_core.orchestrator import Join
from marsys_core.protocols.channel import Channel, refuse_elsewhere
from marsys_core.questions import Question
from marsys_core.tools import parse_object

if TYPE_CHECKING:
    from marsys_core.engine.step import Step
    from marsys_core.engine.turns import Turns
    from marsys_core.tools import Tool

__all__ = ["People", "approved"]


@attrs.define(eq=False)
class _Pending:
    """A question that somebody waits for, in the task of its branch."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    done: bool = False
    value: Any = None
    error: BaseException | None = None


@attrs.define(eq=False)
class People:
    """Who answers the questions of one run, and which are open."""

    run: Turns
    channel: Channel
    clocks: dict[tuple[str, int], Clock] = attrs.field(factory=dict)
    paused: dict[str, float] = attrs.field(factory=dict)
    """Seconds that a branch's own deadline stood still while it was suspended."""
    below: list[People] = attrs.field(factory=list)
    """Those of the nested runs that are going on."""
    _pending: dict[str, _Pending] = attrs.field(factory=dict)
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)

    @property
    def questions(self) -> tuple[Question, ...]:
        """The open questions, in branch order, and then those of nested runs."""
        own = tuple(self._question(asked) for asked in self.run.orchestrator.open_questions)
        return sum((people.questions for people in self.below), own) if self.below else own

    @contextmanager
    def above(self, people: People | None) -> Iterator[None]:
        """Let the questions of a nested run be answered here too, in a block."""
        if people is None:
            yield
            return
        self.below.append(people)
        try:
            yield
        finally:
            self.below.remove(people)

    def asking(self, request_id: str, run_id: str | None = None) -> People:
        """Return those who have this question open: of this run or of one nested in it.

        Raises:
            UnknownName: Nobody has it.
            ConfigError: Several runs have one of that id.
        """
        if not self.below and run_id in (None, self.run.run_id):
            return self  # which then says so itself where there is no such question
        open_ = self.questions
        runs = [
            each.run_id for each in open_ if each.request_id == request_id and run_id in (None, each.run_id)
        ]
        if len(runs) > 1:
            listed = ", ".join(map(repr, runs))
            msg = f"question {request_id!r} is open in the runs {listed}; give the Question, or say which with run_id="
            raise ConfigError(msg)
        if not runs:
            raise UnknownName("open question", str(request_id), [each.request_id for each in open_])
        return self._of(runs[0])

    def _of(self, run_id: str) -> People:
        waiting = [self]
        while True:
            people = waiting.pop()
            if people.run.run_id == run_id:
                return people
            waiting += people.below

    def _question(self, asked: e.UserAsked) -> Question:
        run = self.run
        return Question(
            request_id=asked.request_id,
            run_id=run.run_id,
            session_id=run.session_id,
            branch=asked.branch,
            node=asked.node,
            prompt=run.unpack(asked.prompt),
            options=asked.options,
            schema=asked.schema,
            kind=asked.kind,
            default=asked.default,
            timeout=asked.timeout,
        )

    def answer(self, request_id: str, value: Any, source: str) -> None:
        """Answer an open question; whoever is still being asked need not answer any more.

        Raises:
            UnknownName: No question with this id is open.
            AnswerRefused: The question does not allow this answer.
            ValueRefused: The answer cannot be recorded as plain data.
            LifecycleError: It was called from another thread; nothing has changed.
        """
        refuse_elsewhere(self._token, "Run.answer")
        value = self.run.plain(value)
        commands = self.run.orchestrator.on_answer(request_id, value, source)
        pending = self._pending.get(request_id)
        if pending is not None:
            pending.done, pending.value = True, value
            pending.scope.cancel()
        self.run._accept(commands)

    async def ask(self, asked: e.UserAsked) -> _Pending:
        """Wait until `asked` is answered, by the channel or anybody else, or its time is up."""
        pending = self._pending[asked.request_id] = _Pending()
        if asked.timeout is not None:
            pending.scope.deadline = trio.current_time() + asked.timeout
        try:
            with pending.scope:
                await self._through_channel(asked, pending)
            if not pending.done:
                pending.done = True
                self.run._accept(self.run.orchestrator.on_answer_timeout(asked.request_id))
        finally:
            del self._pending[asked.request_id]
        return pending

    async def _through_channel(self, asked: e.UserAsked, pending: _Pending) -> None:
        name = getattr(self.channel, "name", type(self.channel).__name__)
        try:
            value = await self.channel.ask(self._question(asked))
            # A channel that answers at once must neither hide that the answer is wanted no more, nor keep
            # everybody else waiting where it has the same step taken again and again.
            await trio.lowlevel.checkpoint()
            self.answer(asked.request_id, value, name)
        except (UserUnavailable, AnswerRefused, ValueRefused) as error:
            self._give_up(asked, pending, error)
        except Exception as error:
            msg = f"channel {name!r} raised {type(error).__name__}: {told(error)}"
            unavailable = UserUnavailable(msg)
            unavailable.__cause__ = error
            self._give_up(asked, pending, unavailable)

    def _give_up(self, asked: e.UserAsked, pending: _Pending, error: BaseException) -> None:
        if not pending.done:
            pending.done, pending.error = True, error
            if self._is_open(asked):
                self.run._accept(self.run.orchestrator.on_no_answer(asked.request_id, error))

    def _is_open(self, asked: e.UserAsked) -> bool:
        """Whether the question still waits: its branch may have been cancelled meanwhile."""
        person = self.run.orchestrator.state.branches[asked.branch].person
        return person is not None and asked.request_id in person.open

    def update_clocks(self) -> None:
        """Something has changed: stop the clocks of those who wait for people only, and start the others."""
        for clock in self.clocks.values():
            clock.update()

    def stop_clock(self, join: Join) -> float:
        """The fork is over: return for how long its deadlines stood still."""
        clock = self.clocks.pop(join.id, None)
        if clock is None:
            return 0.0
        paused = clock.paused
        if clock.stopped is not None:
            paused += trio.current_time() - clock.stopped
        self.paused[join.owner.id] = self.paused.get(join.owner.id, 0.0) + paused
        return paused

    # -- approvals -----------------------------------------------------------------------------

    async def approve(self, step: Step, tool: Tool, arguments: Mapping[str, Any], at: int) -> Any:
        """Ask whether `tool` may run with these arguments; return the answer."""
        run = self.run
        prompt = {"tool": tool.name, "arguments": run.plain(dict(arguments)), "agent": step.prepared.name}
        asked = run.orchestrator.on_approval(step.branch, run._pack(prompt), at, self._pending)
        self.update_clocks()
        step.stop_clock()
        try:
            pending = await self.ask(asked)
        finally:
            self._withdraw(asked)
            step.start_clock()
            self.update_clocks()
        if pending.error is not None:
            _warn(step, f"the approval of tool {tool.name!r} came to nothing: {told(pending.error)}")
            raise pending.error
        return pending.value

    def _withdraw(self, asked: e.UserAsked) -> None:
        """Close a question whose tool call has ended without it."""
        if self._is_open(asked):
            error = Cancelled("the call that was to be approved has ended")
            self.run._accept(self.run.orchestrator.on_no_answer(asked.request_id, error))


def _warn(step: Step, message: str) -> None:
    """Tell the caller of the run too: the model is told, and may say nothing of it."""
    branch = step.branch
    step.run.record(e.Warned(branch.id, branch.n, step.cause, message))


async def approved(
    step: Step, tool: Tool, given: str | Mapping[str, Any], bound: Mapping[str, Any], at: int
) -> Mapping[str, Any]:
    """Ask a person about a tool call; return its arguments, `bound` or those that the person gave instead.

    Raises:
        ToolError: The person rejected it, or gave arguments that do not fit.
        UserUnavailable: Nobody can be asked: the tool does not run.
    """
    people = step.run.people
    if people is None:
        _warn(step, f"tool {tool.name!r} needs a person's approval, and the run has no channel")
        msg = f"tool {tool.name!r} needs a person's approval, and there is no channel to one (give the run channel=...); it was not run"
        raise UserUnavailable(msg)
    arguments = parse_object(given) if isinstance(given, str) else given
    said = await people.approve(step, tool, arguments, at)
    answer = said if isinstance(said, Mapping) else {"decision": said}
    if answer["decision"] != "approve":
        reason = f": {answer['reason']}" if answer.get("reason") else ""
        msg = f"a person rejected this call of {tool.name!r}{reason}; it was not run"
        raise ToolError(msg)
    return tool.bind(answer["arguments"]) if "arguments" in answer else bound
