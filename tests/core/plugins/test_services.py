from __future__ import annotations

import contextvars
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from marsys_core import Provider, hookimpl
from marsys_core.errors import LifecycleError, PluginError, PluginUnavailable, SettingsError, UnknownName
from marsys_core.plugins import EngineInfo, PluginSettings, Services, compose, open_services

ENGINE = EngineInfo(name="test", version="0")
somewhere: contextvars.ContextVar[str] = contextvars.ContextVar("somewhere", default="nowhere")


class Log(list[str]):
    """What happened, in order; with openers that write it."""

    def opener(self, name: str, *, opening: float = 0, fails: str = "", after: float = 0) -> Provider[Any]:
        """Make a provider with a task in its background.

        Args:
            name: Its name.
            opening: Seconds it takes to open.
            fails: Where it raises: "open" or "background".
            after: Seconds after which the background fails.
        """

        async def background() -> None:
            await trio.sleep(after)
            if fails == "background":
                raise ValueError(f"{name} in the background")

        @asynccontextmanager
        async def opened(context: Any, settings: Any) -> AsyncIterator[str]:
            self.append(f"open {name}")
            await trio.sleep(opening)
            if fails == "open":
                raise ValueError(f"{name} does not open")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(background)
                try:
                    yield f"live {name}"
                finally:
                    self.append(f"close {name}")

        return Provider(name, opened)


class Plugin:
    def __init__(self, providers: list[Provider[Any]]) -> None:
        self.providers = providers

    @hookimpl
    def marsys_models(self) -> list[Provider[Any]]:
        return self.providers


def services(
    *providers: Provider[Any], sections: Any = (), **timing: float
) -> AbstractAsyncContextManager[Services]:
    settings = PluginSettings(plugins={"p": Plugin(list(providers))}, discover=False, sections=dict(sections))
    return open_services(compose(settings), engine=ENGINE, **timing)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def simple(
    name: str, log: list[str], closing: Callable[[], Awaitable[object]] | None = None
) -> Provider[Any]:
    """A provider without a nursery, whose closing is a function."""

    @asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[str]:
        log.append(f"open {name}")
        await trio.lowlevel.checkpoint()
        try:
            yield f"live {name}"
        finally:
            log.append(f"close {name}")
            if closing is not None:
                await closing()
            log.append(f"closed {name}")

    return Provider(name, opened)


def test_what_is_asked_for_is_opened_once_and_closed_in_reverse_order() -> None:
    log: list[str] = []

    async def main() -> None:
        async with services(*(simple(name, log) for name in "abc")) as open_:
            assert await open_.get("model", "b") == "live b"
            assert await open_.get("model", "a") == "live a"
            assert await open_.get("model", "b") == "live b"
            assert open_.get_nowait("model", "a") == "live a"
            log.append("work")

    run(main)
    assert log == ["open b", "open a", "work", "close a", "closed a", "close b", "closed b"]


def test_nothing_that_was_not_asked_for_is_opened() -> None:
    log: list[str] = []

    async def main() -> None:
        async with services(simple("a", log)) as open_:
            with pytest.raises(
                LifecycleError, match=r"^model provider 'a' is not open; await get\('model', 'a'\) opens it$"
            ):
                open_.get_nowait("model", "a")
            with pytest.raises(UnknownName):
                await open_.get("model", "z")

    run(main)
    assert log == []


def test_tasks_that_ask_at_once_share_one_opening() -> None:
    log = Log()

    async def main() -> None:
        live: list[str] = []

        async def ask(open_: Services) -> None:
            live.append(await open_.get("model", "a"))

        async with services(log.opener("a", opening=3)) as open_, trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, open_)
        assert live == ["live a"] * 5

    run(main)
    assert log.count("open a") == 1


def test_one_who_stops_waiting_does_not_stop_the_opening_for_the_others() -> None:
    log = Log()

    async def main() -> float:
        start = trio.current_time()
        async with services(log.opener("a", opening=3)) as open_:
            with trio.move_on_after(1) as scope:
                await open_.get("model", "a")
            assert scope.cancelled_caught
            assert await open_.get("model", "a") == "live a"
            return trio.current_time() - start

    assert run(main) == 3
    assert log.count("open a") == 1


def test_an_opener_gets_its_context_and_its_settings() -> None:
    @attrs.frozen
    class Settings:
        size: int

    @asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[Any]:
        yield context, settings

    async def main() -> None:
        provider = Provider("a", opened, settings=Settings)
        async with services(provider, sections={"p": {"size": 3}}) as open_:
            context, settings = await open_.get("model", "a")
        assert (context.engine, context.log.name, settings) == (ENGINE, "marsys.p", Settings(3))
        async with services(provider) as open_:
            with pytest.raises(SettingsError, match=r"required field missing @ \$\.plugins\.p\.size$"):
                await open_.get("model", "a")

    run(main)


def test_an_opener_runs_in_the_context_of_the_engine_and_not_of_whoever_asked_first() -> None:
    @asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[str]:
        yield somewhere.get()

    async def main() -> None:
        somewhere.set("the engine")
        async with services(Provider("a", opened)) as open_:
            somewhere.set("a run")
            assert await open_.get("model", "a") == "the engine"

    run(main)


def test_everybody_who_waits_is_told_why_it_does_not_open_and_the_next_one_tries_again() -> None:
    log = Log()

    async def main() -> None:
        errors: list[PluginError] = []

        async def ask(open_: Services) -> None:
            with pytest.raises(PluginError) as caught:
                await open_.get("model", "a")
            errors.append(caught.value)

        async with services(log.opener("a", opening=1, fails="open")) as open_:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, open_)
                nursery.start_soon(ask, open_)
            await ask(open_)
        assert [str(error) for error in errors] == [
            "model provider 'a' of plugin 'p' cannot be opened: ValueError: a does not open"
        ] * 3
        assert len({id(error) for error in errors}) == 3
        assert isinstance(errors[0].__cause__, ValueError)

    run(main)
    assert log == ["open a", "open a"]


def test_an_opener_that_lacks_something_says_the_remedy() -> None:
    def opened(context: Any, settings: Any) -> Any:
        raise PluginUnavailable("pip install marsys-core[x]")

    async def main() -> None:
        async with services(Provider("a", opened)) as open_:
            await open_.get("model", "a")

    text = r"^model provider 'a' of plugin 'p' is unavailable: pip install marsys-core\[x\]$"
    with pytest.raises(PluginError, match=text):
        run(main)


def test_an_opener_that_is_no_context_manager_is_named() -> None:
    async def opened(context: Any, settings: Any) -> None: ...

    async def main() -> None:
        async with services(Provider("a", opened)) as open_:  # type: ignore[arg-type]
            await open_.get("model", "a")

    with pytest.raises(
        PluginError, match=r"cannot be opened: TypeError: open returned <coroutine .*; expected an async"
    ):
        run(main)


def test_an_opening_that_takes_too_long_is_given_up_and_what_is_open_is_closed() -> None:
    log = Log()

    async def block() -> None:
        async with services(log.opener("a"), log.opener("slow", opening=100), open_timeout=3) as open_:
            await open_.get("model", "a")
            await open_.get("model", "slow")

    async def main() -> float:
        start = trio.current_time()
        text = (
            r"^model provider 'slow' of plugin 'p' cannot be opened: TooSlowError: it took longer than 3 s$"
        )
        with pytest.raises(PluginError, match=text):
            await block()
        return trio.current_time() - start

    assert run(main) == 3
    assert log == ["open a", "open slow", "close a"]


def test_an_opener_that_is_late_without_ever_waiting_is_late_all_the_same() -> None:
    clock = trio.testing.MockClock()
    log: list[str] = []

    @asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[str]:
        clock.jump(10)
        try:
            yield "live"
        finally:
            log.append("closed")

    async def main() -> None:
        async with services(Provider("a", opened), open_timeout=3) as open_:
            with pytest.raises(PluginError, match=r"TooSlowError: it took longer than 3 s$"):
                await open_.get("model", "a")

    trio.run(main, clock=clock)
    assert log == ["closed"]


def test_the_open_timeout_ends_with_the_opening() -> None:
    log = Log()

    async def main() -> None:
        async with services(log.opener("a", opening=2), open_timeout=3) as open_:
            await open_.get("model", "a")
            await trio.sleep(100)
            assert open_.get_nowait("model", "a") == "live a"

    run(main)


def test_what_does_not_close_within_the_grace_period_is_cancelled_and_the_rest_still_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log: list[str] = []

    async def main() -> float:
        slow = simple("slow", log, trio.sleep_forever)
        start = trio.current_time()
        async with services(simple("a", log), slow, grace=2) as open_:
            await open_.get("model", "a")
            await open_.get("model", "slow")
        return trio.current_time() - start

    assert run(main) == 2
    assert log == ["open a", "open slow", "close slow", "close a", "closed a"]
    assert [record.getMessage() for record in caplog.records] == [
        "model provider 'slow' of plugin 'p' did not close within 2 s and is cancelled"
    ]


def test_what_closes_within_the_grace_period_is_left_alone() -> None:
    log: list[str] = []

    async def main() -> None:
        async with services(simple("a", log, lambda: trio.sleep(4)), grace=5) as open_:
            await open_.get("model", "a")

    run(main)
    assert log == ["open a", "close a", "closed a"]


def failing(text: str) -> Callable[[], Awaitable[object]]:
    async def fail() -> None:
        raise ValueError(text)

    return fail


def test_an_error_in_closing_is_logged_and_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    async def main() -> None:
        async with services(simple("a", log), simple("b", log, failing("no")), simple("c", log)) as open_:
            for name in "abc":
                await open_.get("model", name)
            raise KeyError("the block's own")

    with pytest.raises(KeyError, match=r"^\"the block's own\"$") as caught:
        run(main)
    assert caught.value.__cause__ is None
    assert log[3:] == ["close c", "closed c", "close b", "close a", "closed a"]
    assert [record.getMessage() for record in caplog.records] == [
        "model provider 'b' of plugin 'p' failed to close"
    ]
    assert caplog.records[0].levelno == logging.ERROR


def test_what_the_block_raises_comes_out_as_it_is_with_its_cause() -> None:
    async def main() -> None:
        async with services():
            try:
                raise KeyError("cause")
            except KeyError as error:
                raise ValueError("no") from error

    with pytest.raises(ValueError, match="^no$") as caught:
        run(main)
    assert isinstance(caught.value.__cause__, KeyError)
    assert not isinstance(caught.value.__context__, BaseExceptionGroup)


def test_a_crash_in_the_background_ends_the_block_and_closes_the_rest() -> None:
    log = Log()

    async def main() -> None:
        async with services(log.opener("a"), log.opener("b", fails="background", after=3)) as open_:
            await open_.get("model", "a")
            await open_.get("model", "b")
            try:
                await trio.sleep_forever()
            finally:
                log.append(f"the block ends, and a is {open_.get_nowait('model', 'a')}")

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert [str(error) for error in caught.value.exceptions] == ["b in the background"]
    assert caught.value.__notes__ == ["in the model provider 'b' of plugin 'p', while it was in use"]
    assert "the block ends, and a is live a" in log
    assert log.index("the block ends, and a is live a") < log.index("close a")


def test_a_crash_and_the_blocks_own_error_come_out_together() -> None:
    log = Log()

    async def main() -> None:
        async with services(log.opener("b", fails="background", after=3)) as open_:
            await open_.get("model", "b")
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                raise KeyError("the block's own") from cancelled

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.group_contains(KeyError, depth=1)
    assert caught.group_contains(ValueError, match="^b in the background$")


def test_a_provider_that_stops_by_itself_while_in_use_is_a_failure() -> None:
    @asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            yield nursery

    async def main() -> None:
        async with services(Provider("a", opened)) as open_:
            (await open_.get("model", "a")).cancel_scope.cancel()
            await trio.sleep_forever()

    with pytest.raises(
        PluginError, match=r"^model provider 'a' of plugin 'p' stopped by itself while it was in use\n"
    ):
        run(main)


def test_cancelled_from_outside_the_agents_unwind_before_anything_closes() -> None:
    log: list[str] = []

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            async with services(simple("store", log), grace=5) as open_:
                await open_.get("model", "store")
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(10)
                        log.append(f"saved in {await open_.get('model', 'store')}")
        assert scope.cancelled_caught

    run(main)
    assert log == ["open store", "saved in live store", "close store", "closed store"]


def test_cancelled_from_outside_closing_keeps_its_grace_period() -> None:
    log: list[str] = []

    async def main() -> float:
        start = trio.current_time()
        with trio.move_on_after(1):
            async with services(simple("a", log, lambda: trio.sleep(3)), grace=5) as open_:
                await open_.get("model", "a")
                await trio.sleep_forever()
        return trio.current_time() - start

    assert run(main) == 4
    assert log == ["open a", "close a", "closed a"]


def test_an_opening_nobody_waits_for_any_more_is_cancelled_when_the_block_ends() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def opened(context: Any, settings: Any) -> AsyncIterator[None]:
        log.append("opening")
        try:
            await trio.sleep(1000)
            yield
        finally:
            log.append("given up")

    async def main() -> float:
        start = trio.current_time()
        async with services(Provider("a", opened), open_timeout=100) as open_:
            with trio.move_on_after(1):
                await open_.get("model", "a")
        return trio.current_time() - start

    assert run(main) == 1
    assert log == ["opening", "given up"]


def test_one_who_is_shielded_hears_that_the_opening_was_cancelled() -> None:
    log = Log()

    async def main() -> None:
        text = r"^model provider 'a' of plugin 'p' cannot be opened: LifecycleError: it was cancelled while it was opening$"
        with trio.move_on_after(1) as scope:
            async with services(log.opener("a", opening=50)) as open_:
                with trio.CancelScope(shield=True), pytest.raises(PluginError, match=text):
                    await open_.get("model", "a")
        assert scope.cancelled_caught

    run(main)
    assert log == ["open a"]


def test_closed_services_are_refused() -> None:
    log: list[str] = []

    async def main() -> None:
        async with services(simple("a", log)) as open_:
            await open_.get("model", "a")
        text = r"^the services are closed; use them inside 'async with open_services\(\.\.\.\)'$"
        with pytest.raises(LifecycleError, match=text):
            await open_.get("model", "a")
        with pytest.raises(LifecycleError, match=text):
            open_.get_nowait("model", "a")

    run(main)


def test_asking_is_always_a_checkpoint() -> None:
    log: list[str] = []

    async def main() -> None:
        async with services(simple("a", log)) as open_:
            for _ in range(2):
                with trio.testing.assert_checkpoints():
                    await open_.get("model", "a")

    run(main)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when the tasks of a block have been run a number of times."""

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self.scope = scope
        self.left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.left == 0:
            self.scope.cancel()
        self.left -= 1


@contextmanager
def cancelling_at(step: int) -> Iterator[CancelAt]:
    with trio.CancelScope() as scope:
        instrument = CancelAt(scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            yield instrument
        finally:
            trio.lowlevel.remove_instrument(instrument)


async def some_checkpoints() -> None:
    for _ in range(3):
        await trio.lowlevel.checkpoint()


def test_cancelled_at_any_step_of_opening_and_closing_what_was_live_is_closed_in_reverse() -> None:
    def traced(name: str, log: list[tuple[str, str]]) -> Provider[Any]:
        @asynccontextmanager
        async def opened(context: Any, settings: Any) -> AsyncIterator[None]:
            await some_checkpoints()
            log.append(("live", name))
            yield
            await some_checkpoints()
            log.append(("closed", name))

        return Provider(name, opened)

    async def main(step: int) -> bool:
        log: list[tuple[str, str]] = []
        with cancelling_at(step) as instrument:
            async with services(traced("a", log), traced("b", log)) as open_:
                await open_.get("model", "a")
                await open_.get("model", "b")
                await some_checkpoints()
        live, closed = ([name for what, name in log if what == wanted] for wanted in ("live", "closed"))
        assert closed == live[::-1]
        assert not trio.lowlevel.current_task().child_nurseries
        return instrument.left >= 0

    steps = 0
    while not run(functools.partial(main, steps)):
        steps += 1
    assert steps > 15


def test_what_is_made_is_made_once_and_needs_no_task() -> None:
    made: list[Any] = []

    def make(context: Any, settings: Any) -> Any:
        made.append((context.engine.name, settings))
        return made

    async def main() -> None:
        async with services(Provider("x", make=make)) as live:
            assert live.get_made("model", "x") is made
            assert await live.get("model", "x") is made
            assert live.get_nowait("model", "x") is made
            assert not live.nursery.child_tasks
        assert len(made) == 1
        with pytest.raises(LifecycleError):
            live.get_made("model", "x")

    run(main)


def test_what_has_to_be_opened_is_not_made() -> None:
    async def main() -> None:
        async with services(Log().opener("a")) as live:
            assert live.get_made("model", "a") is None

    run(main)


def test_what_cannot_be_made_is_named_with_its_cause() -> None:
    def make(context: Any, settings: Any) -> Any:
        raise ValueError("no such luck")

    async def main() -> None:
        async with services(Provider("x", make=make), Provider("none", make=lambda *_: None)) as live:
            with pytest.raises(
                PluginError,
                match=r"^model provider 'x' of plugin 'p' cannot be opened: ValueError: no such luck$",
            ):
                await live.get("model", "x")
            with pytest.raises(
                PluginError, match=r"^model provider 'none' of plugin 'p' .*: its make returned None$"
            ):
                live.get_made("model", "none")

    run(main)
