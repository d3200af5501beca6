"""The plugin that reads expressions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from marsys_core import hookimpl

if TYPE_CHECKING:
    from marsys_core.protocols.expression import ExpressionLanguage

__all__ = ["ExpressionSettings", "marsys_choose", "marsys_expressions", "marsys_settings"]


@attrs.frozen(kw_only=True)
class ExpressionSettings:
    """How large an expression may be.

    Args:
        max_nodes: Names, values and operators together.
        max_depth: The deepest nesting.
    """

    max_nodes: int = attrs.field(default=200, validator=attrs.validators.in_(range(1, 1001)))
    max_depth: int = attrs.field(default=30, validator=attrs.validators.in_(range(1, 61)))


marsys_settings = ExpressionSettings


@hookimpl
def marsys_expressions(settings: ExpressionSettings) -> Iterable[ExpressionLanguage]:
    """Offer the language of simple expressions."""
    from marsys.expressions.language import SimpleExpressions

    return [SimpleExpressions(max_nodes=settings.max_nodes, max_depth=settings.max_depth)]


@hookimpl(trylast=True)
def marsys_choose(kind: str, names: Iterable[str]) -> str | None:
    """Read expressions with this language, unless another plugin's is chosen."""
    return "simple" if kind == "expression" and "simple" in names else None
