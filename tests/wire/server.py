"""A server on a socket of this machine that answers as it is told to: well, or in every wrong way.

    async with serving(answer(body=b"{}")) as server:
        ...  # speak to server.url
        assert server.asked[0].json == {...}

What answers is a function of what was asked and of the connection; `answer`, `recorded`, `dropped` and the others
make one. Of several, each answers one request, and the last one all that follow. Tests that use it are marked
``sockets``.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

__all__ = [
    "Answer",
    "Asked",
    "Connection",
    "Server",
    "answer",
    "cut",
    "dropped",
    "endless",
    "recorded",
    "serving",
    "silent",
    "slow",
]

_LONGEST_HEAD = 100_000


@attrs.define(eq=False)
class Asked:
    """A request: its names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define(eq=False)
class Connection:
    """The way back to who asked."""

    stream: trio.SocketStream

    async def begin(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send a status and headers; what follows is sent by `piece`, and ended by `end`."""
        lines = [f"HTTP/1.1 {status} Status"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += ["transfer-encoding: chunked", "", ""]
        await self.stream.send_all("\r\n".join(lines).encode("latin-1"))

    async def piece(self, data: bytes) -> None:
        """Send a piece of the body, which arrives as a piece of its own."""
        if data:
            await self.stream.send_all(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.stream.send_all(b"0\r\n\r\n")


Answer = Callable[[Asked, Connection], Awaitable[None]]


@attrs.define(eq=False)
class Server:
    """Where to speak to, and what was said.

    Attributes:
        url: The address, without a slash at its end.
        asked: The requests so far.
        open: How many connections there are at this moment.
    """

    url: str = ""
    asked: list[Asked] = attrs.field(factory=list)
    open: int = 0
    _changed: trio.Condition = attrs.field(factory=trio.Condition)

    async def closed(self, seconds: float = 5) -> None:
        """Wait until there is no connection any more; fail where that does not come."""
        with trio.fail_after(seconds):
            async with self._changed:
                while self.open:
                    await self._changed.wait()

    async def _count(self, more: int) -> None:
        with trio.CancelScope(shield=True):
            async with self._changed:
                self.open += more
                self._changed.notify_all()


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    """Serve `answers` on a free port until the block ends."""
    server = Server()
    left = list(answers)

    async def connected(stream: trio.SocketStream) -> None:
        await server._count(1)
        try:
            while (asked := await _read(stream)) is not None:
                server.asked.append(asked)
                chosen = left.pop(0) if len(left) > 1 else left[0]
                await chosen(asked, Connection(stream))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side went away, which is what many tests are about
        finally:
            await server._count(-1)

    async with trio.open_nursery() as nursery:
        serve = await nursery.start(
            lambda task_status: trio.serve_tcp(connected, 0, host="127.0.0.1", task_status=task_status)
        )
        server.url = f"http://127.0.0.1:{serve[0].socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()


async def _read(stream: trio.SocketStream) -> Asked | None:
    data = bytearray()
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more or len(data) > _LONGEST_HEAD:
            return None
        data += more
    head, _, rest = bytes(data).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    body = bytearray(rest)
    while len(body) < length:
        more = await stream.receive_some()
        if not more:
            return None
        body += more
    return Asked(method, path, headers, bytes(body))


def cut(body: bytes, seed: int | None) -> list[bytes]:
    """Cut a body anywhere; None: into single bytes."""
    if seed is None:
        return [body[index : index + 1] for index in range(len(body))]
    source = random.Random(seed)
    pieces, start = [], 0
    while start < len(body):
        size = source.choice((1, 2, 7, 60, 400, 5000)) + source.randrange(20)
        pieces.append(body[start : start + size])
        start += size
    return pieces


def answer(
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    body: bytes | str | Iterable[bytes] = b"",
    json_body: Any = None,
) -> Answer:
    """Answer with a body: as one piece, in the pieces that are given, or made of JSON data."""
    kind = {"content-type": "application/json"}
    if json_body is not None:
        body = json.dumps(json_body)
    if isinstance(body, str):
        body = body.encode()
    pieces = [body] if isinstance(body, bytes) else list(body)

    async def reply(_asked: Asked, connection: Connection) -> None:
        await connection.begin(status, {**kind, **(headers or {})})
        for piece in pieces:
            await connection.piece(piece)
        await connection.end()

    return reply


def recorded(record: Mapping[str, Any], seed: int | None = 0) -> Answer:
    """Answer as a record has it, cut anywhere."""
    response = record["response"]
    body = response["body"]
    if response["format"] != "sse":
        body = json.dumps(body, ensure_ascii=bool(seed))
    kind = "text/event-stream" if response["format"] == "sse" else "application/json"
    headers = {"content-type": kind, **response["headers"]}
    return answer(response["status"], headers, cut(body.encode(), seed))


_EVENTS = {"content-type": "text/event-stream"}


def dropped(*pieces: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with pieces, and break the connection off."""

    async def reply(_asked: Asked, connection: Connection) -> None:
        await connection.begin(200, headers or _EVENTS)
        for piece in pieces:
            await connection.piece(piece)
        await connection.stream.aclose()

    return reply


def slow(body: bytes, every: float, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with a byte every so many seconds."""

    async def reply(_asked: Asked, connection: Connection) -> None:
        await connection.begin(200, headers or _EVENTS)
        for piece in cut(body, None):
            await connection.piece(piece)
            await trio.sleep(every)
        await connection.end()

    return reply


def endless(piece: bytes, total: int, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with the same piece again and again, until there were `total` bytes."""

    async def reply(_asked: Asked, connection: Connection) -> None:
        await connection.begin(status, headers or _EVENTS)
        for _ in range(total // len(piece)):
            await connection.piece(piece)
        await connection.end()

    return reply


def silent(*pieces: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with pieces, and then with nothing more, for as long as the other side waits."""

    async def reply(_asked: Asked, connection: Connection) -> None:
        if pieces:
            await connection.begin(200, headers or _EVENTS)
        for piece in pieces:
            await connection.piece(piece)
        await connection.stream.receive_some()

    return reply
