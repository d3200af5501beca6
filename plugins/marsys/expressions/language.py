"""`SimpleExpressions`: comparisons, arithmetic and a few functions, checked whole before anything is worked out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from marsys.expressions._evaluator import Evaluator

__all__ = ["SimpleExpressions"]


@attrs.frozen(kw_only=True)
class SimpleExpressions:
    """The expression language ``simple``.

    Args:
        max_nodes: How many names, values and operators an expression may have.
        max_depth: How deep they may be nested.
    """

    name: str = attrs.field(default="simple", init=False)
    max_nodes: int = 200
    max_depth: int = 30

    def compile(self, text: str, /) -> Callable[[Mapping[str, Any]], Any]:
        """Read `text` once, and return what works it out from names.

        Raises:
            ConfigError: It cannot be read, it is too large, or it holds what is not allowed.
        """
        from marsys.expressions._checks import read
        from marsys.expressions._evaluator import Evaluator

        tree = read(text, self.max_nodes, self.max_depth)
        # An evaluator holds the names while it walks, so each call has one of its own; they are used again.
        idle: list[Evaluator] = []

        def evaluate(names: Mapping[str, Any]) -> Any:
            try:
                evaluator = idle.pop()
            except IndexError:
                evaluator = Evaluator()
            evaluator.names = names
            try:
                return evaluator._eval(tree)
            finally:
                evaluator.names = None
                idle.append(evaluator)

        return evaluate
