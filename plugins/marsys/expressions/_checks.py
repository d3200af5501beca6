"""What an expression may consist of, and how large it may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from marsys.expressions._bounds import FUNCTIONS, MAX_BITS, OPERATORS
from marsys_core.errors import ConfigError, nearest

__all__ = ["SHAPES", "read"]

_MAX_CHARACTERS = 1000

SHAPES: tuple[type[ast.AST], ...] = (
    *(ast.Expression, ast.Constant, ast.Name, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.IfExp),
    *(ast.Subscript, ast.Slice, ast.Attribute, ast.List, ast.Tuple, ast.Call),
)
_ALLOWED = frozenset({*SHAPES, ast.And, ast.Or, ast.Load, *OPERATORS})
_SAID = {
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment (:=)",
    ast.JoinedStr: "an f-string",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Starred: "a star",
    ast.Await: "await",
}
_CONSTANTS = (str, int, float, bool, type(None))


def read(text: str, max_nodes: int, max_depth: int) -> ast.AST:
    """Return the tree of an expression.

    Raises:
        ConfigError: It cannot be read, it is too large, or it holds what is not allowed.
    """
    if len(text) > _MAX_CHARACTERS:
        msg = f"an expression has at most {_MAX_CHARACTERS} characters, and this has {len(text)}"
        raise ConfigError(msg)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        at = error.offset or 0
        place = f"character {at}" if 0 < at <= len(text) else "at its end"
        msg = f"it is no expression: {error.msg} ({place})"
        raise ConfigError(msg) from error
    except (ValueError, RecursionError, MemoryError) as error:
        msg = f"it is no expression: {error or 'nested too deep'}"
        raise ConfigError(msg) from error
    for count, (node, depth) in enumerate(_walk(tree), 1):
        if count > max_nodes or depth > max_depth:
            msg = f"it is too large: at most {max_nodes} parts, nested at most {max_depth} deep"
            raise ConfigError(msg)
        _check(node)
    return tree


def _walk(tree: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    """Yield the parts of an expression with their depth, without recursion; operators count as nothing."""
    waiting = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting += [
            (child, depth + 1)
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.operator | ast.boolop | ast.cmpop | ast.unaryop | ast.expr_context)
        ]


def _check(node: ast.AST) -> None:
    operators = [getattr(node, "op", None), *getattr(node, "ops", ())]
    for part in (node, *(each for each in operators if each is not None)):
        if type(part) not in _ALLOWED:
            msg = f"{_SAID.get(type(part), type(part).__name__)} is not allowed{_place(node)}"
            raise ConfigError(msg)
    if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
        msg = f"{node.attr!r} is not allowed{_place(node)}: a name after a dot is the key of a mapping, without a leading '_'"
        raise ConfigError(msg)
    if isinstance(node, ast.Constant):
        _check_constant(node)
    if isinstance(node, ast.Call):
        _check_call(node)


def _check_constant(node: ast.Constant) -> None:
    if not isinstance(node.value, _CONSTANTS):
        msg = f"{node.value!r:.80} is not allowed{_place(node)}"
        raise ConfigError(msg)
    if isinstance(node.value, int) and node.value.bit_length() > MAX_BITS:
        msg = f"a number of more than {MAX_BITS} bits is not allowed{_place(node)}"
        raise ConfigError(msg)


def _check_call(node: ast.Call) -> None:
    if not isinstance(node.func, ast.Name):
        msg = f"only functions are called, not methods{_place(node)}; there are: {', '.join(FUNCTIONS)}"
        raise ConfigError(msg)
    if node.func.id not in FUNCTIONS:
        hint = nearest(node.func.id[:100], FUNCTIONS)
        msg = (
            f"no function is called {node.func.id!r}{_place(node)}; there are: {', '.join(FUNCTIONS)}.{hint}"
        )
        raise ConfigError(msg)
    if node.keywords:
        msg = f"{node.func.id} takes no keywords{_place(node)}"
        raise ConfigError(msg)


def _place(node: ast.AST) -> str:
    column = getattr(node, "col_offset", None)
    return "" if column is None else f" (character {column + 1})"
