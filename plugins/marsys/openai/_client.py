"""The way to a provider: the official SDK's client on Trio, held to a deadline and to a size."""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys.openai._body import Body, abandon
from marsys.openai._errors import (
    Asked,
    Refused,
    cut_short,
    error_in,
    error_of,
    malformed,
    timed_out,
)
from marsys.openai._settings import Wire
from marsys.openai._sse import Event, EventReader
from marsys_core.errors import ConfigError, ModelError, PluginUnavailable
from marsys_core.secret import Secret

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["Client", "Events", "Http", "Reply", "Wire", "open_http"]

_LONGEST_REFUSAL = 262_144  # bytes of the body of an error that are read


@attrs.define(eq=False)
class Reply:
    """A whole answer: JSON data, and the headers that came with it."""

    data: dict[str, Any]
    headers: Mapping[str, str]


@attrs.define(eq=False)
class Http:
    """The connections that the clients of a plugin share."""

    wire: Wire
    pool: Any = attrs.field(repr=False)

    def client(
        self,
        provider: str,
        key: Secret | None = None,
        base_url: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        key_header: str = "",
        of_openai: bool = False,
    ) -> Client:
        """Return a client of one provider.

        Args:
            provider: Its name, for errors.
            key: The key; None where it wants none.
            base_url: Where it is; None: where OpenAI is.
            headers: What else every request has in its header.
            query: What every address has after its question mark.
            key_header: In which header the key goes; by default in ``Authorization``.
            of_openai: Whether the organisation and the project that the environment names for OpenAI are for it.

        Raises:
            ConfigError: An address that is none.
        """
        import openai

        if base_url is not None and not base_url.startswith(("http://", "https://")):
            msg = (
                f"base_url of {provider!r} begins with http:// or https://, and here it is {base_url!r:.200}"
            )
            raise ConfigError(msg)
        # What stands here goes before what the environment says, which may be meant for another provider.
        given: dict[str, Any] = {
            "Accept-Encoding": "identity",  # pieces come as they are sent, and are no larger than they look
            **_told(key, key_header),
            **({} if of_openai else {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()}),
            **(headers or {}),
        }
        sdk = openai.AsyncOpenAI(
            api_key="none" if key is None else key.reveal(),
            base_url=base_url,
            max_retries=0,
            timeout=openai.Timeout(self.wire.read_timeout, connect=self.wire.connect_timeout),
            default_headers=given,
            default_query=query,
            http_client=self.pool,
        )
        options: dict[str, Any] = {}
        if key is None or key_header:  # elsewhere than where it was sent to, nobody is to see the header
            options = {"headers": {"Authorization": openai.Omit()}, "follow_redirects": False}
        return Client(Asked(provider, key), sdk, self.wire.max_reply_bytes, options)


def _told(key: Secret | None, header: str) -> dict[str, str]:
    if key is None:
        return {}
    return {header: key.reveal()} if header else {"Authorization": f"Bearer {key.reveal()}"}


@asynccontextmanager
async def open_http(wire: Wire | None = None) -> AsyncIterator[Http]:
    """Open connections that clients share, and close them all at the end of the block.

    Raises:
        PluginUnavailable: The SDK is not installed.
    """
    try:
        if "openai" not in sys.modules:  # in a thread: it takes a second, and other runs go on meanwhile
            await trio.to_thread.run_sync(importlib.import_module, "openai")
        import openai
    except ImportError as error:
        msg = "pip install 'marsys-core[openai]'"
        raise PluginUnavailable(msg) from error
    wire = wire or Wire()
    pool = openai.DefaultAsyncHttpxClient(
        timeout=openai.Timeout(wire.read_timeout, connect=wire.connect_timeout),
        event_hooks={"response": [_refuse]},
    )
    try:
        yield Http(wire, pool)
    finally:
        with trio.CancelScope(shield=True):
            await pool.aclose()


async def _refuse(response: Any) -> None:
    """Raise `Refused` for a response with the status of an error, with no more of its body than is shown."""
    if response.status_code < 400:
        return
    body = bytearray()
    chunks = response.aiter_bytes()
    try:
        async for chunk in chunks:
            body += chunk
            if len(body) >= _LONGEST_REFUSAL:
                await abandon(chunks)
                break
    except Exception:  # noqa: S110 - the status says what went wrong; a body that broke off only says less
        pass
    raise Refused(response.status_code, response.headers, bytes(body[:_LONGEST_REFUSAL]))


@attrs.define(eq=False)
class Client:
    """One provider: sends requests, and gives its answers whole or in events. Errors are `ModelError`s."""

    asked: Asked
    _sdk: AsyncOpenAI = attrs.field(repr=False)
    _max_bytes: int = 32_000_000
    _options: Any = attrs.field(factory=dict, repr=False)

    async def ask(self, path: str, body: Mapping[str, Any], *, deadline: float | None = None) -> Reply:
        """Send a request, and return the whole answer.

        Args:
            path: Where to, after the base address: ``"/chat/completions"``.
            body: The request, JSON data.
            deadline: When the answer has to be there, on Trio's clock; None: no such time.

        Raises:
            ModelError: There is no such answer.
        """
        async with self._opened(path, body, deadline) as answer:
            raw = await answer.rest()
        return Reply(self.read(raw, answer.headers), answer.headers)

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, Any], *, deadline: float | None = None
    ) -> AsyncIterator[Events]:
        """Send a request, and give its answer in events; the connection is closed at the end of the block.

        The arguments and errors are those of `ask`; what goes wrong later is raised by the `Events`.
        """
        async with self._opened(path, body, deadline) as answer:
            yield Events(self, answer)

    def read(self, raw: bytes | bytearray, headers: Mapping[str, str]) -> dict[str, Any]:
        """Return the JSON object of a whole answer.

        Raises:
            ModelError: It is none, or it tells of an error.
        """
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError) as error:
            msg = f"no JSON ({error}): {bytes(raw[:200]).decode('utf-8', 'replace')}"
            raise malformed(self.asked, msg) from error
        failure = error_in(self.asked, data, headers)
        if failure is None and type(data) is not dict:
            failure = malformed(self.asked, f"JSON that is no object: {data!r:.200}")
        if failure is not None:
            raise failure
        found: dict[str, Any] = data
        return found

    @asynccontextmanager
    async def _opened(
        self, path: str, body: Mapping[str, Any], deadline: float | None
    ) -> AsyncIterator[Body]:
        import openai

        stream = failed = None
        with trio.move_on_at(math.inf if deadline is None else deadline):
            try:
                stream = await self._sdk.post(
                    path,
                    cast_to=object,
                    body=body,
                    options=self._options,
                    stream=True,
                    stream_cls=openai.AsyncStream[object],
                )
            except Exception as error:
                failed = error
        if failed is not None:  # a refusal is told whole; what it was made of may hold the key
            raise error_of(self.asked, failed) from (None if isinstance(failed, Refused) else failed)
        if stream is None:
            raise timed_out(self.asked, "begin to answer")
        answer = Body(self.asked, stream.response, deadline, self._max_bytes)
        try:
            yield answer
        finally:
            await answer.close()


class Events:
    """The events of a streamed answer, in the batches in which they come.

    Attributes:
        headers: The headers of the answer.
    """

    def __init__(self, client: Client, body: Body) -> None:
        self.headers = body.headers
        self._client, self._body = client, body
        self._reader = EventReader()
        self._first: bytes | None = None
        self._failure: ModelError | None = None

    @property
    def done(self) -> bool:
        """Whether the provider said that the stream is complete."""
        return self._reader.done

    async def whole(self) -> dict[str, Any] | None:
        """Return the answer where it came as a whole, in JSON, though it was to come in events; None where it did not.

        Ask before the first event. What the headers say of the type is not always so.

        Raises:
            ModelError: There is no such answer.
        """
        start = b""
        while not start.strip() and (chunk := await self._body.next()) is not None:
            start += chunk
        if not start.lstrip().startswith((b"{", b"[")):
            self._first = start
            return None
        return self._client.read(start + await self._body.rest(), self.headers)

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> list[Event]:
        """Return the next events, one or more; the data of each is a JSON object, and none is an error.

        Raises:
            ModelError: The stream broke off, or there is something else in it, or it tells of an error.
        """
        if self._failure is not None:
            raise self._failure
        if self._first is not None:
            events, self._first = self._events(self._first), None
            if events:
                return events
        while not (self._body.ended or self._reader.done):
            events = self._events(await self._body.next())
            if events:
                return events
        if not self._body.ended:
            await self._body.drain()
        raise StopAsyncIteration

    def _events(self, chunk: bytes | None) -> list[Event]:
        asked = self._client.asked
        try:
            events = self._reader.finish() if chunk is None else self._reader.feed(chunk)
        except (ValueError, RecursionError) as error:
            if chunk is None:
                raise cut_short(asked, f"in the middle of an event ({error})") from error
            raise malformed(asked, f"an event that is no JSON ({error})") from error
        for index, (name, data) in enumerate(events):
            if type(data) is not dict or name == "error" or data.get("error"):
                failure = self._wrong(name, data)
                if failure is None:
                    continue
                if not index:
                    raise failure
                self._failure = failure  # what came before it is told first
                return events[:index]
        return events

    def _wrong(self, name: str, data: Any) -> ModelError | None:
        failure = error_in(self._client.asked, data, self.headers)
        if failure is None and name == "error":
            failure = error_in(self._client.asked, {"error": data}, self.headers)
        if failure is None and type(data) is not dict:
            return malformed(self._client.asked, f"an event that is no JSON object: {data!r:.200}")
        return failure
