"""Trying again what may go well the next time, and telling it from what will not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.resilience._classify import classify
    from marsys.resilience._retry import RetryMiddleware

__all__ = ["RetryMiddleware", "classify"]


def __getattr__(name: str) -> object:
    if name == "RetryMiddleware":
        from marsys.resilience._retry import RetryMiddleware

        return RetryMiddleware
    if name == "classify":
        from marsys.resilience._classify import classify

        return classify
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
