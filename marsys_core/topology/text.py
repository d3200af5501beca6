"""The text form: ``A -> [B, C] -> D; D <-> E  # a comment``.

A statement is a chain of nodes and groups; statements end with a line or a ``;``. A node alone is declared.
``A <~> B`` is a conversation, ``A <~6> B`` one of six turns; a node, not a group, stands on either side of it.
A group to the right of one node makes that node fork to all of the group; between two wide groups stands a
gather node. Reading is one pass over the text and keeps nothing but names and edges.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NoReturn

import attrs

from marsys_core.errors import TopologyError
from marsys_core.topology.names import RESERVED, canonical, flaw, is_gather
from marsys_core.topology.nodes import Edge

__all__ = ["MAX_TEXT", "Reading", "read", "workers"]

MAX_TEXT = 250_000
"""The longest text that is read, in characters; a larger graph is written as dicts or built by calls."""

_BLANK = " \t\r"
_TOKEN = re.compile(
    r"[ \t\r]*(?:(?P<arrow><->|<~[0-9]{0,12}>|->)|(?P<mark>[\[\],;])|(?P<comment>\#.*)"
    r'|"(?P<quoted>[^"]*)"|(?P<name>(?:-(?!>)|[^\s\[\],;\#"<>~=|(){}-])+))'
)


@attrs.define(eq=False)
class Reading:
    """What a text says.

    Args:
        names: Every node, in the order of its first mention.
        declared: Those that a statement names alone.
        edges: In the order in which they are written.
        forks: The nodes whose plain content forks to all, because a group stands to their right.
    """

    names: dict[str, None] = attrs.field(factory=dict)
    declared: set[str] = attrs.field(factory=set)
    edges: list[Edge] = attrs.field(factory=list)
    forks: dict[str, None] = attrs.field(factory=dict)


def read(text: str, taken: Collection[str] = ()) -> Reading:
    """Read statements.

    Args:
        text: The statements.
        taken: The names of nodes there are already, which no new gather node may have.

    Raises:
        TopologyError: It cannot be read; the message shows the place.
    """
    if len(text) > MAX_TEXT:
        msg = (
            f"a topology in text form has at most {MAX_TEXT} characters, and this has {len(text)}; "
            "use the dict form, or add nodes and edges by calls"
        )
        raise TopologyError(msg)
    chains = [
        chain for number, line in enumerate(text.split("\n"), 1) for chain in _Line(line, number).chains()
    ]
    return _expanded(chains, taken)


def workers(group: Iterable[str]) -> list[str]:
    """Return the names of `group` at which a branch can stand; with two or more, the group is wide."""
    return [name for name in group if name not in RESERVED]


@attrs.define(eq=False)
class _Chain:
    """One statement: groups, and the arrows between them."""

    groups: list[list[str]]
    arrows: list[str]


class _Line:
    """Reads the statements of one line."""

    def __init__(self, line: str, number: int) -> None:
        self.line, self.number = line.rstrip(_BLANK), number
        self.kind, self.value, self.column, self._next = "", "", 0, 0

    def chains(self) -> Iterator[_Chain]:
        self._advance()
        while self.kind != "nothing":
            if self.value == ";" and self.kind == "mark":
                self._advance()
                continue
            yield self._chain()
            if self.kind != "nothing" and self.value != ";":
                self._fail("expected '->', '<->', '<~>', ';' or the end of the line")

    def _chain(self) -> _Chain:
        chain = _Chain([self._group()], [])
        while self.kind == "arrow":
            arrow, column = self.value, self.column
            self._advance()
            chain.groups.append(self._group())
            chain.arrows.append(arrow)
            if arrow.startswith("<~"):
                if any(len(group) > 1 for group in chain.groups[-2:]):
                    self._fail("a conversation is between two nodes; write one on either side of it", column)
                if arrow != "<~>" and not 1 <= int(arrow[2:-1]) < 2**31:
                    self._fail("a conversation has a whole number of turns from 1, as in A <~6> B", column)
            elif arrow == "<->" and all(len(workers(group)) > 1 for group in chain.groups[-2:]):
                self._fail("two groups cannot be joined with <->; write one statement for each node", column)
        return chain

    def _group(self) -> list[str]:
        if not (self.kind == "mark" and self.value == "["):
            return [self._name()]
        opened = self.column
        names: dict[str, None] = {}
        while True:
            self._advance()
            column = self.column
            name = self._name()
            if name in names:
                self._fail(f"{name!r} stands twice in one group", column)
            names[name] = None
            if self.kind == "mark" and self.value == "]":
                self._advance()
                return list(names)
            if self.kind == "nothing":
                self._fail("this group is not closed on its line", opened)
            if not (self.kind == "mark" and self.value == ","):
                self._fail("expected ',' or ']'")

    def _name(self) -> str:
        if self.kind not in ("name", "quoted"):
            self._fail("expected a name")
        if (found := flaw(self.value)) is not None:
            index, why = found
            self._fail(f"this cannot be a name: {why}", self.column + index + (self.kind == "quoted"))
        name = canonical(self.value)
        self._advance()
        return name

    def _advance(self) -> None:
        found = _TOKEN.match(self.line, self._next)
        if found is None:
            self.column = self._next
            while self.line[self.column : self.column + 1] in (" ", "\t", "\r"):
                self.column += 1
            if self.column < len(self.line):
                self._fail(_what_stands(self.line[self.column :]))
        if found is None or found.lastgroup == "comment":
            self.kind, self.value, self.column, self._next = "nothing", "", len(self.line), len(self.line)
            return
        self.kind = found.lastgroup or ""
        self.value = found[self.kind]
        self.column = found.start(self.kind) - (self.kind == "quoted")
        self._next = found.end()

    def _fail(self, why: str, column: int | None = None) -> NoReturn:
        column = self.column if column is None else column
        start = max(0, column - 50)
        shown = self.line[start : start + 100]
        shown = "".join(char if char.isprintable() else " " if char == "\t" else "?" for char in shown)
        before, after = "..." if start else "", "..." if start + 100 < len(self.line) else ""
        caret = " " * (len(before) + column - start) + "^"
        msg = f"line {self.number}, column {column + 1}: {why}\n    {before}{shown}{after}\n    {caret}"
        raise TopologyError(msg)


def _what_stands(rest: str) -> str:
    if rest[0] == '"':
        return "this quote is not closed on its line"
    if rest.startswith(("=>", "-->", "~>", "<-", "→", "=", "<", ">", "~")):
        return "this is no arrow; there are ->, <-> and <~>"
    return f"{rest[0]!r} cannot stand here; names with spaces are written in double quotes"


def _expanded(chains: list[_Chain], taken: Collection[str]) -> Reading:
    used = {name for name in taken if is_gather(name)}
    used.update(name for chain in chains for group in chain.groups for name in group if is_gather(name))
    gathers = (name for name in (f"gather:{n}" for n in range(1, len(used) + MAX_TEXT)) if name not in used)
    reading = Reading()
    for chain in chains:
        reading.names.update(dict.fromkeys(chain.groups[0]))
        if not chain.arrows:
            reading.declared.update(chain.groups[0])
        for left, right, arrow in zip(chain.groups, chain.groups[1:], chain.arrows, strict=False):
            _join(reading, left, right, arrow, gathers)
    return reading


def _join(reading: Reading, left: list[str], right: list[str], arrow: str, gathers: Iterator[str]) -> None:
    """Add the edges between two neighbours of a chain."""
    senders, receivers = workers(left), workers(right)
    if len(senders) > 1 and len(receivers) > 1:
        gather = next(gathers)
        reading.names[gather] = None
        reading.names.update(dict.fromkeys(right))
        reading.edges += [Edge(source, gather) for source in senders]
        reading.edges += [Edge(gather, target) for target in receivers]
        # `start`, `end` and `user` pass nothing through a gather node: their edges lead past it.
        reading.edges += [Edge(s, t) for s in left for t in right if s in RESERVED or t in RESERVED]
        return
    reading.names.update(dict.fromkeys(right))
    fields = _fields(arrow)
    reading.edges += [Edge(s, t, **fields) for s in left for t in right]
    if len(senders) == 1 and len(receivers) > 1:
        reading.forks[senders[0]] = None


def _fields(arrow: str) -> dict[str, Any]:
    """Return what an arrow says of its edges."""
    if arrow.startswith("<~"):
        return {"pattern": "alternating", "max_turns": int(arrow[2:-1]) if arrow != "<~>" else None}
    return {"bidirectional": arrow == "<->"}
