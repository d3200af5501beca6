"""What happened in a run: one append-only stream of typed events.

Status lines, traces, metrics, audit, debugging and replay are readers of this stream. An event's identity
is `(branch, n)`, n counted within the branch, so that it does not depend on how branches interleaved;
`cause` is the id of the event that led to it. `seq` and `time` (seconds since the run started) only say
where it lies in this journal, and `run_id` in whose. Two journals are equal if
they are equal sorted by id, without these.

An entry holds what changed, not all there is. Instances are immutable by rule once they are appended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from marsys_core.messages import Message, Usage

__all__ = [
    "KINDS",
    "STREAMED",
    "BranchDelivered",
    "BranchEdited",
    "BranchForked",
    "BranchLeft",
    "BranchMoved",
    "BranchSettled",
    "BranchStarted",
    "Dropped",
    "Event",
    "EventId",
    "GuardRefusedInput",
    "JoinCancelled",
    "JoinCompleted",
    "JoinReopened",
    "LimitReached",
    "ModelCalled",
    "ModelDelta",
    "ModelFailed",
    "ModelReplied",
    "RuleDecided",
    "RunFinished",
    "RunPaused",
    "RunResumed",
    "RunStarted",
    "RunStopped",
    "RunWaiting",
    "StateMerged",
    "StepFailed",
    "StepFinished",
    "StepRetried",
    "StepStarted",
    "StepSteered",
    "Stuck",
    "TeamFailed",
    "TeamFinished",
    "TeamStarted",
    "TimerFired",
    "TimerSet",
    "ToolFailed",
    "ToolFinished",
    "ToolStarted",
    "ToolUncertain",
    "UserAnswered",
    "UserAsked",
    "Warned",
    "identity",
]

EventId = tuple[str, int]
"""(branch, n): stable across schedules."""

_NOWHERE: EventId = ("", -1)


@attrs.define(eq=False)
class Event:
    """What all events have. The branch of an event of the run itself is ``""``.

    `seq`, `time` and `run_id` are set when it is recorded; before that it has no `run_id`.
    """

    branch: str
    n: int
    cause: EventId
    seq: int = attrs.field(default=-1, init=False)
    time: float = attrs.field(default=0.0, init=False)
    run_id: str = attrs.field(init=False, repr=False)

    @property
    def id(self) -> EventId:
        """The identity of the event: its branch, and its place there."""
        return (self.branch, self.n)


@attrs.define(eq=False)
class RunStarted(Event):
    """A run began. `fingerprint` is the topology's; `dispatch` is what is set, by node.

    `given` are the messages that agents began with, by name: those of a session, or of the caller.
    `state` is what the shared state begins with; None where there is none.
    `parent` is the call that a nested run is, ``(run id, branch, step, call id)``, and None otherwise. `budget`
    are the limits on what its calls may spend, where there are any. `session_version` says as of which version agents
    remember the session; what they do is then not part of the run, and `given` has references to it.
    """

    run_id: str
    session_id: str
    task: Any
    fingerprint: str
    entries: tuple[str, ...]
    exits: tuple[str, ...]
    dispatch: dict[str, str]
    rules_version: int
    wall_time: float
    given: dict[str, Any] = attrs.field(factory=dict)
    format: int = 1
    state: dict[str, Any] | None = None
    parent: tuple[str, str, int, str] | None = None
    budget: Mapping[str, float] | None = None
    session_version: int | None = None


@attrs.define(eq=False)
class RunResumed(Event):
    """A run goes on from its record, at `wall_time`: what was recorded from place `at` up to here is void.

    That is what came of the first thing that went wrong in a run that had failed, and nothing in any other. What
    void steps came to still answers steps that are taken again with the same input. In a fork, `source` is the run
    that it parts from here: all that is before is a copy of that run's record, where what the fork does not share is
    void; and what it is given in place of that.
    """

    at: int
    wall_time: float = 0.0
    source: str = ""


@attrs.define(eq=False)
class RunPaused(Event):
    """The run rests because it was told to, until it is resumed."""


@attrs.define(eq=False)
class RunWaiting(Event):
    """The run rests because it can only go on with answers of people, to the questions with these ids."""

    requests: tuple[str, ...] = ()


@attrs.define(eq=False)
class RunStopped(Event):
    """The run is to end before its branches have: a limit, a deadline, a cancellation, a first result."""

    reason: str
    error: Any = None


@attrs.define(eq=False)
class RunFinished(Event):
    """Every branch has settled. `contributions` are the ids of what reached the run, in order."""

    success: bool
    contributions: tuple[EventId, ...]
    steps: int
    error: str = ""


@attrs.define(eq=False)
class BranchStarted(Event):
    """A branch was opened at `node`, under `join` (the forking branch and the number of its fork)."""

    node: str
    name: str
    value: Any
    join: tuple[str, int] | None = None
    call: int = 0
    detached: bool = False


@attrs.define(eq=False)
class BranchMoved(Event):
    """A branch went to `node` with `value`. `stack` is the call stack after the move.

    `how` is ``call``, ``handoff``, ``return``, ``join``, ``gather``, ``again`` (the same node once more),
    ``answer`` (the same node, with what a person answered), ``turn`` (to the other side of a conversation)
    or ``over`` (the conversation has ended, and its last value goes on from the other side, without a step).
    `asked` are nodes that count as asked by the node it comes from, besides the one it goes to. `loop` says
    that plain content came back by an edge with a condition: what was asked and stepped at counts no more.
    At a gather, or where a conversation is over, `conditions` are those of its edges, and `error` is what judging them raised.
    """

    node: str
    how: str
    value: Any
    stack: tuple[str, ...] = ()
    inputs: tuple[EventId, ...] = ()
    fresh: bool = False
    asked: tuple[str, ...] = ()
    loop: bool = False
    conditions: tuple[tuple[str, bool], ...] = ()
    error: Any = None


@attrs.define(eq=False)
class BranchEdited(Event):
    """A run was forked before a step, and the step at `node` is given `value` in place of what it was given."""

    node: str
    value: Any


@attrs.define(eq=False)
class BranchForked(Event):
    """A branch was suspended and opened one child per call, to meet at `meeting`.

    `meeting` is None where nothing meets: in a fork by plain content with no way back, and for several
    entries that end apart. `calls` are `(node, value)`; `first` is the index of the first child; `asked`
    are nodes that count as asked without a call of their own. `budget` are the limits on what all children
    together may spend, where they were given a share.
    """

    fork: int
    meeting: str | None
    calls: tuple[tuple[str, Any], ...]
    first: int
    policy: Any
    names: tuple[str, ...] = ()
    limit: int | None = None
    detached: bool = False
    plain: bool = False
    fresh: bool = False
    asked: tuple[str, ...] = ()
    budget: Mapping[str, float] | None = None


@attrs.define(eq=False)
class BranchDelivered(Event):
    """A branch delivered `value` to a join, for the call at index `call`."""

    join: tuple[str, int]
    call: int
    node: str
    source: str
    value: Any


@attrs.define(eq=False)
class BranchLeft(Event):
    """A branch delivered further out, and so left the joins in between, each `(branch, fork)`."""

    joins: tuple[tuple[str, int], ...]


@attrs.define(eq=False)
class BranchSettled(Event):
    """A branch came to its end. `outcome` is one of the words of `Settled`."""

    outcome: str
    node: str
    value: Any = None
    contributes: bool = False
    error: Any = None
    inputs: tuple[EventId, ...] = ()


@attrs.define(eq=False)
class JoinCompleted(Event):
    """A join is complete: the ids of what it collected, in order, and whether its policy was met.

    `state` says that it took what its children wrote to the shared state, and holds what reducers that are
    functions made of it, by key; `error` says why it could not.
    """

    fork: int
    collected: tuple[EventId, ...]
    met: bool
    state: dict[str, Any] | None = None
    error: Any = None


@attrs.define(eq=False)
class JoinCancelled(Event):
    """What is still open below a join was given up: its policy is decided, its time is over, or its branch ends."""

    fork: int
    reason: Any


@attrs.define(eq=False)
class JoinReopened(Event):
    """A person had the calls at these indices made again; `first` is the index of the first new child."""

    fork: int
    calls: tuple[int, ...]
    first: int


@attrs.define(eq=False)
class StepStarted(Event):
    """An agent began a turn. `inputs` are the ids of what it was given, not the values.

    `turn` counts the turns of the conversation that it takes part in, from 1; 0 is none.
    """

    node: str
    step: int
    inputs: tuple[EventId, ...]
    turn: int = 0


@attrs.define(eq=False)
class StepFinished(Event):
    """An agent ended its turn in an action; `messages` are those it added to its conversation.

    `offered` says that it was offered `invoke_agent`, which decides what its plain content means; `unasked`
    are onward nodes that it left alone by answering. `turn` says that its `Invoke` goes along the edge of a
    conversation, and so is what it says there. `writes` are those to the shared state, in order:
    ``(key, op, value)``, op being ``set``, ``del`` or the reducer, and with ``call``, a function, what it
    returned. `conditions` say of every edge that has one, by its target, whether it is open.
    """

    node: str
    action: Any
    offered: bool = False
    messages: tuple[Message, ...] = ()
    usage: Usage | None = None
    duration: float = 0.0
    unasked: tuple[str, ...] = ()
    turn: bool = False
    writes: tuple[tuple[Any, ...], ...] = ()
    conditions: tuple[tuple[str, bool], ...] = ()


@attrs.define(eq=False)
class StepFailed(Event):
    """A turn ended in an error."""

    node: str
    error: Any
    duration: float = 0.0
    usage: Usage | None = None


@attrs.define(eq=False)
class StepRetried(Event):
    """A turn that failed for a passing reason is taken again after `delay` seconds.

    `attempt` is the one that failed, from 1; 0 where a person had the turn taken again.
    """

    node: str
    attempt: int
    delay: float
    error: str


@attrs.define(eq=False)
class StepSteered(Event):
    """A turn is taken again, with a note to the agent that says what was wrong with its action."""

    node: str
    attempt: int
    note: str


@attrs.define(eq=False)
class RuleDecided(Event):
    """A rule said more than Allow at `node`; what it said is done next.

    `point` is where it was asked: ``before_step``, ``after_step`` or ``before_fork``; `index` is its place among
    the rules that are asked there. `verdict` is ``block``, ``modify``, ``stop``, or ``raised`` where it gave
    none. `given` is the value it was shown, `value` what it put in its place.
    """

    node: str
    rule: str
    point: str
    index: int
    verdict: str
    reason: str
    given: Any = None
    value: Any = None


@attrs.define(eq=False)
class TimerSet(Event):
    """A step began to wait for so many seconds: until the date `wall_time`, whatever becomes of the process."""

    node: str
    seconds: float
    wall_time: float


@attrs.define(eq=False)
class TimerFired(Event):
    """The time that `TimerSet` at place `timer` said is over."""

    node: str
    timer: int


@attrs.define(eq=False)
class UserAsked(Event):
    """A person was asked. `kind` is ``question``, ``approval``, ``uncertain``, ``error`` or ``policy``.

    `request_id` is what the answer is given under: the branch and the event's place there.
    """

    request_id: str
    node: str
    kind: str
    prompt: Any
    options: tuple[str, ...] = ()
    schema: Any = None
    timeout: float | None = None
    default: Any = None


@attrs.define(eq=False)
class UserAnswered(Event):
    """A question was answered by `source`, or will not be, and why: a timeout, no person, its tool call's end."""

    request_id: str
    value: Any
    source: str = ""
    error: Any = None


@attrs.define(eq=False)
class ModelCalled(Event):
    """A model was asked; one event per attempt."""

    node: str
    model: str
    messages: int
    tools: int
    attempt: int = 1


@attrs.define(eq=False)
class ModelDelta(Event):
    """A piece of an answer, as it comes: told to whoever listens, and recorded nowhere.

    `delta` is one of those of `marsys_core.models`. `cause` is the id of the `ModelCalled` of the attempt, `n` counts
    the pieces of that attempt from 0, and `seq` is that of the event which is recorded next. An attempt that comes
    to nothing ends in a `StreamAbandoned`: what it had said counts no more.
    """

    node: str
    model: str
    delta: Any
    attempt: int = 1


@attrs.define(eq=False)
class ModelReplied(Event):
    """A model answered; `asked` tells its request from others of its step, in a run that is kept.

    `answered_by`, `provider` and `response_id` are what the response says of its model, its provider and itself.
    """

    node: str
    model: str
    content: Any
    tool_calls: tuple[Any, ...]
    finish_reason: str
    usage: Usage
    duration: float
    asked: int = 0
    raw_finish_reason: str = ""
    answered_by: str = ""
    provider: str = ""
    response_id: str = ""
    metadata: Any = None


@attrs.define(eq=False)
class ModelFailed(Event):
    """A model call went wrong; `retryable` says whether another attempt makes sense.

    `usage` is what it counts for in a budget all the same. `status`, `code` and `request_id` are the provider's.
    """

    node: str
    model: str
    error: str
    kind: str
    retryable: bool
    duration: float
    usage: Usage | None = None
    status: int | None = None
    code: str = ""
    request_id: str = ""


@attrs.define(eq=False)
class ToolStarted(Event):
    """A tool was called, with its arguments as they were given, and whether it may be run again after a crash.

    What a `transactional` one writes is kept with its outcome, or not at all.
    """

    node: str
    tool: str
    call_id: str
    arguments: Any
    idempotent: bool = False
    transactional: bool = False


@attrs.define(eq=False)
class ToolFinished(Event):
    """A tool returned; `writes` are those that it made to the shared state, which count once its step has ended well."""

    node: str
    tool: str
    call_id: str
    result: Any
    duration: float
    writes: tuple[tuple[Any, ...], ...] = ()


@attrs.define(eq=False)
class ToolFailed(Event):
    """A tool raised, timed out, or was called wrongly; `writes` as those of a tool that returned.

    `raised` is where the class of what it raised is found, as ``"module:name"``, where it is neither MARSYS' nor Python's.
    """

    node: str
    tool: str
    call_id: str
    error: str
    duration: float
    writes: tuple[tuple[Any, ...], ...] = ()
    raised: str = ""


@attrs.define(eq=False)
class ToolUncertain(Event):
    """A call that had begun was found again without an end: nobody knows whether it took effect."""

    node: str
    tool: str
    call_id: str
    error: str


@attrs.define(eq=False)
class TeamStarted(Event):
    """A step began a nested run: `team` works on `task`, in the run with the id `inner`."""

    node: str
    team: str
    call_id: str
    inner: str
    task: Any


@attrs.define(eq=False)
class TeamFinished(Event):
    """A nested run came to a result; what it spent counts in this run, too."""

    node: str
    team: str
    call_id: str
    inner: str
    result: Any
    steps: int
    usage: Usage
    tool_calls: int
    duration: float


@attrs.define(eq=False)
class TeamFailed(Event):
    """A nested run failed or was cancelled; what it spent until then counts in this run, too."""

    node: str
    team: str
    call_id: str
    inner: str
    error: str
    steps: int
    usage: Usage
    tool_calls: int
    duration: float


@attrs.define(eq=False)
class LimitReached(Event):
    """A limit of the run or of a branch was reached."""

    limit: str
    value: float
    message: str


@attrs.define(eq=False)
class GuardRefusedInput(Event):
    """A guard refused something; the run ends, unless it was an agent's own and the agent may try again."""

    guard: str
    subject: str
    reason: str


@attrs.define(eq=False)
class Stuck(Event):
    """Code in a thread is past its deadline and cannot be interrupted; the run waits for it."""

    node: str
    what: str


@attrs.define(eq=False)
class Warned(Event):
    """Something the user should know, said once."""

    message: str


@attrs.define(eq=False)
class Dropped(Event):
    """A value that goes nowhere, and why. `source` is the id of the event that handed it on.

    `state` says that the value are writes to the shared state, by key: those of the ``branch``, or those
    that a ``join`` of it had still to take.
    """

    value: Any
    source: EventId
    reason: str
    state: str = ""


@attrs.define(eq=False)
class StateMerged(Event):
    """What was written went into the state beside a join: of a detached branch, as the run ended, into the run's.

    With `fork` it is what the children of that join wrote, which a person has let go on. `state` holds what
    reducers that are functions made of it, by key; with `error` it is None, and nothing was taken.
    """

    state: dict[str, Any] | None
    fork: int | None = None
    error: Any = None


KINDS: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, Event) and cls not in (Event, ModelDelta)
}
"""What can be in a journal, by name."""

STREAMED: dict[str, type[Event]] = {"ModelDelta": ModelDelta}
"""What is told to whoever listens, and recorded nowhere, by name."""


def identity(event: Event) -> tuple[Any, ...]:
    """Return what two equal runs have in common of this event: everything but `seq` and `time`.

    Measured durations are left out as well, and so are the run's own id and date.
    """
    own = {"seq", "time", "duration", "wall_time", "run_id", "session_id"}
    fields = attrs.fields(type(event))
    return (type(event).__name__, *(repr(getattr(event, f.name)) for f in fields if f.name not in own))
