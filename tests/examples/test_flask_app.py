"""The application on a real server with a thread for each request, with real clients on the loopback."""

from contextlib import contextmanager, suppress

import httpx
import pytest
import trio

from tests.examples.programs import LONG, OBSERVED, PATIENCE, running

pytestmark = [pytest.mark.slow, pytest.mark.sockets]

SERVER = f"""{OBSERVED}
import sys
import flask_app
from werkzeug.serving import run_simple

observed(flask_app)
flask_app.PATIENCE = float(sys.argv[1])
run_simple("127.0.0.1", 0, flask_app.app, threaded=True)
"""


@contextmanager
def serving(*, patience: float = 2 * PATIENCE):
    """Run a server, and return it with a client of it."""
    with running("-c", SERVER, str(patience)) as server:
        address = server.says(r"Running on (http://\S+)")[1]
        yield server, httpx.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False)


def asking(client: httpx.AsyncClient, *questions: str) -> list[httpx.Response]:
    """Ask all questions at once."""
    answers = {}

    async def main():
        async with client, trio.open_nursery() as nursery:
            for question in questions:
                nursery.start_soon(ask, question)

    async def ask(question):
        answers[question] = await client.get("/answer", params={"question": question})

    trio.run(main)
    return [answers[question] for question in questions]


def test_twenty_requests_in_threads_of_their_own_share_one_engine():
    with serving() as (server, client):
        answers = asking(client, *(f"why {number}" for number in range(20)))
        code = server.stop()

    assert [answer.json() for answer in answers] == [{"answer": f"WHY {number}"} for number in range(20)]
    assert code == 0, server.text


def test_a_request_that_takes_too_long_is_given_up_and_its_run_has_ended_by_then():
    with serving(patience=0.5) as (server, client):
        (answer,) = asking(client, LONG)
        code = server.stop()

    assert answer.status_code == 504
    said = [line for line in server.lines if "word" in line]
    assert said[:2] == ["typing word word word word ", "done with word word word word "]
    assert '" 504 ' in said[2]  # the access log
    assert code == 0, server.text


def test_a_server_that_is_told_to_stop_ends_the_run_in_flight():
    async def main(server, client):
        async with client, trio.open_nursery() as nursery:
            nursery.start_soon(listen, client)
            await trio.to_thread.run_sync(server.says, "typing word")
            code = await trio.to_thread.run_sync(server.stop)
            nursery.cancel_scope.cancel()
            return code

    async def listen(client):
        with suppress(httpx.TransportError):  # the server hangs up
            await client.get("/answer", params={"question": LONG})

    with serving() as (server, client):
        assert trio.run(main, server, client) == 0, server.text

    assert "done with word word word word " in server.lines
