"""Lists and dicts that cannot be changed: what shared state hands out, so that no change goes unrecorded."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["FrozenDict", "FrozenList", "freeze", "freeze_small", "thaw"]

_SMALL = 2**63  # whole numbers that need no looking at their size


def _refused(self: Any, *_: Any, **__: Any) -> NoReturn:
    kind = "list" if isinstance(self, list) else "dict"
    example = '[*state["key"], item]' if isinstance(self, list) else '{**state["key"], "name": value}'
    msg = (
        f"a {kind} of the shared state cannot be changed in place, since nobody would know of it; "
        f'assign a new one: state["key"] = {example}'
    )
    raise TypeError(msg)


class FrozenList(list[Any]):
    """A list that refuses changes. It equals a plain one, and `list(...)` gives a plain one."""

    __slots__ = ()

    append = extend = insert = pop = remove = clear = sort = reverse = _refused
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused

    def __copy__(self) -> list[Any]:
        return list(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return [thaw(item) for item in self]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (list, (list(self),))


class FrozenDict(dict[str, Any]):
    """A dict that refuses changes. It equals a plain one, and `dict(...)` gives a plain one."""

    __slots__ = ()

    pop = popitem = update = setdefault = clear = _refused
    __setitem__ = __delitem__ = __ior__ = _refused

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: thaw(item) for key, item in self.items()}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return (dict, (dict(self),))


def freeze(value: Any) -> Any:
    """Return plain `value` with every list and dict in it as one that cannot be changed."""
    kind = type(value)
    if kind is list:
        return FrozenList([freeze(item) for item in value])
    if kind is dict:
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    return value


def freeze_small(value: Any, room: int, depth: int = 4) -> tuple[Any, int]:
    """Check, copy and freeze JSON data in one walk, as most of what is shared is: small and flat.

    Args:
        value: Anything.
        room: About how many bytes it may take; strings count as if every character took four.
        depth: How deep it may be nested.

    Returns:
        The frozen copy and what is left of the room; less than 0 where it is larger, deeper or of other types,
        and has to be looked at properly.
    """
    kind, room = type(value), room - 16
    if kind is str:
        return value, room - 4 * len(value)
    if kind is bool or value is None:
        return value, room
    if (kind is int and -_SMALL < value < _SMALL) or (kind is float and value - value == 0):
        return value, room
    if depth == 0 or room < 0:
        return None, -1
    if kind is dict:
        items = {}
        for key, inner in value.items():
            if type(key) is not str:
                return None, -1
            items[key], room = freeze_small(inner, room - 16 - 4 * len(key), depth - 1)
            if room < 0:
                return None, -1
        return FrozenDict(items), room
    if kind is list or kind is tuple:
        found = []
        for inner in value:
            item, room = freeze_small(inner, room, depth - 1)
            if room < 0:
                return None, -1
            found.append(item)
        return FrozenList(found), room
    return None, -1


def thaw(value: Any) -> Any:
    """Return frozen `value` as plain lists and dicts, the taker's own."""
    if isinstance(value, list):
        return [thaw(item) for item in value]
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    return value
