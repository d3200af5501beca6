"""Lists and dicts that cannot be changed: what shared state hands out, so that no change goes unrecorded."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["FrozenDict", "FrozenList", "freeze", "thaw"]


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


def thaw(value: Any) -> Any:
    """Return frozen `value` as plain lists and dicts, the taker's own."""
    if isinstance(value, list):
        return [thaw(item) for item in value]
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    return value
