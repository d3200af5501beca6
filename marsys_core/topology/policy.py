"""`ConvergencePolicy`: when a join has enough to go on with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from marsys_core.errors import TopologyError, nearest
from marsys_core.topology.names import clip, refuse_unknown_fields

__all__ = ["MAJORITY", "ConvergencePolicy"]

MAJORITY = math.nextafter(0.5, 1.0)
"""The smallest ratio that is more than one half: what ``"majority"`` asks for."""

_ENDINGS = ("fail", "proceed", "user")


def _ratio(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        msg = f"min_ratio is a number from 0 to 1, not {clip(value)}"
        raise TopologyError(msg)
    return float(value)


def _quorum(value: object) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        msg = f"quorum is a whole number from 1, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _early(value: object) -> bool:
    if not isinstance(value, bool):
        msg = f"early is True or False, not {clip(value)}"
        raise TopologyError(msg)
    return value


def _timeout(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1e9:
        msg = f"timeout is a number of seconds above 0, at most 1e9, or None, not {clip(value)}"
        raise TopologyError(msg)
    return float(value)


def _on_insufficient(value: object) -> str:
    if value in _ENDINGS:
        return str(value)
    msg = f"on_insufficient is 'fail', 'proceed' or 'user', not {clip(value)}.{nearest(str(value)[:40], _ENDINGS)}"
    raise TopologyError(msg)


@attrs.frozen(kw_only=True)
class ConvergencePolicy:
    """When a join has enough to go on with, and what becomes of it where it never has.

    Of every call of a fork it is known whether it is *open*, has *delivered*, has *failed*, or has *left*
    (it went on somewhere else). What left does not count: the ratio is delivered / (delivered + failed),
    and 1 where both are 0.

    Args:
        min_ratio: The least ratio, from 0 to 1.
        quorum: Instead of a ratio: how many calls have to deliver. Calls that left never deliver, so they
            can make a quorum unreachable.
        early: Go on as soon as the policy is met whatever the open calls do, or can no longer be met,
            and cancel the rest; False waits for all.
        timeout: Seconds after which the rest is cancelled and what has arrived is judged.
        on_insufficient: ``"fail"``: the forking branch fails; ``"proceed"``: it goes on with what there is;
            ``"user"``: a person is asked whether to make the failed calls again, to proceed or to fail.

    Raises:
        TopologyError: A value out of its range, or both a ratio and a quorum.
    """

    min_ratio: float = attrs.field(default=1.0, converter=_ratio)
    quorum: int | None = attrs.field(default=None, converter=_quorum)
    early: bool = attrs.field(default=False, converter=_early)
    timeout: float | None = attrs.field(default=None, converter=_timeout)
    on_insufficient: str = attrs.field(default="fail", converter=_on_insufficient)

    def __attrs_post_init__(self) -> None:
        if self.quorum is not None and self.min_ratio != 1.0:
            msg = f"give min_ratio={self.min_ratio} or quorum={self.quorum}, not both"
            raise TopologyError(msg)

    @classmethod
    def of(cls, value: object) -> ConvergencePolicy:
        """Return the policy that `value` stands for.

        Args:
            value: A policy; a float, the least ratio; ``"all"``; ``"majority"``, more than half of those
                that delivered or failed; ``"any"``, a quorum of one; or a mapping of the fields.

        Raises:
            TopologyError: It stands for no policy.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, float):
            return cls(min_ratio=value)
        if isinstance(value, str):
            return cls._of_word(value)
        if isinstance(value, Mapping):
            refuse_unknown_fields("a convergence policy", value, attrs.fields_dict(cls))
            return cls(**value)
        # A whole number is refused: 1 could mean one call or all of them.
        msg = (
            f"a convergence policy is a float, 'all', 'majority', 'any' or a mapping, not {clip(value)}; "
            "for a number of calls write {'quorum': n}"
        )
        raise TopologyError(msg)

    @classmethod
    def _of_word(cls, word: str) -> ConvergencePolicy:
        short: dict[str, dict[str, Any]] = {
            "all": {},
            "majority": {"min_ratio": MAJORITY},
            "any": {"quorum": 1},
        }
        if word not in short:
            msg = f"no convergence policy is called {clip(word)}; there are: {', '.join(sorted(short))}.{nearest(word[:40], short)}"
            raise TopologyError(msg)
        return cls(**short[word])

    def met(self, delivered: int, failed: int, total: int) -> bool:
        """Return whether the policy is met, whatever the calls that are still open do.

        With all calls settled this is the final word; before, it is what `early` waits for: each open
        call is taken as one that will fail. A call that was cancelled stays open in this sense. Where no
        call counts, because all left, there is nothing to judge, and the policy is met.

        Args:
            delivered: Calls with at least one contribution.
            failed: Calls that failed and delivered nothing; they differ from open ones only in `hopeless`.
            total: The calls that count, open ones included: all but those that left.
        """
        if total == 0:
            return True
        return delivered >= self.quorum if self.quorum is not None else delivered / total >= self.min_ratio

    def hopeless(self, delivered: int, failed: int, total: int) -> bool:
        """Return whether the policy can no longer be met, even if every open call delivers.

        With all calls settled it is the opposite of `met`. The arguments are those of `met`.
        """
        if total == 0:
            return False
        best = total - failed
        return best < self.quorum if self.quorum is not None else best / total < self.min_ratio
