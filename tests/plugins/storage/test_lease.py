"""Whether who took a run is still there."""

from __future__ import annotations

import os
import subprocess
import sys

import attrs
import pytest

from marsys.storage import _lease

HERE = _lease.myself()


def test_every_holder_has_a_token_of_its_own():
    assert HERE.token != _lease.myself().token
    assert HERE.pid == os.getpid()


@pytest.mark.parametrize(("silent", "alive"), [(0, True), (30, True), (30.1, False)])
@pytest.mark.parametrize("elsewhere", [{"host": "other"}, {"place": "another boot"}])
def test_a_holder_that_cannot_be_looked_at_is_alive_while_it_is_heard_of(silent, alive, elsewhere):
    assert _lease.is_alive(attrs.evolve(HERE, **elsewhere), HERE, silent, 30) is alive


@pytest.mark.parametrize(("silent", "alive"), [(0, True), (31, False)])
def test_where_the_system_does_not_show_processes_it_has_to_be_heard_of(silent, alive):
    here = attrs.evolve(HERE, place="")

    assert _lease.is_alive(here, here, silent, 30) is alive


def test_a_process_that_is_there_is_alive_however_silent():
    assert _lease.is_alive(HERE, HERE, 1e9, 30) is True


def test_a_process_that_ended_is_gone_also_before_its_parent_has_waited_for_it():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = _lease._started(process.pid)
    holder = attrs.evolve(HERE, pid=process.pid, started=started)
    before = _lease.is_alive(holder, HERE, 0, 30)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    after = _lease.is_alive(holder, HERE, 0, 30)
    process.wait()
    process.stdin.close()

    assert (before, after) == (True, False)
    assert _lease.is_alive(holder, HERE, 0, 30) is False


def test_where_there_is_no_boot_id_a_place_is_nothing(monkeypatch):
    def refuse(_path):
        raise OSError

    monkeypatch.setattr(_lease.os, "readlink", refuse)

    assert _lease._place() == ""
