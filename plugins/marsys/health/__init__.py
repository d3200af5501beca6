"""Whether this installation works: checks, and a way to ask them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.health._asking import CheckResult, run_checks

__all__ = ["CheckResult", "run_checks"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from marsys.health import _asking

        found: object = getattr(_asking, name)
        return found
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
