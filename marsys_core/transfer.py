"""One run as one file of JSON Lines: a head, what is known of the run, large values, entries, an end with a checksum."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from marsys_core.errors import StoreError
from marsys_core.protocols.store import Entry, RunInfo

__all__ = ["Run", "read_file", "write_file"]

_FORMAT = "marsys-run"
_VERSION = 1


@attrs.frozen(kw_only=True)
class Run:
    """All of one run."""

    info: RunInfo
    blobs: Mapping[str, bytes]
    entries: Sequence[Entry]


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
    except (ValueError, TypeError, KeyError, RecursionError) as error:
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
    for line in lines[1:-1]:
        value = json.loads(line)
        if "blob" in value:
            blobs[value["blob"]] = _content(value)
        else:
            entries.append(_entry(value["entry"], len(entries)))
    return Run(info=info, blobs=blobs, entries=entries)


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
