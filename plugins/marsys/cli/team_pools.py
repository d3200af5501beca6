"""The pools of a team file: ``pool = 3`` in the table of an agent, or a table of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marsys.cli.problems import Problems, at, clipped

__all__ = ["pool_settings"]

_KEYS = ("instances", "warm_start", "max_idle_time")


def pool_settings(given: object, path: str, problems: Problems) -> Mapping[str, Any] | None:
    """Return what an `AgentPool` is made with, or None where that is not said as it has to be.

    Args:
        given: What stands under ``pool``: a number of instances, or a table.
        path: Where it stands.
        problems: Takes what is wrong.
    """
    if isinstance(given, dict):
        table = problems.table(given, path, _KEYS)
        place = at(path, "instances")
    elif isinstance(given, int):
        table, place = {"instances": given}, path
    else:
        problems.add(f"expected a number of instances or a table, got {clipped(given)}", path)
        return None
    instances = table.get("instances", 1)
    if isinstance(instances, bool) or not isinstance(instances, int) or instances < 1:
        problems.add(f"expected a whole number from 1, got {clipped(instances)}", place)
    warm_start = table.get("warm_start", False)
    if not isinstance(warm_start, bool):
        problems.add(f"expected true or false, got {clipped(warm_start)}", at(path, "warm_start"))
    seconds = table.get("max_idle_time")
    if seconds is not None and not _is_duration(seconds):
        problems.add(
            f"expected a number of seconds above 0, got {clipped(seconds)}", at(path, "max_idle_time")
        )
    return {"num_instances": instances, "warm_start": warm_start, "max_idle_time": seconds}


def _is_duration(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and 0 < value < float("inf")
