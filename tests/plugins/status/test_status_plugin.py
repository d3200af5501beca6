from __future__ import annotations

import io

import pytest
import trio
import trio.testing

import marsys.status.plugin as plugin
from marsys.status import Console
from marsys_core import events as e
from marsys_core.agents import agent
from marsys_core.config import ExecutionConfig, StatusConfig
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import EngineInfo, PluginSettings, compose, open_services
from marsys_core.protocols.event_sink import bind_sinks
from tests.plugins.status.story import story

KINDS = tuple(e.KINDS.values())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_engine_finds_the_console_by_its_feature(capsys):
    composition = compose(PluginSettings(plugins={"status": plugin}, discover=False))
    assert composition.provider("event sink", "console").features == {"status"}

    async def main():
        async with open_services(composition, engine=EngineInfo(name="test", version="0")) as services:
            make = await services.get("event sink", "console")
            told = bind_sinks({"status": make(StatusConfig(verbosity=0))}, KINDS)
            for each in story():
                told.emit(each)

    trio.run(main)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_run_is_shown_where_its_configuration_says_so(capsys):
    @agent
    def echo(task):
        return task

    plugins = PluginSettings(plugins={"status": plugin}, discover=False)
    status = StatusConfig(verbosity=2, show_timings=False)

    async def main():
        async with Orchestra(agents=[echo], plugins=plugins, new_id=lambda: "run-123456") as orchestra:
            await orchestra.execute("not shown", "echo")
            await orchestra.execute("hello", "echo", execution_config=ExecutionConfig(status=status))

    trio.run(main)
    assert capsys.readouterr().err.splitlines() == [
        "                  run      123456: hello",
        "0     echo        start",
        "0     echo        says     hello",
        "0     echo        done",
        "                  end      succeeded, 1 step",
    ]


def test_the_console_can_be_named_as_a_sink(capsys):
    @agent
    def echo(task):
        return task

    plugins = PluginSettings(plugins={"status": plugin}, discover=False)
    ids = iter(["run-123456", "run-abcdef"])

    async def main():
        made = Orchestra(agents=[echo], plugins=plugins, sinks=["console"], new_id=lambda: next(ids))
        async with made as orchestra:
            await orchestra.execute("hello", "echo")
            await orchestra.execute("again", "echo")

    trio.run(main)
    shown = [line.split("s  ", 1)[1].split() for line in capsys.readouterr().err.splitlines()]
    assert [line[:3] for line in shown] == [
        ["run", "123456:", "hello"],
        ["0", "echo", "start"],
        ["0", "echo", "done"],
        ["end", "succeeded,", "1"],
        ["run", "abcdef:", "again"],
        ["0", "echo", "start"],
        ["0", "echo", "done"],
        ["end", "succeeded,", "1"],
    ]


def test_runs_that_a_named_console_hears_at_once_break_nothing(monkeypatch, caplog):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()

    async def main():
        async with trio.open_nursery() as nursery:
            console = Console(nursery=nursery, stream=terminal)
            told = bind_sinks({"console": console}, KINDS)
            for one, other in zip(story("first-aaaaaa"), story("second-bbbbbb"), strict=True):
                told.emit(one)
                await trio.sleep(0.3)
                told.emit(other)
            console.close()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert not caplog.records
    assert terminal.getvalue().count("end      succeeded, 4 steps") == 2


def test_an_unknown_name_of_the_package_is_refused():
    import marsys.status

    with pytest.raises(AttributeError, match=r"^module 'marsys\.status' has no attribute 'Nothing'$"):
        _ = marsys.status.Nothing
