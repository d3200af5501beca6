from __future__ import annotations

import errno
import http.client
import io
import socket
import ssl
import subprocess
import sys
import urllib.error

import pytest
import trio

import marsys.resilience.plugin as plugin
from marsys.resilience import classify
from marsys_core.errors import AgentError, CriticalError, ErrorClass, RecoverableError
from marsys_core.plugins import PluginSettings, compose

PASSING, LASTING = ErrorClass.RECOVERABLE, ErrorClass.CRITICAL


def of_library(module: str, *names: str, **values: object) -> BaseException:
    """An instance of a class as a library has it: each name inherits from the one before."""
    cls: type = Exception
    for name in names:
        cls = type(name, (cls,), {"__module__": module})
    error = cls("no")
    vars(error).update(values)
    return error


def status(code: int) -> BaseException:
    response = type("Response", (), {"status_code": code})()
    return of_library("httpx", "HTTPStatusError", response=response)


def http_error(code: int) -> BaseException:
    return urllib.error.HTTPError("http://x", code, "no", {}, io.BytesIO())


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (ConnectionResetError("reset"), PASSING),
        (ConnectionRefusedError("refused"), PASSING),
        (BrokenPipeError("gone"), PASSING),
        (TimeoutError("slow"), PASSING),
        (trio.TooSlowError(), PASSING),
        (trio.BrokenResourceError(), PASSING),
        (OSError(errno.ENETUNREACH, "unreachable"), PASSING),
        (OSError(errno.EMFILE, "too many open files"), PASSING),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), PASSING),
        (ssl.SSLEOFError("cut"), PASSING),
        (ssl.SSLError("The read operation timed out"), PASSING),
        (http.client.IncompleteRead(b""), PASSING),
        (http.client.RemoteDisconnected("gone"), PASSING),
        (urllib.error.URLError(ConnectionRefusedError()), PASSING),
        (http_error(503), PASSING),
        (status(429), PASSING),
        (of_library("httpx", "TimeoutException", "ReadTimeout"), PASSING),
        (of_library("httpcore", "NetworkError", "ConnectError"), PASSING),
        (of_library("openai", "APIConnectionError", "APITimeoutError"), PASSING),
        (of_library("anthropic._exceptions", "InternalServerError", "OverloadedError"), PASSING),
        (of_library("openai", "RateLimitError", code="rate_limit_exceeded"), PASSING),
        (of_library("openai", "RateLimitError", code="insufficient_quota"), LASTING),
        (of_library("anthropic", "AuthenticationError"), LASTING),
        (of_library("openai", "PermissionDeniedError"), LASTING),
        (MemoryError(), LASTING),
        (ImportError("no module"), LASTING),
        (ModuleNotFoundError("no module"), LASTING),
        (OSError(errno.ENOSPC, "disk full"), LASTING),
        (OSError(errno.EROFS, "read only"), LASTING),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_passes_is_told_from_what_lasts(error, means):
    assert classify(error) is means


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("no"),
        RecursionError("deep"),
        FileNotFoundError(errno.ENOENT, "no"),
        PermissionError(errno.EACCES, "no"),
        OSError("no number"),
        socket.gaierror(socket.EAI_NONAME, "no such host"),
        ssl.SSLCertVerificationError("self-signed"),
        urllib.error.URLError("unknown url type"),
        http_error(404),
        status(500),
        trio.ClosedResourceError(),
        of_library("httpx", "UnsupportedProtocol"),
        of_library("openai", "BadRequestError"),
        of_library("elsewhere", "RateLimitError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_be_anybodys_mistake_is_left_alone(error):
    assert classify(error) is None


@pytest.mark.parametrize(
    ("errors", "means"),
    [
        ([ConnectionError(), TimeoutError()], PASSING),
        ([ConnectionError(), ExceptionGroup("inner", [RecoverableError()])], PASSING),
        ([ConnectionError(), ValueError()], None),
        ([ConnectionError(), MemoryError()], LASTING),
        ([ValueError(), CriticalError()], LASTING),
        ([AgentError()], None),
    ],
)
def test_a_group_is_as_bad_as_its_worst_and_passing_if_all_of_it_is(errors, means):
    assert classify(ExceptionGroup("several", errors)) is means


@pytest.mark.slow
def test_nothing_is_imported_to_recognise_it():
    code = (
        "import sys, trio\n"
        "from marsys.resilience import classify\n"
        "before = set(sys.modules)\n"
        "[classify(e) for e in (OSError(), ValueError(), ConnectionError(), MemoryError())]\n"
        "print(sorted(set(sys.modules) - before), sorted({'httpx', 'httpcore', 'openai', 'urllib.error', "
        "'http.client'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[] []\n"


def test_the_plugin_is_asked_by_the_engine():
    composition = compose(PluginSettings(plugins={"resilience": plugin}, discover=False))
    assert composition.classify(MemoryError()) is LASTING
    assert composition.classify(ValueError()) is None
