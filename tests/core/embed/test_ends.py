"""An engine that nobody closes: the program ends, it is forgotten, the process is forked."""

from __future__ import annotations

import gc
import os
import re
import threading
import weakref

import pytest

from marsys_core.embed import EngineThread
from marsys_core.errors import LifecycleError
from tests.core.embed.plain import LONG, Waits, echo, engine, ours, program


def join_ours() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("marsys"):
            thread.join(LONG)


OPEN = """
from tests.core.embed.plain import *
waits = Waits()
waits.at_end = lambda: print("cleaned up", flush=True)
open_ = engine(agents=[waits.agent]).start()
future = open_.submit("x", "Waits")
future.add_done_callback(lambda done: print("cancelled", done.cancelled(), flush=True))
waits.wait()
"""
WARNING = (
    "ResourceWarning: the EngineThread was still open when the program ended; "
    "open it with 'with EngineThread(...) as engine:', or call close()"
)


@pytest.mark.slow
def test_a_program_that_ends_closes_what_it_left_open() -> None:
    ran = program(OPEN)

    assert (ran.returncode, ran.stdout) == (0, "cleaned up\ncancelled True\n")
    assert WARNING in ran.stderr


@pytest.mark.slow
def test_a_program_that_fails_ends_with_its_error() -> None:
    ran = program(OPEN + "raise SystemExit(3)")

    assert (ran.returncode, ran.stdout) == (3, "cleaned up\ncancelled True\n")


@pytest.mark.slow
def test_ctrl_c_in_a_program_ends_its_run_and_then_the_program() -> None:
    ran = program("""
import signal
from tests.core.embed.plain import *
from marsys_core.orchestra import Orchestra
waits = Waits(lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
waits.at_end = lambda: print("cleaned up", flush=True)
Orchestra.run_sync("x", "Waits", agents=[waits.agent])
""")

    assert ran.stdout == "cleaned up\n"
    assert ran.stderr.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.slow
def test_a_thread_that_does_not_end_keeps_no_program_from_ending() -> None:
    ran = program("""
from tests.core.embed.plain import *
from marsys_core.embed import serving
serving._AT_EXIT = 0.0
hold = threading.Event()
waits = Waits()
waits.clean_up = hold.wait
open_ = engine(agents=[waits.agent]).start()
open_.submit("x", "Waits")
waits.wait()
""")

    assert (ran.returncode, ran.stdout) == (0, "")
    assert WARNING in ran.stderr


@pytest.mark.slow
def test_a_program_that_closes_its_engine_is_told_nothing() -> None:
    ran = program(OPEN + "open_.close()")

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "cleaned up\ncancelled True\n", "")


def test_an_engine_that_is_forgotten_warns_and_ends() -> None:
    waits = Waits()
    open_ = engine(agents=[waits.agent]).start()
    future = open_.submit("x", "Waits")
    waits.wait()
    text = (
        r"^the EngineThread was dropped and not closed; "
        r"open it with 'with EngineThread\(\.\.\.\) as engine:', or call close\(\)$"
    )
    held = [open_]
    del open_
    with pytest.warns(ResourceWarning, match=text):
        held.clear()
    join_ours()

    assert waits.ended == 1
    assert future.cancelled()
    assert ours() == []


def test_nothing_keeps_a_closed_engine_alive() -> None:
    with engine(agents=[echo()]) as open_:
        assert open_._serving is not None
        open_.run("x", "Echo")
        held = [weakref.ref(open_), weakref.ref(open_._serving)]
    del open_
    gc.collect()

    assert [each() for each in held] == [None, None]


def test_an_iterator_holds_its_engine() -> None:
    def look() -> None:
        events = engine(agents=[echo()]).start().stream("x", "Echo")
        gc.collect()
        seen.extend(events)

    seen: list[object] = []
    with pytest.warns(ResourceWarning, match=r"^the EngineThread was dropped and not closed; "):
        look()
    join_ours()

    assert len(seen) > 3


FORKED = (
    "the EngineThread was opened before this process was forked, and its thread is not here; open one in the "
    "worker process: in the post_fork hook of gunicorn, with uwsgidecorators.postfork, on Celery's "
    "worker_process_init"
)


def forked(open_: EngineThread, future: object) -> str:
    """Return what a child says that was forked with this engine open."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = _in_a_child(open_, future)
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as said_there:
        text = said_there.read()
    os.waitpid(child, 0)
    return text


def _in_a_child(open_: EngineThread, future: object) -> str:
    told = []
    for call in (lambda: open_.submit("y", "Echo"), lambda: future.result()):  # type: ignore[attr-defined]
        with pytest.raises(LifecycleError) as caught:
            call()
        told.append(str(caught.value))
    assert (open_.running, open_.closed) == (False, True)
    open_.close()
    open_._serving._at_exit()  # type: ignore[union-attr]
    open_._serving.dropped()  # type: ignore[union-attr]
    with engine(agents=[echo()]) as own:
        told.append(str(own.run("z", "Echo").final_response))
    return "\n".join(told)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_in_a_forked_child_it_is_dead_and_the_child_starts_its_own() -> None:
    waits = Waits()
    made = engine(agents=[echo()])
    with engine(agents=[waits.agent, echo()]) as open_:
        future = open_.submit("x", "Waits")
        waits.wait()
        told = forked(open_, future).splitlines()
        assert open_.run("still", "Echo").final_response == "still"
        assert not future.done()
    del made

    assert told == [
        FORKED,
        "RunFuture.result would wait for a run of the process that this one was forked from; submit the run here",
        "z",
    ]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_the_engine_of_its_parent_alone_when_it_ends() -> None:
    ran = program("""
import os, sys
from tests.core.embed.plain import *
with engine(agents=[echo()]) as open_:
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), open_.run("still", "Echo").final_response)
""")

    assert re.fullmatch(r"7 still\n", ran.stdout), ran.stderr
    assert "Resource" not in ran.stderr
