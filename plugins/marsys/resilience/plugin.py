"""The plugin that repeats model calls, and says which errors may pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from marsys_core import hookimpl

if TYPE_CHECKING:
    from marsys_core.errors import ErrorClass
    from marsys_core.protocols.middleware import Middleware

__all__ = ["marsys_classify_error", "marsys_middleware"]


@hookimpl
def marsys_middleware() -> Iterable[Middleware]:
    """Stand round model calls, and repeat those that failed for a passing reason."""
    from marsys.resilience._retry import RetryMiddleware

    return [RetryMiddleware()]


# After every other plugin: one that knows a library better is to be heard first.
@hookimpl(trylast=True)
def marsys_classify_error(error: BaseException) -> ErrorClass | None:
    """Say what exceptions of the standard library, of Trio and of common clients mean."""
    from marsys.resilience._classify import classify

    return classify(error)
