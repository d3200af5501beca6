"""Health checks: one named question whether something works."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

__all__ = ["HealthCheck"]


@attrs.frozen
class HealthCheck:
    """One question that `marsys.health_check()` and a server's health page ask.

    Args:
        name: Unique among the health checks, for example ``"memory.sqlite"``.
        check: Called without arguments and awaited, under the asker's time limit. Returning means
            healthy; an exception means it is not, and its text is shown.
    """

    name: str
    check: Callable[[], Awaitable[None]]
