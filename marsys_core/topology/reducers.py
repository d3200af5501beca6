"""What a topology declares of the state that its agents share: how writes to a key come together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core.errors import TopologyError, nearest
from marsys_core.topology.metadata import plain_metadata
from marsys_core.topology.names import clip, refuse_unknown_fields

__all__ = ["REDUCERS", "Reducer", "name_of_function", "reducers_from", "reducers_to_dict"]

REDUCERS = ("append", "add", "last")
_MAX_KEY = 200
_UNSET: Any = object()


def name_of_function(function: Callable[..., Any]) -> str:
    """Return ``module:qualname``, which says which function it is and cannot be called."""
    cls = type(function)
    return f"{getattr(function, '__module__', cls.__module__)}:{getattr(function, '__qualname__', cls.__qualname__)}"


@attrs.frozen
class Reducer:
    """How the writes to one key of the state come together.

    Args:
        reducer: ``append``: each value becomes one more item of a list; ``add``: the old value plus the new
            one, for numbers, lists and texts; ``last``: the new one; or a function of the old value and the
            new one. Where there is no old value, a function is not called, and the new one holds.
        initial: What the key holds when a run begins; with ``append`` by default an empty list.

    Raises:
        TopologyError: A reducer that there is not, or an initial value that does not fit it.
    """

    reducer: str | Callable[[Any, Any], Any]
    initial: Any = attrs.field(default=_UNSET, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.reducer, str):
            _refuse_unknown(self.reducer)
        elif not callable(_given(self.reducer)):
            msg = f"a reducer is {', '.join(REDUCERS)} or a function of (old, new), not {clip(self.reducer)}"
            raise TopologyError(msg)
        if self.initial is not _UNSET:
            object.__setattr__(self, "initial", plain_metadata({"initial": self.initial})["initial"])
        elif self.reducer == "append":
            object.__setattr__(self, "initial", [])
        if self.has_initial and (flaw := self.flaw(self.initial)):
            raise TopologyError(flaw)

    @property
    def op(self) -> str:
        """How a write to the key is recorded."""
        return self.reducer if isinstance(self.reducer, str) else "call"

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.reducer if isinstance(self.reducer, str) else name_of_function(self.reducer)

    @property
    def has_initial(self) -> bool:
        """Whether the key holds something when a run begins."""
        return self.initial is not _UNSET

    def flaw(self, initial: Any) -> str:
        """Say why the key cannot begin with `initial`; an empty text where it can."""
        if self.reducer == "append" and not isinstance(initial, list):
            return f"with the reducer 'append' a key begins with a list, not {clip(initial)}"
        if self.reducer == "add" and not isinstance(initial, int | float | str | list):
            return f"with the reducer 'add' a key begins with a number, a text or a list, not {clip(initial)}"
        return ""


def _given(value: object) -> object:
    """A value of which the annotation only hopes what it is."""
    return value


def _refuse_unknown(name: str) -> None:
    if name in REDUCERS:
        return
    if ":" in name:
        msg = f"the reducer {clip(name)} is a function, which cannot be read back from its name; give the function itself in Python: Topology(..., state={{...}})"
        raise TopologyError(msg)
    msg = f"no reducer is called {clip(name)}; there are: {', '.join(REDUCERS)}, or a function of (old, new).{nearest(name[:40], REDUCERS)}"
    raise TopologyError(msg)


def reducers_from(value: object) -> dict[str, Reducer]:
    """Return what a mapping declares, by key.

    Args:
        value: For each key a reducer, its name, a function, or a mapping of the fields of `Reducer`.

    Raises:
        TopologyError: It cannot be read; all problems at once, each with its key.
    """
    if not isinstance(value, Mapping):
        msg = (
            f"a mapping of keys to reducers is expected, not {clip(value)} ({type(value).__name__}) @ $.state"
        )
        raise TopologyError(msg)
    found, problems = {}, []
    for key, given in value.items():
        try:
            found[_key(key)] = _reducer(given)
        except TopologyError as error:
            problems.append(f"{error} @ $.state[{clip(key)}]")
    if problems:
        raise TopologyError("", problems)
    return found


def _key(key: object) -> str:
    if not isinstance(key, str) or not 0 < len(key) <= _MAX_KEY:
        msg = f"a key of the state is a text of 1 to {_MAX_KEY} characters, not {clip(key)}"
        raise TopologyError(msg)
    return key


def _reducer(given: object) -> Reducer:
    if isinstance(given, Reducer):
        return given
    if isinstance(given, Mapping):
        refuse_unknown_fields("a key of the state", given, ("reducer", "initial"))
        return Reducer(given.get("reducer", "last"), **{k: v for k, v in given.items() if k == "initial"})
    return Reducer(given)  # type: ignore[arg-type]  # it says what a reducer is


def reducers_to_dict(reducers: Mapping[str, Reducer]) -> dict[str, Any]:
    """Return `reducers` as JSON data. A function appears by its name, which cannot be read back."""
    return {
        key: {"reducer": each.name, **({"initial": each.initial} if each.has_initial else {})}
        for key, each in reducers.items()
    }
