from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from marsys_core.errors import PluginError, UnknownName
from marsys_core.protocols.cache import Cache, CacheStats
from marsys_core.protocols.command import Command
from marsys_core.protocols.event_sink import bind_sinks
from marsys_core.protocols.guard import Guard, GuardSubject
from marsys_core.protocols.middleware import compose


class StepStarted: ...


class HTTPRefused: ...


class Recorder:
    def __init__(self) -> None:
        self.heard: list[tuple[str, object]] = []

    def on_event(self, event: object) -> None:
        self.heard.append(("event", event))

    def on_step_started(self, event: object) -> None:
        self.heard.append(("step_started", event))


class Narrow:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_http_refused(self, event: object) -> None:
        self.heard.append(event)


class Broken:
    def __init__(self) -> None:
        self.calls = 0

    def on_event(self, event: object) -> None:
        self.calls += 1
        raise ValueError("no")

    def on_step_started(self, event: object) -> None:
        raise AssertionError("it is disabled by now")


TYPES = [StepStarted, HTTPRefused]


def test_a_sink_hears_what_it_has_methods_for() -> None:
    recorder, narrow = Recorder(), Narrow()
    sinks = bind_sinks({"recorder": recorder, "narrow": narrow}, TYPES)
    started, refused = StepStarted(), HTTPRefused()
    sinks.emit(started)
    sinks.emit(refused)
    assert recorder.heard == [("event", started), ("step_started", started), ("event", refused)]
    assert narrow.heard == [refused]


def test_an_event_that_nobody_hears_need_not_be_made() -> None:
    sinks = bind_sinks({"narrow": Narrow()}, TYPES)
    assert sinks.hears(HTTPRefused)
    assert not sinks.hears(StepStarted)
    sinks.emit(StepStarted())


def test_a_sink_that_raises_is_disabled_with_one_line_and_the_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, recorder = Broken(), Recorder()
    sinks = bind_sinks({"broken": broken, "recorder": recorder}, TYPES)
    for _ in range(3):
        sinks.emit(HTTPRefused())
    assert (broken.calls, len(recorder.heard)) == (1, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "event sink 'broken' raised on HTTPRefused and is disabled"
    ]
    assert caplog.records[0].exc_info is not None


def test_a_sink_is_disabled_at_once_also_for_its_other_method_of_the_same_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sinks = bind_sinks({"broken": Broken()}, TYPES)
    sinks.emit(StepStarted())
    assert not any(map(sinks.hears, TYPES))
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.ERROR


def test_a_sink_that_would_never_hear_anything_is_refused() -> None:
    class Misspelt:
        def on_step_startd(self, event: object) -> None: ...

        def __repr__(self) -> str:
            return "misspelt"

    with pytest.raises(PluginError) as caught:
        bind_sinks({"one": Misspelt(), "two": 3}, TYPES)
    assert caught.value.problems == (
        "sink 'one' has 'on_step_startd', and there is no such kind of event. Did you mean 'on_step_started'?",
        "sink 'two' has no on_event nor any other on_... method: 3",
    )


class Layer:
    def __init__(self, name: str) -> None:
        self.name = name

    async def tool_call(self, call: Any, proceed: Any) -> Any:
        return f"{self.name}({await proceed(f'{call}>{self.name}')})"


class Cached:
    name = "cached"

    async def tool_call(self, call: Any, proceed: Any) -> Any:
        return f"cached {call}"


async def work(call: Any) -> Any:
    return f"done {call}"


@pytest.mark.parametrize(
    ("layers", "result"),
    [
        ([Layer("a")], "a(done x>a)"),
        ([Layer("a"), Layer("b"), Layer("c")], "a(b(c(done x>a>b>c)))"),
        ([Layer("a"), Cached(), Layer("c")], "a(cached x>a)"),
    ],
)
def test_middleware_is_nested_outermost_first(layers: list[object], result: str) -> None:
    composed = compose(layers, "tool_call")
    assert composed is not None

    async def main() -> Any:
        return [await composed("x", work), await composed("x", work)]

    assert trio.run(main) == [result, result]


def test_middleware_that_nobody_has_is_left_out() -> None:
    assert compose([Layer("a")], "model_call") is None
    assert compose([], "tool_call") is None


def test_middleware_round_something_else_is_refused() -> None:
    with pytest.raises(
        UnknownName, match=r"^no middleware method is called 'tool_cal'; .* Did you mean 'tool_call'"
    ):
        compose([], "tool_cal")


def test_a_command_is_imported_when_it_is_used() -> None:
    import os.path

    assert Command("join", "Join", target="os.path:join").load() is os.path.join


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (
            "not_there_xyz:main",
            r"^command 'x' cannot be imported from 'not_there_xyz:main': ModuleNotFoundError: No module",
        ),
        (
            "os.path:main",
            r"^command 'x' cannot be imported from 'os.path:main': AttributeError: module 'posixpath' has",
        ),
    ],
)
def test_a_command_that_cannot_be_imported_says_why(target: str, text: str) -> None:
    with pytest.raises(PluginError, match=text.replace("posixpath", "(posixpath|ntpath)")):
        Command("x", "", target=target).load()


@pytest.mark.parametrize("target", ["", "os", "os.path", ":main", "os:", "os path:join", "os:a.b"])
def test_a_command_without_a_usable_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"^target '.*' is not of the form 'package.module:function'$"):
        Command("x", "", target=target)


def test_guards_and_caches_need_not_inherit() -> None:
    class Size:
        name = "size"

        async def check(self, subject: GuardSubject) -> None: ...

    class Nothing:
        async def get(self, key: str) -> bytes | None: ...

        async def set(self, key: str, value: bytes, ttl: float | None = None) -> None: ...

        async def delete(self, key: str) -> None: ...

        async def clear(self) -> None: ...

        def stats(self) -> CacheStats:
            return CacheStats()

    guard: Guard = Size()
    cache: Cache = Nothing()
    assert isinstance(guard, Guard)
    assert isinstance(cache, Cache)
    assert not isinstance(guard, Cache)
