"""Everything that MARSYS raises, in one tree.

* MarsysError
    + CriticalError            no agent can mend it: the caller has to act
        - ConfigError          settings, all problems at once, each with its path
            . TopologyError    a graph that cannot run
            . SettingsError    a plugin's own section
            . PluginError      a plugin that was asked for and cannot be had
            . UnknownName      a name that nothing provides, with the nearest ones
            . ChangedRun       a run that was to go on with other agents, tools or settings; `.problems`
        - UncertainOutcome     a tool call that may have taken effect, and is not made again
        - NondeterminismError  a step taken again that left out calls it had made before
        - FormatError          an entry of a journal that cannot be read; `.run_id`, `.seq`, `.path`
        - GuardRefused         a guard said no, or broke
        - StoreError           runs that cannot be kept or read: a full disk, a wrong file; `.path`
            . RunHeld          somebody else has the run; `.run_id`, `.holder`, `.host`, `.pid`, `.since`
            . StoreDamaged     what is read is not what was written; `.run_id`, `.seq`, `.entries` before it
    + RecoverableError         it may go well next time: network, overload, rate limit
    + RunError                 how an agent's work ended; found in `RunResult.error`
        - AgentError           an agent's own code raised, or it said `Fail`
            . AsyncioError     asyncio code that does not say so, awaits Trio, or was cancelled from inside
        - ActionError          an action the topology does not allow, or none at all
        - ConvergenceError     a join whose policy was not met; `.failures` has every child's error
        - ValueRefused         a value that cannot be recorded as plain data
        - StateError           a write to the shared state that its reducer does not take
            . StateConflict    two branches side by side wrote one key that has no reducer
        - ConditionError       the condition of an edge raised
        - LimitError           a limit was reached; `.limit` names it
        - Timeout              a deadline passed
            . RunTimeout
            . BranchTimeout
            . JoinTimeout
            . StepTimeout
            . ModelTimeout
            . ToolTimeout
            . UserTimeout
        - RuleBlocked          a rule did not let a step, an action or a fork be; `.rule`, `.reason`
        - RuleStopped          a rule ended the run; `.rule`, `.reason`
        - RuleError            a rule raised, or gave what is no verdict; `.rule`
        - UserUnavailable      a person was asked, and no channel leads to one
        - AnswerRefused        an answer that the question does not allow
        - Cancelled            a branch or run that was cancelled from outside
    + ModelError               what a model or its provider did; `.kind`, `.retryable`, `.retry_after`
    + ToolError                a tool call that went wrong; the model sees it as a result
    + PluginUnavailable        raised by a plugin that lacks something; the text is the remedy
    + MaxRetriesExceeded       for callers' own retry loops; MARSYS never raises it
    + LifecycleError           something closed was used, or something open was changed
    + InternalError            our bug: please report it

`CriticalError` and `RecoverableError` are also for agents and tools to raise. Every type takes any
message or none; the engine adds the place.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marsys_core.messages import Usage
    from marsys_core.results import RunResult

__all__ = [
    "ActionError",
    "AgentError",
    "AnswerRefused",
    "AsyncioError",
    "BranchTimeout",
    "Cancelled",
    "ChangedRun",
    "ConditionError",
    "ConfigError",
    "ConvergenceError",
    "CriticalError",
    "ErrorClass",
    "FormatError",
    "GuardRefused",
    "InternalError",
    "JoinTimeout",
    "LifecycleError",
    "LimitError",
    "MarsysError",
    "MaxRetriesExceeded",
    "ModelError",
    "ModelErrorKind",
    "ModelTimeout",
    "NondeterminismError",
    "Place",
    "PluginError",
    "PluginUnavailable",
    "RecoverableError",
    "RuleBlocked",
    "RuleError",
    "RuleStopped",
    "RunError",
    "RunHeld",
    "RunTimeout",
    "SettingsError",
    "StateConflict",
    "StateError",
    "StepTimeout",
    "StoreDamaged",
    "StoreError",
    "Timeout",
    "ToolError",
    "ToolTimeout",
    "TopologyError",
    "UncertainOutcome",
    "UnknownName",
    "UserTimeout",
    "UserUnavailable",
    "ValueRefused",
    "class_of",
    "nearest",
    "placed",
    "told",
    "worst",
]


class ErrorClass(enum.Enum):
    """What an error means for the caller of a run; `marsys_classify_error` returns one."""

    FAILURE = "failure"
    """The agents' work ended badly: it is in the result, and nothing is raised."""
    RECOVERABLE = "recoverable"
    """It may go well next time; retried, then raised as `RecoverableError`."""
    CRITICAL = "critical"
    """Nobody inside the run can mend it; raised as `CriticalError`, never retried."""


class Place:
    """Where in a run something went wrong: branch path, node and step, as far as they are known."""

    __slots__ = ("branch", "node", "step")

    def __init__(self, branch: str = "", node: str = "", step: int = 0) -> None:
        self.branch, self.node, self.step = branch, node, step

    def __str__(self) -> str:
        parts = [f"branch {self.branch}" if self.branch else "", f"node {self.node!r}" if self.node else ""]
        parts.append(f"step {self.step}" if self.step else "")
        return ", ".join(part for part in parts if part)

    def __repr__(self) -> str:
        return f"Place({self.branch!r}, {self.node!r}, {self.step})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Place):
            return NotImplemented
        return (self.branch, self.node, self.step) == (other.branch, other.node, other.step)

    def __hash__(self) -> int:
        return hash((self.branch, self.node, self.step))


class MarsysError(Exception):
    """The root of the tree.

    Attributes:
        place: Where in a run it happened, once the engine knows.
        error_class: What it means for the caller of the run.
    """

    place: Place | None = None
    error_class: ErrorClass = ErrorClass.FAILURE

    def __str__(self) -> str:
        text = super().__str__()
        if self.place is None or not (where := str(self.place)):
            return text
        return f"{text} (at {where})" if text else f"at {where}"


class CriticalError(MarsysError):
    """No agent can mend it: bad keys, a missing extra, bad configuration, a guard's refusal.

    Raised by `Orchestra.run`; an agent or a tool may raise it too. `result` is what the run came to,
    or None where it never started.
    """

    error_class = ErrorClass.CRITICAL
    result: RunResult | None = None


class RecoverableError(MarsysError):
    """The same call may go well later: network, overload, rate limit. Raised after the retries.

    Raised by `Orchestra.run`; an agent or a tool may raise it too. `result` is what the run came to.
    """

    error_class = ErrorClass.RECOVERABLE
    result: RunResult | None = None


class ConfigError(CriticalError):
    """Settings that cannot be honoured.

    Args:
        message: One problem, or the headline of several.
        problems: Each problem with its path, for example ``"unknown field 'max_stpes' @ $.limits"``.
    """

    def __init__(self, message: str = "", problems: Iterable[str] = ()) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        lines = [message] if message else []
        lines += [f"  - {problem}" for problem in self.problems]
        super().__init__("\n".join(lines))


class TopologyError(ConfigError):
    """A graph that cannot run; every problem at once, each naming the nodes and the fix."""


class SettingsError(ConfigError):
    """A plugin's own section of the configuration is wrong."""


class PluginError(ConfigError):
    """A plugin that was asked for is broken, blocked, missing, or clashes with another."""


class UnknownName(ConfigError):
    """Nothing provides this name.

    Args:
        kind: What was looked for, for example ``"model"``.
        name: The name that is unknown.
        known: The names there are; the nearest is suggested.
        hint: What else to say, for example why a plugin is not there.
    """

    def __init__(self, kind: str = "", name: str = "", known: Iterable[str] = (), hint: str = "") -> None:
        self.kind, self.name, self.known, self.hint = kind, name, tuple(sorted(known)), hint
        message = f"no {kind} is called {name!r}" if name else kind
        if name:
            listed = ", ".join(self.known) if self.known else "none"
            message += f"; there are: {listed}.{nearest(name, self.known)}"
        super().__init__(f"{message} {hint}" if hint else message)

    def asked_by(self, who: str) -> UnknownName:
        """Return the same error with who gave the name, for example ``"agent 'Writer'"``."""
        return UnknownName(self.kind, self.name, self.known, f"{self.hint} ({who})".strip())


class FormatError(CriticalError):
    """An entry of a journal that cannot be read, or not be written.

    Args:
        message: What is wrong, and where.
        run_id: Whose journal it is.
        seq: The place of the entry there; -1 where it has none.
        kind: Which event it was to be.
        path: The place within the entry, ``$`` being all of it.
        expected: What would have been right.
        found: What is there, shortened.
    """

    def __init__(
        self,
        message: str = "",
        *,
        run_id: str = "",
        seq: int = -1,
        kind: str = "",
        path: str = "$",
        expected: str = "",
        found: str = "",
    ) -> None:
        super().__init__(message)
        self.run_id, self.seq, self.kind = run_id, seq, kind
        self.path, self.expected, self.found = path, expected, found


class GuardRefused(CriticalError):
    """A guard refused the input, or raised, which counts as a refusal."""


class StoreError(CriticalError):
    """A store of runs cannot keep or read something: a full disk, no permission, a file of another kind.

    Args:
        message: What could not be done, and what to do.
        path: The file or the address of the store.
    """

    def __init__(self, message: str = "", path: str = "") -> None:
        super().__init__(message)
        self.path = path


class RunHeld(StoreError):
    """A run is written by one holder at a time, and somebody else has it.

    Args:
        message: Who has it.
        path: The file or the address of the store.
        run_id: The run.
        holder: What the holder calls itself.
        host: The machine it is on.
        pid: Its process there.
        since: When it took the run, in seconds since 1970.
    """

    def __init__(
        self,
        message: str = "",
        path: str = "",
        *,
        run_id: str = "",
        holder: str = "",
        host: str = "",
        pid: int = 0,
        since: float = 0.0,
    ) -> None:
        super().__init__(message, path)
        self.run_id, self.holder, self.host, self.pid, self.since = run_id, holder, host, pid, since


class StoreDamaged(StoreError):
    """What is read from a store is not what was written.

    Args:
        message: What was found, and what can still be read.
        path: The file or the address of the store.
        run_id: The run it is in, where that is known.
        seq: The first entry of the run that cannot be read, where that is known.
        entries: The entries before it.
    """

    def __init__(
        self,
        message: str = "",
        path: str = "",
        *,
        run_id: str = "",
        seq: int | None = None,
        entries: Sequence[Any] = (),
    ) -> None:
        super().__init__(message, path)
        self.run_id, self.seq, self.entries = run_id, seq, tuple(entries)


class RunError(MarsysError):
    """How an agent's work ended badly; in `RunResult.error` and raised by `RunResult.unwrap`."""


class AgentError(RunError):
    """An agent's own code raised (the exception is `__cause__`), or the agent said `Fail`."""


class AsyncioError(AgentError):
    """Code awaits asyncio and does not say so, or says so and awaits Trio, or its task was cancelled from inside.

    Args:
        message: What was awaited, where, and what to write.
        declaration: What to write; empty where the task was cancelled.
    """

    def __init__(self, message: str = "", declaration: str = "") -> None:
        super().__init__(message)
        self.declaration = declaration


class ActionError(RunError):
    """An action that cannot be done: malformed, along an edge that is not there, or none at all.

    An answer that has not the shape that was asked for is one, too.

    Args:
        message: What was wrong with it.
        reply: The last reply of the agent, for diagnosis.
    """

    def __init__(self, message: str = "", reply: Any = None) -> None:
        super().__init__(message)
        self.reply = reply


class ConvergenceError(RunError):
    """A join's policy was not met.

    Args:
        message: Which policy, and what arrived.
        failures: The errors of the children, in the order of the calls.
    """

    def __init__(self, message: str = "", failures: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.failures = tuple(failures)
        self.error_class = worst(class_of(error) for error in failures)


class ValueRefused(RunError):
    """A value that cannot be recorded as plain data: its type, its depth or its size; or one that an agent does not take."""


class StateError(RunError):
    """A write to the shared state that the reducer of its key does not take.

    Args:
        message: What was wrong.
        key: The key.
    """

    def __init__(self, message: str = "", key: str = "") -> None:
        super().__init__(message)
        self.key = key


class StateConflict(StateError):
    """Two branches side by side wrote one key that has no reducer, so neither value can hold."""


class ConditionError(RunError):
    """The condition of an edge raised, so that nobody can say whether the edge is open.

    Args:
        message: What was raised.
        edge: The edge, as it is written.
        condition: Its expression, or the name of its function.
    """

    def __init__(self, message: str = "", edge: str = "", condition: str = "") -> None:
        super().__init__(message)
        self.edge, self.condition = edge, condition


class LimitError(RunError):
    """A limit was reached.

    Args:
        message: What happened.
        limit: The name of the limit, for example ``"max_steps"``.
    """

    def __init__(self, message: str = "", limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


class Timeout(RunError):
    """A deadline passed. `limit` names the setting and `seconds` its value."""

    def __init__(self, message: str = "", limit: str = "", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.limit, self.seconds = limit, seconds


class RunTimeout(Timeout):
    """The whole run took longer than `timeout`."""


class BranchTimeout(Timeout):
    """One branch took longer than `branch_timeout`."""


class JoinTimeout(Timeout):
    """A join waited longer than `convergence_timeout`."""


class StepTimeout(Timeout):
    """One step took longer than `step_timeout`."""


class ModelTimeout(Timeout):
    """One model call took longer than `model_timeout`."""


class ToolTimeout(Timeout):
    """One tool call took longer than its limit."""


class UserTimeout(Timeout):
    """Nobody answered a question within its timeout, and it has no default."""


class RuleBlocked(RunError):
    """A rule did not let a step, its action or a fork be.

    Args:
        message: What it blocked, and why.
        rule: What the rule is called.
        reason: Its own words.
    """

    def __init__(self, message: str = "", rule: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.rule, self.reason = rule, reason


class RuleStopped(RunError):
    """A rule ended the run; the arguments are those of `RuleBlocked`."""

    def __init__(self, message: str = "", rule: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.rule, self.reason = rule, reason


class RuleError(RunError):
    """A rule raised (the exception is `__cause__`), or gave what is no verdict.

    Args:
        message: What happened.
        rule: What the rule is called.
    """

    def __init__(self, message: str = "", rule: str = "") -> None:
        super().__init__(message)
        self.rule = rule


class UserUnavailable(RunError):
    """A person was asked and there is no channel to one; the run never blocks for ever."""


class AnswerRefused(RunError):
    """An answer that is none of the question's options, or does not fit its schema."""


class Cancelled(RunError):
    """A branch or a run that was cancelled; only ever found in a result, never raised by a run."""


class ModelErrorKind(enum.Enum):
    """What went wrong at a model, in words that do not depend on the provider."""

    AUTHENTICATION = "authentication"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_TOO_LONG = "context_too_long"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    TIMEOUT = "timeout"
    NETWORK = "network"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    EMPTY = "empty"
    MALFORMED = "malformed"


_RETRYABLE = frozenset(
    {
        ModelErrorKind.RATE_LIMIT,
        ModelErrorKind.OVERLOADED,
        ModelErrorKind.TIMEOUT,
        ModelErrorKind.NETWORK,
    }
)
_CRITICAL = frozenset(
    {
        ModelErrorKind.AUTHENTICATION,
        ModelErrorKind.PERMISSION,
        ModelErrorKind.NOT_FOUND,
        ModelErrorKind.QUOTA,
    }
)


class ModelError(MarsysError):
    """A model call that went wrong, classified.

    Args:
        message: What went wrong, with the provider's own words.
        kind: What it was.
        retryable: Whether the same request may go well later; by default it follows from `kind`.
        retry_after: Seconds that the provider asked to wait, or None.
        provider: Who said so.
        status: The status of the HTTP response, or None.
        code: The provider's code for the error.
        type: The provider's type of error.
        said: The provider's message, word for word.
        request_id: What the provider calls the request, for its support.
        usage: What the call cost all the same, a `Usage`, where the provider said so.
    """

    def __init__(
        self,
        message: str = "",
        *,
        kind: ModelErrorKind = ModelErrorKind.MALFORMED,
        retryable: bool | None = None,
        retry_after: float | None = None,
        provider: str = "",
        status: int | None = None,
        code: str = "",
        type: str = "",
        said: str = "",
        request_id: str = "",
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = kind in _RETRYABLE if retryable is None else retryable
        self.retry_after = retry_after
        self.provider, self.status, self.code, self.type = provider, status, code, type
        self.said, self.request_id, self.usage = said, request_id, usage
        if self.retryable:
            self.error_class = ErrorClass.RECOVERABLE
        elif kind in _CRITICAL:
            self.error_class = ErrorClass.CRITICAL


class UncertainOutcome(CriticalError):
    """A tool call had begun when its run was interrupted, and nobody knows whether it took effect.

    It is not made again: that could do the same thing twice. Find out, and say what holds, or declare the tool
    ``idempotent=True``.
    """


class NondeterminismError(CriticalError):
    """A step that was taken again did not make calls that it had made before, and that may have had an effect."""


class ChangedRun(ConfigError):
    """A run was to go on with other agents, tools, topology or settings than it began with; `problems` says which."""


class ToolError(MarsysError):
    """A tool call that went wrong; raised by a tool to tell the model, which sees it as a result."""


class PluginUnavailable(MarsysError):
    """Raised by a plugin that lacks something. The text is the remedy: ``pip install marsys-core[redis]``."""


class MaxRetriesExceeded(MarsysError):
    """For callers' own retry loops; MARSYS itself never raises it."""


class LifecycleError(MarsysError):
    """Something was used after it was closed, or changed after it was frozen."""


class InternalError(MarsysError):
    """A bug in MARSYS. Please report it with the traceback."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known names nearest to `name`, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(match) for match in close)}?"


def told(error: BaseException) -> str:
    """Return the text of `error`, also where its own code fails to give one."""
    try:
        return str(error)
    except Exception as failed:
        return f"({type(error).__name__} whose text cannot be had: {type(failed).__name__})"


def class_of(error: BaseException) -> ErrorClass:
    """Return what `error` means for the caller of a run; only MARSYS' own errors say."""
    found = getattr(error, "error_class", None) if isinstance(error, MarsysError) else None
    return found if isinstance(found, ErrorClass) else ErrorClass.FAILURE


def placed(error: BaseException, place: Place, *, anew: bool = False) -> BaseException:
    """Return `error` with its place in the run, or an `AgentError` about it where it takes none.

    Args:
        error: What was raised.
        place: Where.
        anew: Whether a place that it has already gives way.
    """
    if not isinstance(error, MarsysError):
        return error
    try:
        if anew or error.place is None:
            error.place = place
    except Exception:
        about = AgentError(f"{type(error).__name__}: {told(error)}")
        about.place, about.error_class, about.__cause__ = place, class_of(error), error
        return about
    return error


def worst(classes: Iterable[ErrorClass]) -> ErrorClass:
    """Return the gravest of `classes`; of none, `ErrorClass.FAILURE`."""
    order = (ErrorClass.FAILURE, ErrorClass.RECOVERABLE, ErrorClass.CRITICAL)
    return max(classes, key=order.index, default=ErrorClass.FAILURE)
