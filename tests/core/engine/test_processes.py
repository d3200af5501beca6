"""Tools in processes of their own: what goes there and comes back, and that none is ever left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
import trio.testing

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import (
    ConfigError,
    CriticalError,
    ErrorClass,
    MarsysError,
    RecoverableError,
    ToolError,
    ToolTimeout,
    ValueRefused,
)
from marsys_core.messages import Message
from marsys_core.tools import tool
from tests.core.engine import cancelling, corpus
from tests.core.engine.cancelling import assert_complete, descriptors
from tests.core.fakes import FakeModel, Heard, bare, call, run

DATA = Path(__file__).resolve().parents[2] / "data" / "isolated"
SPINS = 1000 if os.environ.get("MARSYS_SIMULATE") == "1" else 20


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of tools, in a folder that only `sys.path` of this process leads to."""
    monkeypatch.syspath_prepend(str(DATA))
    import isolated_tools

    yield isolated_tools
    del sys.modules["isolated_tools"]


@pytest.fixture(autouse=True)
def _no_process_and_no_descriptor_is_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert children() == []
    assert descriptors() == before


def children() -> list[int]:
    """The processes below this one, also those that have ended and were not waited for."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # whoever waits for orphans may not have come to it


def gone(pids: list[int]) -> bool:
    """Wait until the kernel has done what it was told."""
    for _ in range(500):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.01)
    return False


class Caller(BaseAgent):
    """Calls tools, one after another, and keeps what they return or raise."""

    def __init__(self, *calls: tuple[Any, dict[str, Any]]) -> None:
        super().__init__(name="Caller", tools=[made for made, _ in calls])
        self.calls = calls
        self.came: list[Any] = []

    async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> Any:
        for made, arguments in self.calls:
            try:
                self.came.append(await context.call_tool(made.name, **arguments))
            except MarsysError as error:
                self.came.append(error)
        return "done"


def called(made: Any, /, config: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """Call a tool in a run on the real clock, and return what it returned, or the error that it raised."""
    caller = Caller((made, arguments))

    async def main() -> None:
        async with bare() as orchestra:
            settings = ExecutionConfig(**(config or {}))
            await orchestra.execute("x", "Caller", agents=[caller], execution_config=settings)

    trio.run(main)
    [came] = caller.came
    return came


# -- what goes there and comes back ----------------------------------------------------------------


def test_a_model_calls_an_isolated_tool_as_any_other(tools: ModuleType) -> None:
    model = FakeModel([[call("double", "1", number=4), call("double", "2", number="4")], "done"])
    ran = run("x", "A", [Agent("A", model=model, tools=[tools.double])])

    assert ran.result.unwrap() == "done"
    assert model.said()[-2:] == [("tool", "8"), ("tool", "double: 'number' should be an integer, not '4'")]
    assert tools.double.description == "Double a number."
    assert tools.double(4) == 8
    assert_complete(ran.heard.events)


@pytest.mark.slow
def test_an_async_function_runs_on_an_event_loop_of_its_own(tools: ModuleType) -> None:
    assert called(tools.later, text="a") == "a!"


@pytest.mark.slow
def test_arguments_are_structured_there(tools: ModuleType) -> None:
    assert tools.order.bind({"what": {"day": "2000-01-31"}}) == {"what": {"day": "2000-01-31"}}
    assert called(tools.order, what={"day": "2000-01-31"}) == {
        "type": "Order",
        "day": "2000-01-31",
        "next": "2000-01-02",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("message", Message("user", "hi")),
        ("order", {"count": 1, "tag": {"$type": "x"}}),
        ("surrogate", "\ud800"),
        ("nothing", None),
    ],
)
def test_a_result_comes_back_as_plain_data(tools: ModuleType, what: str, value: Any) -> None:
    assert repr(called(tools.give, what=what)) == repr(value)


@pytest.mark.slow
def test_a_result_that_is_no_plain_data_or_too_large_is_refused(tools: ModuleType) -> None:
    refused = called(tools.give, what="object")
    assert type(refused) is ValueRefused
    assert str(refused).startswith("a value of type 'object' cannot be recorded; return JSON data")
    assert called(tools.give, what="large") == "\0" * 3_000_000  # six times as much in JSON

    refused = called(tools.give, {"max_value_bytes": 5}, what="text")
    assert type(refused) is ValueRefused
    assert str(refused) == "the value is larger than max_value_bytes (5) @ $"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "cls", "text"),
    [
        ("value", ToolError, "ValueError: no such thing"),
        ("told", ToolError, "try 7"),
        ("mine", ToolError, "try 8"),
        ("long", ToolError, f"ValueError: {'x' * 20_000}"),
    ],
)
def test_an_error_comes_back_with_its_type_and_message(
    tools: ModuleType, how: str, cls: type, text: str
) -> None:
    error = called(tools.fail, how=how)

    assert type(error) is cls
    assert str(error).partition(" (at ")[0] == text
    [note] = error.__notes__
    assert note.startswith("in the process of the tool:\n")
    assert "isolated_tools.py" in note or how == "long"


@pytest.mark.slow
def test_the_class_of_an_error_stays_what_it_was(tools: ModuleType) -> None:
    for how, cls in [("critical", CriticalError), ("recoverable", RecoverableError)]:
        model = FakeModel([call("fail", how=how)])
        ran = run("x", "A", [Agent("A", model=model, tools=[tools.fail])])
        assert type(ran.result.error) is cls
        assert isinstance(ran.result.error, cls)

    error = called(tools.fail, how="model")
    assert error.error_class is ErrorClass.RECOVERABLE
    assert str(error).startswith("slow down")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("exit", "ended with exit code 7 before it answered"),
        ("sys.exit", "ended with exit code 5 before it answered"),
        ("crash", "was killed by SIGSEGV (11)"),
        ("signal", "was killed by SIGTERM (15)"),
    ],
)
def test_a_process_that_dies_is_an_error_that_says_how(tools: ModuleType, how: str, told: str) -> None:
    error = called(tools.die, how=how)

    assert type(error) is ToolError
    assert str(error).startswith(f"the process of tool 'die' {told}")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["return", "raise"])
def test_a_fork_of_the_process_does_not_answer_for_it(tools: ModuleType, how: str) -> None:
    assert called(tools.fork, how=how) == "of the parent"


@pytest.mark.slow
def test_what_a_tool_prints_goes_to_standard_error(
    tools: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    assert called(tools.write_to_everything) == ""
    out, told = capfd.readouterr()
    assert out == ""
    assert sorted(told.split("\n")) == ["", "by a child", "printed", "written"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["nonsense", "00000002{}", "00000002[]", "00000004\xff", '0000000f{"result": [1]}', "zzzzzzzz"]
)
def test_a_tool_that_writes_into_the_answer_is_told_so(tools: ModuleType, what: str) -> None:
    came = called(tools.garble, what=what)
    if "result" in what:
        assert came == [1]  # it is their own process
    else:
        assert str(came).startswith("the process of tool 'garble' wrote something else than its answer")


@pytest.mark.slow
def test_an_answer_that_says_to_be_huge_is_not_read(tools: ModuleType) -> None:
    came = called(tools.garble, what="ffffffff")
    assert type(came) is ValueRefused
    assert "which is more than max_value_bytes allows" in str(came)


@pytest.mark.slow
def test_it_runs_in_a_session_of_its_own_with_the_path_of_this_process(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "somewhere")
    there = called(tools.surroundings)

    assert there["session"] == there["pid"] != os.getpid()
    assert (there["path"], there["pythonpath"]) == (sys.path, "somewhere")
    assert there["thread"]
    assert there["main"] == "marsys_core.tools._worker"
    monkeypatch.delenv("PYTHONPATH")
    assert called(tools.surroundings)["pythonpath"] is None


@pytest.mark.slow
def test_what_lies_in_the_working_directory_is_not_imported(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert called(tools.double, number=2) == 4


@pytest.mark.slow
def test_work_at_exit_is_done_before_the_answer(tools: ModuleType, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert called(tools.clean_up, mark=str(mark)) == "done"
    assert mark.read_text() == "thread exit"


@pytest.mark.slow
def test_what_middleware_makes_of_the_arguments_is_what_is_sent(tools: ModuleType) -> None:
    class Changed:
        def __init__(self, value: Any) -> None:
            self.value = value

        async def tool_call(self, tool_run: Any, proceed: Any) -> Any:
            tool_run.arguments = {"number": self.value}
            return await proceed(tool_run)

    for value, came in [
        (5, "10"),
        ("x", "double: 'number' should be an integer, not 'x'"),
        ({1}, "double: the arguments cannot be sent"),
    ]:
        model = FakeModel([call("double", number=1), "done"])
        run("x", "A", [Agent("A", model=model, tools=[tools.double])], middleware=[Changed(value)])
        assert model.said()[-1][1].startswith(came)


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "wants_context",
            "'context' takes the context, which stays in its process: take what is needed of it as parameters",
        ),
        (
            "lost",
            "'rebound' of module 'isolated_tools' is None: the process would not find the function by its name",
        ),
    ],
)
def test_a_tool_that_cannot_run_there_is_refused_on_first_use(tools: ModuleType, name: str, why: str) -> None:
    made = getattr(tools, name)
    with pytest.raises(ConfigError) as caught:
        made.spec  # noqa: B018
    assert str(caught.value) == f"tool {made.name!r} cannot run in a process of its own:\n  - {why}"


def test_a_module_that_no_file_is_behind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("made_up")
    exec("def work(): ...", vars(module))
    monkeypatch.setitem(sys.modules, "made_up", module)
    with pytest.raises(ConfigError, match="module 'made_up' was made while the program ran"):
        tool(module.work, isolation="process").bind({})


@pytest.mark.slow
def test_a_module_that_cannot_be_imported_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "only_here.py").write_text("def work(): ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here

    made = tool(only_here.work, isolation="process")
    (tmp_path / "only_here.py").write_text("raise ValueError('not again')")
    came = called(made)
    del sys.modules["only_here"]
    assert str(came).startswith("the process of the tool cannot import 'only_here': ValueError: not again")
    (tmp_path / "only_here.py").write_text("work = 3")
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    assert str(called(made)).startswith("'work' of module 'only_here' is 3 here, and no function")


@pytest.mark.slow
def test_a_static_method_can_and_a_method_cannot(tools: ModuleType) -> None:
    assert called(tools.Holder.static, number=1) == 2
    with pytest.raises(
        ConfigError, match="needs a function of a module: a method's object stays in its process$"
    ):
        tools.Holder().method.bind({"number": 1})


def test_an_interpreter_that_is_not_known_is_the_callers_affair(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    error = run(
        "x", "A", [Agent("A", model=FakeModel([call("double", number=1)]), tools=[tools.double])]
    ).result.error
    assert str(error).startswith(
        "isolation='process' starts a Python interpreter, and sys.executable does not say"
    )
    monkeypatch.setattr(sys, "executable", str(DATA / "no-such-program"))
    assert str(called(tools.double, number=1)).startswith("the process of tool 'double' cannot be started: ")


# -- that none is left -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tool_that_spins_is_killed_at_its_limit_each_time(tools: ModuleType, tmp_path: Path) -> None:
    """The limit passes, for five at a time, when all of them have said that they spin."""
    clock, model = trio.testing.MockClock(), FakeModel([*_rounds(tmp_path), "gave up"])
    spinner, heard = Agent("A", model=model, tools=[tools.spin_for_ever]), Heard()
    config = ExecutionConfig(tool_timeout=7, max_tool_rounds=SPINS)

    async def let_time_pass() -> None:
        for done in range(5, SPINS + 1, 5):
            while sum(mark.stat().st_size > 0 for mark in tmp_path.iterdir()) < done:
                await trio.to_thread.run_sync(time.sleep, 0.005)
            clock.jump(7)

    async def main() -> Any:
        async with bare(sinks=[heard]) as orchestra, trio.open_nursery() as nursery:
            nursery.start_soon(let_time_pass)
            result = await orchestra.execute("x", "A", agents=[spinner], execution_config=config)
            nursery.cancel_scope.cancel()  # it still waits where a process never came to spin
        return result

    assert trio.run(main, clock=clock).unwrap() == "gave up"
    failed = Counter(event.error for event in heard.of(e.ToolFailed))
    assert failed == {"ToolTimeout: tool 'spin_for_ever' took longer than 7 s": SPINS}
    assert not heard.of(e.Stuck)
    assert not any(alive(int(mark.read_text())) for mark in tmp_path.iterdir())


def _rounds(folder: Path) -> Iterator[list[Any]]:
    for index in range(0, SPINS, 5):
        marks = [str(folder / str(index + each)) for each in range(5)]
        yield [call("spin_for_ever", mark, mark=mark) for mark in marks]


@pytest.mark.slow
def test_a_process_is_killed_also_while_it_starts(tools: ModuleType) -> None:
    """On a clock that jumps the limit passes at once."""
    model = FakeModel([*[[call("spin", str(index)) for index in range(5)] for _ in range(2)], "gave up"])
    ran = run("x", "A", [Agent("A", model=model, tools=[tools.spin])])
    assert ran.result.unwrap() == "gave up"
    assert Counter(event.error for event in ran.of(e.ToolFailed)) == {
        "ToolTimeout: tool 'spin' took longer than 0.2 s": 10
    }


@pytest.mark.slow
def test_a_tool_that_is_really_spinning_is_killed_at_its_limit(tools: ModuleType) -> None:
    assert type(called(tools.spin)) is ToolTimeout


@pytest.mark.slow
@pytest.mark.parametrize("then", ["return", "spin"])
def test_what_a_tool_has_started_ends_with_it(tools: ModuleType, tmp_path: Path, then: str) -> None:
    mark = tmp_path / "mark"
    came = called(tools.leave_children, {"tool_timeout": 1.5}, mark=str(mark), then=then)

    assert came == "left" if then == "return" else type(came) is ToolTimeout
    assert gone(json.loads(mark.read_text()))


@pytest.mark.slow
def test_a_process_ends_when_whoever_started_it_is_killed(tools: ModuleType, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = f"""
import trio, isolated_tools
from marsys_core.agents import BaseAgent
from marsys_core.orchestra import Orchestra
from marsys_core.plugins.knobs import PluginSettings

class Caller(BaseAgent):
    async def _run(self, prompt, context, **kwargs):
        return await context.call_tool("spin_for_ever", mark={str(mark)!r})

async def main():
    async with Orchestra(plugins=PluginSettings(discover=False)) as orchestra:
        await orchestra.execute("x", "Caller", agents=[Caller(tools=[isolated_tools.spin_for_ever])])

trio.run(main)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    try:
        for _ in range(1000):
            if mark.exists() and mark.read_text():
                break
            time.sleep(0.01)
        worker = int(mark.read_text())
        assert alive(worker)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert gone([worker])


@pytest.mark.slow
@pytest.mark.parametrize("driver", ["execute", "start"])
def test_a_call_can_be_cancelled_at_every_checkpoint(
    tools: ModuleType, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def agents(books: Any) -> Any:
        return {"A": Agent("A", model=FakeModel([call("double", number=1), "done"]), tools=[tools.double])}

    corpus.workflow("isolated tools", "A")(agents)
    try:
        monkeypatch.setattr(cancelling, "_TRIES", 1)  # each point of one schedule
        tally = cancelling.campaign("isolated tools", driver)
    finally:
        del corpus.CORPUS["isolated tools"]
    assert tally["caught"] > 0.7 * tally["points"] > 10


@pytest.mark.slow
def test_no_more_processes_run_at_once_than_there_are_places(tools: ModuleType) -> None:
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len(children()))
            await trio.sleep(0.002)

    async def main() -> Any:
        model = FakeModel([[call("double", str(index), number=index) for index in range(6)], "done"])
        async with bare(max_threads=2) as orchestra, trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            result = await orchestra.execute("x", "A", agents=[Agent("A", model=model, tools=[tools.double])])
            nursery.cancel_scope.cancel()
        return result, model

    result, model = trio.run(main)
    assert [text for role, text in model.said() if role == "tool"] == [str(2 * index) for index in range(6)]
    assert 1 <= most <= 2
