"""Values of one of several kinds: which of them a value is, when more than one would do. Imported on first use.

The rule: what a ``Literal`` field (a tag) names; else, of text, numbers, true, false and null, the member
of this very type, then the first in the order of the annotation that takes it, then a wider one (a float
for an integer); of arrays and objects the member that meets most of what is in them exactly. Classes come
before ``dict``. Two classes that are met alike are refused by name.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from marsys_core.tools._arguments import Mismatch, expected
from marsys_core.tools._kinds import Kind, Record

__all__ = ["union"]

_PLAIN = frozenset({str, int, float, bool, type(None), list, tuple, dict})
_NESTED = frozenset({list, tuple, dict})


class _Decided(threading.local):
    """What unions have decided within one value, so that a value nested in many of them is tried once in each.

    Invariant: it is there while the outermost union looks at its value, which keeps every part alive: an id
    stands for one of them.
    """

    table: dict[tuple[Any, ...], Any] | None = None


_decided = _Decided()


def union(members: Sequence[Kind]) -> Kind:
    """Make the kind of a value of one of several kinds."""
    flat = tuple([inner for member in members for inner in member.members or (member,)])
    made = _Union(flat)
    types = [member.types for member in flat]
    return Kind(
        schema={"anyOf": [member.schema for member in members]},
        noun=" or ".join(member.noun for member in flat),
        structure=made.structure,
        types=frozenset().union(*[each for each in types if each is not None]) if None not in types else None,
        weigh=made.weigh,
        members=flat,
    )


class _Union:
    def __init__(self, members: tuple[Kind, ...]) -> None:
        self.members = members
        self.orders: dict[type, list[Kind]] = {}
        self.known: _Records | None = None

    def structure(self, value: Any) -> Any:
        kind = type(value)
        order = self.orders.get(kind)
        if order is None:
            order = self.order(value)
            if kind in _PLAIN:
                self.orders[kind] = order
        if len(order) == 1 or kind not in _NESTED:
            return self.first(order, value)[1]
        return self.best(order, value)[1]

    def order(self, value: Any) -> list[Kind]:
        """Return the members that may take such a value, for plain values the more exact first."""
        kind = type(value)
        takers = [member for member in self.members if member.types is None or kind in member.types]
        if kind in _NESTED:
            return takers
        # A member that refers to others, or to itself, cannot be weighed by the type alone: it is as if in another form.
        return sorted(takers, key=lambda member: 1 if member.types is None else -member.weigh(value) + 2)

    def first(self, order: list[Kind], value: Any) -> tuple[Kind, Any]:
        """Return the first member that takes the value, with what it makes of it."""
        inside: list[Mismatch] = []
        for member in order:
            try:
                return member, member.structure(value)
            except Mismatch as fault:
                if fault.inside:
                    inside.append(fault)
        if len(inside) == 1:  # one member was meant, and something within it is wrong: say what
            raise inside[0]
        raise expected(_nouns(self.members), value)

    # -- arrays and objects --------------------------------------------------------------------

    def best(self, order: list[Kind], value: Any) -> tuple[Kind, Any]:
        """Return the member that meets the value best, decided once for each place in what was sent."""
        table = _decided.table
        if table is None:
            _decided.table = {}
            try:
                return self.choose(order, value)
            finally:
                _decided.table = None
        key = (id(self), id(value))
        found = table.get(key)
        if found is None:
            try:
                found = table[key] = self.choose(order, value)
            except Mismatch as fault:
                table[key] = fault
                raise
        if isinstance(found, Mismatch):
            raise Mismatch(found.problems, inside=found.inside)
        chosen: tuple[Kind, Any] = found
        return chosen

    def choose(self, order: list[Kind], value: Any) -> tuple[Kind, Any]:
        records = self.records() if type(value) is dict else _NO_RECORDS
        named = records.named(value, alone=len(records.found) == len(order))
        if named is not None:
            return named, named.structure(value)
        fits: list[tuple[Kind, Any]] = []
        faults: list[tuple[Kind, Mismatch]] = []
        for member in order:
            try:
                fits.append((member, member.structure(value)))
            except Mismatch as fault:
                faults.append((member, fault))
        if fits:
            return records.heaviest(fits, value)
        raise records.nearest(faults, value) or expected(_nouns(self.members), value)

    def records(self) -> _Records:
        if self.known is None:  # on first use: what a class refers to may be compiled later than it is
            self.known = _Records(self.members)
        return self.known

    def weigh(self, value: Any) -> int:
        table = _decided.table
        key = ("weight", id(self), id(value))
        if table is not None and key in table:
            known: int = table[key]
            return known
        order = self.orders.get(type(value)) or self.order(value)
        nested = type(value) in _NESTED and len(order) > 1
        member, _ = self.best(order, value) if nested else self.first(order, value)
        weight = member.resolved().weigh(value)
        if table is not None and nested:
            table[key] = weight
        return weight


class _Records:
    """The members of a union that are objects with known fields, and the field that tells them apart."""

    def __init__(self, members: Sequence[Kind]) -> None:
        resolved = [(member, member.resolved().record) for member in members]
        self.found: dict[int, tuple[Kind, Record]] = {
            id(member): (member, record) for member, record in resolved if record is not None
        }
        self.tag = self._find_tag()

    def _find_tag(self) -> str | None:
        records = [record for _, record in self.found.values()]
        if len(records) < 2:
            return None
        for name in records[0].choices:
            listed = [record.choices.get(name) for record in records]
            values = [value for each in listed for value in each or ()]
            if all(listed) and len(set(values)) == len(values):
                return name
        return None

    def named(self, value: Any, *, alone: bool) -> Kind | None:
        """Return the member whose tag the value has.

        Raises:
            Mismatch: The tag is wrong or missing; not where the value may be no record.
        """
        tag = self.tag
        if tag is None:
            return None
        known: list[Any] = []
        for member, record in self.found.values():
            choices = record.choices[tag] or frozenset()
            if tag in value and _among(value[tag], choices):
                return member
            known += sorted((sent for _, sent in choices), key=repr)
        if not alone:
            return None
        if tag in value:
            raise Mismatch(expected("one of " + ", ".join(map(repr, known)), value[tag]).under(tag))
        if all(tag in record.required for _, record in self.found.values()):
            raise Mismatch([("missing ", (tag,), f", one of {', '.join(map(repr, known))}")])
        return None

    def heaviest(self, fits: list[tuple[Kind, Any]], value: Any) -> tuple[Kind, Any]:
        """Return the one of several that meets the value best.

        Raises:
            Mismatch: Two classes meet it alike.
        """
        if len(fits) == 1:
            return fits[0]
        fits = [fit for fit in fits if id(fit[0]) in self.found] or fits
        weights = [member.resolved().weigh(value) for member, _ in fits]
        top = [fit for fit, weight in zip(fits, weights, strict=True) if weight == max(weights)]
        if len(top) > 1 and id(top[0][0]) in self.found:
            names = " and ".join(self.found[id(member)][1].name for member, _ in top)
            what = f" fits {names} alike; send a field that only one of them has"
            raise Mismatch([("", (), what)])
        return top[0]

    def nearest(self, faults: list[tuple[Kind, Mismatch]], value: Any) -> Mismatch | None:
        """Return what is wrong with the value for the member that it was meant for, if that can be told."""
        inside = [(self._shared(member, value), fault) for member, fault in faults if fault.inside]
        most = max((shared for shared, _ in inside), default=0)
        near = [fault for shared, fault in inside if shared == most]
        # Two that find the same fault, in what they share, need not be told apart.
        return near[0] if near and all(fault.problems == near[0].problems for fault in near) else None

    def _shared(self, member: Kind, value: Any) -> int:
        entry = self.found.get(id(member))
        return len(entry[1].choices.keys() & value.keys()) if entry is not None else 0


_NO_RECORDS = _Records(())


def _among(value: Any, choices: frozenset[tuple[type, Any]]) -> bool:
    try:
        return (type(value), value) in choices
    except TypeError:  # an array or an object cannot be looked up
        return False


def _nouns(members: Sequence[Kind]) -> str:
    names = []
    for member in members:
        kind = member.resolved()
        names.append(kind.record.name if kind.record is not None and kind.record.name else kind.noun)
    return " or ".join(dict.fromkeys(names))
