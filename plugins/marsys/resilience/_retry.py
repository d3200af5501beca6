"""Middleware that repeats model calls which failed for a passing reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from marsys_core.errors import ModelError, ModelTimeout

if TYPE_CHECKING:
    from marsys_core.config import ExecutionConfig
    from marsys_core.engine.calls import ModelCall
    from marsys_core.protocols.middleware import Proceed

__all__ = ["RetryMiddleware"]


class RetryMiddleware:
    """Repeats a model call that failed for a passing reason, where ``auto_retry_on_error`` says so.

    It repeats the call and not the step, so that what an agent has done in the step so far is kept. How
    often, and after how long, is ``ExecutionConfig(retry=RetryConfig(...))``. Repeated are a `ModelError`
    that is `retryable` and a `ModelTimeout`, and nothing else.
    """

    name = "retry"

    def applies(self, config: ExecutionConfig) -> bool:
        """Whether a run with these settings wants its model calls repeated."""
        return config.auto_retry_on_error

    async def model_call(self, call: ModelCall, proceed: Proceed) -> object:
        """Make the call, as often as it takes and is allowed; `call.attempt` says which attempt it is.

        Raises:
            ModelError: The last attempt's own, with a note that says why there is no other.
            ModelTimeout: The same.
        """
        while True:
            try:
                return await proceed(call)
            except (ModelError, ModelTimeout) as error:
                if why := _given_up(error, call):
                    if call.attempt > 1 or isinstance(error, ModelTimeout) or error.retryable:
                        error.add_note(why)
                    raise
                retry_after = getattr(error, "retry_after", None)
                delay = call.config.retry.delay(call.attempt, call.random, retry_after)
            await trio.sleep(delay)
            call.attempt += 1


def _given_up(error: ModelError | ModelTimeout, call: ModelCall) -> str:
    """Say why the call is not repeated, or nothing where it is."""
    retry = call.config.retry
    if isinstance(error, ModelError):
        if not error.retryable:
            return f"attempt {call.attempt}: an error of kind {error.kind.value!r} is not passing"
        if error.retry_after is not None and error.retry_after > retry.max_retry_after:
            return (
                f"attempt {call.attempt}: the server asks to wait {error.retry_after:g} s, "
                f"longer than max_retry_after={retry.max_retry_after:g} s"
            )
    if call.attempt >= retry.max_attempts:
        return f"attempt {call.attempt} was the last: max_attempts={retry.max_attempts}"
    return ""
