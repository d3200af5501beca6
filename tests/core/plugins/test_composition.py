from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from marsys_core import Provider, hookimpl
from marsys_core.errors import ErrorClass, PluginError, SettingsError, UnknownName
from marsys_core.plugins import Composition, PluginSettings, Status, compose, load_commands, scan, survey
from marsys_core.protocols.command import Command
from marsys_core.protocols.health import HealthCheck

if TYPE_CHECKING:
    from .conftest import Site


def opener(context: Any, settings: Any) -> Any:
    raise AssertionError("nothing is opened here")


@attrs.frozen
class Size:
    capacity: int = 10
    shared: str = ""


@attrs.frozen
class Place:
    url: str
    shared: str = ""


class Plugin:
    """Declares whatever it is given; hooks that it has nothing for are not there for the engine."""

    def __init__(self, **declared: list[Any]) -> None:
        self.declared = declared
        self.heard: list[Any] = []

    @hookimpl
    def marsys_models(self, settings: Any) -> list[Any]:
        self.heard.append(settings)
        return self.declared.get("models", [])

    @hookimpl
    def marsys_memory(self) -> list[Any]:
        return self.declared.get("memory", [])

    @hookimpl
    def marsys_tools(self) -> list[Any]:
        return self.declared.get("tools", [])

    @hookimpl
    def marsys_middleware(self) -> list[Any]:
        return self.declared.get("middleware", [])

    @hookimpl
    def marsys_commands(self) -> list[Any]:
        return self.declared.get("commands", [])

    @hookimpl
    def marsys_health_checks(self) -> list[Any]:
        return self.declared.get("health_checks", [])


class Pace:
    def __init__(self, name: str) -> None:
        self.name = name

    async def model_call(self, call: Any, proceed: Any) -> Any:
        return await proceed(call)


def models(*names: str, **keywords: Any) -> list[Provider[Any]]:
    return [Provider(name, opener, **keywords) for name in names]


def composed(plugins: Mapping[str, object], **settings: Any) -> Composition:
    return compose(PluginSettings(plugins=plugins, discover=False, **settings))


def current_time() -> str:
    return ""


async def check() -> None: ...


def test_everything_declared_is_in_the_table_with_its_owner() -> None:
    one = Plugin(models=models("echo"), tools=[current_time, *models("files")], middleware=[Pace("pace")])
    two = Plugin(
        commands=[Command("tail", "Follow", target="a.b:c")], health_checks=[HealthCheck("disk", check)]
    )
    composition = composed({"one": one, "two": two})
    assert composition.provider("model", "echo").name == "echo"
    assert composition.names("tool") == ("current_time", "files")
    assert composition.item("tool", "current_time") is current_time
    assert [each.name for each in composition.items("middleware")] == ["pace"]
    assert [(each.name, each.plugin) for each in composition.declared("command")] == [("tail", "two")]
    assert composition.owner_of("health check", "disk") == "two"
    assert composition.origin_of("model", "echo") == "from plugin 'one' (the application)"
    assert composition.items("guard") == ()


def test_a_plain_function_is_no_provider() -> None:
    composition = composed({"one": Plugin(tools=[current_time])})
    with pytest.raises(
        PluginError, match=r"^tool 'current_time' of plugin 'one' is no provider; there is nothing to open$"
    ):
        composition.provider("tool", "current_time")


def test_declarations_are_in_the_order_of_the_plugins_and_marks_come_before() -> None:
    class Early(Plugin):
        @hookimpl(tryfirst=True)
        def marsys_middleware(self) -> list[Any]:
            return [Pace("early")]

    class Late(Plugin):
        @hookimpl(trylast=True)
        def marsys_middleware(self) -> list[Any]:
            return [Pace("late")]

    middle = {name: Plugin(middleware=[Pace(f"{name}1"), Pace(f"{name}2")]) for name in "ba"}
    composition = composed({"late": Late(), **middle, "early": Early()})
    assert [each.name for each in composition.items("middleware")] == [
        "early",
        "b1",
        "b2",
        "a1",
        "a2",
        "late",
    ]


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(
        UnknownName, match=r"^no kind of declaration is called 'modle'; .* Did you mean 'model'\?$"
    ):
        composed({}).names("modle")


def test_an_unknown_name_lists_those_there_are_and_the_nearest() -> None:
    composition = composed({"one": Plugin(memory=models("episodic", "sqlite", "working"))})
    with pytest.raises(UnknownName) as caught:
        composition.provider("memory", "sqllite")
    assert str(caught.value) == (
        "no memory provider is called 'sqllite'; there are: episodic, sqlite, working. Did you mean 'sqlite'?"
    )


UNAVAILABLE = "from marsys_core.errors import PluginUnavailable\nraise PluginUnavailable('pip install marsys-core[redis]')"
ECHO = "@hookimpl\ndef marsys_models():\n    return [Provider('echo', print)]"


def test_an_unknown_name_says_which_plugin_would_have_it_and_why_that_is_not_loaded(site: Site) -> None:
    site.add("marsys-core", echo=ECHO, redis=UNAVAILABLE, broken="import not_there_xyz")
    with pytest.raises(UnknownName) as caught:
        site.compose().provider("cache", "redis")
    assert str(caught.value) == (
        "no cache provider is called 'redis'; there are: none. "
        "The plugin 'redis' is unavailable: pip install marsys-core[redis]"
    )
    with pytest.raises(UnknownName) as caught:
        site.compose(block=["echo"]).provider("model", "echo")
    assert str(caught.value) == (
        "no model provider is called 'echo'; there are: none. The plugin 'echo' is blocked: by plugins.block"
    )


def test_an_unknown_name_lists_what_might_have_it_and_leaves_out_what_cannot(site: Site) -> None:
    fails = "@hookimpl\ndef marsys_models():\n    raise ValueError('no')"
    site.add("marsys-core", redis=UNAVAILABLE, fails=fails)
    with pytest.raises(UnknownName) as caught:
        site.compose().provider("cache", "fast")
    assert str(caught.value) == (
        "no cache provider is called 'fast'; there are: none. "
        "It may be in what is not loaded: plugin 'redis' is unavailable: pip install marsys-core[redis]"
    )


def test_two_providers_of_one_name_are_an_error_that_names_both_distributions(site: Site) -> None:
    site.add("marsys-a", "1.0", a=ECHO)
    site.add("marsys-b", "2.0", b=ECHO)
    with pytest.raises(PluginError) as caught:
        site.compose()
    assert caught.value.problems == (
        "model provider 'echo' is declared by 'a' (marsys-a 1.0) and 'b' (marsys-b 2.0); "
        "choose one with plugins.prefer: {'model.echo': 'a'}",
    )


@pytest.mark.parametrize("preferred", ["b", "marsys-b", "Marsys_B"])
def test_a_preference_settles_which_one_is_taken(site: Site, preferred: str) -> None:
    site.add("marsys-a", a=ECHO)
    site.add("marsys-b", b=ECHO)
    assert site.compose(prefer={"model.echo": preferred}).owner_of("model", "echo") == "b"


def test_preferences_that_miss_are_refused_together() -> None:
    with pytest.raises(PluginError) as caught:
        composed(
            {"one": Plugin(models=models("echo"))},
            prefer={"modle.echo": "x", "model.eco": "x", "model.echo": "nobody"},
        )
    assert caught.value.problems == (
        "plugins.prefer has 'modle.echo', and there is no kind 'modle'. Did you mean 'model'?",
        "plugins.prefer has 'model.eco', and nothing declares model provider 'eco'. Did you mean 'echo'?",
        "plugins.prefer takes model provider 'echo' from 'nobody', which does not declare it",
    )


def test_names_are_only_compared_within_a_kind() -> None:
    composition = composed({"one": Plugin(models=models("x")), "two": Plugin(memory=models("x"))})
    assert (composition.owner_of("model", "x"), composition.owner_of("memory", "x")) == ("one", "two")


class Chooser(Plugin):
    def __init__(self, choice: Any, **declared: list[Any]) -> None:
        super().__init__(**declared)
        self.choice = choice

    @hookimpl
    def marsys_choose(self, kind: str, names: tuple[str, ...], settings: Any) -> str | None:
        self.heard.append((kind, names, settings))
        if isinstance(self.choice, Exception):
            raise self.choice
        return self.choice  # type: ignore[no-any-return]


def test_the_only_one_is_the_default() -> None:
    assert composed({"one": Plugin(models=models("echo"))}).choose("model") == "echo"


def test_of_several_none_is_the_default() -> None:
    text = r"^there are 2 model providers \(a, b\) and nothing says which to use; name one$"
    with pytest.raises(PluginError, match=text):
        composed({"one": Plugin(models=models("b", "a"))}).choose("model")


def test_where_there_is_none_the_error_says_what_is_not_loaded(site: Site) -> None:
    site.add("marsys-core", redis=UNAVAILABLE)
    with pytest.raises(PluginError) as caught:
        site.compose().choose("cache")
    assert str(caught.value) == (
        "there is no cache provider. "
        "It may be in what is not loaded: plugin 'redis' is unavailable: pip install marsys-core[redis]"
    )


def test_what_the_configuration_names_is_the_default_and_no_plugin_is_asked() -> None:
    plugin = Chooser("a", models=models("a", "b"))
    composition = composed({"one": plugin}, choices={"model": "b"})
    plugin.heard.clear()
    assert composition.choose("model") == "b"
    assert plugin.heard == []
    with pytest.raises(UnknownName):
        composed({"one": plugin}, choices={"model": "c"}).choose("model")


def test_the_first_plugin_with_an_answer_chooses_and_sees_only_its_own_section() -> None:
    silent, answers, unasked = Chooser(None, models=models("a", "b")), Chooser("b"), Chooser("a")
    composition = composed({"silent": silent, "answers": answers, "unasked": unasked})
    assert composition.choose("model") == "b"
    assert silent.heard[-1] == ("model", ("a", "b"), {})
    assert unasked.heard == [{}]


def test_a_choice_that_fails_or_is_not_there_names_the_plugin() -> None:
    two = models("a", "b")
    with pytest.raises(PluginError, match=r"^plugin 'one' chose 'c' as model; there are: a, b$"):
        composed({"one": Chooser("c", models=two)}).choose("model")
    text = r"^plugin 'one' failed to choose a model: ValueError: no; name one of: a, b$"
    with pytest.raises(PluginError, match=text) as caught:
        composed({"one": Chooser(ValueError("no"), models=two)}).choose("model")
    assert isinstance(caught.value.__cause__, ValueError)


class Classifier(Plugin):
    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer

    @hookimpl
    def marsys_classify_error(self, error: BaseException) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(error, OSError) else None


def test_errors_are_classified_by_the_first_that_knows_them() -> None:
    composition = composed(
        {"a": Classifier(None), "b": Classifier(ErrorClass.RECOVERABLE), "c": Classifier(ErrorClass.CRITICAL)}
    )
    assert composition.classify(OSError()) is ErrorClass.RECOVERABLE
    assert composition.classify(ValueError()) is None


@pytest.mark.parametrize("wrong", [ValueError("no"), "recoverable"])
def test_a_classifier_that_fails_is_skipped_and_logged(
    wrong: object, caplog: pytest.LogCaptureFixture
) -> None:
    composition = composed({"a": Classifier(wrong), "b": Classifier(ErrorClass.FAILURE)})
    with caplog.at_level(logging.ERROR, "marsys.plugins"):
        assert composition.classify(OSError()) is ErrorClass.FAILURE
    assert [record.getMessage() for record in caplog.records] == [
        "marsys_classify_error of plugin 'a' is skipped"
    ]
    assert caplog.records[0].exc_info is not None


class Configured(Plugin):
    marsys_settings = Size


def test_hooks_get_their_own_section_and_nothing_of_others() -> None:
    plain, configured = Plugin(models=models("x", settings=Size)), Configured()
    sections = {"plain": {"capacity": 1}, "configured": {"capacity": 2}}
    composition = composed({"plain": plain, "configured": configured}, sections=sections)
    assert plain.heard == [{"capacity": 1}]
    assert configured.heard == [Size(2)]
    assert composition.settings_of("configured") == Size(2)
    with pytest.raises(TypeError):
        composition.settings_of("plain")["capacity"] = 3


def test_a_provider_gets_its_part_of_the_section_or_its_plugins_settings() -> None:
    providers = [*models("a", settings=Size), *models("b", settings=Place), *models("c")]
    section = {"capacity": 3, "url": "u", "shared": "s"}
    composition = composed({"one": Configured(models=providers)}, sections={"one": section})
    assert composition.settings_for("model", "a") == Size(3, "s")
    assert composition.settings_for("model", "b") == Place("u", "s")
    assert composition.settings_for("model", "c") == Size(3, "s")


def test_all_problems_of_all_sections_are_told_at_once() -> None:
    plugins = {
        "memory": Plugin(memory=models("a", settings=Size)),
        "own": Configured(),
        "none": Plugin(),
    }
    sections = {
        "memory": {"capacty": 1, "shared": 2},
        "own": {"capacity": "x"},
        "none": {"a": 1},
        "memroy": {},
    }
    with pytest.raises(SettingsError) as caught:
        composed(plugins, sections=sections)
    assert caught.value.problems == (
        "there is no plugin called 'memroy' @ $.plugins.memroy. Did you mean 'memory'?",
        "unknown field 'capacty' @ $.plugins.memory; did you mean 'capacity'?",
        "expected str, got 2 @ $.plugins.memory.shared",
        "expected int, got 'x' @ $.plugins.own.capacity",
        "the plugin takes no settings @ $.plugins.none",
    )


def test_what_a_provider_lacks_is_only_an_error_when_it_is_used() -> None:
    composition = composed(
        {"one": Plugin(models=models("b", settings=Place))}, sections={"one": {"shared": "s"}}
    )
    with pytest.raises(SettingsError) as caught:
        composition.settings_for("model", "b")
    assert (
        str(caught.value)
        == "model provider 'b' cannot be configured:\n  - required field missing @ $.plugins.one.url"
    )


def test_a_plugin_that_nobody_has_set_up_is_unavailable(site: Site) -> None:
    source = """
    import attrs
    @attrs.frozen
    class Settings:
        url: str
    marsys_settings = Settings
    """
    site.add(
        "marsys-core",
        echo=ECHO,
        remote=source + "\n    ".join(["", *ECHO.replace("echo", "remote").split("\n")]),
    )
    composition = site.compose(strict=True)
    record = composition.record("remote")
    assert (record.status, composition.names("model")) == (Status.UNAVAILABLE, ("echo",))
    assert record.reason == "it has to be configured: required field missing @ $.plugins.remote.url"
    with pytest.raises(PluginError, match=r"^plugin 'remote' is unavailable: it has to be configured"):
        composition.settings_of("remote")
    assert site.compose(sections={"remote": {"url": "u"}}).names("model") == ("echo", "remote")


def test_a_section_of_a_plugin_that_is_not_loaded_is_left_alone(site: Site) -> None:
    site.add("marsys-core", echo=ECHO)
    assert site.compose(block=["echo"], sections={"echo": {"a": 1}}).names("model") == ()


def test_a_composition_is_made_once_for_equal_settings() -> None:
    plugin = Plugin(models=models("x"))
    assert composed({"one": plugin}) is composed({"one": plugin})
    assert composed({"one": plugin}) is not composed({"one": Plugin(models=models("x"))})
    assert composed({"one": plugin}) is not composed({"one": plugin}, strict=True)
    assert len(plugin.heard) == 2


def test_a_composition_is_made_anew_after_another_scan(site: Site) -> None:
    site.add("marsys-core", echo=ECHO)
    first = site.compose()
    assert compose(PluginSettings()) is first
    scan.cache_clear()
    assert site.compose() is not first


def test_settings_that_cannot_be_compared_are_composed_each_time() -> None:
    @attrs.frozen
    class Anything:
        x: Any = None

    plugin = Plugin(models=models("x", settings=Anything))
    made = [composed({"one": plugin}, sections={"one": {"x": {1, 2}}}) for _ in range(2)]
    assert made[0] is not made[1]
    assert made[0].settings_for("model", "x") == Anything({1, 2})


def test_the_cache_of_compositions_does_not_grow_without_end() -> None:
    from marsys_core.plugins import composition

    for _ in range(composition._KEPT + 5):
        composed({"one": Plugin()})
    assert len(composition._made) == composition._KEPT


def test_without_settings_the_environment_decides_each_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("marsys-core", echo=ECHO, redis=ECHO.replace("echo", "redis"))
    site.scan()
    everything = compose()
    assert everything.names("model") == ("echo", "redis")
    monkeypatch.setenv("MARSYS_PLUGINS", "redis")
    assert compose().names("model") == ("redis",)
    assert compose().record("echo").reason == "not named in MARSYS_PLUGINS"
    monkeypatch.delenv("MARSYS_PLUGINS")
    assert compose() is everything


COMMANDS = """
from marsys_core.protocols.command import Command
marsys_settings = None
@hookimpl
def marsys_commands():
    return [Command("tail", "Follow a run", target="tail:main")]
"""


def test_commands_are_there_whatever_is_wrong_with_the_rest(site: Site) -> None:
    site.add("aaa", first=COMMANDS)
    site.add("bbb", second=COMMANDS, broken="@hookimpl\ndef marsys_guards():\n    return []\nmarsys_api = 7")
    site.scan()
    settings = PluginSettings(require=["nobody"], sections={"nobody": {}}, strict=True)
    assert [(each.name, each.plugin) for each in load_commands(settings)] == [("tail", "first")]


def test_a_survey_shows_every_record_also_where_nothing_can_be_composed(site: Site) -> None:
    raises = "@hookimpl\ndef marsys_models():\n    raise ValueError('no')"
    site.add("marsys-core", one="import not_there_xyz", two=raises, three=ECHO)
    site.scan()
    records, error = survey(PluginSettings(strict=True))
    assert isinstance(error, ImportError)
    assert {each.name: each.status for each in records} == {
        "one": Status.BROKEN,
        "two": Status.BROKEN,
        "three": Status.LOADED,
    }
    records, error = survey(PluginSettings())
    assert error is None
    assert len(records) == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "", "open": opener}, r"^a provider's name is a string without spaces round it, not ''$"),
        ({"name": "x", "open": 7}, r"^a provider's open is a function .*, not 7$"),
        ({"name": "x"}, r"^provider 'x' has one of open and make, and not both: .*$"),
        ({"name": "x", "open": opener, "make": opener}, r"^provider 'x' has one of open and make, .*$"),
        (
            {"name": "x", "open": opener, "settings": dict},
            r"^a provider's settings is an attrs class, not <class 'dict'>$",
        ),
    ],
)
def test_a_provider_that_cannot_work_is_refused_when_it_is_made(
    arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        Provider(**arguments)


def test_what_follows_from_a_composition_is_worked_out_once():
    made = []
    composition = compose(PluginSettings(discover=False))

    def make():
        made.append(None)
        return len(made)

    assert [
        composition.once("key", make),
        composition.once("key", make),
        composition.once("other", make),
    ] == [1, 1, 2]


def test_what_follows_from_a_composition_does_not_pile_up():
    composition = compose(PluginSettings(discover=False))
    for number in range(3000):
        assert composition.once(("number", number), lambda number=number: [number]) == [number]
    assert len(composition._derived) <= 1024
