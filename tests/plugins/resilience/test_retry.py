from __future__ import annotations

import pytest
import trio
import trio.testing

import marsys.resilience.plugin as plugin
from marsys.resilience import RetryMiddleware
from marsys_core.agents import Agent
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.engine.calls import ModelCall
from marsys_core.errors import ModelError, ModelErrorKind, ModelTimeout, RecoverableError
from marsys_core.events import ModelCalled
from marsys_core.models import Capabilities, ModelRequest, ModelResponse
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings, compose
from marsys_core.protocols.middleware import compose as nested

STEADY = RetryConfig(initial_delay=1.0, jitter="none")


def passing(**more):
    return ModelError("overloaded", kind=ModelErrorKind.OVERLOADED, **more)


class Script:
    """Fails as it is told, then answers; notes when each attempt was made, and its number."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.attempts: list[tuple[float, int]] = []

    async def __call__(self, call):
        self.attempts.append((trio.current_time(), call.attempt))
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def retried(script, retry=STEADY):
    """What came of a call, or the error; on a clock that jumps over the waits."""
    config = ExecutionConfig(auto_retry_on_error=True, retry=retry)
    call = ModelCall(
        request=ModelRequest(messages=()), model=None, config=config, random=lambda: 0.5, step=None
    )

    async def main():
        layer = nested([RetryMiddleware()], "model_call")
        began = trio.current_time()
        try:
            return await layer(call, script)
        except Exception as error:
            return error
        finally:
            script.attempts = [(time - began, number) for time, number in script.attempts]

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_call_that_goes_well_is_made_once():
    script = Script()
    assert retried(script) == "answer"
    assert script.attempts == [(0, 1)]


def test_a_passing_error_is_waited_for_longer_each_time():
    script = Script(passing(), passing())
    assert retried(script) == "answer"
    assert script.attempts == [(0, 1), (1, 2), (3, 3)]


def test_waits_are_spread_by_the_numbers_of_the_run():
    script = Script(passing())
    assert retried(script, RetryConfig(initial_delay=1.0)) == "answer"
    assert script.attempts == [(0, 1), (0.5, 2)]


def test_a_model_that_took_too_long_is_asked_again():
    script = Script(ModelTimeout("slow", "model_timeout", 1))
    assert retried(script) == "answer"
    assert len(script.attempts) == 2


def test_the_last_error_is_raised_with_a_note_when_the_attempts_are_used_up():
    errors = [passing(), passing(), passing()]
    script = Script(*errors)
    error = retried(script)
    assert error is errors[2]
    assert error.__notes__ == ["attempt 3 was the last: max_attempts=3"]
    assert [number for _, number in script.attempts] == [1, 2, 3]


def test_a_server_that_asks_to_wait_is_waited_for():
    script = Script(passing(retry_after=60.0))
    assert retried(script) == "answer"
    assert script.attempts == [(0, 1), (60, 2)]


def test_a_server_that_asks_for_too_long_is_not_waited_for():
    script = Script(passing(retry_after=121.0))
    error = retried(script)
    assert script.attempts == [(0, 1)]
    assert error.__notes__ == ["attempt 1: the server asks to wait 121 s, longer than max_retry_after=120 s"]


def test_an_error_that_is_not_passing_ends_the_attempts():
    final = ModelError("no such model", kind=ModelErrorKind.NOT_FOUND)
    script = Script(passing(), final)
    error = retried(script)
    assert error is final
    assert error.__notes__ == ["attempt 2: an error of kind 'not_found' is not passing"]


@pytest.mark.parametrize(
    "error",
    [
        ModelError("bad key", kind=ModelErrorKind.AUTHENTICATION),
        passing(retryable=False),
        ConnectionError("reset"),
        RecoverableError("later"),
        ValueError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_nothing_else_is_tried_again(error):
    script = Script(error)
    assert retried(script) is error
    assert len(script.attempts) == 1
    assert not hasattr(error, "__notes__")


def test_it_stands_in_the_way_of_no_run_that_does_not_ask_for_it():
    applies = RetryMiddleware().applies
    assert applies(ExecutionConfig(auto_retry_on_error=True))
    assert not applies(ExecutionConfig())


def test_a_wait_can_be_cancelled():
    script = Script(passing())
    config = ExecutionConfig(auto_retry_on_error=True, retry=STEADY)
    call = ModelCall(
        request=ModelRequest(messages=()), model=None, config=config, random=lambda: 0.5, step=None
    )

    async def main():
        with trio.move_on_after(0.5) as scope:
            await RetryMiddleware().model_call(call, script)
        return scope.cancelled_caught

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(script.attempts) == 1


def test_the_plugin_stands_round_model_calls():
    composition = compose(PluginSettings(plugins={"resilience": plugin}, discover=False))
    assert composition.names("middleware") == ("retry",)
    assert isinstance(composition.item("middleware", "retry"), RetryMiddleware)


class Flaky:
    """A model that is overloaded twice."""

    name = "flaky"
    capabilities = Capabilities()

    def __init__(self):
        self.errors = [passing(), passing()]

    async def generate(self, request):
        if self.errors:
            raise self.errors.pop()
        return ModelResponse(content="at last")


@pytest.mark.parametrize("on", [True, False])
def test_in_a_run_the_call_is_repeated_and_every_attempt_recorded(on):
    asker = Agent("Asker", model=Flaky())
    config = ExecutionConfig(auto_retry_on_error=on, raise_errors=False, retry=STEADY)

    async def main():
        plugins = PluginSettings(plugins={"resilience": plugin}, discover=False)
        async with Orchestra(agents=[asker], plugins=plugins, execution_config=config) as orchestra:
            run = orchestra.start("Ask", "Asker")
            attempts = [each.attempt async for each in run.events() if isinstance(each, ModelCalled)]
            return attempts, await run.result()

    attempts, result = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert attempts == ([1, 2, 3] if on else [1])
    assert result.final_response == ("at last" if on else None)


def test_an_unknown_name_of_the_package_is_refused():
    import marsys.resilience

    with pytest.raises(AttributeError, match=r"^module 'marsys\.resilience' has no attribute 'Nothing'$"):
        _ = marsys.resilience.Nothing
