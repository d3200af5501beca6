from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.foreign.environments import Environment


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Environment]:
    """Make a fresh environment; with pip at hand, that takes a twentieth of a second."""
    pip = Environment.with_pip(tmp_path_factory.mktemp("pip") / "environment")
    return lambda: Environment.create(tmp_path_factory.mktemp("foreign") / "environment", pip=pip)
