from collections.abc import Callable
from typing import Any

import pytest

from tests.core.hosts.guests import HOSTS


@pytest.fixture(params=HOSTS)
def run(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Run a Trio program by itself, on asyncio's loop, and on uvloop."""
    return HOSTS[request.param]
