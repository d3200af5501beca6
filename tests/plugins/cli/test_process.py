"""The command line as a process: its exit codes, its streams, its signals."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
Write = Callable[[str], str]
COMMAND = [sys.executable, "-m", "marsys.cli"]
ROOT = Path(__file__).parents[3]
ONE = '[agents.A]\nmodel = "scripted"\n[plugins.models]\nreplies = ["Forty-two."]\n'
SLOW = """
[agents]
First.function = "json:dumps"
Second.model = "scripted"
Third.model = "scripted"
[topology]
flows = ["First -> [Second, Third]"]
[plugins.models]
replies = ["x", "y"]
delay = 300
"""
QUESTION = "Why should the United States build and defend a canal across the Isthmus of Panama?"


@pytest.fixture(autouse=True)
def _ordinary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MARSYS_HOME", str(tmp_path / "home"))
    for name in ("MARSYS_PLUGINS", "MARSYS_BLOCK_PLUGINS", "MARSYS_STRICT_PLUGINS", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")


def started(*arguments: str, **streams: object) -> subprocess.Popen[str]:
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([*COMMAND, *arguments], text=True, **given)  # type: ignore[call-overload,no-any-return]


def until(process: subprocess.Popen[str], word: str) -> str:
    """Read standard error until a line has `word`."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if re.search(word, line):
            return read
    pytest.fail(f"no line has {word!r}: {read}")


def interrupted(path: str, *signals: signal.Signals) -> tuple[int, str, str]:
    process = started("run", path, "--task", "Think.")
    before = until(process, r"Third +start")
    for number in signals:
        process.send_signal(number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, before + err


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_an_interruption_cancels_the_run_and_says_what_was_done(
    team: Write, number: signal.Signals, code: int, word: str
) -> None:
    returned, out, err = interrupted(team(SLOW), number)
    assert (returned, out) == (code, "")
    *_, told, last = err.splitlines()
    assert told == (
        f"marsys: interrupted by {word}; 1 step was finished: First. "
        "At work then: Second (model scripted), Third (model scripted). Nothing is running any more."
    )
    assert re.fullmatch(r"marsys: to go on with it: marsys resume [0-9a-f]{16}", last)
    assert "Traceback" not in err


def test_a_second_signal_changes_nothing(team: Write) -> None:
    code, out, err = interrupted(team(SLOW), signal.SIGINT, signal.SIGTERM)
    assert (code, out) == (130, "")
    assert "interrupted by Ctrl-C; 1 step was finished: First." in err
    assert "Traceback" not in err


ENDLESS = """
import os
import sys
import threading
import time

import trio


def forever(prompt):
    print("at work", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)


async def deaf(prompt):
    print("at work", file=sys.stderr, flush=True)
    while True:
        try:
            await trio.sleep(0.01)
        except trio.Cancelled:
            pass


def chatty(prompt):
    os.write(1, b"at work")
    while True:
        sys.stderr.write("x" * 1000)
        sys.stderr.flush()


async def lingering(prompt):
    threading.Thread(target=time.sleep, args=(1000,)).start()
    print("at work", file=sys.stderr, flush=True)
    await trio.sleep_forever()
"""
CUT_OFF = "marsys: interrupted again; ended at once, and what was going on was cut off\n"


def endless(write: Write, function: str, **streams: object) -> subprocess.Popen[str]:
    path = Path(write(f'[agents.A]\nfunction = "endless:{function}"'))
    (path.parent / "endless.py").write_text(ENDLESS)
    return started("run", str(path), "--task", "Think.", **streams)


def send(process: subprocess.Popen[str], *signals: signal.Signals) -> None:
    """Send signals far enough apart that none is taken for another."""
    for number in signals:
        process.send_signal(number)
        time.sleep(0.3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("function", ["forever", "deaf", "lingering"])
def test_a_third_signal_ends_what_never_ends(
    team: Write, function: str, number: signal.Signals, code: int
) -> None:
    process = endless(team, function)
    try:
        until(process, "at work")
        send(process, number, number)
        assert process.poll() is None
        send(process, number)
        out, err = process.communicate(timeout=5)
    finally:
        process.kill()
    assert (process.returncode, out) == (code, "")
    assert err.endswith(CUT_OFF)
    assert "Traceback" not in err


def test_a_second_signal_after_some_time_ends_what_never_ends(team: Write) -> None:
    process = endless(team, "forever")
    try:
        until(process, "at work")
        send(process, signal.SIGTERM)
        time.sleep(5)
        send(process, signal.SIGINT)
        _, err = process.communicate(timeout=5)
    finally:
        process.kill()
    assert process.returncode == 143
    assert err.endswith(CUT_OFF)


def test_a_third_signal_ends_a_run_whose_progress_nobody_reads(team: Write) -> None:
    process = endless(team, "chatty")
    try:
        assert process.stdout is not None
        assert process.stdout.read(7) == "at work"
        time.sleep(0.5)  # the pipe is full long before
        send(process, signal.SIGINT, signal.SIGINT)
        assert process.poll() is None
        send(process, signal.SIGINT)
        assert process.wait(timeout=5) == 130
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.25, 0.35])
def test_an_interruption_at_any_time_shows_no_traceback_of_the_command(team: Write, delay: float) -> None:
    process = started("run", team(SLOW), "--task", "Think.")
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    # Before the first line of the command runs, Ctrl-C is the interpreter's.
    if "marsys/cli" in err or process.returncode == 130:
        assert process.returncode == 130
        assert "marsys/cli" not in err
    assert out == ""


def test_the_exit_code_tells_success_from_failure_and_from_mistakes(team: Write) -> None:
    fails = '[agents.A]\nmodel = "scripted"'
    for text, code in ((ONE, 0), (fails, 1), ("[agents]", 2)):
        process = started("run", team(text), "--task", "Think.")
        process.communicate(timeout=20)
        assert process.returncode == code


def test_closed_streams_do_not_disturb_a_run(team: Write) -> None:
    path = team(ONE)
    for closed, out in (
        ("<&-", "Forty-two.\n"),
        ("2>&-", "Forty-two.\n"),
        ("<&- 2>&-", "Forty-two.\n"),
        (">&-", ""),
    ):
        line = f'"$0" -m marsys.cli run "$1" --task Think. {closed}'
        done = subprocess.run(
            ["sh", "-c", line, sys.executable, path], capture_output=True, text=True, timeout=20, check=False
        )
        assert (done.returncode, done.stdout) == (0, out), closed
        assert "Traceback" not in done.stderr


def test_a_broken_pipe_is_quiet(team: Write) -> None:
    path = team(ONE.replace("Forty-two.", "x" * 200_000))
    for arguments in (("run", path, "--task", "Think.", "-q"), ("plugins", "--json"), ("--help",)):
        reader, writer = os.pipe()
        os.close(reader)
        process = started(*arguments, stdout=writer)
        os.close(writer)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 141, arguments
        assert "rror" not in err.replace("stderr", "").replace("standard error", ""), err


def test_a_terminal_without_the_signs_gets_escapes(team: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    path = team(ONE.replace("Forty-two.", "größer → ja"))
    process = started("run", path, "--task", "Think.", "-q", encoding="latin-1")
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "größer \\u2192 ja\n")


def on_a_terminal(*arguments: str) -> tuple[int, str, str]:
    """Run with a terminal as standard error; returns also what it was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 110, 0, 0))
    process = started(*arguments, stderr=theirs)
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 20)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    out, _ = process.communicate(timeout=20)
    os.close(ours)
    return process.returncode, out, seen.decode()


def test_a_terminal_gets_a_live_view_and_the_answer_stays_clean() -> None:
    team, texts = ROOT / "examples" / "research.toml", ROOT / "examples" / "library"
    arguments = ("run", str(team), "--input", str(texts), "--task", QUESTION)
    code, out, seen = on_a_terminal(*arguments)
    assert code == 0
    assert out.startswith(f"Question: {QUESTION}\n\n")
    assert "\x1b[" in seen
    assert "\x1b" not in out
    for name in ("Reader1", "Reader2", "Reader3", "Writer"):
        assert name in seen
    code, plain_out, seen = on_a_terminal(*arguments, "--plain")
    assert (code, plain_out) == (0, out)
    assert "\x1b[" not in seen
    assert "Reader3" in seen


def test_the_module_is_the_command() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True, timeout=20)
    assert re.fullmatch(r"marsys \d+\.\d+\S*\n", done.stdout)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["run", "--help"])
def test_an_output_without_room_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    path = tmp_path / "team.toml"
    path.write_text(ONE)
    arguments = ("run", str(path), "--task", "x", "-q", "--no-storage") if command == "run" else (command,)
    with (tmp_path / "answer.txt").open("w") as answer:
        done = subprocess.run(
            ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    # The lines of the run's progress are indented.
    said = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert said == ["marsys: the output cannot be written: File too large"]
    assert done.returncode == 1


@pytest.mark.parametrize("command", ["plugins", "plugins --json", "plugins check", "doctor", "topology"])
def test_a_full_device_is_told_in_one_line(team: Write, command: str) -> None:
    arguments = [*command.split(), *([team(ONE)] if command == "topology" else [])]
    with Path("/dev/full").open("w") as full:
        process = started(*arguments, stdout=full)
        _, err = process.communicate(timeout=20)
    assert err == "marsys: the output cannot be written: No space left on device\n"
    assert process.returncode == 1
