"""Asking health checks, side by side and each under a limit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import trio

from marsys_core.protocols.health import HealthCheck

__all__ = ["CheckResult", "run_checks"]


class CheckResult(NamedTuple):
    """What one check said.

    Attributes:
        name: The check.
        ok: Whether it is healthy.
        detail: What is wrong; empty where nothing is.
    """

    name: str
    ok: bool
    detail: str


async def run_checks(
    timeout: float = 2.0, *, checks: Iterable[HealthCheck] | None = None
) -> list[CheckResult]:
    """Ask whether this installation works. It takes as long as the slowest check, or the limit.

    Args:
        timeout: How many seconds each check has; one that takes longer is not healthy.
        checks: Which checks; by default those of every installed plugin.

    Returns:
        One result for each check, in their order.

    Raises:
        ConfigError: The installed plugins do not fit together, so that nobody can be asked.
    """
    asked = _installed() if checks is None else tuple(checks)
    results: dict[int, CheckResult] = {}

    async def ask(index: int, check: HealthCheck) -> None:
        results[index] = await _ask(check, timeout)

    async with trio.open_nursery() as nursery:
        for index, check in enumerate(asked):
            nursery.start_soon(ask, index, check)
    return [results[index] for index in range(len(asked))]


def _installed() -> tuple[HealthCheck, ...]:
    from marsys_core.plugins import compose

    return compose().items("health check")


async def _ask(check: HealthCheck, timeout: float) -> CheckResult:
    try:
        with trio.fail_after(timeout):
            await check.check()
    except trio.TooSlowError as error:
        # It may also be the check's own, about something within it.
        detail = str(error) or f"no answer within {timeout:g} s"
        return CheckResult(check.name, False, detail)
    except Exception as error:
        return CheckResult(check.name, False, str(error) or type(error).__name__)
    return CheckResult(check.name, True, "")
