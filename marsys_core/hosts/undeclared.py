"""Finds out that code awaited asyncio under Trio, or Trio under asyncio, from the error. For the failure path only."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import attrs

__all__ = ["Awaited", "asyncio_awaited", "trio_awaited"]

_FOREIGN = "trio.run received unrecognized yield message"
_BRIDGES = ("marsys_core.hosts.bridge", "marsys_core.hosts.streams")
_NO_LOOP = "no running event loop"
_NO_TASK = "must be called from async context"
_YIELDED = "Task got bad yield: <class 'trio."
_THROUGH = "marsys_core.hosts.apart"  # throws an error into the code that it carries


@attrs.frozen
class Awaited:
    """What of a library was awaited, and where.

    Attributes:
        what: For example ``asyncio.sleep``.
        file: The file of the code that awaits it.
        line: Its line there.
        error: What this came to.
    """

    what: str
    file: str
    line: int
    error: BaseException

    def __str__(self) -> str:
        source = linecache.getline(self.file, self.line).strip()
        return f"{self.what} at {self.file}:{self.line}" + (f" ({source})" if source else "")


def asyncio_awaited(error: BaseException) -> Awaited | None:
    """Return what of asyncio was awaited without a declaration, if `error` comes of that; else None.

    Args:
        error: What code that runs under Trio has raised; in a group the first that tells is returned.
    """
    if isinstance(error, BaseExceptionGroup):
        return next(
            (found for each in error.exceptions if (found := asyncio_awaited(each)) is not None), None
        )
    frames = list(_frames(error))
    while frames and _module(frames[-1][0]) == _THROUGH:
        frames.pop()
    # Code that has its loop, and goes wrong there, has crossed a bridge.
    if (
        not frames
        or any(_module(frame) in _BRIDGES for frame, _ in frames)
        or not _tells(error, frames[-1][0])
    ):
        return None
    inside = next((i for i, (frame, _) in enumerate(frames) if _is_asyncio(frame)), len(frames))
    if inside == 0:
        return None  # nobody of ours has called it
    # Of what calls it, the user's own code rather than a library.
    own = (i for i in reversed(range(inside)) if not _is_installed(frames[i][0]))
    at = next(own, inside - 1)
    frame, line = frames[at]
    what = _called(frames[at + 1][0]) if at + 1 < len(frames) else _unnamed(error)
    return Awaited(what, frame.f_code.co_filename, line, error)


def trio_awaited(error: BaseException) -> Awaited | None:
    """Return what of Trio was awaited by code that has an asyncio loop, if `error` comes of that; else None.

    Args:
        error: What code that is declared as asyncio's has raised; in a group the first that tells is returned.
    """
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := trio_awaited(each)) is not None), None)
    frames = list(_frames(error))
    if not frames or not _tells_of_trio(error, frames[-1][0]):
        return None
    bridged = max((i for i, (frame, _) in enumerate(frames) if _module(frame) in _BRIDGES), default=-1)
    if bridged < 0 and not str(error).startswith(_YIELDED):
        return None  # a thread may say this as well
    rest = frames[bridged + 1 :]
    inside = next(i for i, (frame, _) in enumerate(rest) if _is_trio(frame))
    own = (i for i in reversed(range(inside)) if not _is_passed(rest[i][0]))
    at = next(own, None)
    if at is None:
        return None  # nobody's code but ours
    frame, line = rest[at]
    return Awaited(_called_of_trio(rest[inside][0]), frame.f_code.co_filename, line, error)


def _tells_of_trio(error: BaseException, last: FrameType) -> bool:
    if not _is_trio(last):
        return False
    text = str(error)
    if type(error) is RuntimeError:
        return text == _NO_TASK or text.startswith(_YIELDED)
    return type(error) is AttributeError and "'RunContext'" in text  # Trio does not run in this thread


def _tells(error: BaseException, last: FrameType) -> bool:
    """Whether this is what asyncio or Trio raise where the one is awaited under the other."""
    kind = type(error)  # a subclass is something else, and may not even be told
    if kind is TypeError:
        return str(error).startswith(_FOREIGN)
    if kind is RuntimeError:
        return str(error) == _NO_LOOP or _is_asyncio(last)
    return kind is AttributeError and "NoneType" in str(error) and _is_asyncio(last)  # there is no loop


def _unnamed(error: BaseException) -> str:
    text = str(error)
    if not text.startswith(_FOREIGN):
        return "the running asyncio loop"
    return "an asyncio task" if "<Task" in text else "an asyncio future"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_asyncio(frame: FrameType) -> bool:
    module = _module(frame)
    return module == "asyncio" or module.startswith("asyncio.")


def _is_trio(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] == "trio"


def _is_passed(frame: FrameType) -> bool:
    """Whether the frame is of code that only stands between: a library's, or that of context managers."""
    return _module(frame) == "contextlib" or _is_installed(frame)


def _is_installed(frame: FrameType) -> bool:
    return any(part in ("site-packages", "dist-packages") for part in Path(frame.f_code.co_filename).parts)


def _called(frame: FrameType) -> str:
    """Return the public name of what the frame runs, of a method its class: ``asyncio.Queue``."""
    import asyncio

    name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
    first = name.partition(".")[0]
    if _is_asyncio(frame) and hasattr(asyncio, first):
        return f"asyncio.{'timeout' if first == 'Timeout' else first}"
    return f"{_module(frame)}.{name}"


def _called_of_trio(frame: FrameType) -> str:
    import trio

    name = frame.f_code.co_name
    return f"trio.{name}" if hasattr(trio, name) else "Trio"
