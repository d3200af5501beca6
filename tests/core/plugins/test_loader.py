from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from marsys_core import Provider, hookimpl
from marsys_core.errors import LifecycleError, PluginError, PluginUnavailable
from marsys_core.plugins import PluginSettings, Record, Status, compose, notice, scan

if TYPE_CHECKING:
    from .conftest import Site

MODEL = """
@hookimpl
def marsys_models():
    return [Provider({name!r}, lambda context, settings: None)]
"""


def model(name: str) -> str:
    return MODEL.format(name=name)


class Handed:
    """A plugin as an application would write it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def marsys_models(self) -> list[Provider[Any]]:
        return [Provider(self.name, lambda context, settings: None)]  # type: ignore[arg-type,return-value]


def only_record(site: Site, source: str, **settings: Any) -> Record:
    site.add("marsys-core", core=model("core"))
    site.add("marsys-odd", "0.1.0", odd=source)
    composition = site.compose(**settings)
    assert composition.names("model") == ("core",)
    return composition.record("odd")


def test_plugins_of_marsys_core_come_first_and_the_rest_by_distribution(site: Site) -> None:
    site.add("aaa", z=model("z"), a=model("a"))
    site.add("zzz", m=model("m"))
    site.add("marsys-core", own=model("own"))
    assert [found.name for found in site.scan()] == ["own", "a", "z", "m"]
    assert [record.name for record in site.compose().records] == ["own", "a", "z", "m"]


def test_a_third_party_cannot_take_a_first_party_name_by_sorting_earlier(site: Site) -> None:
    site.add("aaa-evil", memory=model("evil"))
    site.add("marsys-core", "0.1.0", memory=model("honest"))
    composition = site.compose()
    assert composition.names("model") == ("honest",)
    assert [(each.status, each.distribution, each.reason) for each in composition.records] == [
        (Status.LOADED, "marsys-core", ""),
        (Status.SHADOWED, "aaa-evil", "marsys-core 0.1.0 has the name"),
    ]
    assert "aaa_evil_memory" not in sys.modules


def test_a_broken_plugin_keeps_its_name(site: Site) -> None:
    site.add("marsys-core", memory="import not_there_xyz")
    site.add("zzz", memory=model("other"))
    assert [each.status for each in site.compose().records] == [Status.BROKEN, Status.SHADOWED]


def test_the_scan_is_done_once_a_process_and_reads_no_other_metadata(site: Site) -> None:
    site.add("marsys-core", core=model("core"))
    unrelated = site.path / "unrelated-1.0.dist-info"
    unrelated.mkdir()
    (unrelated / "METADATA").write_bytes(b"\xff\xfe not text")
    found = site.scan()
    assert [each.distribution for each in found] == ["marsys-core"]
    assert scan() is found


def test_a_record_says_where_a_plugin_came_from(site: Site) -> None:
    site.add("marsys-core", "0.4", core=model("core"))
    record = site.compose().record("core")
    assert (record.status, record.source, record.target) == (
        Status.LOADED,
        "marsys-core 0.4",
        "marsys_core_core",
    )
    assert record.path == str(site.path / "marsys_core_core.py")
    assert record.hooks == ("marsys_models",)
    assert record.seconds > 0


def test_without_the_standard_plugins_a_notice_says_so(site: Site) -> None:
    site.add("zzz", m=model("m"))
    assert (
        notice(site.scan()) == "marsys-core is not installed in this environment (running from a checkout?)"
    )
    site.add("marsys-core", own=model("own"))
    assert notice(site.scan()) == ""


BROKEN = {
    "does not import": ("import not_there_xyz", "ModuleNotFoundError: No module named 'not_there_xyz'"),
    "ends the process": ("raise SystemExit(3)", "SystemExit: 3"),
    "misspelt hook": (
        "@hookimpl\ndef marsys_modles():\n    return []",
        "PluginError: there is no hook called 'marsys_modles'. Did you mean 'marsys_models' or 'marsys_tools'?",
    ),
    "wrapper": (
        "@hookimpl(wrapper=True)\ndef marsys_models():\n    return (yield)",
        "PluginError: marsys_models is a wrapper; hooks are asked one by one, so write a middleware",
    ),
    "old wrapper": (
        "@hookimpl(hookwrapper=True)\ndef marsys_models():\n    yield",
        "PluginError: marsys_models is a wrapper; hooks are asked one by one, so write a middleware",
    ),
    "async": (
        "@hookimpl\nasync def marsys_models():\n    return []",
        "PluginError: marsys_models is async; hooks are plain functions, and what waits belongs into a provider's open",
    ),
    "default": (
        "@hookimpl\ndef marsys_models(settings=None):\n    return []",
        "PluginError: marsys_models gives settings a default, and would never be passed it; leave that out",
    ),
    "no mark": (
        "def marsys_models():\n    return []",
        "PluginError: marsys_models not marked with @hookimpl",
    ),
    "bad settings class": (
        "marsys_settings = dict\n@hookimpl\ndef marsys_models():\n    return []",
        "PluginError: marsys_settings is an attrs class, not <class 'dict'>",
    ),
    "raises": ("@hookimpl\ndef marsys_models():\n    raise ValueError('no')", "ValueError: no"),
    "raises half-way": (
        "@hookimpl\ndef marsys_models():\n    yield Provider('x', print)\n    raise ValueError('no')",
        "ValueError: no",
    ),
    "returns nothing": (
        "@hookimpl\ndef marsys_models():\n    pass",
        "PluginError: marsys_models returned None; expected a list, empty where there is nothing",
    ),
    "declares nonsense": (
        "@hookimpl\ndef marsys_models():\n    return [3]",
        "TypeError: marsys_models declares 3; expected a Provider",
    ),
    "declares a class": (
        "class Hop:\n    build = 1\n@hookimpl\ndef marsys_topologies():\n    return [Hop]",
        "TypeError: marsys_topologies declares <class 'marsys_odd_odd.Hop'>; expected an object with build",
    ),
    "declares the nameless": (
        "class Hop:\n    build = 1\n    def __repr__(self):\n        return 'hop'\n"
        "@hookimpl\ndef marsys_topologies():\n    return [Hop()]",
        "TypeError: marsys_topologies declares hop, which has no name",
    ),
    "declares twice": (
        "@hookimpl\ndef marsys_models():\n    return [Provider('x', print), Provider('x', print)]",
        "PluginError: marsys_models declares model provider 'x' twice",
    ),
    "one of two hooks raises": (
        model("x") + "@hookimpl\ndef marsys_memory():\n    raise ValueError('no')",
        "ValueError: no",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_a_report_and_the_others_stay(site: Site, source: str, reason: str) -> None:
    record = only_record(site, source)
    assert (record.status, record.reason) == (Status.BROKEN, reason)
    assert record.error is not None


@pytest.mark.parametrize("case", ["does not import", "misspelt hook", "raises"])
def test_in_strict_mode_a_broken_plugin_raises_and_the_note_names_it(site: Site, case: str) -> None:
    with pytest.raises((ImportError, PluginError, ValueError)) as caught:
        only_record(site, BROKEN[case][0], strict=True)
    assert caught.value.__notes__ == ["while loading plugin 'odd' from marsys-odd 0.1.0"]


@pytest.mark.parametrize(
    "source", ["raise SystemExit(3)", "@hookimpl\ndef marsys_models():\n    raise SystemExit(3)"]
)
def test_in_strict_mode_a_plugin_that_ends_the_process_does_not_end_it(site: Site, source: str) -> None:
    note = "while loading plugin 'odd' from marsys-odd 0.1.0"
    with pytest.raises(PluginError, match=rf"^it called sys\.exit\(3\)\n{note}$") as caught:
        only_record(site, source, strict=True)
    assert isinstance(caught.value.__cause__, SystemExit)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (
            "marsys_models(setings)",
            "marsys_models asks for 'setings', and is offered: settings. Did you mean 'settings'?",
        ),
        ("marsys_models(settings, colour)", "marsys_models asks for 'colour', and is offered: settings"),
        ("marsys_commands(settings)", "marsys_commands asks for 'settings', and is offered: nothing"),
    ],
)
def test_a_wrong_signature_is_broken_and_names_the_argument(site: Site, function: str, reason: str) -> None:
    record = only_record(site, f"@hookimpl\ndef {function}:\n    return []")
    assert (record.status, record.reason) == (Status.BROKEN, f"PluginError: {reason}")


def test_a_plugin_without_any_hook_is_broken(site: Site) -> None:
    record = only_record(site, "x = 1")
    assert record.reason.startswith("PluginError: it implements no hook; there are: marsys_caches, ")


def test_an_optional_hook_that_is_not_there_is_fine(site: Site) -> None:
    record = only_record(site, "@hookimpl(optionalhook=True)\ndef marsys_of_tomorrow(x):\n    return []")
    assert record.status is Status.LOADED


def entry(site: Site, target: str, source: str) -> Record:
    site.add("marsys-odd", odd=source)
    (site.path / "marsys_odd-1.0.dist-info" / "entry_points.txt").write_text(
        f"[marsys]\nodd = marsys_odd_odd:{target}\n"
    )
    return site.compose().record("odd")


def test_a_class_is_refused(site: Site) -> None:
    record = entry(site, "Odd", "class Odd:\n    @hookimpl\n    def marsys_models(self):\n        return []")
    assert record.reason == "PluginError: a plugin is a module or an instance, not the class Odd"


def test_an_object_that_cannot_be_hashed_is_refused(site: Site) -> None:
    source = "import attrs\n@attrs.define\nclass Odd:\n    @hookimpl\n    def marsys_models(self):\n        return []\nodd = Odd()"
    record = entry(site, "odd", source)
    assert record.reason == (
        "PluginError: the plugin object cannot be hashed (unhashable type: 'Odd'); an attrs class needs eq=False"
    )


def test_an_instance_is_a_plugin(site: Site) -> None:
    source = "class Odd:\n    @hookimpl\n    def marsys_models(self):\n        return []\nodd = Odd()"
    assert entry(site, "odd", source).status is Status.LOADED


def test_one_object_under_two_names_is_loaded_once(site: Site) -> None:
    site.add("marsys-odd", odd=model("x"))
    (site.path / "marsys_odd-1.0.dist-info" / "entry_points.txt").write_text(
        "[marsys]\na = marsys_odd_odd\nb = marsys_odd_odd\n"
    )
    composition = site.compose()
    assert composition.record("b").reason == "PluginError: the same object is already loaded as plugin 'a'"
    assert composition.owner_of("model", "x") == "a"


def test_a_plugin_that_lacks_something_is_unavailable_and_says_the_remedy(site: Site) -> None:
    source = "from marsys_core.errors import PluginUnavailable\nraise PluginUnavailable('pip install marsys-core[x]')"
    record = only_record(site, source, strict=True)
    assert (record.status, record.reason) == (Status.UNAVAILABLE, "pip install marsys-core[x]")
    assert record.cause == "plugin 'odd' is unavailable: pip install marsys-core[x]"


def test_a_hook_may_find_out_that_something_is_lacking(site: Site) -> None:
    source = """
    from marsys_core.errors import PluginUnavailable
    @hookimpl
    def marsys_models():
        raise PluginUnavailable("pip install marsys-core[x]")
    """
    assert only_record(site, source, strict=True).status is Status.UNAVAILABLE


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_of_the_contract_is_incompatible(site: Site, version: object) -> None:
    record = only_record(site, f"marsys_api = {version!r}{model('x')}")
    assert record.status is Status.INCOMPATIBLE
    assert record.reason == f"written for plugin API {version!r}; this engine speaks 1 to 1"


def test_in_strict_mode_another_version_of_the_contract_raises(site: Site) -> None:
    with pytest.raises(
        PluginError, match=r"^it is written for plugin API 2; this engine speaks 1 to 1\nwhile loading "
    ):
        only_record(site, f"marsys_api = 2{model('x')}", strict=True)


def test_a_plugin_written_for_version_1_still_loads(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.path = Path(__file__).parents[2] / "data" / "plugins" / "api_1"
    monkeypatch.syspath_prepend(str(site.path))
    composition = site.compose(strict=True)
    assert [(each.name, each.status) for each in composition.records] == [("api-1", Status.LOADED)]
    assert composition.choose("model") == "echo"
    del sys.modules["marsys_api_1"]


GUARD = "@hookimpl\ndef marsys_guards():\n    return [Provider('size', print)]\n"


@pytest.mark.parametrize(
    "source",
    [
        "@hookimpl\ndef marsys_guards():\n    raise ValueError('no')",
        GUARD + "@hookimpl\ndef marsys_memory():\n    raise ValueError('no')",
        GUARD + "@hookimpl\ndef marsys_memmory():\n    return []",
        GUARD + "marsys_api = 2",
        "from marsys_core.errors import PluginUnavailable\n@hookimpl\ndef marsys_guards():\n    raise PluginUnavailable('x')",
    ],
    ids=["hook", "another hook", "registration", "version", "unavailable"],
)
def test_without_its_guards_the_engine_does_not_start(site: Site, source: str) -> None:
    with pytest.raises(
        PluginError, match=r"^plugin 'odd' is .*\. It holds guards, and without them the engine does not"
    ):
        only_record(site, source)


def test_guards_that_are_blocked_by_name_do_not_keep_the_engine_from_starting(site: Site) -> None:
    assert only_record(site, GUARD + "marsys_api = 2", block=["odd"]).status is Status.BLOCKED


def test_a_required_guard_cannot_be_blocked_by_the_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("marsys-odd", odd=GUARD)
    site.scan()
    monkeypatch.setenv("MARSYS_BLOCK_PLUGINS", "odd")
    settings = PluginSettings.from_environment(PluginSettings(require=["odd"]))
    with pytest.raises(PluginError) as caught:
        compose(settings)
    assert caught.value.problems == ("'odd': plugin 'odd' is blocked: by MARSYS_BLOCK_PLUGINS",)


@pytest.mark.parametrize("name", ["odd", "marsys-odd", "Marsys_Odd", " odd "])
def test_plugins_are_blocked_by_their_name_or_their_distributions(site: Site, name: str) -> None:
    record = only_record(site, "import not_there_xyz", block=[name])
    assert (record.status, record.reason, record.knob) == (
        Status.BLOCKED,
        "by plugins.block",
        "plugins.block",
    )


@pytest.mark.parametrize("name", ["core", "marsys-core"])
def test_only_those_named_are_loaded_and_the_others_not_even_imported(site: Site, name: str) -> None:
    record = only_record(site, "import not_there_xyz", only=[name])
    assert (record.status, record.reason) == (Status.BLOCKED, "not named in plugins.only")
    assert "marsys_odd_odd" not in sys.modules


def test_an_empty_only_loads_nothing(site: Site) -> None:
    site.add("marsys-core", core=model("core"))
    assert site.compose(only=[]).names("model") == ()


def test_without_discovery_nothing_is_looked_for(site: Site) -> None:
    site.add("marsys-core", core=model("core"))
    composition = site.compose(discover=False, plugins={"mine": Handed("own")}, block=["whoever"])
    assert [record.name for record in composition.records] == ["mine"]


def test_names_in_knobs_that_nothing_has_are_refused_together(site: Site) -> None:
    site.add("marsys-core", memory=model("core"))
    with pytest.raises(PluginError) as caught:
        site.compose(only=["memroy"], block=["zzz"])
    assert caught.value.problems == (
        "plugins.only names 'memroy', and no plugin or distribution is called that. Did you mean 'memory'?",
        "plugins.block names 'zzz', and no plugin or distribution is called that.",
    )


def test_requirements_that_are_not_met_are_told_together(site: Site) -> None:
    site.add("marsys-core", "0.4", memory=model("core"), redis="import not_there_xyz")
    with pytest.raises(PluginError) as caught:
        site.compose(require=["memory>=0.5", "marsys-core>=0.4,<1", "redis", "memroy", "x[y]", "mine>1"],
                     plugins={"mine": Handed("x")})  # fmt: skip
    broken = "plugin 'redis' is broken: ModuleNotFoundError: No module named 'not_there_xyz'"
    assert caught.value.problems == (
        "'memory>=0.5': plugin 'memory' is from marsys-core 0.4",
        f"'marsys-core>=0.4,<1': {broken}",
        f"'redis': {broken}",
        "'memroy': no plugin or distribution is called 'memroy'. Did you mean 'memory'?",
        "'x[y]': '[y]' in requirement 'x[y]' is not a comparison such as '>=1.2'",
        "'mine>1': plugin 'mine' is the application's and has no version",
    )


def test_requirements_that_are_met_say_nothing(site: Site) -> None:
    site.add("marsys-core", "0.4", memory=model("core"))
    composition = site.compose(
        require=["memory>=0.4", "marsys_core~=0.4", "mine"], plugins={"mine": Handed("x")}
    )
    assert composition.names("model") == ("core", "x")


def test_what_the_application_hands_over_comes_first_and_has_its_name(site: Site) -> None:
    site.add("marsys-core", core=model("core"), mine=model("not me"))
    composition = site.compose(plugins={"mine": Handed("own")}, only=["core"])
    assert [(each.name, each.status) for each in composition.records][:2] == [
        ("mine", Status.LOADED),
        ("core", Status.LOADED),
    ]
    assert composition.record("mine").source == "the application"
    assert site.compose(plugins={"mine": Handed("own")}).records[2].status is Status.SHADOWED


class Raising:
    @hookimpl
    def marsys_models(self) -> list[Provider[Any]]:
        raise PluginUnavailable("pip install x")


@pytest.mark.parametrize(
    ("plugin", "text"),
    [
        (Handed, r"^a plugin is a module or an instance, not the class Handed\n"),
        (None, r"^a plugin is a module or an instance, not None\n"),
        (object(), r"^it implements no hook; "),
        (Raising(), r"^pip install x\n"),
    ],
)
def test_what_goes_wrong_with_the_applications_own_plugin_is_raised(plugin: object, text: str) -> None:
    with pytest.raises((PluginError, PluginUnavailable), match=text) as caught:
        compose(PluginSettings(plugins={"mine": plugin}, discover=False))
    assert caught.value.__notes__ == ["while loading plugin 'mine' from the application"]


def test_plugins_are_frozen_once_the_composition_is_made() -> None:
    composition = compose(PluginSettings(plugins={"mine": Handed("x")}, discover=False))
    for change in (composition.manager.register, composition.manager.unregister):
        with pytest.raises(
            LifecycleError, match=r"^plugins are frozen once the engine is open; hand 'late' over in "
        ):
            change(Handed("y"), "late")
    assert composition.names("model") == ("x",)


def test_composition_settings_and_records_cannot_be_changed() -> None:
    composition = compose(PluginSettings(plugins={"mine": Handed("x")}, discover=False))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        composition.records[0].name = "y"  # type: ignore[misc]
