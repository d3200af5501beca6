"""How many random cases a property test takes."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["examples"]


def examples(default: int) -> settings:
    """Settings for a property test; the environment variable MARSYS_EXAMPLES overrides the number."""
    count = int(os.environ.get("MARSYS_EXAMPLES", default))
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])
