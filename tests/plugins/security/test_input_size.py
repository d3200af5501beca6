from __future__ import annotations

import contextlib
import time

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import marsys.security.plugin as plugin
from marsys.security import InputSizeGuard
from marsys_core.agents import agent
from marsys_core.errors import GuardRefused, SettingsError
from marsys_core.messages import Message
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import EngineInfo, PluginSettings, compose, open_services
from marsys_core.protocols.guard import Guard, GuardSubject


def ask(guard, value, kind="task", name=""):
    """Ask the guard without an event loop: it never waits."""
    question = guard.check(GuardSubject(kind=kind, value=value, name=name))
    with pytest.raises(StopIteration):
        question.send(None)


def refused(guard, value, kind="task", name=""):
    with pytest.raises(GuardRefused) as caught:
        ask(guard, value, kind, name)
    return str(caught.value)


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_it_is_a_guard():
    assert isinstance(InputSizeGuard(), Guard)
    assert InputSizeGuard().name == "input-size"


@pytest.mark.parametrize(
    "value",
    [None, "", "hello", 3, 2.5, True, b"abc", [1, {"a": (2, {3})}], {"k": "v"}, Message("user", "hi")],
)
def test_what_is_small_passes(value):
    ask(InputSizeGuard(), value)
    ask(InputSizeGuard(), {"argument": value}, "tool", "look")


def test_a_text_as_large_as_the_limit_passes_and_one_byte_more_does_not():
    guard = InputSizeGuard(max_bytes=1000)
    ask(guard, "x" * 1000)
    ask(guard, "\u00e4" * 500)
    assert refused(guard, "x" * 1001) == (
        "guard 'input-size' refused: the task is 1,001 bytes large, more than max_bytes=1,000; "
        "raise max_bytes of plugin 'security' to allow it"
    )
    assert "is 1,002 bytes large" in refused(guard, "\u00e4" * 501)


def test_a_tool_is_named():
    message = refused(InputSizeGuard(max_bytes=10), {"query": "x" * 20}, "tool", "search")
    assert message == (
        "guard 'input-size' refused: the input of tool 'search' is at least 27 bytes large, more than max_bytes=10; "
        "raise max_bytes of plugin 'security' to allow it"
    )


def test_the_deepest_allowed_passes_and_one_deeper_does_not():
    ask(InputSizeGuard(), nested(64))
    assert refused(InputSizeGuard(), nested(65)) == (
        "guard 'input-size' refused: the task is nested deeper than max_depth=64 levels; "
        "raise max_depth of plugin 'security' to allow it"
    )


def test_what_contains_itself_is_too_deep():
    value: dict = {}
    value["again"] = [value]
    assert "max_depth=64" in refused(InputSizeGuard(), value)


def test_what_doubles_at_each_level_is_counted_as_often_as_it_would_be_written():
    value: list = ["x" * 10]
    for _ in range(40):
        value = [value, value]
    assert "max_bytes=10,000" in refused(InputSizeGuard(max_bytes=10_000), value)


@attrs.define
class Held:
    text: str


class Plain:
    def __init__(self, text):
        self.text = text


@pytest.mark.parametrize(
    "value",
    [
        b"x" * 2000, bytearray(2000), memoryview(b"x" * 2000), 1 << 20000, ["x"] * 2000, range(2000), {"x" * 2000: 1},
        {"k": {"x" * 2000}}, Held("x" * 2000), Plain("x" * 2000), [Message("user", "x" * 2000)], "\ud800" * 700,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_no_type_hides_its_size(value):
    assert "max_bytes=1,500" in refused(InputSizeGuard(max_bytes=1500), value)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def measured(value):
    """The size by the definition in words, and the depth."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass")), 0
    if isinstance(value, int):
        return value.bit_length() // 3 + 1, 0
    if not isinstance(value, list | dict):
        return 8, 0
    inner = [part for item in value.items() for part in item] if isinstance(value, dict) else value
    parts = [measured(each) for each in inner]
    return sum(1 + size for size, _ in parts), 1 + max((depth for _, depth in parts), default=0)


@settings(max_examples=40, deadline=None)
@given(json)
def test_exactly_what_is_within_both_limits_passes(value):
    size, depth = measured(value)
    ask(InputSizeGuard(max_bytes=max(size, 1), max_depth=max(depth, 1)), value)
    if size > 1:
        assert "max_bytes" in refused(InputSizeGuard(max_bytes=size - 1), value)
    if depth > 1:
        assert "max_depth" in refused(InputSizeGuard(max_depth=depth - 1), value)


def test_a_short_text_costs_next_to_nothing():
    guard, subject = InputSizeGuard(), GuardSubject(kind="task", value="Say hello")

    def once():
        began = time.perf_counter()
        for _ in range(1000):
            with contextlib.suppress(StopIteration):
                guard.check(subject).send(None)
        return (time.perf_counter() - began) / 1000

    # Well under a microsecond on a quiet machine, the coroutine included; room for one that is not.
    assert min(once() for _ in range(5)) < 10e-6


def opened(**section):
    sections = {"security": section} if section else {}
    composition = compose(PluginSettings(plugins={"security": plugin}, sections=sections, discover=False))

    async def main():
        async with open_services(composition, engine=EngineInfo(name="test", version="0")) as services:
            return await services.get("guard", "input-size")

    return trio.run(main)


def test_the_plugin_offers_it_with_its_settings():
    assert opened() == InputSizeGuard(max_bytes=4 * 1024 * 1024, max_depth=64)
    assert opened(max_bytes=10, max_depth=2) == InputSizeGuard(max_bytes=10, max_depth=2)


@pytest.mark.parametrize("field", ["max_bytes", "max_depth"])
def test_a_setting_out_of_bounds_is_refused(field):
    with pytest.raises(SettingsError, match=rf"'{field}' must be >= 1: 0 @ \$\.plugins\.security"):
        opened(**{field: 0})


def test_a_run_with_a_task_that_is_too_large_does_not_start():
    @agent
    def echo(task):
        return task

    settings = PluginSettings(
        plugins={"security": plugin}, sections={"security": {"max_bytes": 100}}, discover=False
    )

    async def main():
        async with Orchestra(agents=[echo], plugins=settings) as orchestra:
            result = await orchestra.execute("x" * 100, "echo")
            assert result.final_response == "x" * 100
            with pytest.raises(GuardRefused, match="the task is 101 bytes large, more than max_bytes=100"):
                await orchestra.execute("x" * 101, "echo")

    trio.run(main)


def test_an_unknown_name_of_the_package_is_refused():
    import marsys.security

    with pytest.raises(AttributeError, match=r"^module 'marsys\.security' has no attribute 'Nothing'$"):
        _ = marsys.security.Nothing
