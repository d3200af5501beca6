"""What a model call and a piece of a streamed answer cost above the provider's SDK alone.

    python benchmarks/wire.py

Both ask the same server, a thread of this process on a socket, with the SDK's own client settings; the SDK's typed
objects are read as a program would read them. CPU of the thread that asks, the best of several rounds in turn.
Nothing fails here; needs the extra ``openai``.
"""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import openai
import trio

from marsys.openai._chat import ChatModel
from marsys.openai._client import open_http
from marsys.openai._presets import PRESETS
from marsys_core.messages import Message
from marsys_core.models import ModelRequest
from marsys_core.secret import Secret

ROUNDS = 7
CALLS = 100
DELTAS = 2000
AIM_CALL = 150
AIM_DELTA = 15

WHOLE = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return f"data: {json.dumps(data)}\n\n".encode()


STREAM = b"".join([chunk({"content": " word"})] * DELTAS) + chunk({}, "stop") + b"data: [DONE]\n\n"


def serve(listener: socket.socket) -> None:
    """Answer every request on every connection, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection: socket.socket) -> None:
    whole = json.dumps(WHOLE).encode()
    with connection:
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            head, _, data = data.partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            while len(data) < length:
                data += connection.recv(65536)
            body, data = data[:length], data[length:]
            reply = STREAM if b'"stream":true' in body else whole
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(reply) + reply)


async def best(
    work: Callable[[], Awaitable[None]], other: Callable[[], Awaitable[None]]
) -> tuple[float, float]:
    """CPU seconds of each, in turn."""
    found = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, each in enumerate((work, other)):
            gc.collect()
            start = time.thread_time()
            await each()
            found[index] = min(found[index], time.thread_time() - start)
    return found[0], found[1]


async def main(url: str) -> None:
    request = ModelRequest(messages=[Message("user", "Hello")])
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    async with open_http() as http, openai.AsyncOpenAI(api_key="sk-none", base_url=url, max_retries=0) as sdk:
        model = ChatModel("m", PRESETS["openai-chat"], http.client("openai-chat", Secret("sk-none"), url))

        async def ours() -> None:
            for _ in range(CALLS):
                assert (await model.generate(request)).text == "Hello"

        async def theirs() -> None:
            for _ in range(CALLS):
                completion = await sdk.chat.completions.create(**asked)
                assert completion.choices[0].message.content == "Hello"

        async def ours_in_pieces() -> None:
            size = 0
            async for delta in model.stream(request):
                size += len(delta.text)
            assert size == 5 * DELTAS

        async def theirs_in_pieces() -> None:
            size = 0
            async for piece in await sdk.chat.completions.create(**asked, stream=True):
                size += len(piece.choices[0].delta.content or "")
            assert size == 5 * DELTAS

        for once in (ours, theirs):
            await once()
        mine, sdks = await best(ours, theirs)
        show("a call", mine / CALLS, sdks / CALLS, AIM_CALL)
        mine, sdks = await best(ours_in_pieces, theirs_in_pieces)
        show("a piece of a streamed answer", mine / DELTAS, sdks / DELTAS, AIM_DELTA)


def show(what: str, mine: float, sdks: float, aim: float) -> None:
    print(
        f"{what:32} SDK {sdks * 1e6:7.1f} µs  MARSYS {mine * 1e6:7.1f} µs  above {(mine - sdks) * 1e6:+7.1f} µs  aim {aim} µs"
    )


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        trio.run(main, f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
