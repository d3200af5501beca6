"""The service on a real server, on both event loops that it may have, with real clients on the loopback."""

import json
import re
from contextlib import contextmanager, suppress

import httpx
import pytest
import trio

from tests.examples.programs import LONG, OBSERVED, PATIENCE, Program, running

pytestmark = [pytest.mark.slow, pytest.mark.sockets]

SERVER = f"""{OBSERVED}
import sys
import fastapi_app, uvicorn

observed(fastapi_app)
loop, seconds = sys.argv[1:]
uvicorn.run(fastapi_app.app, port=0, loop=loop, timeout_graceful_shutdown=int(seconds))
"""
LOOPS = ["asyncio", "uvloop"]


@contextmanager
def serving(loop: str, *, grace: int):
    """Run a server; told to stop, it waits so many seconds for what is in flight."""
    with running("-c", SERVER, loop, str(grace)) as server:
        server.says(r"running on http")
        yield server


@pytest.fixture(scope="module", params=LOOPS)
def server(request):
    """A server that several tests use; it has nothing to complain about, and nothing in flight when it stops."""
    with serving(request.param, grace=30) as server:
        yield server
        assert server.stop() == 0
        assert not re.search("error|cancel|traceback", server.text, re.IGNORECASE), server.text


def address(server: Program) -> str:
    return server.says(r"running on (http://\S+)")[1]


def client(server: Program) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=address(server), timeout=PATIENCE, trust_env=False)


@contextmanager
def listening(server: Program, question: str):
    url = f"{address(server)}/events"
    with (
        httpx.Client(timeout=PATIENCE, trust_env=False) as http,
        http.stream("GET", url, params={"question": question}) as answer,
    ):
        yield answer


async def until(server: Program, pattern: str) -> None:
    await trio.to_thread.run_sync(server.says, pattern)


async def ask(http, question, answers):
    answers[question] = (await http.get("/answer", params={"question": question})).json()["answer"]


def test_twenty_clients_at_once_get_an_answer_each(server):
    answers = {}

    async def main():
        async with client(server) as http, trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, http, f"why {number}", answers)

    trio.run(main)

    assert answers == {f"why {number}": f"WHY {number}" for number in range(20)}


def test_the_events_of_a_run_come_as_they_happen(server):
    with listening(server, "why") as answer:
        assert answer.headers["content-type"].partition(";")[0] == "text/event-stream"
        lines = list(answer.iter_lines())

    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    times = [
        json.loads(line.removeprefix("data: "))["seconds"] for line in lines if line.startswith("data: ")
    ]

    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunFinished"
    assert kinds.count("ModelReplied") == 2
    assert len(times) == len(kinds)
    assert times == sorted(times)


def test_a_client_that_goes_away_takes_its_own_run_along_and_no_other(server):
    answers = {}

    async def leave(scope):
        await until(server, "typing visitor")
        scope.cancel()

    async def main():
        async with client(server) as http, trio.open_nursery() as nursery:
            nursery.start_soon(ask, http, "one two three four five six", answers)
            with trio.CancelScope() as scope:
                nursery.start_soon(leave, scope)
                await ask(http, f"visitor {LONG}", answers)
            await until(server, "done with visitor")

    trio.run(main)

    assert answers == {"one two three four five six": "ONE TWO THREE FOUR FIVE SIX"}


def test_a_client_that_stops_listening_to_the_events_takes_its_run_along(server):
    with listening(server, f"listener {LONG}") as answer:
        assert "event: ModelCalled" in answer.iter_lines()
        server.says("typing listener")  # and more than that never comes

    server.says("done with listener")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("path", ["/answer", "/events"])
def test_a_server_that_is_told_to_stop_ends_the_run_in_flight_and_then_the_engine(loop, path):
    async def listen(http):
        with suppress(httpx.TransportError):  # the server hangs up
            await http.get(path, params={"question": LONG})

    async def main(server):
        async with client(server) as http, trio.open_nursery() as nursery:
            nursery.start_soon(listen, http)
            await until(server, "typing word")
            code = await trio.to_thread.run_sync(server.stop)
            nursery.cancel_scope.cancel()
            return code

    with serving(loop, grace=0) as server:
        assert trio.run(main, server) == 0, server.text

    ends = [found[0] for line in server.lines if (found := re.search("done with|shutdown complete", line))]
    assert ends == ["done with", "shutdown complete"]
