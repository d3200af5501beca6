"""`context.state`: what a step reads of the shared state, and what it writes."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from marsys_core.errors import ConfigError, LifecycleError, StateError, nearest
from marsys_core.frozen import freeze, freeze_small, thaw
from marsys_core.orchestrator import GONE, Frame, Write
from marsys_core.orchestrator.shared import Cell, fold_write, resolve
from marsys_core.values import REF_BYTES, Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from marsys_core.engine.record import Recorder
    from marsys_core.engine.step import Step
    from marsys_core.orchestrator import RunState
    from marsys_core.topology import Reducer

__all__ = ["CallState", "SharedState", "begun_with", "final_state"]


class SharedState(MutableMapping[str, Any]):
    """The shared state as one step sees it: that of its branch, and what the step itself has written.

    ``state[key] = value`` writes: with a declared reducer the value is folded into what is there. What is
    read cannot be changed in place. The writes count once the step has ended well.
    """

    __slots__ = ("_frame", "_large", "_log", "_over", "_step")

    def __init__(self, step: Step) -> None:
        self._step, self._over = step, False
        self._frame = Frame(step.branch.shared)
        self._log: list[Write] = []
        self._large: dict[Ref, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if self._over:
            self._refuse()
        stored = self._frame.get(key)
        kind = type(stored)
        if kind is Ref:
            if stored not in self._large:
                self._large[stored] = resolve(stored, self._step.run.unpack)
            return self._large[stored]
        if kind is Cell:
            return stored.value(self._step.run.unpack)
        if stored is GONE:
            raise KeyError(self._missing(key))
        return stored

    def __setitem__(self, key: str, value: Any) -> None:
        if self._over:
            self._refuse()
        if type(key) is not str or not key:
            msg = f"a key of the shared state is a text, not {key!r:.200}"
            raise StateError(msg)
        run = self._step.run
        kept, room = freeze_small(value, min(REF_BYTES, run.config.max_value_bytes))
        if room < 0:
            kept = freeze(run.keep(value))
        self._log.append(run.orchestrator.sharing.write(self._frame, key, kept))

    def __delitem__(self, key: str) -> None:
        if self._over:
            self._refuse()
        reducer = self._step.run.orchestrator.sharing.reducers.get(key)
        if reducer is not None:
            msg = f"state {key!r} has the reducer {reducer.name!r} and cannot be deleted; only keys without one can"
            raise StateError(msg, key)
        if self._frame.get(key) is GONE:
            raise KeyError(self._missing(key))
        write: Write = (key, "del", None)
        fold_write(self._frame, write)
        self._log.append(write)

    def __contains__(self, key: object) -> bool:
        if self._over:
            self._refuse()
        return isinstance(key, str) and self._frame.get(key) is not GONE

    def __iter__(self) -> Iterator[str]:
        if self._over:
            self._refuse()
        return iter(self._frame.contents())

    def __len__(self) -> int:
        if self._over:
            self._refuse()
        return len(self._frame.contents())

    def __repr__(self) -> str:
        return f"<state: {', '.join(self._frame.contents()) or 'nothing'}>"

    @property
    def writes(self) -> tuple[Write, ...]:
        """What the step has written, in order."""
        return tuple(self._log)

    @property
    def newest(self) -> Write:
        """What it has written last."""
        return self._log[-1]

    def again(self, writes: Iterable[Write]) -> None:
        """Write what a call of this step had written, when it was made."""
        for write in writes:
            fold_write(self._frame, write)
            self._log.append(write)

    def take_back(self, writes: Iterable[Write]) -> None:
        """Undo what a call of this step has written, which is made once more."""
        undone = {id(write) for write in writes}
        self._log = [write for write in self._log if id(write) not in undone]
        self._frame = Frame(self._step.branch.shared)
        for write in self._log:
            fold_write(self._frame, write)

    def close(self) -> None:
        """The step is over."""
        self._over = True

    def _missing(self, key: object) -> str:
        known = sorted(self._frame.contents())
        return f"the shared state has no {key!r}; there are: {', '.join(known) or 'none'}.{nearest(str(key)[:100], known)}"

    def _refuse(self) -> None:
        msg = f"the state of {self._step!r} is used after its end: it lives as long as its step"
        raise LifecycleError(msg)


class CallState(MutableMapping[str, Any]):
    """The shared state of a step as one of its tool calls sees it; it knows what the call has written."""

    __slots__ = ("_state", "writes")

    def __init__(self, state: SharedState) -> None:
        self._state = state
        self.writes: list[Write] = []

    def __getitem__(self, key: str) -> Any:
        return self._state[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._state[key] = value
        self.writes.append(self._state.newest)

    def __delitem__(self, key: str) -> None:
        del self._state[key]
        self.writes.append(self._state.newest)

    def __contains__(self, key: object) -> bool:
        return key in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def __repr__(self) -> str:
        return repr(self._state)


def begun_with(
    reducers: Mapping[str, Reducer], given: Mapping[str, Any] | None, run: Recorder
) -> dict[str, Any] | None:
    """Return what the shared state of a run begins with, as events carry it; None where there is nothing.

    Raises:
        ConfigError: A key that is no text, or values that do not fit their reducers, all at once.
        ValueRefused: A value that cannot be recorded.
    """
    if not reducers and not given:
        return None
    begun = {key: each.initial for key, each in reducers.items() if each.has_initial}
    problems = []
    for key, value in (given or {}).items():
        if not isinstance(key, str) or not key:
            problems.append(f"a key of the shared state is a text, not {key!r:.200}")
        elif key in reducers and (flaw := reducers[key].flaw(value)):
            problems.append(f"{flaw} @ state[{key!r}]")
        else:
            begun[key] = value
    if problems:
        msg = "a run cannot begin with this state:"
        raise ConfigError(msg, problems)
    return {key: freeze(run.keep(value)) for key, value in begun.items()}


def final_state(state: RunState, run: Recorder) -> dict[str, Any]:
    """Return what branch `0` had at its end, plain, with what detached branches wrote."""
    root = state.branches.get("0")
    frame = state.initial if root is None else root.shared
    if frame is None:
        return {}
    return {key: thaw(resolve(stored, run.unpack)) for key, stored in frame.contents().items()}
