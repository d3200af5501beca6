from __future__ import annotations

from collections import OrderedDict

import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from marsys.cache import MemoryCache
from marsys_core.protocols.cache import Cache, CacheStats


def in_time(main):
    """Run on a clock that jumps over every sleep."""
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


class Against(RuleBasedStateMachine):
    """The cache beside a dict that is kept by hand; each step runs at the time that the machine has come to."""

    keys = st.sampled_from("abcde")
    values = st.binary(max_size=5)

    def __init__(self) -> None:
        super().__init__()
        self.cache = MemoryCache(max_entries=3, ttl=10.0)
        self.held: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self.now = 0.0
        self.hits = self.misses = 0

    def do(self, function, *arguments):
        clock = trio.testing.MockClock()
        clock.jump(self.now - clock.current_time())
        return trio.run(function, *arguments, clock=clock)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(key=keys, value=values, ttl=st.sampled_from([None, 1.0, 4.0]))
    def set(self, key, value, ttl):
        self.do(self.cache.set, key, value, ttl)
        self.held.pop(key, None)
        self.held[key] = (value, self.now + (10.0 if ttl is None else ttl))
        if len(self.held) > 3:
            self.held.popitem(last=False)

    @rule(key=keys)
    def get(self, key):
        found = self.do(self.cache.get, key)
        if key in self.held and self.held[key][1] <= self.now:
            del self.held[key]
        if key in self.held:
            self.hits += 1
            self.held.move_to_end(key)
            assert found == self.held[key][0]
        else:
            self.misses += 1
            assert found is None

    @rule(key=keys)
    def delete(self, key):
        self.do(self.cache.delete, key)
        self.held.pop(key, None)

    @rule()
    def clear(self):
        self.do(self.cache.clear)
        self.held.clear()

    @invariant()
    def the_statistics_are_right(self):
        size = sum(len(value) for value, _ in self.held.values())
        assert self.cache.stats() == CacheStats(
            hits=self.hits, misses=self.misses, entries=len(self.held), size=size
        )


test_it_does_what_a_dict_would = Against.TestCase
test_it_does_what_a_dict_would.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
test_it_does_what_a_dict_would.pytestmark = [pytest.mark.slow]


def test_it_is_a_cache():
    assert isinstance(MemoryCache(), Cache)


def test_a_value_without_a_limit_is_kept():
    async def main():
        cache = MemoryCache()
        await cache.set("k", b"v")
        await trio.sleep(1e6)
        assert await cache.get("k") == b"v"

    in_time(main)


def test_a_value_is_gone_when_its_time_is_up():
    async def main():
        cache = MemoryCache(ttl=100)
        await cache.set("k", b"v", ttl=2)
        await trio.sleep(1.5)
        assert await cache.get("k") == b"v"
        await trio.sleep(0.5)
        assert await cache.get("k") is None
        assert cache.stats() == CacheStats(hits=1, misses=1, entries=0, size=0)

    in_time(main)


@pytest.mark.parametrize("method", ["get", "set", "delete", "clear"])
def test_a_call_that_is_cancelled_changes_nothing(method):
    arguments = {"get": ("k",), "set": ("k", b"new"), "delete": ("k",), "clear": ()}[method]

    async def main():
        cache = MemoryCache()
        await cache.set("k", b"v")
        before = cache.stats()
        with trio.CancelScope() as scope:
            scope.cancel()
            await getattr(cache, method)(*arguments)
        assert scope.cancelled_caught
        assert cache.stats() == before
        assert await cache.get("k") == b"v"

    in_time(main)


def test_only_bytes_are_kept():
    with pytest.raises(
        TypeError, match=r"^a cache holds bytes, not str \(under 'k'\); encode the value first$"
    ):
        trio.run(MemoryCache().set, "k", "text")


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
def test_a_time_that_is_not_above_zero_is_refused(ttl):
    message = f"^ttl should be a number of seconds above 0, or None for no limit, not {ttl!r}$"
    with pytest.raises(ValueError, match=message):
        trio.run(MemoryCache().set, "k", b"v", ttl)
    with pytest.raises(ValueError, match=message):
        MemoryCache(ttl=ttl)
