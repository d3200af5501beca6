"""A guard that refuses input which is too large or nested too deep."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import attrs

from marsys_core.errors import GuardRefused
from marsys_core.protocols.guard import GuardSubject

__all__ = ["InputSizeGuard"]

_PLAIN = frozenset({str, int, float, bool, type(None)})
_ATOMS = (str, bytes, bytearray, memoryview, int, float, complex)


@attrs.frozen(kw_only=True)
class InputSizeGuard:
    """Refuses a task, or the arguments of a tool call, that are too large or nested too deep.

    It keeps a mistake or an attack from filling the memory, the journal and a model's context. It looks at
    size only and says nothing about what the input means. Text counts as its bytes in UTF-8, a number as
    about as many bytes as it has digits, and a container as what is in it and a byte for each element; what
    stands in a value twice is counted twice, as it would be written twice.

    Args:
        max_bytes: The largest input, in bytes.
        max_depth: The deepest input: lists, mappings and objects within one another.
    """

    name: ClassVar[str] = "input-size"
    max_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=attrs.validators.ge(1))
    max_depth: int = attrs.field(default=64, validator=attrs.validators.ge(1))

    async def check(self, subject: GuardSubject) -> None:
        """Return to let `subject` pass. It never waits.

        Raises:
            GuardRefused: The value is larger than `max_bytes` or deeper than `max_depth`.
        """
        value = subject.value
        # A character is four bytes at most, so that a short text need not be measured.
        if type(value) is str and len(value) * 4 <= self.max_bytes:
            return
        self._measure(subject)

    def _measure(self, subject: GuardSubject) -> None:
        """Walk over the value, no further than the limits go."""
        size = -1  # the value itself stands in nothing
        # Invariant: one iterator for each container that is being walked, so what is held is as deep as the
        # value and not as large.
        path: list[Iterator[Any]] = [iter((subject.value,))]
        while path:
            for value in path[-1]:
                inner = _parts(value)
                size += 1 if inner is not None else 1 + _length(value)
                if size > self.max_bytes:
                    least = "at least " if len(path) > 1 else ""
                    why = f"is {least}{size:,} bytes large, more than max_bytes={self.max_bytes:,}"
                    raise _refusal(subject, why, "max_bytes")
                if inner is not None:
                    if len(path) > self.max_depth:
                        why = f"is nested deeper than max_depth={self.max_depth} levels"
                        raise _refusal(subject, why, "max_depth")
                    path.append(iter(inner))
                    break
            else:
                path.pop()


def _refusal(subject: GuardSubject, why: str, setting: str) -> GuardRefused:
    what = "the task" if subject.kind == "task" else f"the input of tool {subject.name!r}"
    msg = f"guard 'input-size' refused: {what} {why}; raise {setting} of plugin 'security' to allow it"
    return GuardRefused(msg)


def _length(value: Any) -> int:
    if isinstance(value, str):
        # "surrogatepass" because a text that cannot be encoded has a size all the same.
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes | bytearray):
        return len(value)
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, int):
        return value.bit_length() // 3 + 1
    return 8 if value is None or isinstance(value, float | complex) else sys.getsizeof(value)


def _parts(value: Any) -> Iterable[Any] | None:
    """What a container holds, keys included; None for what is no container."""
    if type(value) in _PLAIN or isinstance(value, _ATOMS):
        return None
    if isinstance(value, Mapping):
        return (part for item in value.items() for part in item)
    if isinstance(value, Iterable) and hasattr(value, "__len__"):
        return value
    if attrs.has(type(value)):
        return [getattr(value, field.name) for field in attrs.fields(type(value))]
    return list(vars(value).values()) if hasattr(value, "__dict__") and not callable(value) else None
