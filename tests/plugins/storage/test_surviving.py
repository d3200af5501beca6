"""Runs whose process dies, and runs that several processes want."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
import trio

from marsys_core.agents import FunctionAgent
from marsys_core.errors import RunHeld
from marsys_core.orchestra import Orchestra
from tests.core.fakes import BARE
from tests.plugins.storage.test_crash import program, told

POINTS = 10_000 if os.environ.get("MARSYS_SIMULATE") == "1" else 1000


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_boundary_loses_nothing_and_repeats_nothing_silently(in_memory):
    sweep = "import sys; from tests.plugins.storage import surviving as s; s.main(s.Path(sys.argv[1]), int(sys.argv[2]))"
    process = program(sweep, in_memory, POINTS)
    out, err = process.communicate(timeout=POINTS)
    assert process.returncode == 0, err
    found = json.loads(out)

    assert found["wrong"] == []
    assert found["tried"] >= POINTS
    assert {"begin", "begun", "entries", "blob", "run", "call", "commit", "committed"} <= set(found["kinds"])


WAIT = """
    import sys, trio
    from marsys_core.agents import FunctionAgent
    from marsys_core.errors import RunHeld
    from marsys_core.orchestra import Orchestra

    from tests.core.fakes import BARE
    from tests.plugins.storage.test_surviving import STORE

    async def wait(prompt):
        print("working", flush=True)
        line = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
        return f"{prompt}: {line.strip()}"

    async def main(path, resumes):
        agents = [FunctionAgent(wait, name="A")]
        async with STORE(path) as store, Orchestra(plugins=BARE, storage=store, new_id=lambda: "r") as orchestra:
            try:
                if resumes:
                    print("ready", flush=True)
                    sys.stdin.readline()
                    result = await orchestra.resume("r", agents=agents, accept_changes=True)
                else:
                    result = await orchestra.execute("task", "A", agents=agents)
                print(result.final_response, flush=True)
            except RunHeld as held:
                print(held, flush=True)

    trio.run(main, sys.argv[1], len(sys.argv) > 2)
"""


def STORE(path):
    from marsys.storage import SQLiteStore

    return SQLiteStore(path)


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_run_is_refused_while_its_process_lives_and_taken_at_once_when_it_is_killed(tmp_path):
    path = tmp_path / "runs.db"
    first = program(WAIT, path)
    assert first.stdout.readline() == "working\n"

    async def answer(prompt):
        return f"{prompt}: by another"

    async def main():
        agents = [FunctionAgent(answer, name="A")]
        async with STORE(path) as store, Orchestra(plugins=BARE, storage=store) as orchestra:
            with pytest.raises(RunHeld, match=rf"^run 'r' is held by process {first.pid} on ") as caught:
                await orchestra.resume("r", agents=agents, accept_changes=True)
            assert caught.value.pid == first.pid
            killed(first)
            with trio.fail_after(1):
                result = await orchestra.resume("r", agents=agents, accept_changes=True)
            return result.final_response, [info.status for info in await orchestra.runs()]

    assert trio.run(main) == ("task: by another", ["succeeded"])


@pytest.mark.slow
def test_of_two_processes_that_go_on_with_one_run_one_does_and_the_other_is_told_which(tmp_path):
    path = tmp_path / "runs.db"
    first = program(WAIT, path)
    assert first.stdout.readline() == "working\n"
    killed(first)

    both = [program(WAIT, path, "resume") for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in both]
    assert said.count("working\n") == 1, said
    winner, loser = both if said[0] == "working\n" else reversed(both)
    (refusal,) = [line for line in said if line != "working\n"]
    assert re.match(rf"run 'r' is held by process {winner.pid} on ", refusal)
    assert told(loser) == ""
    winner.stdin.write("by the winner\n")
    winner.stdin.flush()
    assert told(winner) == "task: by the winner\n"
