"""The state of a session: its runs as plain JSON that any database gives back as it was.

Times and entries are text, so that no database rounds a number; texts are escaped where JSON cannot carry them or
databases refuse them. Every text is immutable: a state shares them with the runs that it was made of.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from marsys_core.backend.memory import Memory, Piece
from marsys_core.errors import StoreDamaged, StoreError
from marsys_core.protocols.store import Entry, RunInfo, Said

__all__ = [
    "VERSION",
    "KeptRun",
    "counted_in",
    "entries_of",
    "entry_text",
    "escaped",
    "read_state",
    "state_of",
    "unescaped",
]

VERSION = 1
"""The version of the states that this code writes and reads."""

_ESCAPE = "\x10"
_WRITTEN = re.compile("[\x00\x10\ud800-\udfff]")
_READ = re.compile("\x10([0-9a-f]{4})")
_TEXTS = ("run_id", "session_id", "status", "task", "fingerprint", "origin", "error", "parent")
_NUMBERS = ("steps", "format")
_TIMES = ("created", "updated")


@attrs.define(eq=False, kw_only=True)
class KeptRun:
    """A run as it lies in a state.

    Args:
        info: What is known of it.
        entries: Its log, each entry as `entry_text` gives it.
        texts: Large values that are UTF-8, by their hashes, escaped.
        binary: Other large values in base 64, by their hashes.
    """

    info: RunInfo
    entries: list[str] = attrs.field(factory=list)
    texts: dict[str, str] = attrs.field(factory=dict)
    binary: dict[str, str] = attrs.field(factory=dict)

    def put(self, sha256: str, data: bytes) -> bool:
        """Keep a large value; return whether it is a new one."""
        if sha256 in self.texts or sha256 in self.binary:
            return False
        try:
            self.texts[sha256] = escaped(data.decode())
        except UnicodeDecodeError:
            self.binary[sha256] = base64.b64encode(data).decode()
        return True

    def blobs(self) -> dict[str, bytes]:
        """Return the large values by their hashes.

        Raises:
            StoreDamaged: One has another hash.
        """
        import hashlib

        found = {sha256: unescaped(text).encode() for sha256, text in self.texts.items()}
        try:
            found |= {sha256: base64.b64decode(text, validate=True) for sha256, text in self.binary.items()}
        except binascii.Error as error:
            msg = f"a large value of run {self.info.run_id!r} cannot be read: {error}"
            raise StoreDamaged(msg, run_id=self.info.run_id) from error
        for sha256, data in found.items():
            if hashlib.sha256(data).hexdigest() != sha256:
                msg = f"the large value {sha256} of run {self.info.run_id!r} has another hash"
                raise StoreDamaged(msg, run_id=self.info.run_id)
        return found


def escaped(text: str) -> str:
    """Return `text` without U+0000 and surrogates, which JSON in a database cannot have."""
    return _WRITTEN.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04x}", text)


def unescaped(text: str) -> str:
    """Return what `escaped` was given."""
    return _READ.sub(lambda found: chr(int(found[1], 16)), text) if _ESCAPE in text else text


def entry_text(entry: Entry) -> str:
    """Return an entry as text: what stands before its data as a line of JSON, then its data.

    Raises:
        UnicodeEncodeError: It holds text that UTF-8 does not have.
    """
    head = json.dumps(
        [entry.branch, entry.n, *entry.cause, entry.kind, float(entry.time)], separators=(",", ":")
    )
    for text in (entry.branch, entry.cause[0], entry.kind, entry.data):
        if not text.isascii():
            text.encode()
    return escaped(f"{head}\n{entry.data}")


def entries_of(run: KeptRun, start: int = 0, stop: int | None = None) -> list[Entry]:
    """Return a run's entries from `start` on and before `stop`.

    Raises:
        StoreDamaged: One cannot be read; `entries` of the error are those before it.
    """
    found: list[Entry] = []
    for seq in range(*slice(max(start, 0), stop).indices(len(run.entries))):
        try:
            found.append(_entry(seq, run.entries[seq]))
        except (ValueError, TypeError, RecursionError) as error:
            run_id = run.info.run_id
            msg = f"entry {seq} of run {run_id!r} is not as it was written: {error}"
            raise StoreDamaged(msg, run_id=run_id, seq=seq, entries=found) from error
    return found


def counted_in(run: KeptRun) -> Iterator[tuple[int, str, str]]:
    """Yield what tells how many steps a run has taken, as far as it can be read."""
    for seq, text in enumerate(run.entries):
        try:
            entry = _entry(seq, text)
        except (ValueError, TypeError, RecursionError):
            return  # whoever reads the entries is told
        yield seq, entry.kind, entry.data


def _entry(seq: int, text: str) -> Entry:
    head, _, data = unescaped(text).partition("\n")
    branch, n, cause_branch, cause_n, kind, time = json.loads(head)
    if tuple(map(type, (branch, n, cause_branch, cause_n, kind, time))) != (str, int, str, int, str, float):
        msg = f"it begins with {head!r:.200}"
        raise TypeError(msg)
    return Entry(seq, branch, n, (cause_branch, cause_n), kind, time, data)


def state_of(runs: Sequence[KeptRun], memory: Memory | None = None) -> dict[str, Any]:
    """Return the state of a session with these runs, and what it remembers; an empty one where there is neither."""
    state: dict[str, Any] = {"marsys": VERSION, "runs": [_run_state(run) for run in runs]}
    if memory is not None and memory.version:
        state["memory"] = {"version": memory.version, "said": [_piece_state(each) for each in memory.pieces]}
    return state if runs or "memory" in state else {}


def _piece_state(piece: Piece) -> list[Any]:
    said = piece.said
    return [piece.added, piece.dropped, escaped(said.agent), escaped(said.run_id), escaped(said.data)]


def _run_state(run: KeptRun) -> dict[str, Any]:
    info = run.info
    forked = info.forked_from
    return {
        **{name: escaped(getattr(info, name)) for name in _TEXTS},
        **{name: getattr(info, name) for name in _NUMBERS},
        **{name: repr(float(getattr(info, name))) for name in _TIMES},
        "forked_from": None if forked is None else [escaped(forked[0]), forked[1]],
        "entries": list(run.entries),
        "texts": dict(run.texts),
        "binary": dict(run.binary),
    }


def read_state(given: Any, where: str) -> tuple[list[KeptRun], Memory]:
    """Return the runs of a state, and what its session remembers.

    Args:
        given: What a backend has loaded.
        where: Whose state it is, for errors.

    Raises:
        StoreError: It is something else, or of a newer version.
        StoreDamaged: It is not as it was written.
    """
    state = _plain(given, where)
    if not state:
        return [], Memory()
    version = state.get("marsys")
    if isinstance(version, bool) or not isinstance(version, int | float) or version != int(version):
        msg = f"{where} was not written by MARSYS: it is {given!r:.200}; give runs a table of their own"
        raise StoreError(msg)
    if version > VERSION:
        msg = f"{where} was written by a newer MARSYS: it is version {version}, and this one knows {VERSION}; update"
        raise StoreError(msg)
    try:
        return [_run(each) for each in state["runs"]], _memory(state.get("memory"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        msg = f"{where} is not as it was written: {type(error).__name__}: {error}"
        raise StoreDamaged(msg) from error


def _plain(given: Any, where: str) -> Mapping[str, Any]:
    if isinstance(given, memoryview):
        given = bytes(given)
    if isinstance(given, str | bytes | bytearray):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError) as error:
            msg = f"{where} is no JSON: {error}"
            raise StoreDamaged(msg) from error
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        msg = f"{where} was loaded as {type(given).__name__}: {given!r:.200}; load_state returns what was saved, or None"
        raise StoreError(msg)
    return given


def _run(state: Mapping[str, Any]) -> KeptRun:
    known: dict[str, Any] = {name: unescaped(_typed(state[name], str)) for name in _TEXTS}
    known |= {name: _whole(state[name]) for name in _NUMBERS}
    known |= {name: float(_typed(state[name], str)) for name in _TIMES}
    forked = state["forked_from"]
    if forked is not None:
        run_id, seq = forked
        known["forked_from"] = (unescaped(_typed(run_id, str)), _whole(seq))
    return KeptRun(
        info=RunInfo(**known),
        entries=[_typed(each, str) for each in state["entries"]],
        texts={_typed(name, str): _typed(each, str) for name, each in state["texts"].items()},
        binary={_typed(name, str): _typed(each, str) for name, each in state["binary"].items()},
    )


def _memory(plain: Mapping[str, Any] | None) -> Memory:
    if plain is None:
        return Memory()
    pieces = []
    for added, dropped, *texts in plain["said"]:
        agent, run_id, data = [unescaped(_typed(text, str)) for text in texts]
        pieces.append(
            Piece(Said(agent, run_id, data), _whole(added), None if dropped is None else _whole(dropped))
        )
    return Memory(_whole(plain["version"]), pieces)


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        msg = f"{value!r:.200} is no {kind.__name__}"
        raise TypeError(msg)
    return value


def _whole(value: Any) -> int:
    """Return a whole number, also from a database that has only one kind of numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        msg = f"{value!r:.200} is no whole number"
        raise TypeError(msg)
    return int(value)
