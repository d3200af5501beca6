"""How a run is carried out: limits, retries, what is shown. Every field acts or is refused.

What is wrong with a configuration is found when it is made, all of it at once. `describe_fields` lists the
fields with their units and defaults.
"""

# ruff: noqa: RUF009 - `_setting` is a call of attrs.field, made once for the class
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from marsys_core.errors import ConfigError, TopologyError, nearest

if TYPE_CHECKING:
    from marsys_core.topology import ConvergencePolicy

__all__ = ["ExecutionConfig", "RetryConfig", "StatusConfig", "describe_fields"]

T = TypeVar("T")
Check = Callable[[Any], str]
"""Says what is wrong with a value, or nothing where it is right."""

_MOST = 1e9  # seconds: thirty years; what is beyond it is a mistake, or infinite


_LONGEST = 200  # characters of a wrong value: enough to recognise it


def _told(value: object) -> str:
    """Return the representation of a wrong value, cut short, whatever the value is."""
    try:
        text = repr(value)
    except Exception as error:  # an integer of 5,000 digits, or the code of the value
        return f"<{type(value).__qualname__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _expect(noun: str, accepts: Callable[[Any], bool], *, optional: bool = False) -> Check:
    """Make a check out of what it accepts; `optional` accepts None too."""
    noun = f"{noun}, or None" if optional else noun

    def check(value: Any) -> str:
        if optional and value is None:
            return ""
        return "" if accepts(value) else f"should be {noun}, not {_told(value)}"

    return check


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _whole(least: int, *, optional: bool = False) -> Check:
    return _expect(
        f"a whole number, at least {least}",
        lambda value: _is(value, int) and value >= least,
        optional=optional,
    )


def _real(least: int) -> Check:
    return _expect(
        f"a number from {least} to 1e9", lambda value: _is(value, int | float) and least <= value <= _MOST
    )


def _instance(name: str, *, optional: bool = False) -> Check:
    """Check for an instance of a class of this module, by name: it may stand further down."""
    return _expect(f"a {name}", lambda value: isinstance(value, globals()[name]), optional=optional)


def _word(*words: str) -> Check:
    known = " or ".join(map(repr, words))

    def check(value: Any) -> str:
        if value in words:
            return ""
        hint = nearest(value, words) if isinstance(value, str) else ""
        return f"should be {known}, not {_told(value)}{hint and '.' + hint}"

    return check


def _policy(value: Any) -> str:
    if value in ("all", "majority", "any") or (isinstance(value, float) and 0 <= value <= 1):
        return ""
    from marsys_core.topology import ConvergencePolicy

    try:
        ConvergencePolicy.of(value)
    except TopologyError as error:
        return f"cannot be used: {error}"
    except Exception as error:  # the code of a mapping, or a value in it that cannot be shown
        return f"cannot be used: {_told(value)} raised {type(error).__name__}"
    return ""


_flag = _expect("True or False", lambda value: isinstance(value, bool))
_limit = _expect(
    "a number of seconds above 0, at most 1e9",
    lambda value: _is(value, int | float) and 0 < value <= _MOST,
    optional=True,
)
_cost = _expect(
    "a number above 0, at most 1e9",
    lambda value: _is(value, int | float) and 0 < value <= _MOST,
    optional=True,
)
_any_whole = _expect("a whole number", lambda value: _is(value, int), optional=True)


def _setting(default: Any, bounds: str, check: Check, unit: str = "") -> Any:
    """Make a field that knows its unit, what it bounds, and what may stand in it."""
    return attrs.field(default=default, metadata={"unit": unit, "bounds": bounds, "check": check})


def _checked(path: str) -> Callable[[type[T]], type[T]]:
    """Make the constructor of an attrs class refuse what it cannot honour, all of it at once.

    Only what is given is looked at, since defaults are right: a configuration costs what its changes cost.

    Args:
        path: Where the class stands in a configuration, for the problems.
    """

    def decorate(cls: type[T]) -> type[T]:
        checks: dict[str, Check] = {field.name: field.metadata["check"] for field in attrs.fields(cls)}  # type: ignore[arg-type]
        construct: Callable[..., None] = cls.__init__

        @functools.wraps(construct)
        def init(self: T, /, **given: Any) -> None:
            problems = []
            for name, value in given.items():
                if name not in checks:
                    hint = nearest(name, checks)
                    problems.append(f"unknown field {name!r}{hint and '.' + hint} @ {path}")
                elif wrong := checks[name](value):
                    problems.append(f"{name} {wrong} @ {path}.{name}")
            if problems:
                msg = f"{cls.__name__} is not valid:"
                raise ConfigError(msg, problems)
            construct(self, **given)

        cls.__init__ = init  # type: ignore[assignment, method-assign]
        return cls

    return decorate


@_checked("$.execution_config.retry")
@attrs.frozen(kw_only=True)
class RetryConfig:
    """How often and after how long a call is tried again; by default three attempts with full jitter.

    Raises:
        ConfigError: Unknown fields and bad values, all at once.
    """

    max_attempts: int = _setting(3, "all attempts together, the first included", _whole(1))
    initial_delay: float = _setting(0.5, "the longest wait after the first attempt", _real(0), "s")
    multiplier: float = _setting(2.0, "how much longer each wait may be than the one before", _real(1))
    max_delay: float = _setting(30.0, "any wait that no server asked for", _real(0), "s")
    max_retry_after: float = _setting(
        120.0, "a wait that a server asks for; one that asks for longer is not waited for", _real(0), "s"
    )
    jitter: Literal["full", "none"] = _setting(
        "full", "how waits are spread: anywhere below the longest, or not at all", _word("full", "none")
    )

    def delay(self, attempt: int, random: Callable[[], float], retry_after: float | None = None) -> float:
        """Return how many seconds to wait after an attempt that failed.

        Full jitter draws from zero to the longest wait, which grows by `multiplier` up to `max_delay`, so that
        many callers do not come back at once. Source: Marc Brooker, "Exponential Backoff And Jitter", AWS
        Architecture Blog, 2015, https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

        Args:
            attempt: The attempt that failed, counted from 1.
            random: Draws from 0 up to 1.
            retry_after: Seconds that the server asked for, or None; never waits for less. Whether it is
                above `max_retry_after`, and not to be waited for at all, is for the caller to see.
        """
        try:
            longest = min(self.max_delay, self.initial_delay * float(self.multiplier) ** (attempt - 1))
        except OverflowError:  # after a thousand attempts or so
            longest = self.max_delay if self.initial_delay else 0.0
        wait = random() * longest if self.jitter == "full" else longest
        return wait if retry_after is None else max(wait, retry_after)


@_checked("$.execution_config.status")
@attrs.frozen(kw_only=True)
class StatusConfig:
    """What is shown of a run while it goes on.

    Raises:
        ConfigError: Unknown fields and bad values, all at once.
    """

    verbosity: Literal[0, 1, 2] = _setting(
        1,
        "how much is shown: 0 the end, 1 the steps, 2 all",
        _expect("0, 1 or 2", lambda value: _is(value, int) and 0 <= value <= 2),
    )
    show_agent_thoughts: bool = _setting(False, "whether what agents say is shown", _flag)
    show_tool_calls: bool = _setting(True, "whether tool calls are shown", _flag)
    show_timings: bool = _setting(True, "whether durations are shown", _flag)


@_checked("$.execution_config")
@attrs.frozen(kw_only=True)
class ExecutionConfig:
    """The limits of a run, and what is done when something goes wrong. Of several limits the smallest holds.

    Raises:
        ConfigError: Unknown fields and bad values, all at once.
    """

    timeout: float | None = _setting(None, "the run", _limit, "s")
    branch_timeout: float | None = _setting(None, "one branch", _limit, "s")
    step_timeout: float | None = _setting(None, "one step", _limit, "s")
    model_timeout: float | None = _setting(None, "one model call", _limit, "s")
    tool_timeout: float | None = _setting(None, "one tool call", _limit, "s")
    convergence_timeout: float | None = _setting(None, "a join, from the opening of its fork", _limit, "s")
    max_steps: int = _setting(100, "steps in the whole run", _whole(1), "steps")
    max_steps_per_branch: int | None = _setting(
        None, "steps in one branch", _whole(1, optional=True), "steps"
    )
    max_branch_depth: int = _setting(16, "how deep forks nest; 0 for none", _whole(0), "forks")
    max_steering_retries: int = _setting(
        3, "times that a step is told what its action lacked", _whole(0), "attempts"
    )
    max_tool_rounds: int = _setting(
        50, "times that a model and its tools take turns in one step", _whole(1), "rounds"
    )
    max_tokens: int | None = _setting(
        None, "input and output of all model calls", _whole(1, optional=True), "tokens"
    )
    max_cost: float | None = _setting(
        None, "cost of all model calls, in the currency that the models report", _cost
    )
    max_tool_calls: int | None = _setting(None, "tool calls", _whole(0, optional=True), "calls")
    max_parallel_branches: int | None = _setting(
        None, "steps that are running at a time", _whole(1, optional=True), "steps"
    )
    allow_parallel: bool = _setting(True, "whether steps run at a time; False is one after another", _flag)
    convergence_policy: float | str | Mapping[str, Any] | ConvergencePolicy = _setting(
        "all", "what a join needs: a ratio, 'all', 'majority', 'any' or a policy", _policy
    )
    auto_retry_on_error: bool = _setting(
        False, "whether a step that failed recoverably is tried again", _flag
    )
    retry: RetryConfig = _setting(
        RetryConfig(), "attempts, and the waits between them", _instance("RetryConfig")
    )
    raise_errors: bool = _setting(
        True, "whether critical and recoverable errors are raised, or in the result", _flag
    )
    first_result: bool = _setting(False, "whether the first contribution ends the run", _flag)
    detached_failures: Literal["record", "fail"] = _setting(
        "record", "what the failure of a detached branch does to the run", _word("record", "fail")
    )
    max_value_bytes: int = _setting(
        4 * 1024 * 1024, "one value that is handed on or kept", _whole(1), "bytes"
    )
    status: StatusConfig | None = _setting(
        None,
        "what is shown while the run goes on; None for nothing",
        _instance("StatusConfig", optional=True),
    )
    error_routing_enabled: bool = _setting(
        False, "whether a person is asked about a recoverable error, where a channel leads to one", _flag
    )
    durability: Literal["run", "step", "call"] = _setting(
        "step",
        "when what happened is on disk before the run goes on, where runs are kept",
        _word("run", "step", "call"),
    )
    on_uncertain: Literal["fail", "retry", "ask"] = _setting(
        "fail",
        "what becomes of a tool call whose outcome a crash left unknown, and that nothing else settles",
        _word("fail", "retry", "ask"),
    )
    seed: int | None = _setting(None, "what jitter is drawn from; None for a fresh one", _any_whole)


def describe_fields(cls: type) -> list[tuple[str, str, str, str]]:
    """Return a row for each field of a configuration: its name, unit, default, and what it bounds."""
    return [
        (field.name, field.metadata["unit"], _shown(field.default), field.metadata["bounds"])
        for field in attrs.fields(cls)
    ]


def _shown(default: Any) -> str:
    return f"{type(default).__name__}()" if attrs.has(type(default)) else repr(default)
