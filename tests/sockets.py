"""Refuses sockets that lead out of this process, wherever the test at work has not asked for them.

An audit hook stays as long as its process, so there is one, which looks at what the test at work may do. It
covers all threads of this process. Processes that a test starts are not covered.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

__all__ = ["WATCH", "Watch", "no_sockets"]

_ROOT = str(Path(__file__).resolve().parents[1])
_REACHING = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.sendmsg",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "socket.gethostbyaddr",
        "socket.getnameinfo",
    }
)
_WITH_A_SOCKET = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg")
_HERE = ("127.0.0.1", "::1", "localhost")


@attrs.define(eq=False)
class Watch:
    """What was refused, and what is allowed at the moment.

    Attributes:
        local: Whether the test at work may use sockets of this machine: loopback addresses and UNIX sockets.
        refused: What was tried and not allowed: the event, the address and where.
    """

    local: bool = False
    refused: list[str] = attrs.field(factory=list)

    def install(self) -> None:
        """Begin, once for the process."""

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            # This is called for every import, every file and every `id()`.
            if event[:7] != "socket." or event not in _REACHING:
                return
            address = _address(event, arguments)
            if address is _CONNECTED or (self.local and self._is_local(event, address)):
                return
            told = f"{event} {address!r} at {_place()}"
            self.refused.append(told)
            msg = f"tests open no sockets but what the marker 'sockets' allows: {told}"
            raise PermissionError(msg)

        sys.addaudithook(hook)

    @staticmethod
    def _is_local(event: str, address: Any) -> bool:
        if event not in _WITH_A_SOCKET:  # a look-up: its address is a name, or None for this machine
            return address is None or (address.decode() if isinstance(address, bytes) else address) in _HERE
        # What is no tuple is the path of a UNIX socket.
        return address[0] in _HERE if isinstance(address, tuple) else isinstance(address, str | bytes)


_CONNECTED: Any = object()  # a message on a socket that has its other end: the way there was looked at before


def _address(event: str, arguments: tuple[Any, ...]) -> Any:
    if event not in _WITH_A_SOCKET:
        return arguments[0]
    address = arguments[1]
    return _CONNECTED if event == "socket.sendmsg" and address is None else address


def _place() -> str:
    """Say where the nearest frame of ours stands, and otherwise the nearest of all."""
    frames = [each for each in traceback.extract_stack() if each.filename != __file__]
    inside = [
        each
        for each in frames
        if each.filename.startswith(_ROOT)
        and "site-packages" not in each.filename  # an environment in the tree
    ]
    near = (inside or frames)[-1]
    return f"{near.filename.removeprefix(_ROOT + os.sep)}:{near.lineno} in {near.name}"


WATCH = Watch()


@pytest.fixture(autouse=True)
def no_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that reaches for a socket that it has not asked for, also where its code got over the refusal."""
    WATCH.local = request.node.get_closest_marker("sockets") is not None
    yield
    refused, WATCH.refused, WATCH.local = WATCH.refused, [], False
    if refused:
        pytest.fail("this test reached for sockets that it has not asked for: " + "; ".join(refused))
