"""What exceptions of the standard library, of Trio and of common clients mean for the caller of a run.

`ErrorClass.RECOVERABLE` is what the outside world did and may not do again: the network, an overloaded or
absent peer. `ErrorClass.CRITICAL` is what nobody inside the run can mend: memory, disk space, a package
that is not there, credentials. Everything else is left alone: a missing file, a host that does not exist or
a certificate that does not verify may be a wrong guess of an agent as well as a wrong setting.

Libraries are recognised by the names of their classes and never imported.
"""

from __future__ import annotations

import errno

import trio

from marsys_core.errors import ErrorClass

__all__ = ["classify"]

_PEER = (ConnectionError, TimeoutError, trio.TooSlowError, trio.BrokenResourceError)

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        getattr(errno, "EHOSTDOWN", errno.EHOSTUNREACH),  # not everywhere
    }
)
_LASTING = frozenset({errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)})

_BUSY = frozenset({408, 429, 502, 503, 504})
"""HTTP: asked too slowly, too often, or at a bad moment."""

_CLIENT = dict.fromkeys(("TimeoutException", "NetworkError", "RemoteProtocolError"), ErrorClass.RECOVERABLE)
_SDK = {
    "APIConnectionError": ErrorClass.RECOVERABLE,
    "RateLimitError": ErrorClass.RECOVERABLE,
    "InternalServerError": ErrorClass.RECOVERABLE,
    "AuthenticationError": ErrorClass.CRITICAL,
    "PermissionDeniedError": ErrorClass.CRITICAL,
}
_KNOWN = {"httpx": _CLIENT, "httpcore": _CLIENT, "openai": _SDK, "anthropic": _SDK}


def classify(error: BaseException) -> ErrorClass | None:
    """Return what `error` means for the caller of a run, or None where only its raiser could know.

    A group is critical if something in it is, and recoverable if everything in it is.
    """
    if isinstance(error, BaseExceptionGroup):
        return _of_group(error)
    if isinstance(error, MemoryError | ImportError):
        return ErrorClass.CRITICAL
    if isinstance(error, _PEER):
        return ErrorClass.RECOVERABLE
    if isinstance(error, OSError):
        return _of_system(error)
    return _of_library(error)


def _of_group(group: BaseExceptionGroup[BaseException]) -> ErrorClass | None:
    classes = {getattr(each, "error_class", None) or classify(each) for each in group.exceptions}
    if ErrorClass.CRITICAL in classes:
        return ErrorClass.CRITICAL
    return ErrorClass.RECOVERABLE if classes == {ErrorClass.RECOVERABLE} else None


def _of_system(error: OSError) -> ErrorClass | None:
    for cls in type(error).__mro__:
        match (cls.__module__, cls.__qualname__):
            case ("urllib.error", "HTTPError"):
                return ErrorClass.RECOVERABLE if getattr(error, "code", None) in _BUSY else None
            case ("urllib.error", "URLError"):
                reason = getattr(error, "reason", None)
                return classify(reason) if isinstance(reason, BaseException) else None
            case ("socket", "gaierror"):
                return _of_lookup(error)
            case ("ssl", "SSLError"):
                return _of_tls(error)
    if error.errno in _PASSING:
        return ErrorClass.RECOVERABLE
    return ErrorClass.CRITICAL if error.errno in _LASTING else None


def _of_lookup(error: OSError) -> ErrorClass | None:
    import socket

    return ErrorClass.RECOVERABLE if error.errno == socket.EAI_AGAIN else None


def _of_tls(error: OSError) -> ErrorClass | None:
    """A connection that ended in the middle, or a time limit, which older code raises without a class of its own."""
    cut = {"SSLEOFError", "SSLZeroReturnError"}
    if any(cls.__name__ in cut for cls in type(error).__mro__) or "timed out" in str(error):
        return ErrorClass.RECOVERABLE
    return None


def _of_library(error: BaseException) -> ErrorClass | None:
    for cls in type(error).__mro__:
        names = _KNOWN.get(cls.__module__.partition(".")[0])
        if names is None or cls.__name__ not in names:
            continue
        # The same class says "too fast" and "the account is empty"; only the first passes.
        empty = cls.__name__ == "RateLimitError" and getattr(error, "code", None) == "insufficient_quota"
        return ErrorClass.CRITICAL if empty else names[cls.__name__]
    return _of_status(error)


def _of_status(error: BaseException) -> ErrorClass | None:
    """A response of the kind that asks to come back later, and one that was cut off."""
    for cls in type(error).__mro__:
        match (cls.__module__, cls.__qualname__):
            case ("httpx" | "httpx._exceptions", "HTTPStatusError"):
                status = getattr(getattr(error, "response", None), "status_code", None)
                return ErrorClass.RECOVERABLE if status in _BUSY else None
            case ("http.client", "IncompleteRead"):
                return ErrorClass.RECOVERABLE
    return None
