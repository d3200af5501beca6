"""The plugin that checks whether this installation works."""

from __future__ import annotations

from collections.abc import Iterable

from marsys_core import hookimpl
from marsys_core.protocols.health import HealthCheck

__all__ = ["marsys_health_checks"]


@hookimpl
def marsys_health_checks() -> Iterable[HealthCheck]:
    """Offer checks of Python and of the machine."""
    from marsys.health._checks import check_clock, check_fts5, check_threads

    return [
        HealthCheck("sqlite-fts5", check_fts5),
        HealthCheck("worker-threads", check_threads),
        HealthCheck("clock", check_clock),
    ]
