"""Walks the tree of an expression, by `simpleeval`'s evaluator with operators and functions of bounded work."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from simpleeval import SimpleEval

from marsys.expressions._bounds import FUNCTIONS, OPERATORS, Refused
from marsys.expressions._checks import SHAPES

__all__ = ["Evaluator"]


class Evaluator(SimpleEval):  # type: ignore[misc]  # the library ships no annotations
    """Walks a checked tree. An attribute is the key of a mapping, and never anything of an object."""

    nodes: dict[type[ast.AST], Any]

    def __init__(self) -> None:
        super().__init__(operators=dict(OPERATORS), functions=dict(FUNCTIONS), names={})
        kept = {shape: self.nodes[shape] for shape in SHAPES if shape in self.nodes}
        self.nodes = {**kept, ast.List: self._eval_list, ast.Tuple: self._eval_list}

    def _eval(self, node: ast.AST) -> Any:
        # The library looks through every result for forbidden objects; here there are only plain values.
        return self.nodes[type(node)](node)

    def _eval_name(self, node: ast.Name) -> Any:
        return self.names[node.id]

    def _eval_list(self, node: ast.List | ast.Tuple) -> list[Any]:
        return [self._eval(item) for item in node.elts]

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        whole = self._eval(node.value)
        if not isinstance(whole, Mapping):
            msg = f".{node.attr} reads a key of a mapping, and this is {type(whole).__name__}"
            raise Refused(msg)
        return whole[node.attr]

    def _eval_call(self, node: ast.Call) -> Any:
        assert isinstance(node.func, ast.Name)  # the checks have looked
        return self.functions[node.func.id](*[self._eval(argument) for argument in node.args])
