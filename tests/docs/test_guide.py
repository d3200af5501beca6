"""The users' guide, snippet by snippet, run as printed.

The guide lies beside the repository, not in it: elsewhere these tests are skipped. A snippet is given what
its reader would have: imports, the names that the guide leaves to the reader, and a place to write `await`.
Two things are not as printed, each with its reason:

* the second class of the first snippet is shown as the wrong way and has no body;
* the base image of the Dockerfile is of a Python that is too old for Trio.

A snippet that needs a part which is not built yet fails as expected, and says which part.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import trio
import trio.testing

from marsys import (
    BaseAgent,
    CriticalError,
    ExecutionConfig,
    Invoke,
    MaxRetriesExceeded,
    Orchestra,
    PatternConfig,
    RecoverableError,
    RunResult,
    agent,
)
from tests.core.hosts.loops import QuickLoop
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.postgres import listening

GUIDE = ROOT.parent / "shared" / "mission" / "guides.md"
ORDER = (
    *("agent", "memory", "retries", "dockerfile", "yaml", "monitoring", "tests", "debug", "database", "api"),
    *("pool", "cache", "parallel", "security"),
)
"""What the guide's snippets are about, in its order."""

pytestmark = pytest.mark.skipif(
    not GUIDE.is_file(), reason=f"the guide is not beside the repository: {os.path.relpath(GUIDE, ROOT)}"
)


Host = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


class NotBuilt(Exception):
    """A part that the guide uses and that is not there yet."""


def not_built(part: str) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, raises=NotBuilt, reason=f"{part} is not built yet")


def snippet(about: str) -> str:
    """Return the snippet about something, as printed."""
    return _snippets()[ORDER.index(about)].text


def _snippets() -> list[Block]:
    return [block for block in blocks(GUIDE.read_text("utf-8")) if block.language]


def on_trio(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a program on Trio, where nobody waits for its clock."""
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def on_asyncio(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a program on asyncio, where a second takes a millisecond."""
    with asyncio.Runner(loop_factory=QuickLoop) as runner:
        return runner.run(main())


each_host = pytest.mark.parametrize("host", [on_trio, on_asyncio])


def run(source: str, names: dict[str, Any], *, part: str = "", host: Host = on_trio) -> dict[str, Any]:
    """Run a snippet, top-level `await` included, and return its names.

    Args:
        source: The snippet.
        names: What a reader would have.
        part: The module that is not built yet, or the name it does not have yet.
        host: What runs programs.

    Raises:
        NotBuilt: That part is what stopped it.
    """
    names = {"__name__": "guide", **names}
    program = compile(source, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    async def main() -> None:
        if inspect.iscoroutine(running := eval(program, names)):
            await running

    try:
        host(main)
    except ImportError as error:
        raise _missing(error, part) from error
    return names


def imported(module: str, *names: str, part: str = "") -> dict[str, Any]:
    """Import as a reader would.

    Raises:
        NotBuilt: The module, or a name of it, is not there, and `part` says so.
    """
    try:
        home = importlib.import_module(module)
    except ImportError as error:
        raise _missing(error, part) from error
    if part in names and not hasattr(home, part):
        raise NotBuilt(part)
    return {name: getattr(home, name) for name in names}


def _missing(error: ImportError, part: str) -> Exception:
    lacks = error.name == part or re.search(rf"cannot import name '{re.escape(part)}'", str(error))
    return NotBuilt(part) if part and lacks else error


async def outcome(task: Any, topology: Any, **given: Any) -> RunResult:
    return await Orchestra.run(task, topology, **given)


def test_the_guide_has_the_snippets_that_are_tested_here():
    found = _snippets()
    languages = {"dockerfile": "dockerfile", "yaml": "yaml"}

    assert [block.language for block in found] == [languages.get(about, "python") for about in ORDER]


@each_host
def test_an_agent_with_one_responsibility(host):
    printed = snippet("agent")
    second = [found.start() for found in re.finditer(r"^class ", printed, re.MULTILINE)][1]
    with pytest.raises(SyntaxError, match="expected an indented block"):
        compile(printed[second:], "the wrong way", "exec")

    given = {"BaseAgent": BaseAgent, "analyze_data": lambda prompt: f"{len(prompt)} figures"}
    names = run(printed[:second], given, host=host)
    (found,) = [
        each
        for each in names.values()
        if isinstance(each, type) and issubclass(each, BaseAgent) and each is not BaseAgent
    ]
    analyzer = found()
    result = host(lambda: outcome("12345", analyzer.name))

    assert result.success
    assert result.final_response == "5 figures"
    assert result.total_steps == 1


@not_built("EpisodicMemory")
def test_an_agent_with_limited_memories():
    names = imported("marsys.memory", "EpisodicMemory", "WorkingMemory", part="EpisodicMemory")
    found = run(snippet("memory"), {"BaseAgent": BaseAgent, **names})
    (cls,) = [each for each in found.values() if isinstance(each, type) and BaseAgent in each.__bases__]

    async def process(self: Any, prompt: Any, similar: Any) -> str:
        return f"{prompt}, after {len(similar)} like it"

    cls._process_with_memory = process
    result = trio.run(outcome, "a task", cls(None).name)

    assert result.final_response == "a task, after 0 like it"


class Ward:
    """An agent that fails as its script says, one word for each run; the engine's own retries do not count."""

    def __init__(self, *fates: type[Exception] | str) -> None:
        self.fates = fates
        self.runs: list[str] = []
        self.loops: set[asyncio.AbstractEventLoop] = set()

    async def attend(self, prompt: Any, context: Any) -> str:
        self.loops.add(asyncio.get_running_loop())
        if context.run_id not in self.runs:
            self.runs.append(context.run_id)
        fate = self.fates[min(len(self.runs), len(self.fates)) - 1]
        if isinstance(fate, str):
            return fate
        raise fate

    def carry_out(self) -> Any:
        """Run the guide's loop as an asyncio program."""
        given = {
            each.__name__: each
            for each in (Orchestra, ExecutionConfig, RecoverableError, CriticalError, MaxRetriesExceeded)
        }
        names = run(snippet("retries"), {**given, "asyncio": asyncio}, host=on_asyncio)
        (found,) = [each for each in names.values() if inspect.iscoroutinefunction(each)]
        agent(name="Ward")(self.attend)
        return on_asyncio(lambda: found("a task", "Ward"))

    @property
    def waits(self) -> list[float]:
        """For how many seconds the program has slept, each time."""
        (loop,) = self.loops
        assert isinstance(loop, QuickLoop)
        return [seconds for seconds in loop.slept if seconds < 3600]  # the engine's own timer waits for ever


def test_the_retry_loop_returns_at_once_what_goes_well():
    ward = Ward("well")

    assert ward.carry_out().final_response == "well"
    assert (len(ward.runs), ward.waits) == (1, [])


def test_the_retry_loop_waits_longer_each_time_and_returns_the_third_attempt():
    ward = Ward(RecoverableError, RecoverableError, "well")

    assert ward.carry_out().final_response == "well"
    assert (len(ward.runs), ward.waits) == (3, [1, 2])


def test_the_retry_loop_lets_the_third_recoverable_error_out():
    ward = Ward(RecoverableError)

    with pytest.raises(RecoverableError):
        ward.carry_out()
    assert (len(ward.runs), ward.waits) == (3, [1, 2])


def test_the_retry_loop_does_not_repeat_a_critical_error():
    ward = Ward(CriticalError)

    with pytest.raises(CriticalError):
        ward.carry_out()
    assert (len(ward.runs), ward.waits) == (1, [])


def test_the_retry_loop_gives_up_after_three_runs_without_success():
    ward = Ward(ValueError)

    with pytest.raises(MaxRetriesExceeded):
        ward.carry_out()
    assert (len(ward.runs), ward.waits) == (3, [])


def instructions(printed: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile and their arguments, in order."""
    lines = [line for line in printed.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def test_a_container_starts_from_a_python_that_will_do():
    found = instructions(snippet("dockerfile").replace("python:3.9-slim", "python:3.11-slim"))
    image = next(rest for word, rest in found if word == "FROM")
    assert tuple(map(int, re.findall(r"\d+", image))) >= (3, 11)


@not_built("health_check")
def test_a_container_is_healthy():
    found = instructions(snippet("dockerfile"))
    imported("marsys", "health_check", part="health_check")
    environment = {**os.environ, **dict(rest.split("=", 1) for word, rest in found if word == "ENV")}
    check = next(rest.partition("CMD ")[2] for word, rest in found if word == "HEALTHCHECK")
    program = ast.literal_eval(check.removeprefix("python -c "))
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)

    assert ran.returncode == 0, ran.stderr


@not_built("marsys.server")
def test_a_container_serves():
    command = next(rest for word, rest in instructions(snippet("dockerfile")) if word == "CMD")
    python, dash_m, module = ast.literal_eval(command)

    assert (python, dash_m) == ("python", "-m")
    imported(module, part="marsys.server")


@not_built("marsys.server")
def test_a_cluster_runs_what_reads_these_variables():
    variables = re.findall(r"- name: ([A-Z_]+)$", snippet("yaml"), re.MULTILINE)
    server = imported("marsys.server", "VARIABLES", part="marsys.server")

    assert set(variables) <= set(server["VARIABLES"])


@not_built("marsys.monitoring")
def test_a_run_is_measured():
    topology = PatternConfig.hub_and_spoke(hub="Hub", spokes=["Spoke"])
    names = run(snippet("monitoring"), {"Orchestra": Orchestra}, part="marsys.monitoring")

    assert trio.run(names["monitored_execution"], "a task", topology).success


@not_built("marsys.testing")
def test_a_suite_of_the_reader_passes(tmp_path):
    imported("marsys.testing", "AgentTestCase", "MockModel", part="marsys.testing")
    given = "from marsys import Agent as ResearchAgent, PatternConfig\n"
    leftover = (
        "\n    research_responses = {'Coordinator': ['go'], 'Researcher1': ['a'], 'Researcher2': ['b']}\n"
    )
    suite = tmp_path / "test_research.py"
    suite.write_text(given + snippet("tests") + leftover, "utf-8")
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", str(suite)], capture_output=True, text=True)

    assert re.search(r"^2 passed", ran.stdout, re.MULTILINE), ran.stdout


@not_built("marsys.debug")
def test_a_run_is_traced(capsys):
    imported("marsys.debug", part="marsys.debug")
    from marsys import StatusConfig

    agent(name="Solo")(lambda prompt: "an answer")
    given = {"Orchestra": Orchestra, "ExecutionConfig": ExecutionConfig, "StatusConfig": StatusConfig}
    names = run(snippet("debug"), {**given, "topology": "Solo"}, part="marsys.debug")

    assert names["result"].success
    assert "Solo" in capsys.readouterr().out


COLUMNS = ("jsonb", "json", "text")
TABLE = """
CREATE TABLE execution_states (session_id text PRIMARY KEY, state {} NOT NULL, updated_at timestamptz NOT NULL)
"""


@pytest.mark.slow
@pytest.mark.sockets
@pytest.mark.trio_alone(reason="it runs its programs under both hosts itself")
def test_states_are_kept_in_a_database():
    import json
    from typing import Optional

    pytest.importorskip("asyncpg", reason="no PostgreSQL: the package 'asyncpg' is not installed")
    given = {"os": os, "json": json, "Dict": dict, "Optional": Optional}
    backend = run(snippet("database"), given)["PostgresBackend"]
    with listening(5432, "CREATE ROLE marsys_user LOGIN", "CREATE DATABASE marsys OWNER marsys_user"):
        for host in (trio.run, lambda main: asyncio.run(main())):
            for column in COLUMNS:
                host(functools.partial(_go_on_from_a_database, backend, column))


async def _go_on_from_a_database(backend: Any, column: str) -> None:
    """Have a run's process die halfway, and go on with the run by its session, in other backends."""
    odd = {"text": "\0 \ud800 \x10 \\u0000 é😀", "numbers": [1.0, -0.0, 1e-300, 2**70], "z": 1, "a": None}
    taken: list[str] = []

    @agent(name="First")
    async def first(prompt):
        taken.append("First")
        return {**odd, "large": prompt * 5000}

    @agent(name="Second")
    async def second(prompt):
        taken.append("Second")
        return prompt

    class Dying(backend):
        async def initialize(self):
            await super().initialize()
            async with self.pool.acquire() as connection:
                await connection.execute("DROP TABLE IF EXISTS execution_states")
                await connection.execute(TABLE.format(column))

        async def save_state(self, session_id, state):
            if "Second" not in taken:  # nothing of what comes then arrives
                await super().save_state(session_id, state)

    work: dict[str, Any] = {"task": "task", "topology": "First -> Second", "session_id": "s"}
    for store, resume in ((Dying(), False), (backend(), True), (backend(), True)):
        result = await Orchestra.run(**work, storage=store, resume=resume)
        answer = result.final_response
        assert repr(sorted(answer.items())) == repr(sorted({**odd, "large": "task" * 5000}.items()))
    assert taken == ["First", "Second", "Second"]


@not_built("marsys.api")
def test_a_web_service_starts_runs():
    imported("marsys.api", "MarsysAPI", part="marsys.api")
    names = run(snippet("api"), {"Dict": dict})

    assert {route.path for route in names["app"].routes} >= {
        "/execute",
        "/status/{task_id}",
        "/result/{task_id}",
    }


def test_a_pool_of_agents():
    working: list[int] = [0, 0]

    class Worker(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> str:
            working[0] += 1
            working[1] = max(working)
            await trio.sleep(1)
            working[0] -= 1
            return f"{prompt} done"

    @agent(name="Foreman")
    async def foreman(prompt):
        return Invoke([("Worker", i) for i in range(25)]) if isinstance(prompt, str) else prompt.values

    names = run(snippet("pool"), {"Worker": Worker, **imported("marsys", "AgentPool", part="AgentPool")})
    pool = names["pool"]
    assert (pool.num_instances, pool.warm_start, pool.max_idle_time) == (10, True, 300)
    assert pool.statistics().made == 0

    async def work() -> Any:
        result = await Orchestra.run("build", "Foreman <-> Worker")
        return result.final_response, trio.current_time(), pool.statistics()

    answer, seconds, statistics = trio.run(work, clock=trio.testing.MockClock(autojump_threshold=0))
    assert answer == [f"{i} done" for i in range(25)]
    assert (working[1], seconds) == (10, 3)
    assert (statistics.made, statistics.idle, statistics.leases) == (10, 10, 25)


@not_built("ResponseCache")
def test_a_run_is_answered_from_a_cache():
    imported("marsys.cache", "ResponseCache", part="ResponseCache")
    calls = []
    agent(name="Solo")(lambda prompt: calls.append(prompt) or "an answer")
    names = run(snippet("cache"), {"Orchestra": Orchestra}, part="ResponseCache")

    async def twice() -> list[Any]:
        return [await names["cached_execution"]("a task", "Solo") for _ in range(2)]

    first, second = trio.run(twice)
    assert first.final_response == second.final_response == "an answer"
    assert calls == ["a task"]


@each_host
def test_all_spokes_work_at_once(host):
    given = {"PatternConfig": PatternConfig, "ExecutionConfig": ExecutionConfig}
    names = run(snippet("parallel"), given, host=host)
    topology, config = names["topology"], names["config"]
    working: list[int] = [0, 0]

    @agent(name="Coordinator")
    async def coordinator(prompt):
        return prompt if isinstance(prompt, str) else [entry.value for entry in prompt]

    async def work(prompt, context):
        working[0] += 1
        working[1] = max(working)
        while working[1] < 4:
            await trio.lowlevel.checkpoint()
        working[0] -= 1
        return f"{context.node}: {prompt}"

    workers = [name for name in topology.nodes if name != "Coordinator"]
    for name in workers:
        agent(name=name)(work)

    async def main() -> RunResult:
        return await Orchestra.run("a task", topology, execution_config=config)

    result = host(main)

    assert result.final_response == [f"{name}: a task" for name in workers]
    assert result.total_steps == len(workers) + 2
    assert working[1] == len(workers) == 4
    assert (config.max_parallel_branches, config.convergence_timeout) == (10, 60)


@not_built("SecurityConfig")
def test_security_is_configured():
    imported("marsys.security", "SecurityConfig", part="SecurityConfig")
    names = run(snippet("security"), {}, part="SecurityConfig")

    assert names["security"].rate_limit == 100
