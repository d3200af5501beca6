"""One run as one file of JSON Lines: a head, what is known of it, large values, what was said, entries, a checksum."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from marsys_core.errors import StoreError
from marsys_core.protocols.store import Entry, Recalled, RunInfo, Said

__all__ = ["Run", "began_in", "of_run", "read_file", "write_file"]

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


def write_file(run: Run, path: Path) -> None:
    """Write a run into a file, which is there whole or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            digest = hashlib.sha256()
            for line in _lines(run):
                digest.update(line)
                file.write(line)
            file.write(_line({"end": digest.hexdigest()}))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a disk that may not be written there is nothing to remove
            part.unlink(missing_ok=True)
        msg = f"could not write the run {run.info.run_id!r} to {str(path)!r}: {error.strerror or error}"
        raise StoreError(msg, str(path)) from error


def read_file(path: Path) -> Run:
    """Read what `write_file` wrote.

    Raises:
        StoreError: It cannot be read, is not whole, or is newer than this code.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        msg = f"could not read {str(path)!r}: {error.strerror or error}"
        raise StoreError(msg, str(path)) from error
    try:
        return _read(lines, path)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        msg = f"{str(path)!r} is not a run that was exported: {type(error).__name__}: {error}"
        raise StoreError(msg, str(path)) from error


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _lines(run: Run) -> Iterator[bytes]:
    info = attrs.asdict(run.info, filter=lambda field, _: field.name != "holder")
    yield _line({"format": _FORMAT, "version": _VERSION, "info": info})
    for sha256, data in run.blobs.items():
        try:
            yield _line({"blob": sha256, "text": data.decode()})
        except UnicodeDecodeError:
            yield _line({"blob": sha256, "base64": base64.b64encode(data).decode()})
    for said in run.said:
        yield _line({"said": attrs.astuple(said)})
    for entry in run.entries:
        yield _line({"entry": attrs.astuple(entry, recurse=False)})


def _read(lines: list[bytes], path: Path) -> Run:
    head = json.loads(lines[0]) if lines else {}
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        msg = f"its first line has no format {_FORMAT!r}"
        raise ValueError(msg)
    if head["version"] > _VERSION:
        msg = f"{str(path)!r} is version {head['version']!r} of the format, and this one knows {_VERSION}; update MARSYS"
        raise StoreError(msg, str(path))
    end = json.loads(lines[-1])
    if not isinstance(end, dict) or end.get("end") != hashlib.sha256(b"".join(lines[:-1])).hexdigest():
        msg = "its last line is not the checksum of those before; it is damaged, or was cut off"
        raise ValueError(msg)
    given = head["info"]
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
    blobs: dict[str, bytes] = {}
    entries: list[Entry] = []
    said: list[Said] = []
    for line in lines[1:-1]:
        value = json.loads(line)
        if "blob" in value:
            blobs[value["blob"]] = _content(value)
        elif "said" in value:
            said.append(_said(value["said"]))
        else:
            entries.append(_entry(value["entry"], len(entries)))
    run = Run(info=info, blobs=blobs, entries=entries, said=tuple(said))
    # The session may be another one where it comes to, or none; what the run began with is its own from here on.
    before = Recalled(0, [each for each in said if each.run_id != info.run_id])
    for text in before.by_agent().values():
        blobs.setdefault(hashlib.sha256(text.encode()).hexdigest(), text.encode())
    return run


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
