"""How rules are written: ``timeout(30)``, ``{"timeout": 30}`` or an object, and which objects can be rules.

What a rule's name stands for is not known here: plugins declare it, and it is looked up when a run is put
together.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology.metadata import plain_metadata
from marsys_core.topology.names import clip

__all__ = ["EFFECTS", "POINTS", "RuleCall", "flaw_of_rule", "rule_from", "rule_to_dict", "rule_to_text"]

POINTS = ("before_step", "after_step", "before_fork")
"""The methods of a rule that are called while a run goes on."""

EFFECTS = ("limits", "shape")
"""The methods of a rule that are called once, before any run."""

_BARE = re.compile(r'[^\s,:="(){}\[\]]+')
_NUMBER = re.compile(r"[+-]?\d+(?P<fraction>\.\d+)?")
_TOKEN = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<bare>[^\s,:="(){}\[\]]+)|(?P<mark>[,:=()]))')
_OBJECT, _TYPE = "object", "type"  # words of the dict form, and so no names
_WORDS = {"true": True, "false": False}


def _name(value: object) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value) and value not in (_OBJECT, _TYPE):
        return value
    msg = f"{clip(value)} cannot be a rule's name"
    raise TopologyError(msg)


@attrs.frozen
class RuleCall:
    """A rule by its name, with the arguments it is made with; it has either kind of them.

    Args:
        name: What a plugin declares it as.
        positional: The arguments in order.
        named: The arguments by name.
    """

    name: str = attrs.field(converter=_name)
    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the dict form, which `rule_from` reads."""
        if self.named:
            return {self.name: dict(self.named)}
        if len(self.positional) == 1 and not isinstance(self.positional[0], list | Mapping | None):
            return {self.name: self.positional[0]}
        return {self.name: list(self.positional)}

    def __str__(self) -> str:
        given = [_spelled(value) for value in self.positional]
        given += [f"{_spelled(key)}:{_spelled(value)}" for key, value in self.named.items()]
        return f"{self.name}({', '.join(given)})"


def rule_from(value: object) -> object:
    """Return the `RuleCall` that a text or a mapping stands for, or the rule object itself.

    Raises:
        TopologyError: It is none of these, or cannot be read.
    """
    if isinstance(value, RuleCall):
        return value
    if isinstance(value, str):
        return _Reader(value).call()
    if isinstance(value, Mapping):
        return _from_mapping(value)
    if found := flaw_of_rule(value):
        raise TopologyError(found)
    return value


def flaw_of_rule(value: object) -> str:
    """Return why an object cannot be a rule, or nothing."""
    if isinstance(value, type):
        return f"a rule is an object, not the class {value.__name__}; write {value.__name__}(...)"
    methods = {name: getattr(value, name, None) for name in (*POINTS, *EFFECTS)}
    if not any(callable(method) for method in methods.values()):
        return (
            f"a rule is a text, a mapping or an object with one of {', '.join(POINTS)}, "
            f"not {clip(value)} ({type(value).__name__})"
        )
    waiting = [name for name, method in methods.items() if _waits(method)]
    if waiting:
        name = type(value).__name__
        return f"{waiting[0]} of rule {name} is async, and rules may not wait; write a plain function"
    return ""


def _waits(method: Any) -> bool:
    for each in (method, getattr(type(method), "__call__", None)):  # noqa: B004 - the function behind it
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            return True
    return False


def rule_to_dict(rule: object) -> dict[str, Any]:
    """Return what `Topology.to_dict` says of a rule: its dict form, or the class of an object that has none."""
    if callable(write := getattr(rule, "to_dict", None)):
        return plain_metadata(write(), "a rule")
    return {_OBJECT: f"{type(rule).__module__}:{type(rule).__qualname__}"}


def rule_to_text(rule: object) -> str:
    """Return a rule as drawings and messages name it."""
    if isinstance(rule, RuleCall):
        return str(rule)
    if callable(getattr(rule, "to_dict", None)):
        return str(_from_mapping(rule_to_dict(rule)))
    name = getattr(rule, "name", None)
    return name if isinstance(name, str) and name else type(rule).__name__


def _from_mapping(value: Mapping[Any, Any]) -> RuleCall:
    fields = plain_metadata(value, "a rule")
    if _TYPE in fields:
        name = fields.pop(_TYPE)
        arguments: Any = fields
    elif len(fields) == 1:
        [(name, arguments)] = fields.items()
    else:
        msg = (
            'a rule as a mapping is {"name": argument} or {"type": "name", "argument": value}, '
            f"not {clip(dict(value))}"
        )
        raise TopologyError(msg)
    if name == _OBJECT:
        msg = (
            f"the rule {clip(arguments)} is an object of a program and cannot be read from data; "
            "give the object itself in rules="
        )
        raise TopologyError(msg)
    if isinstance(arguments, Mapping):
        return RuleCall(name, (), arguments)
    if isinstance(arguments, list):
        return RuleCall(name, tuple(arguments))
    return RuleCall(name, () if arguments is None else (arguments,))


def _spelled(value: Any) -> str:
    if isinstance(value, str):
        plain = _BARE.fullmatch(value) and _read_word(value) == value
        return value if plain else f'"{value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}"


def _read_word(word: str) -> Any:
    if (number := _NUMBER.fullmatch(word)) is not None and len(word) < 100:
        return float(word) if number["fraction"] else int(word)
    return _WORDS.get(word, word)


class _Reader:
    """Reads one text: a name, and arguments in round brackets."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._tokens())
        self.at = 0

    def call(self) -> RuleCall:
        kind, name = self._next()
        if kind != "bare":
            self._fail("a rule begins with its name")
        if self.at == len(self.tokens):
            return RuleCall(name)
        self._expect("(")
        positional: list[Any] = []
        named: dict[str, Any] = {}
        while self._peek() != ")":
            self._argument(positional, named)
            if self._peek() != ")":
                self._expect(",")
        self._expect(")")
        if self.at < len(self.tokens):
            self._fail(f"{self.tokens[self.at][1]!r} stands after its end")
        if positional and named:
            self._fail("give its arguments by place or by name, not both")
        return RuleCall(name, tuple(positional), named)

    def _argument(self, positional: list[Any], named: dict[str, Any]) -> None:
        value = self._value()
        if self._peek() not in (":", "="):
            positional.append(value)
            return
        self.at += 1
        key = self.tokens[self.at - 2][1]
        if key in named:
            self._fail(f"{key!r} is given twice")
        named[key] = self._value()

    def _value(self) -> Any:
        kind, text = self._next()
        if kind == "mark":
            self._fail(f"an argument is expected where {text!r} stands")
        return text if kind == "quoted" else _read_word(text)

    def _tokens(self) -> Iterator[tuple[str, str]]:
        text, at = self.text.strip(), 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                self._fail(f"{clip(text[at:].strip(), 20)} cannot be read")
            kind = found.lastgroup or ""
            yield kind, found[kind]
            at = found.end()

    def _next(self) -> tuple[str, str]:
        if self.at == len(self.tokens):
            self._fail("it ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def _peek(self) -> str:
        if self.at == len(self.tokens):
            self._fail("')' is missing")
        kind, text = self.tokens[self.at]
        return text if kind == "mark" else ""

    def _expect(self, mark: str) -> None:
        kind, text = self._next()
        if (kind, text) != ("mark", mark):
            self._fail(f"{mark!r} is expected where {text!r} stands")

    def _fail(self, why: str) -> NoReturn:
        msg = (
            f"the rule {clip(self.text)} cannot be read: {why}; write name(argument, ...), as in timeout(30)"
        )
        raise TopologyError(msg)
