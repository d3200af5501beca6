from __future__ import annotations

import sqlite3
import threading
import time

import pytest
import trio
import trio.testing

import marsys.health
import marsys.health.plugin as plugin
from marsys.health import CheckResult, run_checks
from marsys_core.plugins import PluginSettings, compose
from marsys_core.protocols.health import HealthCheck


def own():
    return {check.name: check for check in plugin.marsys_health_checks()}


async def well():
    await trio.lowlevel.checkpoint()


async def slow():
    await trio.sleep(1)


async def stuck():
    await trio.sleep_forever()


async def ill():
    raise RuntimeError("the disk is full")


async def silent():
    raise KeyError


async def late():
    raise trio.TooSlowError("the database took its time")


def asked(*checks, timeout=2.0):
    named = [HealthCheck(check.__name__, check) for check in checks]

    async def main():
        began = trio.current_time()
        found = await run_checks(timeout, checks=named)
        return found, trio.current_time() - began

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_this_installation_is_well():
    found = trio.run(lambda: run_checks(checks=own().values()))
    assert found == [(name, True, "") for name in ("sqlite-fts5", "worker-threads", "clock")]


def test_a_check_that_fails_says_why_and_the_others_are_asked_all_the_same():
    found, _ = asked(well, ill, silent, late, well)
    assert found == [
        CheckResult("well", True, ""),
        CheckResult("ill", False, "the disk is full"),
        CheckResult("silent", False, "KeyError"),
        CheckResult("late", False, "the database took its time"),
        CheckResult("well", True, ""),
    ]


def test_checks_are_asked_side_by_side_and_each_under_the_limit():
    found, took = asked(slow, stuck, slow, timeout=3.0)
    assert found == [("slow", True, ""), ("stuck", False, "no answer within 3 s"), ("slow", True, "")]
    assert took == 3.0


def test_asking_nobody_finds_nothing():
    assert asked() == ([], 0.0)


def test_every_installed_plugin_is_asked_unless_told_otherwise(monkeypatch):
    composition = compose(PluginSettings(plugins={"health": plugin}, discover=False))
    monkeypatch.setattr("marsys_core.plugins.compose", lambda: composition)
    assert [name for name, _, _ in trio.run(run_checks)] == ["sqlite-fts5", "worker-threads", "clock"]


def test_a_python_without_full_text_search_is_found(monkeypatch):
    real = sqlite3.connect

    class Without(sqlite3.Connection):
        def execute(self, *arguments):
            raise sqlite3.OperationalError("no such module: fts5")

    monkeypatch.setattr(sqlite3, "connect", lambda name: real(name, factory=Without))
    with pytest.raises(
        RuntimeError, match=r"^SQLite [\d.]+ of this Python has no full-text search: no such module: fts5$"
    ):
        trio.run(own()["sqlite-fts5"].check)


def test_a_machine_that_starts_no_thread_is_found(monkeypatch):
    def no_thread(*_arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio._threads.start_thread_soon", no_thread)
    (found,) = trio.run(lambda: run_checks(checks=[own()["worker-threads"]]))
    assert found == ("worker-threads", False, "can't start new thread")


def test_threads_can_be_started_however_many_the_application_has_running():
    async def main():
        trio.to_thread.current_default_thread_limiter().total_tokens = 1
        release = threading.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, release.wait)
            try:
                return await run_checks(checks=[own()["worker-threads"]])
            finally:
                release.set()

    assert trio.run(main) == [("worker-threads", True, "")]


def test_a_machine_that_does_not_know_the_date_is_found(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 86_400.0)
    message = r"^the machine's clock says 1970-01-02, which is wrong; certificates will not verify$"
    with pytest.raises(RuntimeError, match=message):
        trio.run(own()["clock"].check)


def test_an_unknown_name_of_the_package_is_refused():
    with pytest.raises(AttributeError, match=r"^module 'marsys\.health' has no attribute 'Wealth'$"):
        _ = marsys.health.Wealth
