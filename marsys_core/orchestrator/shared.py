"""The shared state of a run as its fold keeps it: layers of writes, each on top of the one it started from.

Nothing is copied when a branch forks: a child starts from the layer of its parent, and whoever of them
writes next does so in a layer of its own. A list that grows, or a sum of texts, is kept as its last write
on top of the value before, and put together when somebody reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from marsys_core.errors import StateError
from marsys_core.frozen import FrozenList, freeze
from marsys_core.topology import Reducer
from marsys_core.values import Ref

__all__ = ["GONE", "Cell", "Frame", "Reading", "Sharing", "Write", "fold_write", "resolve", "written"]

Write = tuple[Any, ...]
"""``(key, op, value)``, and with the op ``call`` the result of the reducer; ops are ``set``, ``del`` and reducers."""

_MAX_DEPTH = 16  # layers that a read may have to look through
_NUMBERS = (int, float)


class _Gone:
    """Stands for a key that holds nothing."""

    def __repr__(self) -> str:
        return "GONE"


GONE: Any = _Gone()


class Cell:
    """A value that has grown by one write, put together when it is first read."""

    __slots__ = ("_body", "op")

    def __init__(self, before: Any, op: str, operand: Any) -> None:
        self.op = op
        self._body: tuple[Any, ...] = (before, operand)

    def value(self, unpack: Callable[[Any], Any]) -> Any:
        """Return the value; the cells before it are let go of."""
        # One look at the body: agents in threads may read the same cell.
        body = self._body
        if len(body) == 1:
            return body[0]
        operands: list[Any] = []
        before: Any = self
        while type(before) is Cell:
            body = before._body
            if len(body) == 1:
                before = body[0]
                break
            operands.append(body[1])
            before = body[0]
        operands = [resolve(operand, unpack) for operand in reversed(operands)]
        value = _grown(self.op, resolve(before, unpack), operands)
        self._body = (value,)
        return value


def _grown(op: str, before: Any, operands: list[Any]) -> Any:
    if op == "append":
        return FrozenList([*(() if before is GONE else before), *operands])
    parts = operands if before is GONE else [before, *operands]
    if isinstance(parts[0], str):
        return "".join(parts)
    return FrozenList([item for part in parts for item in part])


def resolve(stored: Any, unpack: Callable[[Any], Any]) -> Any:
    """Return the value behind what a layer holds."""
    kind = type(stored)
    if kind is Cell:
        return stored.value(unpack)
    if kind is Ref:
        return freeze(unpack(stored))
    return stored


class Frame:
    """A layer of writes on top of another."""

    __slots__ = ("depth", "own", "parent")

    def __init__(self, parent: Frame | None = None, own: dict[str, Any] | None = None) -> None:
        if parent is not None and parent.depth >= _MAX_DEPTH:
            parent = Frame(None, parent.contents())
        self.parent = parent
        self.own: dict[str, Any] = {} if own is None else own
        self.depth: int = 1 if parent is None else parent.depth + 1

    def get(self, key: str) -> Any:
        """Return what `key` holds, or `GONE`."""
        frame: Frame | None = self
        while frame is not None:
            own = frame.own
            if key in own:
                return own[key]
            frame = frame.parent
        return GONE

    def contents(self) -> dict[str, Any]:
        """Return what every key holds, those written first in front."""
        layers = []
        frame: Frame | None = self
        while frame is not None:
            layers.append(frame.own)
            frame = frame.parent
        found: dict[str, Any] = {}
        for own in reversed(layers):
            found.update(own)
        return {key: value for key, value in found.items() if value is not GONE}


def fold_write(frame: Frame, write: Write) -> None:
    """Write into `frame` what `write` says. No code of a user runs, and nothing can fail."""
    key, op, value = write[0], write[1], write[2]
    if op == "append":
        frame.own[key] = Cell(frame.get(key), op, value)
    elif op == "add":
        before = frame.get(key)
        if before is GONE:
            frame.own[key] = value
        elif isinstance(before, _NUMBERS) and isinstance(value, _NUMBERS):
            frame.own[key] = before + value
        else:
            frame.own[key] = Cell(before, op, value)
    elif op == "call":
        frame.own[key] = write[3]
    else:  # set, last, del
        frame.own[key] = GONE if op == "del" else value


def written(frame: Frame | None, writes: Iterable[Write]) -> Frame:
    """Return a layer on top of `frame` with these writes."""
    layer = Frame(frame)
    for write in writes:
        fold_write(layer, write)
    return layer


def _as_is(value: Any) -> Any:
    return value


@attrs.define(eq=False)
class Sharing:
    """What writes are decided with; the engine gives it to the orchestrator.

    Args:
        reducers: What the topology declares, by key.
        keep: Makes a value plain, and a reference where it is large.
        unpack: Returns the value behind one.
    """

    reducers: Mapping[str, Reducer] = attrs.field(factory=dict)
    keep: Callable[[Any], Any] = _as_is
    unpack: Callable[[Any], Any] = _as_is

    def write(self, frame: Frame, key: str, value: Any) -> Write:
        """Write `value`, plain and frozen, under `key`, and return what is recorded of it.

        Raises:
            StateError: The reducer of the key does not take it.
        """
        reducer = self.reducers.get(key)
        write: Write = (key, "set" if reducer is None else reducer.op, value)
        return self.again(frame, write) if reducer is not None else self._folded(frame, write)

    def again(self, frame: Frame, write: Write) -> Write:
        """Do `write`, which was done elsewhere, in `frame`; return what came of it here.

        Raises:
            StateError: The reducer of the key does not take it here.
        """
        key, op, value = write[0], write[1], write[2]
        if op == "add":
            self._refuse_sum(key, frame.get(key), value)
        elif op == "call":
            write = (key, op, value, self._reduced(key, frame.get(key), value))
        return self._folded(frame, write)

    @staticmethod
    def _folded(frame: Frame, write: Write) -> Write:
        fold_write(frame, write)
        return write

    def _reduced(self, key: str, old: Any, new: Any) -> Any:
        if old is GONE:
            return new
        reducer = self.reducers[key]
        assert not isinstance(reducer.reducer, str)  # the op says so
        try:
            result = reducer.reducer(resolve(old, self.unpack), resolve(new, self.unpack))
            return freeze(self.keep(result))
        except Exception as error:
            msg = f"the reducer {reducer.name!r} of state {key!r} raised {type(error).__name__}: {error}"
            raise StateError(msg, key) from error

    def _refuse_sum(self, key: str, old: Any, new: Any) -> None:
        if isinstance(new, _NUMBERS) and (old is GONE or isinstance(old, _NUMBERS)):
            if old is GONE or math.isfinite(_sum(old, new)):
                return
            msg = f"the reducer 'add' of state {key!r} comes to no finite number: {old!r} + {new!r}"
            raise StateError(msg, key)
        values = [resolve(value, self.unpack) for value in (old, new) if value is not GONE]
        if not any(all(isinstance(value, kind) for value in values) for kind in (str, list)):
            kinds = " and ".join(type(value).__name__.removeprefix("Frozen").lower() for value in values)
            msg = f"the reducer 'add' of state {key!r} adds numbers, texts or lists, not {kinds}"
            raise StateError(msg, key)


def _sum(old: Any, new: Any) -> float:
    try:
        total: float = float(old + new) if isinstance(old, float) or isinstance(new, float) else 0.0
    except OverflowError:  # an int too large to be a float
        return math.inf
    return total


class Reading(Mapping[str, Any]):
    """Shared state to look at. What it hands out cannot be changed."""

    __slots__ = ("_frame", "_unpack")

    def __init__(self, frame: Frame | None, unpack: Callable[[Any], Any]) -> None:
        self._frame, self._unpack = frame, unpack

    def __getitem__(self, key: str) -> Any:
        stored = GONE if self._frame is None else self._frame.get(key)
        if stored is GONE:
            raise KeyError(key)
        return resolve(stored, self._unpack)

    def __iter__(self) -> Iterator[str]:
        return iter(() if self._frame is None else self._frame.contents())

    def __len__(self) -> int:
        return 0 if self._frame is None else len(self._frame.contents())

    def __repr__(self) -> str:
        return repr(dict(self))
