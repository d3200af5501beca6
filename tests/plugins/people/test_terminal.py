"""The terminal: what it shows, what it reads, and that it reads nothing where nobody is."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pytest
import trio
import trio.testing

from marsys.people import TerminalChannel
from marsys_core.errors import UserUnavailable
from marsys_core.questions import Question


def question(**given: Any) -> Question:
    return Question(**{"request_id": "0:3", "prompt": "Tea?", **given})


@contextmanager
def pipe(text: str = "") -> Iterator[tuple[TextIO, int]]:
    """The two ends of a pipe that holds `text`."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    with os.fdopen(reading) as stream:
        try:
            yield stream, writing
        finally:
            os.close(writing)


def asked(text: str, **given: Any) -> tuple[Any, str]:
    output = io.StringIO()
    with pipe(text) as (stream, _):
        value = trio.run(TerminalChannel(stream, output).ask, question(**given))
    return value, output.getvalue()


def test_an_answer_is_a_line() -> None:
    assert asked("yes please\n") == ("yes please", "Tea?\n> ")


def test_options_are_numbered_and_asked_for_until_one_fits() -> None:
    value, shown = asked("maybe\n7\n2\n", options=("yes", "no"))
    assert value == "no"
    assert shown.startswith("Tea?\n  1. yes\n  2. no\n> the answer is one of 'yes', 'no', not 'maybe'")
    assert shown.count("> ") == 3


def test_a_schema_takes_json() -> None:
    value, shown = asked('five\n"5"\n5\n', schema={"type": "integer"})
    assert value == 5
    assert "the answer is JSON: Expecting value" in shown
    assert "the answer is of type integer, not '5'" in shown


def test_an_approval_names_the_tool_its_arguments_and_the_agent() -> None:
    prompt = {"tool": "delete", "arguments": {"path": "a"}, "agent": "A"}
    value, shown = asked("1\n", kind="approval", prompt=prompt, options=("approve", "reject"))
    assert value == "approve"
    assert shown.startswith("May 'A' call 'delete' with ")


def test_the_default_and_its_time_are_shown() -> None:
    assert "(after 5 s: no)" in asked("x\n", default="no", timeout=5)[1]


def test_questions_take_turns() -> None:
    output = io.StringIO()
    answers: dict[str, str] = {}

    async def main() -> None:
        with pipe("one\ntwo\n") as (stream, _):
            channel = TerminalChannel(stream, output)

            async def ask(name: str) -> None:
                answers[name] = await channel.ask(question(prompt=name))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "a")
                nursery.start_soon(ask, "b")

    trio.run(main)
    assert sorted(answers.values()) == ["one", "two"]
    assert sorted(output.getvalue().split("\n> ")) == ["", "a", "b"]


def test_the_end_of_the_input_is_nobody() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading) as stream, pytest.raises(UserUnavailable, match="come to an end"):
        trio.run(TerminalChannel(stream, io.StringIO()).ask, question())


def test_a_file_and_a_stream_without_a_descriptor_are_read_too(tmp_path: Any) -> None:
    path = tmp_path / "answers"
    path.write_text("from a file\n")
    with path.open() as stream:
        assert trio.run(TerminalChannel(stream, io.StringIO()).ask, question()) == "from a file"
    memory = TerminalChannel(io.StringIO("from memory\n"), io.StringIO())
    assert trio.run(memory.ask, question()) == "from memory"


def test_reading_can_be_cancelled_and_leaves_nothing_behind() -> None:
    async def main() -> None:
        with pipe() as (stream, writing):
            channel = TerminalChannel(stream, io.StringIO())
            files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.ask, question())
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
            assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (files, threads)
            os.write(writing, b"later\n")
            assert await channel.ask(question()) == "later"

    trio.run(main)


PROGRAM = """
import sys, trio
from marsys import AskUser, Orchestra, agent

@agent
async def A(prompt):
    return AskUser("Tea?")

async def main():
    result = await Orchestra.run("x", "A -> user", agents=[A], channel="terminal")
    print(type(result.error).__name__, result.error)
    print(repr(sys.stdin.readline()) if sys.stdin else "closed")

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("how", "left"), [("pipe", "'kept\\n'"), ("null", "''"), ("closed", "closed")])
def test_standard_input_that_is_no_terminal_is_never_read(how: str, left: str) -> None:
    command = [sys.executable, "-c", PROGRAM]
    if how == "closed":
        command = ["sh", "-c", 'exec "$0" "$@" <&-', *command]
    given: dict[str, Any] = {"input": "kept\n"} if how == "pipe" else {"stdin": subprocess.DEVNULL}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, **given)
    assert ran.stdout.splitlines() == [
        "UserUnavailable the terminal was asked, and standard input is none; give a run another channel "
        "(at branch 0, node 'A', step 1)",
        left,
    ]


def test_the_terminal_reads_nothing_in_a_test() -> None:
    with pytest.raises(UserUnavailable, match="standard input is none"):
        trio.run(TerminalChannel().ask, question())


@pytest.mark.slow
def test_a_terminal_is_asked_on_standard_error() -> None:
    import pty

    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard:
        keyboard.write(b"yes\n")
        program = PROGRAM.replace(
            "type(result.error).__name__, result.error", "result.final_response"
        ).replace('AskUser("Tea?")', 'AskUser("Tea?") if prompt == "x" else f"heard {prompt}"')
        program = program.replace('    print(repr(sys.stdin.readline()) if sys.stdin else "closed")\n', "")
        ran = subprocess.run(
            [sys.executable, "-c", program],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        os.close(theirs)
    assert (ran.stdout, ran.stderr) == ("heard yes\n", "Tea?\n> ")


def test_control_sequences_of_a_question_do_not_reach_the_terminal() -> None:
    value, shown = asked(
        "2\n", prompt="Tea\x1b[2J\nor\x9b1m\u202e coffee\ud800?", options=("tea", "cof\rfee")
    )
    assert value == "cof\rfee"
    assert shown == "Tea?[2J\nor?1m? coffee??\n  1. tea\n  2. cof?fee\n> "


def test_a_number_of_thousands_of_digits_is_asked_for_again() -> None:
    value, shown = asked("9" * 5000 + "\n1\n", options=("yes", "no"))
    assert value == "yes"
    assert "the answer is one of 'yes', 'no'" in shown


@pytest.mark.parametrize(
    ("line", "told"),
    [("[" * 50_000, "not nested so deeply"), ("NaN", "NaN is not a number in JSON"), ("9" * 5000, "4300")],
)
def test_json_that_is_none_is_asked_for_again(line: str, told: str) -> None:
    value, shown = asked(f"{line}\n5\n", schema={"type": "number"})
    assert value == 5
    assert "the answer is JSON" in shown
    assert told in shown


@pytest.mark.parametrize(("kind", "answer"), [("approval", "reject"), ("question", "approve")])
def test_what_was_typed_before_it_was_shown_approves_nothing(kind: str, answer: str) -> None:
    import pty

    ours, theirs = pty.openpty()

    async def main() -> None:
        shown = io.StringIO()
        with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs) as stream:
            keyboard.write(b"approve\n")
            channel = TerminalChannel(stream, shown)
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    call = {"tool": "delete", "arguments": {}, "agent": "A"}
                    asked_for = question(prompt=call, options=("approve", "reject"), kind=kind)
                    assert await channel.ask(asked_for) == answer

                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                keyboard.write(b"reject\n")

    trio.run(main)
