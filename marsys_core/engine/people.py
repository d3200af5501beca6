"""The people of one run: its open questions, who is asked, and what stands still meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
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
from marsys_core.journal import unpack
from marsys_core.orchestrator import Join
from marsys_core.protocols.channel import Channel, refuse_elsewhere
from marsys_core.questions import Question
from marsys_core.tools import parse_object

if TYPE_CHECKING:
    from marsys_core.engine.replay import RecordedTool
    from marsys_core.engine.step import Step
    from marsys_core.engine.turns import Turns
    from marsys_core.journal import Journal
    from marsys_core.tools import Tool

__all__ = ["GivenAnswer", "People", "approved", "question"]


@attrs.define(eq=False)
class GivenAnswer:
    """An answer that was given to a run that rested; `run_id` is that of the run, or of one nested in it."""

    run_id: str
    request_id: str
    value: Any
    source: str


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
    channel: Channel | None
    clocks: dict[tuple[str, int], Clock] = attrs.field(factory=dict)
    paused: dict[str, float] = attrs.field(factory=dict)
    """Seconds that a branch's own deadline stood still while it was suspended."""
    below: list[People] = attrs.field(factory=list)
    """Those of the nested runs that are going on."""
    answers: list[GivenAnswer] = attrs.field(factory=list)
    """What was answered while the run rested; one list for a run and those nested in it."""
    _waited: dict[str, float] = attrs.field(factory=dict)
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
        return question(asked, self.run.run_id, self.run.session_id, self.run.journal)

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

    def go_on(self) -> None:
        """Hear what was answered, and what ran out of time, while the run rested."""
        run = self.run
        known = {asked.request_id: asked for asked in run.orchestrator.open_questions}
        for given in [each for each in self.answers if each.run_id == run.run_id]:
            self.answers.remove(given)
            if given.request_id in known:
                asked = known.pop(given.request_id)
                self._hear(asked, given)
        now = run.wall_now()
        for request_id, asked in known.items():
            if asked.timeout is not None:
                # Not less than nothing: the clock may have been set back since.
                self._waited[request_id] = waited = max(0.0, now - run.date_of(asked.time))
                if waited >= asked.timeout:
                    run._accept(run.orchestrator.on_answer_timeout(request_id))

    def _hear(self, asked: e.UserAsked, given: GivenAnswer) -> None:
        run, branch = self.run, self.run.orchestrator.state.branches[asked.branch]
        run._accept(run.orchestrator.on_answer(given.request_id, given.value, given.source))
        recorded = run.recorded.get((branch.id, branch.steps))
        answered = run.journal.events[-1]
        if recorded is not None and isinstance(answered, e.UserAnswered):
            recorded.heard.append(answered)  # the step that has asked is taken again, and asks again

    async def ask(self, asked: e.UserAsked) -> _Pending:
        """Wait until `asked` is answered, by the channel or anybody else, or its time is up."""
        pending = self._pending[asked.request_id] = _Pending()
        if asked.timeout is not None:
            waited = self._waited.get(asked.request_id, 0.0)
            pending.scope.deadline = trio.current_time() + asked.timeout - waited
        try:
            with pending.scope:
                if self.channel is None:
                    await self._for_anybody()
                else:
                    await self._through_channel(asked, self.channel, pending)
            if not pending.done:
                pending.done = True
                self.run._accept(self.run.orchestrator.on_answer_timeout(asked.request_id))
        finally:
            del self._pending[asked.request_id]
        return pending

    async def _for_anybody(self) -> None:
        """Nobody is here to answer: the run rests as soon as that is all it waits for."""
        rest = self.run.rest
        assert rest is not None  # without a store, and without a channel, nothing is asked
        top = rest.top
        top.left += 1
        try:
            rest.look()
            await trio.sleep_forever()
        finally:
            top.left -= 1

    async def _through_channel(self, asked: e.UserAsked, channel: Channel, pending: _Pending) -> None:
        name = getattr(channel, "name", type(channel).__name__)
        try:
            value = await channel.ask(self._question(asked))
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

    async def ask_about(
        self, step: Step, kind: str, prompt: Mapping[str, Any], at: int, known: RecordedTool | None = None
    ) -> Any:
        """Ask about a tool call, as part of `step`; return the answer, which the record may have.

        Args:
            step: Whose call it is.
            kind: What is asked: one of the kinds `WITHIN_STEP`.
            prompt: What the person is told.
            at: The place of the question; the answer has the next one.
            known: What is recorded of the call.

        Raises:
            UserUnavailable: Nobody can be asked.
        """
        run, prompt = self.run, self.run.plain(prompt)
        if step.replay is not None and (said := step.replay.said(known, prompt)) is not None:
            return run.unpack(said.value)
        again = None if known is None or known.asked is None else known.asked.request_id
        asked = run.orchestrator.on_asked_within(
            step.branch, kind, run._pack(prompt), at, self._pending, again
        )
        self.update_clocks()
        async with self._meanwhile(step):
            step.stop_clock()
            try:
                pending = await self.ask(asked)
            finally:
                self._withdraw(asked)
                step.start_clock()
                self.update_clocks()
        if pending.error is not None:
            _warn(step, f"the {_ASKED[kind]} tool {prompt['tool']!r} came to nothing: {told(pending.error)}")
            raise pending.error
        return pending.value

    def _meanwhile(self, step: Step) -> AbstractAsyncContextManager[None]:
        """Keep the step's slot while a person is asked; where nobody here can answer, others do first what they can."""
        if self.channel is not None:
            return nullcontext()
        from marsys_core.engine.nested import aside

        return aside(step)

    def _withdraw(self, asked: e.UserAsked) -> None:
        """Close a question whose tool call has ended without it; while the run rests it stays open."""
        if self._is_open(asked) and not self.run.resting:
            error = Cancelled("the call that was to be approved has ended")
            self.run._accept(self.run.orchestrator.on_no_answer(asked.request_id, error))


def question(asked: e.UserAsked, run_id: str, session_id: str, journal: Journal) -> Question:
    """Return what people are told of a question that is recorded."""
    return Question(
        request_id=asked.request_id,
        run_id=run_id,
        session_id=session_id,
        branch=asked.branch,
        node=asked.node,
        prompt=unpack(journal, asked.prompt),
        options=asked.options,
        schema=asked.schema,
        kind=asked.kind,
        default=asked.default,
        timeout=asked.timeout,
    )


_ASKED = {"approval": "approval of", "uncertain": "question about the cut-off call of"}


def _warn(step: Step, message: str) -> None:
    """Tell the caller of the run too: the model is told, and may say nothing of it."""
    branch = step.branch
    step.run.record(e.Warned(branch.id, branch.n, step.cause, message))


async def approved(
    step: Step,
    tool: Tool,
    given: str | Mapping[str, Any],
    bound: Mapping[str, Any],
    at: int,
    known: RecordedTool | None = None,
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
    prompt = {"tool": tool.name, "arguments": dict(arguments), "agent": step.prepared.name}
    said = await people.ask_about(step, "approval", prompt, at, known)
    answer = said if isinstance(said, Mapping) else {"decision": said}
    if answer["decision"] != "approve":
        reason = f": {answer['reason']}" if answer.get("reason") else ""
        msg = f"a person rejected this call of {tool.name!r}{reason}; it was not run"
        raise ToolError(msg)
    return tool.bind(answer["arguments"]) if "arguments" in answer else bound
