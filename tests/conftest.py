"""What holds for every test: nothing leaks from one into the next, and how many cases are tried."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from marsys_core.agents import Registry
from tests.sockets import WATCH, no_sockets  # noqa: F401  # the fixture is for every test

WATCH.install()

BARE = os.environ.get("MARSYS_BARE") == "1"
HOST = os.environ.get("MARSYS_TEST_HOST", "")

settings.register_profile(
    "marsys",
    max_examples=int(os.environ.get("MARSYS_EXAMPLES", "100")),
    derandomize="MARSYS_EXAMPLES"
    not in os.environ,  # the same cases each time, unless a campaign wants new ones
    deadline=None,  # machines differ; what is slow shows in --durations
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("marsys")


class _NoPlugins(MetaPathFinder):
    """Refuses `marsys`, so that the engine's own suite proves that it needs none of it."""

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == "marsys":
            self._refuse(name)

    @staticmethod
    def _refuse(name: str) -> NoReturn:
        msg = f"{name!r} was imported, and with MARSYS_BARE=1 the engine has to do without plugins"
        raise ImportError(msg)


if BARE:
    sys.meta_path.insert(0, _NoPlugins())


@pytest.fixture(autouse=True)
def _nothing_leaks() -> Iterator[None]:
    """Fail a test that changes the environment, and give each a registry of its own.

    Both are global to the process: a variable such as MARSYS_PLUGINS, or an agent whose name another test
    uses too, would make tests depend on the order in which they run.
    """
    before = dict(os.environ)
    with Registry():
        yield
    after = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    before.pop("PYTEST_CURRENT_TEST", None)
    if after != before:
        os.environ.update(before)
        for name in after.keys() - before.keys():
            del os.environ[name]
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        pytest.fail(
            f"this test changed the environment and left it so: {', '.join(changed)}; use monkeypatch"
        )


if HOST:

    @pytest.fixture(autouse=True)
    def _hosted(request: pytest.FixtureRequest) -> Iterator[None]:
        """Have `trio.run` run its function as a guest of an asyncio loop, or in a thread.

        What asks for Trio alone in its thread says why, in a marker `trio_alone`.
        """
        if request.node.get_closest_marker("trio_alone") is not None:
            yield
            return
        from tests.core.hosts.standins import standing_in

        with standing_in(HOST):
            yield
