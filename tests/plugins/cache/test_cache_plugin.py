import pytest
import trio

import marsys.cache.plugin as plugin
from marsys.cache import MemoryCache
from marsys_core import Provider, hookimpl
from marsys_core.errors import PluginError, SettingsError
from marsys_core.plugins import EngineInfo, PluginSettings, compose, open_services


def composed(section=None, **others):
    sections = {"cache": section} if section else {}
    return compose(PluginSettings(plugins={"cache": plugin, **others}, sections=sections, discover=False))


def opened(composition):
    async def main():
        async with open_services(composition, engine=EngineInfo(name="test", version="0")) as services:
            return await services.get("cache", "memory")

    return trio.run(main)


class Other:
    """Another plugin with a cache, and perhaps with an opinion on which is the default."""

    @hookimpl
    def marsys_caches(self):
        return [Provider("disk", lambda context, settings: None)]


class Opinionated(Other):
    @hookimpl
    def marsys_choose(self, kind, names):
        return "disk" if kind == "cache" else None


def test_the_cache_takes_its_settings():
    cache = opened(composed({"max_entries": 5, "ttl": 3.0}))
    assert isinstance(cache, MemoryCache)
    assert (cache.max_entries, cache.ttl) == (5, 3.0)


@pytest.mark.parametrize(("field", "value"), [("max_entries", 0), ("ttl", -1.0)])
def test_a_setting_out_of_bounds_is_refused(field, value):
    with pytest.raises(SettingsError, match=rf"'{field}' must be >=? [01]: {value} @ \$\.plugins\.cache"):
        composed({field: value})


def test_the_cache_in_memory_is_the_default_of_several():
    assert composed(other=Other()).choose("cache") == "memory"


def test_another_plugin_may_choose_otherwise():
    assert composed(other=Opinionated()).choose("cache") == "disk"


def test_it_chooses_nothing_of_another_kind():
    class Memories:
        @hookimpl
        def marsys_memory(self):
            return [Provider(name, lambda context, settings: None) for name in ("memory", "other")]

    with pytest.raises(PluginError, match="^there are 2 memory providers"):
        composed(memories=Memories()).choose("memory")


def test_it_chooses_no_cache_that_is_not_there():
    assert plugin.marsys_choose("cache", ["disk", "redis"]) is None


def test_an_unknown_name_of_the_package_is_refused():
    import marsys.cache

    with pytest.raises(AttributeError, match=r"^module 'marsys\.cache' has no attribute 'Nothing'$"):
        _ = marsys.cache.Nothing
