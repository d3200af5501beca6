"""One run as one file of JSON Lines: a head, what is known of it, large values, what was said, entries, a checksum.

Before the checksum come the runs that are nested in it, in the same way, each with a line of its own as its head.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from marsys_core.errors import StoreError
from marsys_core.protocols.store import Entry, Recalled, RunInfo, Said

__all__ = ["Run", "began_in", "of_run", "read_file", "teams_in", "write_file"]

_FORMAT = "marsys-run"
_VERSION = 1


@attrs.frozen(kw_only=True)
class Run:
    """All of one run.

    Args:
        info: What is known of it.
        blobs: Its large values, by their hashes.
        entries: Its log.
        said: What its agents remembered of the session as it began, and then what it has added.
    """

    info: RunInfo
    blobs: Mapping[str, bytes]
    entries: Sequence[Entry]
    said: Sequence[Said] = ()

    @property
    def session_id(self) -> str:
        """The session that it has added to."""
        began = began_in(self.entries)
        return self.info.session_id if began is None else began[0]

    def additions(self, *, known: bool) -> list[tuple[str, dict[str, str]]]:
        """Return what is to be added to the session where the run comes to: by which run, and by agent.

        Args:
            known: Whether something is remembered of the session there: then only what this run has added.
        """
        found: dict[str, dict[str, str]] = {}
        for each in self.said:
            if not known or each.run_id == self.info.run_id:
                found.setdefault(each.run_id, {})[each.agent] = each.data
        return list(found.items())


def began_in(entries: Sequence[Entry]) -> tuple[str, int] | None:
    """Return the session that a run's agents go on with, and the version that they began with; None for any other run."""
    if not entries or entries[0].kind != "RunStarted":
        return None
    try:
        known = json.loads(entries[0].data)
    except (ValueError, RecursionError):
        return None  # not ours to read; then it refers to nothing that could be found
    found = (
        (known.get("session_id"), known.get("session_version")) if isinstance(known, dict) else (None, None)
    )
    return found if isinstance(found[0], str) and type(found[1]) is int else None  # type: ignore[return-value]


def of_run(run_id: str, before: Recalled, now: Recalled) -> list[Said]:
    """Return what belongs to a run of what its session remembers, `before` it began and `now`."""
    own = [each for each in now.said if each.run_id == run_id]
    return [*(each for each in before.said if each.run_id != run_id), *own]


def teams_in(entries: Iterable[Entry]) -> list[str]:
    """Return the ids of the runs that a log tells were nested in the run, each once; a store may not have them all.

    It is for a store that cannot look for runs by their `RunInfo.parent`.
    """
    found: dict[str, None] = {}
    for entry in entries:
        if entry.kind == "TeamStarted":
            try:
                inner = json.loads(entry.data)["inner"]
            except (ValueError, TypeError, LookupError, RecursionError):
                continue  # not ours to read
            if isinstance(inner, str):
                found[inner] = None
    return list(found)


def write_file(run: Run, path: Path, nested: Iterable[Run] = ()) -> None:
    """Write a run into a file, which is there whole or not at all.

    Args:
        run: The run.
        path: The file.
        nested: The runs that are nested in it, each after the one that it is part of. They are asked for one by one,
            and nothing of them is held once it is written; what asking raises is raised here, and no file is left.

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _write(file, run, nested)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a disk that may not be written there is nothing to remove
            part.unlink(missing_ok=True)
        msg = f"could not write the run {run.info.run_id!r} to {str(path)!r}: {error.strerror or error}"
        raise StoreError(msg, str(path)) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _write(file: BinaryIO, run: Run, nested: Iterable[Run]) -> None:
    digest = hashlib.sha256()

    def write(line: bytes) -> None:
        digest.update(line)
        file.write(line)

    write(_line({"format": _FORMAT, "version": _VERSION, "info": _facts(run.info)}))
    for line in _lines(run):
        write(line)
    for inner in nested:
        write(_line({"nested": _facts(inner.info)}))
        for line in _lines(inner):
            write(line)
    file.write(_line({"end": digest.hexdigest()}))
    file.flush()
    os.fsync(file.fileno())


def read_file(path: Path) -> Generator[Run, None, None]:
    """Yield what `write_file` wrote: the run, and then those that are nested in it, each read when it is asked for.

    That the file is whole is known when the last one has come: take what comes for good only then.

    Raises:
        StoreError: It cannot be read, is not whole, or is newer than this code.
    """
    try:
        with path.open("rb") as file:
            yield from _read(file, path)
    except OSError as error:
        msg = f"could not read {str(path)!r}: {error.strerror or error}"
        raise StoreError(msg, str(path)) from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        msg = f"{str(path)!r} is not a run that was exported: {type(error).__name__}: {error}"
        raise StoreError(msg, str(path)) from error


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _facts(info: RunInfo) -> dict[str, Any]:
    return attrs.asdict(info, filter=lambda field, _: field.name != "holder")


def _lines(run: Run) -> Iterator[bytes]:
    for sha256, data in run.blobs.items():
        try:
            yield _line({"blob": sha256, "text": data.decode()})
        except UnicodeDecodeError:
            yield _line({"blob": sha256, "base64": base64.b64encode(data).decode()})
    for said in run.said:
        yield _line({"said": attrs.astuple(said)})
    for entry in run.entries:
        yield _line({"entry": attrs.astuple(entry, recurse=False)})


@attrs.define(eq=False)
class _Part:
    """A run as far as it is read."""

    info: RunInfo
    blobs: dict[str, bytes] = attrs.field(factory=dict)
    entries: list[Entry] = attrs.field(factory=list)
    said: list[Said] = attrs.field(factory=list)

    def take(self, value: Mapping[str, Any]) -> None:
        """Take what a line holds."""
        if "blob" in value:
            self.blobs[value["blob"]] = _content(value)
        elif "said" in value:
            self.said.append(_said(value["said"]))
        else:
            self.entries.append(_entry(value["entry"], len(self.entries)))

    def whole(self) -> Run:
        """Return the run, all of which is read."""
        # The session may be another one where it comes to, or none; what the run began with is its own from here on.
        before = Recalled(0, [each for each in self.said if each.run_id != self.info.run_id])
        for text in before.by_agent().values():
            self.blobs.setdefault(hashlib.sha256(text.encode()).hexdigest(), text.encode())
        return Run(info=self.info, blobs=self.blobs, entries=self.entries, said=tuple(self.said))


def _read(file: BinaryIO, path: Path) -> Iterator[Run]:
    first = file.readline()
    head = json.loads(first) if first else {}
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        msg = f"its first line has no format {_FORMAT!r}"
        raise ValueError(msg)
    if head["version"] > _VERSION:
        msg = f"{str(path)!r} is version {head['version']!r} of the format, and this one knows {_VERSION}; update MARSYS"
        raise StoreError(msg, str(path))
    digest, part = hashlib.sha256(first), _Part(_info(head["info"]))
    known = {part.info.run_id}
    for line in file:
        value = json.loads(line)
        if "end" in value:
            if value["end"] != digest.hexdigest() or file.readline():
                break
            yield part.whole()
            return
        digest.update(line)
        if "nested" not in value:
            part.take(value)
            continue
        yield part.whole()
        part = _Part(_info(value["nested"]))
        if part.info.parent not in known:
            msg = f"run {part.info.run_id!r} is nested in {part.info.parent!r}, which is not before it"
            raise ValueError(msg)
        known.add(part.info.run_id)
    msg = "its last line is not the checksum of those before; it is damaged, or was cut off"
    raise ValueError(msg)


def _info(given: dict[str, Any]) -> RunInfo:
    forked = given.pop("forked_from")
    if forked is not None and tuple(map(type, forked)) != (str, int):
        msg = f"forked_from is {forked!r}"
        raise TypeError(msg)
    info = RunInfo(**given, forked_from=None if forked is None else (forked[0], forked[1]))
    for field in attrs.fields(RunInfo):
        value = getattr(info, field.name)
        wanted = str if field.name == "run_id" else type(field.default)
        if type(value) is not wanted and field.name != "forked_from":
            msg = f"{field.name} is {value!r}"
            raise TypeError(msg)
    return info


def _said(values: Sequence[Any]) -> Said:
    agent, run_id, data = values
    if tuple(map(type, values)) != (str, str, str):
        msg = f"what was said is {values!r:.200}"
        raise TypeError(msg)
    return Said(agent, run_id, data)


def _entry(values: Sequence[Any], expected: int) -> Entry:
    seq, branch, n, (cause_branch, cause_n), kind, time, data = values
    types = tuple(map(type, (seq, branch, n, cause_branch, cause_n, kind, data)))
    if types != (int, str, int, str, int, str, str) or type(time) not in (int, float) or seq != expected:
        msg = f"entry {expected} is {values!r}"
        raise TypeError(msg)
    return Entry(seq, branch, n, (cause_branch, cause_n), kind, float(time), data)


def _content(value: Mapping[str, Any]) -> bytes:
    data: bytes = value["text"].encode() if "text" in value else base64.b64decode(value["base64"])
    if hashlib.sha256(data).hexdigest() != value["blob"]:
        msg = f"the large value {value['blob']} has another hash"
        raise ValueError(msg)
    return data
