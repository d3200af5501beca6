"""What a loss of power may leave of SQLite's files: what was synchronised, and any part of what was written since.

SQLite writes through a table of functions. `Disk` puts one of its own in place of the usual one, for the connections
of a ``with`` block, and notes what is written, truncated and synchronised on the way to the real file.
"""

from __future__ import annotations

import _sqlite3
import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

__all__ = ["Disk", "hidden"]

_POINTER = ctypes.c_void_p
_OK = 0
_MAIN, _WAL = 0x100, 0x80000
_WRITE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int, ctypes.c_int64)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int64)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)
_CLOSE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER)
_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_int, ctypes.POINTER(ctypes.c_int)
)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, _POINTER, ctypes.c_int)


class _Methods(ctypes.Structure):
    """``sqlite3_io_methods``."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("close", _CLOSE),
        ("read", _POINTER),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        *[(f"other{number}", _POINTER) for number in range(13)],
    ]


class _File(ctypes.Structure):
    """``sqlite3_file``."""

    _fields_ = [("methods", ctypes.POINTER(_Methods))]


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs``."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("size_of_file", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _OPEN),
        ("delete", _DELETE),
        *[(f"other{number}", _POINTER) for number in range(14)],
    ]


def _library() -> Any:
    """Return SQLite as this Python has it, or None where it cannot be reached."""
    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    try:
        library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        library.sqlite3_vfs_register.argtypes = [ctypes.POINTER(_Vfs), ctypes.c_int]
        library.sqlite3_vfs_unregister.argtypes = [ctypes.POINTER(_Vfs)]
    except AttributeError:
        return None
    return library


def hidden() -> bool:
    """Whether this Python keeps its SQLite to itself."""
    return _library() is None


Change = Callable[[bytearray], None]


@attrs.define(eq=False)
class _Kept:
    """A file as the disk has it for sure, and what may have got there or not."""

    sure: bytes = b""
    since: list[Change] = attrs.field(factory=list)

    def left(self, reaches: Callable[[], bool]) -> bytes:
        """Return the file with what was written since, as far as that reaches the disk."""
        found = bytearray(self.sure)
        for change in self.since:
            if reaches():
                change(found)
        return bytes(found)

    def sync(self) -> None:
        self.sure, self.since = self.left(lambda: True), []


@attrs.define(eq=False)
class Disk:
    """Notes what SQLite writes, truncates, synchronises and removes while it is `watched`."""

    files: dict[str, _Kept] = attrs.field(factory=dict)
    syncs: list[str] = attrs.field(factory=list)
    threads: set[threading.Thread] = attrs.field(factory=set)
    """Which threads have waited for the disk."""
    _open: dict[int, _Methods] = attrs.field(factory=dict)
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Have every connection that is opened inside write to this disk. All are closed at the end."""
        library = _library()
        usual = library.sqlite3_vfs_find(None)
        own = _Vfs.from_buffer_copy(usual.contents)
        own.name, own.next = b"marsys_tests", None
        own.open = _OPEN(lambda *given: self._opened(usual.contents, *given))
        own.delete = _DELETE(lambda *given: self._deleted(usual.contents, *given))
        library.sqlite3_vfs_register(ctypes.byref(own), 1)
        try:
            yield
        finally:
            library.sqlite3_vfs_register(usual, 1)
            library.sqlite3_vfs_unregister(ctypes.byref(own))
            assert not self._open

    def left(self, path: Path, target: Path, reaches: Callable[[], bool]) -> None:
        """Write what would be left now of the file `path` and its log, as `target` and its log.

        Args:
            path: The store's file.
            target: Where.
            reaches: Asked of each write that is not synchronised: all reach the disk where a process is killed, any
                may be missing after a loss of power.
        """
        with self._lock:
            for ending in ("", "-wal"):
                kept = self.files.get(f"{path}{ending}")
                if kept is not None:
                    Path(f"{target}{ending}").write_bytes(kept.left(reaches))

    def _opened(self, usual: _Vfs, vfs: Any, name: int, file: Any, flags: int, out: Any) -> int:
        code: int = usual.open(vfs, name, file, flags, out)
        if code != _OK or not flags & (_MAIN | _WAL):
            return code
        path = _path(name)
        kept = self.files.get(path)
        if kept is None:
            kept = self.files[path] = _Kept(Path(path).read_bytes())
        opened = ctypes.cast(file, ctypes.POINTER(_File)).contents
        self._open[file] = ours = self._methods(opened.methods.contents, path, kept)
        opened.methods = ctypes.pointer(ours)
        return code

    def _methods(self, theirs: _Methods, path: str, kept: _Kept) -> _Methods:
        ours = _Methods.from_buffer_copy(theirs)

        def write(file: int, data: int, size: int, at: int) -> int:
            with self._lock:
                kept.since.append(_writing(ctypes.string_at(data, size), at))
                return int(theirs.write(file, data, size, at))

        def truncate(file: int, size: int) -> int:
            with self._lock:
                kept.since.append(_truncating(size))
                return int(theirs.truncate(file, size))

        def sync(file: int, flags: int) -> int:
            with self._lock:
                self.syncs.append(path)
                self.threads.add(threading.current_thread())
                kept.sync()
                return int(theirs.sync(file, flags))

        def close(file: int) -> int:
            del self._open[file]
            return int(theirs.close(file))

        ours.write, ours.truncate, ours.sync = _WRITE(write), _TRUNCATE(truncate), _SYNC(sync)
        ours.close = _CLOSE(close)
        return ours

    def _deleted(self, usual: _Vfs, vfs: Any, name: int, synced: int) -> int:
        code: int = usual.delete(vfs, name, synced)
        if code == _OK:
            self.files.pop(_path(name), None)
        return code


def _path(name: int) -> str:
    # The pointer itself is handed on: SQLite keeps it as long as the file is open.
    return ctypes.string_at(name).decode()


def _writing(data: bytes, at: int) -> Change:
    def change(found: bytearray) -> None:
        if len(found) < at:
            found.extend(bytes(at - len(found)))
        found[at : at + len(data)] = data

    return change


def _truncating(size: int) -> Change:
    def change(found: bytearray) -> None:
        del found[size:]

    return change
