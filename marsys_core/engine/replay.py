"""What is recorded of a step that is taken again: its calls are answered from there, and made no second time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import events as e
from marsys_core.engine.raised import raised_again
from marsys_core.errors import NondeterminismError
from marsys_core.journal import unpack, unpack_call
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import FinishReason, ModelRequest, ModelResponse
from marsys_core.values import Ref

if TYPE_CHECKING:
    from marsys_core.engine.step import Step
    from marsys_core.journal import Journal

__all__ = [
    "CALLS",
    "INTERRUPTED",
    "UNCALLED",
    "RecordedTeam",
    "RecordedTool",
    "Replay",
    "answered",
    "asked",
    "is_own",
    "key_of",
]

CALLS = (
    e.ModelCalled, e.ModelReplied, e.ModelFailed, e.ToolStarted, e.ToolFinished, e.ToolFailed, e.TeamStarted, e.TeamFinished, e.TeamFailed,
    e.ToolUncertain, e.UserAsked, e.UserAnswered, e.TimerSet, e.TimerFired,
)  # fmt: skip
_TEAM_ENDS = (e.TeamFinished, e.TeamFailed)
INTERRUPTED = "interrupted"
UNCALLED = "interrupted before it was made"
_WIDEST = 4  # the places of a call that has to be allowed


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

    Attributes:
        journal: Where large values are.
        note: What its last attempt was told to do better.
        attempt: Which attempt comes next.
        finished: What it came to, where it is not to be taken.
        earlier: What its attempts before the last one have spent.
    """

    journal: Journal
    note: str = ""
    attempt: int = 1
    finished: e.StepFinished | None = None
    earlier: Usage | None = None
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

    def go_on_from(self, events: Iterable[e.Event]) -> None:
        """Take up the attempt that `events` are of."""
        for event in events:
            if type(event) is e.StepSteered:
                self.note, self.attempt = event.note, event.attempt + 1
            elif type(event) is e.StepRetried:
                self.attempt = event.attempt + 1

    def add(self, events: Sequence[e.Event], since: float, *, models: bool = True) -> None:
        """Take in what is recorded of the calls of the step in one of its lives; of the earliest first.

        Args:
            events: What was recorded on the step's branch while it was taken.
            since: The `seq` from which on calls that failed count.
            models: Whether what models replied counts.
        """
        ends: dict[tuple[bool, str], deque[Any]] = defaultdict(deque)
        under_way = 0
        self._add_timers(events)
        for event in events:
            if type(event) is e.UserAsked:
                self._asked[event.request_id] = event
            elif type(event) is e.UserAnswered and event.error is None:
                self._answers[event.request_id] = event
            elif isinstance(event, e.ToolFinished | e.ToolFailed | e.TeamFinished | e.TeamFailed):
                # A team that is a tool is recorded as both, under one id.
                ends[isinstance(event, _TEAM_ENDS), event.call_id].append(event)
                if isinstance(event, _TEAM_ENDS):
                    self._spent[event.call_id].append(event)
        for event in events:
            if type(event) is e.ModelCalled:
                under_way += 1
                self._at_once = self._at_once or under_way > 1
            elif type(event) is e.ModelFailed:
                under_way -= 1
            elif type(event) is e.ModelReplied:
                under_way -= 1
                if models:
                    self._replies.append(event)
            elif type(event) is e.ToolStarted:
                ended = ends[False, event.call_id]
                key = event.tool, key_of(self.journal, event.arguments)
                self._tools[key].append(self._recorded(event, ended.popleft() if ended else None))
            elif type(event) is e.TeamStarted:
                ended = ends[True, event.call_id]
                key = event.team, key_of(self.journal, event.task)
                if is_own(event):
                    self._drop_copied(key)
                self._teams[key].append(RecordedTeam(event, ended.popleft() if ended else None))
        begun = {event.n + 1 for event in events if type(event) is e.ToolStarted}
        allowed = {event.n for event in events if type(event) is e.UserAsked and event.kind == "approval"}
        self._loose = self._loose or not allowed <= begun
        self._forget_failures(since)
        for (team, _), left in ends.items():
            for end in left:
                self._settle_team(end) if team else self._settle(end)
        self._forget_failures(since)

    def stand_at(self, events: Sequence[e.Event]) -> int:
        """Let calls that are taken up stand at their places; `events` are those of the step, which all hold.

        Returns:
            The first place that none of them may need.
        """
        self._places = frozenset(event.n for event in events)
        open_ = [call.started.n for calls in self._tools.values() for call in calls if call.ended is None]
        return max(open_, default=-_WIDEST) + _WIDEST

    def _add_timers(self, events: Sequence[e.Event]) -> None:
        fired = [event.timer for event in events if type(event) is e.TimerFired]
        for event in events:
            if type(event) is e.TimerSet:
                self._timers.append((event, event.n in fired))
        own = {event.n for event in events if type(event) is e.TimerSet}
        for n in fired:  # of a timer that was set in an earlier life
            for index, (timer, _) in enumerate(self._timers):
                if timer.n == n and n not in own:
                    self._timers[index] = (timer, True)

    def _forget_failures(self, since: float) -> None:
        """Let calls be made again that failed too early to count, and let nobody know of those that were cancelled.

        A team goes on from its own record instead.
        """
        for calls in self._tools.values():
            known = [call for call in calls if not _failed_before(call.ended, since)]
            calls.clear()
            calls.extend(
                attrs.evolve(call, ended=None) if _interrupted(call.ended) else call for call in known
            )
        for runs in self._teams.values():
            for index, run in enumerate(runs):
                end = run.ended
                if isinstance(end, e.TeamFailed) and (end.seq < since or end.error == INTERRUPTED):
                    runs[index] = RecordedTeam(run.started, None, end)

    def _settle(self, end: e.ToolFinished | e.ToolFailed) -> None:
        """Let a call end whose end was recorded in another life than its beginning."""
        for calls in self._tools.values():
            for index, call in enumerate(calls):
                begun = (call.started.tool, call.started.call_id)
                if call.ended is None and begun == (end.tool, end.call_id):
                    calls[index] = attrs.evolve(call, ended=end)
                    return

    def _drop_copied(self, key: tuple[str, str]) -> None:
        """Forget the next team of the run that this one was forked from: one of its own has gone on in place of it."""
        waiting = self._teams[key]
        for index, run in enumerate(waiting):
            if run.ended is None and not is_own(run.started):
                del waiting[index]
                return

    def _settle_team(self, end: e.TeamFinished | e.TeamFailed) -> None:
        for runs in self._teams.values():
            for index, run in enumerate(runs):
                if run.ended is None and run.started.inner == end.inner:
                    runs[index] = RecordedTeam(run.started, end)
                    return

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
                if earlier is not None and not self._says_retry(earlier):
                    return earlier
                if asked.request_id in self._heard:
                    return self._heard[asked.request_id]
        return None

    def _says_retry(self, answered: e.UserAnswered) -> bool:
        said = unpack(self.journal, answered.value)
        return bool((said["decision"] if isinstance(said, Mapping) else said) == "retry")

    def inquired(self, prompt: Any) -> bool:
        """Whether a person was asked what became of a call."""
        return any(
            asked.kind == "uncertain" and unpack(self.journal, asked.prompt) == prompt
            for asked in self._asked.values()
        )

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


def is_own(started: e.TeamStarted) -> bool:
    """Whether a nested run is one of the run that has recorded it, and not of the one that this was forked from."""
    own = f"{started.run_id}-{started.branch}-{started.n}"
    return f"{started.inner}-".startswith(f"{own}-")


def _failed_before(end: e.Event | None, since: float) -> bool:
    """Whether a call failed too early to count, or was never made."""
    if not isinstance(end, e.ToolFailed) or end.error == INTERRUPTED:
        return False
    return end.seq < since or end.error == UNCALLED


def _interrupted(end: e.Event | None) -> bool:
    return isinstance(end, e.ToolFailed) and end.error == INTERRUPTED


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
        Exception: It failed, with the text that is recorded; of the same class where that is found.
    """
    if end.writes:
        step.state.again(end.writes)
    spent = None if step.replay is None else step.replay.spent(end.call_id)
    if spent is not None:
        step.usage = spent if step.usage is None else step.usage + spent
    if type(end) is e.ToolFailed:
        tool = step.prepared.tools.get(end.tool)
        step.call_error = error = raised_again(end.error, end.raised, None if tool is None else tool.function)
        raise error
    return step.run.unpack(end.result)  # type: ignore[union-attr]
