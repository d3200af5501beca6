"""What is recorded of a step that is taken again: its calls are answered from there, and made no second time."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import errors
from marsys_core import events as e
from marsys_core.errors import MarsysError, NondeterminismError, ToolError
from marsys_core.journal import unpack, unpack_call
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import FinishReason, ModelRequest, ModelResponse
from marsys_core.values import Ref

if TYPE_CHECKING:
    from marsys_core.engine.step import Step
    from marsys_core.journal import Journal

__all__ = [
    "INTERRUPTED",
    "UNCALLED",
    "RecordedTeam",
    "RecordedTool",
    "Replay",
    "answered",
    "asked",
    "key_of",
    "replays",
]

_CALLS = (
    e.ModelCalled, e.ModelReplied, e.ModelFailed, e.ToolStarted, e.ToolFinished, e.ToolFailed, e.TeamStarted, e.TeamFinished, e.TeamFailed,
    e.ToolUncertain, e.UserAsked, e.UserAnswered, e.TimerSet, e.TimerFired,
)  # fmt: skip
_ENDS = (e.StepFinished, e.StepFailed, e.BranchSettled)
_TEAM_ENDS = (e.TeamFinished, e.TeamFailed)
INTERRUPTED = "interrupted"
UNCALLED = "interrupted before it was made"
_PLAIN = (
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    OSError,
    ConnectionError,
    TimeoutError,
    PermissionError,
)
_ANEW = (e.StepStarted, e.StepRetried, e.StepSteered)
_BEGINNINGS = (e.ToolStarted, e.TeamStarted)
_CALL_ENDS = (e.ToolFinished, e.ToolFailed, e.TeamFinished, e.TeamFailed)


@attrs.frozen(eq=False)
class RecordedTool:
    """A tool call as it is recorded; without an end, nobody knows whether it took effect.

    `asked` is the question whether it may run, and `answer` what a person said to that.
    """

    started: e.ToolStarted
    ended: e.ToolFinished | e.ToolFailed | None
    asked: e.UserAsked | None = None
    answer: e.UserAnswered | None = None

    @property
    def may_have_acted(self) -> bool:
        """Whether it may have had an effect that is not to be had twice."""
        if self.started.transactional:
            return type(self.ended) is e.ToolFinished
        return not self.started.idempotent


@attrs.frozen(eq=False)
class RecordedTeam:
    """A nested run as its step has recorded it.

    `ended` is None where it is to go on; `failed` then is how it had ended before, if it had.
    """

    started: e.TeamStarted
    ended: e.TeamFinished | e.TeamFailed | None
    failed: e.TeamFailed | None = None


@attrs.define(eq=False)
class Replay:
    """The recorded calls of one step, each given out once.

    A model call is known by what was asked last; where that is not recorded, and no two were under way at once, by
    its position among those of the step. A tool call is known by the tool's name, its arguments, and how many
    calls of the same came before it. A step that ended, and is taken again with the same input because something
    before it is void, is `finished`: it is not taken, and comes to the same.
    """

    journal: Journal
    note: str = ""
    attempt: int = 1
    finished: e.StepFinished | None = None
    given: Any = None
    _replies: deque[e.ModelReplied] = attrs.field(factory=deque)
    _at_once: bool = False
    _spent: dict[str, list[e.TeamFinished | e.TeamFailed]] = attrs.field(factory=lambda: defaultdict(list))
    _tools: dict[tuple[str, str], deque[RecordedTool]] = attrs.field(factory=lambda: defaultdict(deque))
    _teams: dict[tuple[str, str], deque[RecordedTeam]] = attrs.field(factory=lambda: defaultdict(deque))
    _asked: dict[str, e.UserAsked] = attrs.field(factory=dict)
    _answers: dict[str, e.UserAnswered] = attrs.field(factory=dict)
    _heard: dict[str, e.UserAnswered] = attrs.field(factory=dict)
    _places: frozenset[int] = frozenset()
    _loose: bool = False
    _timers: list[tuple[e.TimerSet, bool]] = attrs.field(factory=list)

    @classmethod
    def of(cls, journal: Journal, events: Iterable[e.Event], *, failures: bool = True) -> Replay:
        """Return what `events`, those of one unfinished step, say of its calls.

        Args:
            journal: Where large values are.
            events: What was recorded on the step's branch since it began.
            failures: Whether calls that failed count: not where the step is to be tried once more.
        """
        replay = cls(journal)
        events = list(events)
        by_call: dict[tuple[bool, str], deque[Any]] = defaultdict(deque)
        under_way = 0
        if failures:
            replay._places = frozenset(event.n for event in events)
        fired = {event.timer for event in events if type(event) is e.TimerFired}
        replay._timers = [(event, event.n in fired) for event in events if type(event) is e.TimerSet]
        for event in events:
            if type(event) is e.UserAsked:
                replay._asked[event.request_id] = event
            elif type(event) is e.UserAnswered and event.error is None:
                replay._answers[event.request_id] = event
            elif isinstance(event, e.ToolFinished | e.ToolFailed | e.TeamFinished | e.TeamFailed):
                # A team that is a tool is recorded as both, under one id.
                by_call[isinstance(event, _TEAM_ENDS), event.call_id].append(event)
                if isinstance(event, _TEAM_ENDS):
                    replay._spent[event.call_id].append(event)
        for event in events:
            if type(event) is e.StepSteered:
                replay.note, replay.attempt = event.note, event.attempt + 1
            elif type(event) is e.StepRetried:
                replay.attempt = event.attempt + 1
            if type(event) is e.ModelCalled:
                under_way += 1
                replay._at_once = replay._at_once or under_way > 1
            elif type(event) is e.ModelFailed:
                under_way -= 1
            elif type(event) is e.ModelReplied:
                under_way -= 1
                replay._replies.append(event)
            elif type(event) is e.ToolStarted:
                end = by_call[False, event.call_id].popleft() if by_call[False, event.call_id] else None
                if type(end) is e.ToolFailed and end.error == UNCALLED:
                    continue
                if type(end) is e.ToolFailed and (end.error == INTERRUPTED or not failures):
                    if end.error != INTERRUPTED:
                        continue
                    end = None  # it was cancelled on its way
                replay._tools[event.tool, key_of(journal, event.arguments)].append(
                    replay._recorded(event, end)
                )
            elif type(event) is e.TeamStarted:
                end = by_call[True, event.call_id].popleft() if by_call[True, event.call_id] else None
                known = RecordedTeam(event, end)
                if type(end) is e.TeamFailed and (end.error == INTERRUPTED or not failures):
                    known = RecordedTeam(event, None, end)
                replay._teams[event.team, key_of(journal, event.task)].append(known)
        begun = {event.n + 1 for event in events if type(event) is e.ToolStarted}
        allowed = {asked.n for asked in replay._asked.values() if asked.kind == "approval"}
        replay._loose = not allowed <= begun
        return replay

    def reply(self, request: ModelRequest) -> ModelResponse | None:
        """Return what a model replied to `request`, if it is recorded."""
        event = self._replied(request)
        if event is None:
            return None
        content = unpack(self.journal, event.content)
        return ModelResponse(
            content=content if isinstance(content, str) else tuple(content),
            tool_calls=tuple(unpack_call(self.journal, call) for call in event.tool_calls),
            finish_reason=FinishReason(event.finish_reason),
            raw_finish_reason=event.raw_finish_reason,
            usage=event.usage or Usage(),
            model=event.answered_by,
            metadata=unpack(self.journal, event.metadata),
            provider=event.provider,
            id=event.response_id,
        )

    def _replied(self, request: ModelRequest) -> e.ModelReplied | None:
        if not self._replies:
            return None
        wanted = asked(request)
        for event in self._replies:
            if event.asked == wanted:
                self._replies.remove(event)
                return event
        return None if self._at_once else self._replies.popleft()

    def _recorded(self, started: e.ToolStarted, end: e.ToolFinished | e.ToolFailed | None) -> RecordedTool:
        # Its question has the place after it, in this step as in every later one that takes it up.
        asked = self._asked.get(f"{started.branch}:{started.n + 1}")
        if asked is None or asked.kind != "approval":
            return RecordedTool(started, end)
        return RecordedTool(started, end, asked, self._answers.get(asked.request_id))

    def hear(self, answered: e.UserAnswered) -> None:
        """Know what a person answered while the run rested."""
        self._heard[answered.request_id] = answered

    def said(self, known: RecordedTool | None, prompt: Any) -> e.UserAnswered | None:
        """Return what a person answered about a call, if that is recorded: whether it may run, or what became of it."""
        if known is not None:
            return known.answer or (
                self._heard.get(known.asked.request_id) if known.asked is not None else None
            )
        for asked in self._asked.values():
            if asked.kind == "uncertain" and unpack(self.journal, asked.prompt) == prompt:
                earlier = self._answers.get(asked.request_id)
                # Where it was to be made again, it may have been, before the run was interrupted once more.
                if earlier is not None and unpack(self.journal, earlier.value) != "retry":
                    return earlier
                if asked.request_id in self._heard:
                    return self._heard[asked.request_id]
        return None

    def never_made(self, known: RecordedTool) -> bool:
        """Whether a call that has to be allowed was not, and so cannot have taken effect."""
        return known.answer is None and not self._loose

    def place(self, known: RecordedTool, width: int) -> int | None:
        """Return the place of a call that is taken up, where what it has yet to record can stand at its own."""
        at = known.started.n
        wanted = set(range(at + 1, at + width))
        if known.asked is not None:
            wanted -= {known.asked.n}
            if known.answer is not None:
                wanted -= {known.answer.n}
        return at if at in self._places and not wanted & self._places else None

    def timer(self, seconds: float) -> tuple[e.TimerSet, bool] | None:
        """Return the next timer of so many seconds, and whether its time was over, if it is recorded."""
        for known in self._timers:
            if known[0].seconds == seconds:
                self._timers.remove(known)
                return known
        return None

    def unrecorded(self, calls: Iterable[ToolCall]) -> list[str]:
        """Return the names of the tools of those `calls` that are not recorded, and so not counted yet."""
        left = {key: len(waiting) for key, waiting in self._tools.items()}
        names = []
        for call in calls:
            key = (call.name, key_of(self.journal, call.arguments))
            if left.get(key, 0):
                left[key] -= 1
            else:
                names.append(call.name)
        return names

    def tool(self, name: str, arguments: Any) -> RecordedTool | None:
        """Return the next call of that tool with these arguments, if it is recorded."""
        waiting = self._tools.get((name, key_of(self.journal, arguments)))
        return waiting.popleft() if waiting else None

    def team(self, name: str, task: Any) -> RecordedTeam | None:
        """Return the next nested run of that team on this task, if it is recorded."""
        waiting = self._teams.get((name, key_of(self.journal, task)))
        return waiting.popleft() if waiting else None

    def spent(self, call_id: str) -> Usage | None:
        """Return what the teams have spent that worked inside a tool call, which is not made again."""
        total: Usage | None = None
        for event in self._spent.get(call_id, ()):
            total = event.usage if total is None else total + event.usage
        return total

    def refuse_left(self, agent: str) -> None:
        """See that the step has made all the calls that it had made before, where they may have had an effect.

        Raises:
            NondeterminismError: It has not: it took another way.
        """
        left = [each.started for waiting in self._tools.values() for each in waiting if each.may_have_acted]
        made = [f"{call.tool}({unpack(self.journal, call.arguments)})" for call in left]
        if made:
            msg = (
                f"agent {agent!r} took its step again and left out calls that it had made before: "
                f"{', '.join(made):.1000}; what they did is done. Steps make the same calls when they are given the same"
            )
            raise NondeterminismError(msg)


def key_of(journal: Journal, value: Any) -> str:
    """Return the same text for the same arguments, however their keys are ordered."""
    import json

    if isinstance(value, Ref):
        return value.sha256
    value = unpack(journal, value)
    if type(value) is str:
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, sort_keys=True, default=str)


def replays(
    journal: Journal,
    kept: Sequence[e.Event],
    void: Sequence[e.Event] = (),
    given: Mapping[int, Any] | None = None,
) -> dict[tuple[str, int], Replay]:
    """Return, by branch and number of the step, what is recorded of steps that will be taken again.

    Args:
        journal: Where large values are.
        kept: The events that hold; of them, what steps that had begun and not ended have done.
        void: The events that do not hold any more, in order; their steps count as far as they went well.
        given: What each void step was given, by the `seq` of its beginning.
    """
    steps = _Steps({event.seq for event in kept}, given or {})
    for event in sorted([*kept, *void], key=lambda event: event.seq) if void else kept:
        steps.follow(event)
    return {place: taken.replay(journal) for place, taken in steps.taken.items()}


@attrs.define(eq=False)
class _Taken:
    """What is recorded of one step, as often as it was taken."""

    begun: int = -1
    calls: list[e.Event] = attrs.field(factory=list)
    is_void: bool = False
    finished: e.StepFinished | None = None
    given: Any = None
    _open: Counter[tuple[bool, str]] = attrs.field(factory=Counter)

    def add(self, event: e.Event) -> None:
        """Note a call; the end of one that had been cut off, or had failed, stands in for what was its end."""
        kind = type(event)
        if kind in _BEGINNINGS or kind in _CALL_ENDS:
            which = (kind is e.TeamStarted or kind in _TEAM_ENDS, event.call_id)  # type: ignore[attr-defined]
            if kind in _BEGINNINGS:
                self._open[which] += 1
            elif self._open[which]:
                self._open[which] -= 1
            else:
                self._forget_end(*which)
        self.calls.append(event)

    def _forget_end(self, team: bool, call_id: str) -> None:
        failed = e.TeamFailed if team else e.ToolFailed
        for index in range(len(self.calls) - 1, -1, -1):
            earlier = self.calls[index]
            if type(earlier) is failed and earlier.call_id == call_id:
                del self.calls[index]
                return

    def anew(self, event: e.Event) -> None:
        """Note that the step is tried once more, in the same life."""
        self.calls = [event]
        self._open.clear()

    def replay(self, journal: Journal) -> Replay:
        """Return it as what answers the step."""
        replay = Replay.of(journal, self.calls, failures=not self.is_void)
        replay.finished, replay.given = self.finished, self.given
        return replay


@attrs.define(eq=False)
class _Steps:
    """The steps of a run that have not ended for good, while its events are read life by life.

    What a process has done that took up an earlier place of the record comes after what is void by that, and is
    about the same steps: which step a branch was in is looked up among the events that held at the time.
    """

    kept: Set[int]
    given: Mapping[int, Any]
    taken: dict[tuple[str, int], _Taken] = attrs.field(factory=dict)
    _open: dict[str, int] = attrs.field(factory=dict)
    _held: list[e.Event] = attrs.field(factory=list)

    def follow(self, event: e.Event) -> None:
        kind = type(event)
        if kind is e.RunResumed:
            self._go_back(event.at)  # type: ignore[attr-defined]
            return
        if kind in _ANEW or kind in _ENDS:
            self._held.append(event)
        if kind is e.StepStarted:
            self._open[event.branch] = step = event.step  # type: ignore[attr-defined]
            self.taken.setdefault((event.branch, step), _Taken()).begun = event.seq
            return
        place = (event.branch, self._open.get(event.branch, -1))
        taken = self.taken.get(place)
        if taken is None:
            return
        if kind in _ANEW:
            taken.anew(event)
        elif kind in _CALLS:
            taken.add(event)
        elif kind in _ENDS and event.seq in self.kept:
            del self.taken[place], self._open[event.branch]
        elif kind in _ENDS:
            taken.is_void = True
            if type(event) is e.StepFinished:
                taken.finished, taken.given = event, self.given.get(taken.begun)

    def _go_back(self, at: int) -> None:
        self._held = [event for event in self._held if event.seq < at]
        self._open = {}
        for event in self._held:
            if type(event) is e.StepStarted:
                self._open[event.branch] = event.step
            elif type(event) in _ENDS:
                self._open.pop(event.branch, None)


def asked(request: ModelRequest) -> int:
    """Return a number that tells `request` from others of the same step, at a cost that does not grow with it."""
    import zlib

    messages = request.messages
    if not messages:
        return 1
    last = messages[-1]
    content = last.content if type(last.content) is str else last.text
    told = f"{len(messages)} {last.role} {last.tool_call_id} {content}"
    return zlib.crc32(told.encode("utf-8", "backslashreplace")) or 1  # 0 is said of none


def answered(step: Step, end: e.ToolFinished | e.ToolFailed) -> Any:
    """Return what a recorded call came to, or raise that it failed; it writes to the shared state what it wrote.

    Raises:
        Exception: It failed, with the text that is recorded; of the same class where that is one of MARSYS' own
            or of Python's, and else a `ToolError`.
    """
    if end.writes:
        step.state.again(end.writes)
    spent = None if step.replay is None else step.replay.spent(end.call_id)
    if spent is not None:
        step.usage = spent if step.usage is None else step.usage + spent
    if type(end) is e.ToolFailed:
        step.call_error = error = _failed(end.error)
        raise error
    return step.run.unpack(end.result)  # type: ignore[union-attr]


def _failed(text: str) -> Exception:
    """Return the error that was recorded as `text`: what it was, a colon and what it said."""
    import builtins

    name, _, said = text.partition(": ")
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    ours = isinstance(kind, type) and issubclass(kind, MarsysError)
    if ours or kind in _PLAIN:
        error: Exception = kind(said)  # type: ignore[misc]
        if f"{name}: {error}" == text:
            return error
    return ToolError(text)
