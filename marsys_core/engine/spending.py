"""What was spent, as the record of a run tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from marsys_core import events as e
from marsys_core.messages import Usage

__all__ = ["usage_of"]

_SPENT = (e.ModelReplied, e.ModelFailed, e.TeamFinished, e.TeamFailed)
_ALL: Mapping[str, float] = {}


def usage_of(events: Iterable[e.Event], ends: Mapping[str, float] = _ALL) -> Usage | None:
    """Return what `events` tell was spent; None where nothing was.

    Args:
        events: Of one run, or of a part of it.
        ends: The `seq` up to which the events of a branch count, where not all do.
    """
    total: Usage | None = None
    for event in events:
        if not isinstance(event, _SPENT) or event.usage is None:
            continue
        if ends and event.seq >= ends.get(event.branch, event.seq + 1):
            continue
        usage = event.usage
        if isinstance(event, e.ModelReplied) and not usage.model_calls:
            usage = attrs.evolve(usage, model_calls=1)
        total = usage if total is None else total + usage
    return total
