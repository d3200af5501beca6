from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Callable

import pytest

from marsys_core.plugins import scan
from tests.plugins.cli.conftest import Call, Site

MODELS = """
    from marsys_core import Provider, hookimpl

    @hookimpl
    def marsys_models():
        return [Provider("echo", lambda context, settings: None, summary="Says it again")]
"""


@pytest.fixture
def zoo(site: Site) -> Site:
    """One plugin of each kind of misfortune."""
    site.add("marsys-good", good=MODELS)
    site.add("marsys-broken", broken="import not_there_xyz")
    site.add(
        "marsys-poor",
        poor="from marsys_core.errors import PluginUnavailable\nraise PluginUnavailable('pip install rich-uncle')",
    )
    site.add("marsys-late", late="marsys_api = 99\n")
    site.add("marsys-second", models=MODELS)
    return site


def rows(text: str) -> dict[str, list[str]]:
    split = [re.split(r" {2,}", line) for line in text.splitlines() if not line.startswith(" ")]
    return {f"{each[0]}/{each[1]}": each[1:] for each in split if len(each) > 2}


def test_the_table_says_what_became_of_each(call: Call, zoo: Site) -> None:
    said = call("-p", "no:search", "plugins")
    assert (said.code, said.err) == (0, "")
    found = rows(said.out)
    assert found["good/loaded"] == ["loaded", "marsys-good 1.0", "marsys_models"]
    assert found["broken/broken"][1:] == [
        "marsys-broken 1.0",
        "ModuleNotFoundError: No module named 'not_there_xyz'",
    ]
    assert found["poor/unavailable"][1:] == ["marsys-poor 1.0", "pip install rich-uncle"]
    assert found["late/incompatible"][2] == "written for plugin API 99; this engine speaks 1 to 1"
    assert found["models/shadowed"][1] == "marsys-second 1.0"
    assert found["search/blocked"][2] == "by -p no:search"


def test_more_is_said_of_each_where_that_is_asked_for(call: Call, zoo: Site) -> None:
    said = call("-p", "no:search", "plugins", "-v")
    lines = [line.strip() for line in said.out.splitlines()]
    assert "blocked by: -p no:search" in lines
    assert f"path: {zoo.path / 'marsys_good_good.py'}" in lines
    assert any(re.fullmatch(r"imported in: \d+\.\d ms", line) for line in lines)
    assert "model" in lines
    assert any(re.fullmatch(r"echo +good +Says it again", line) for line in lines)
    assert lines[-1] == "* is taken where nothing is named"


def test_the_chosen_provider_is_marked(call: Call) -> None:
    lines = [line.strip() for line in call("-p", "models", "-p", "cache", "plugins", "-v").out.splitlines()]
    cache = lines[lines.index("cache") + 1 :]
    assert cache[0].startswith("* memory  cache")
    assert not any(line.startswith("*") for line in lines[: lines.index("cache")])


def test_json_has_everything(call: Call, zoo: Site) -> None:
    data = json.loads(call("plugins", "--json").out)
    good = next(each for each in data["plugins"] if each["name"] == "good")
    assert good.pop("import_seconds") > 0
    assert good == {
        "name": "good",
        "status": "loaded",
        "distribution": "marsys-good",
        "version": "1.0",
        "target": "marsys_good_good",
        "path": str(zoo.path / "marsys_good_good.py"),
        "hooks": ["marsys_models"],
        "reason": "",
        "knob": "",
    }
    assert (data["notice"], data["error"]) == ("", "")
    assert {"name": "echo", "plugin": "good", "chosen": False, "summary": "Says it again"} in data[
        "providers"
    ]["model"]


@pytest.mark.parametrize("hook", ["marsys_models", "models"])
def test_a_hook_shows_who_implements_it(call: Call, zoo: Site, hook: str) -> None:
    found = list(rows(call("plugins", "--hook", hook).out))
    assert {"models/loaded", "openai/loaded"} < set(found)
    assert found[-1] == "good/loaded"
    assert "search/loaded" not in found


def test_a_hook_that_nobody_implements_is_no_mistake(call: Call) -> None:
    said = call("--no-plugins", "plugins", "--hook", "guards")
    assert (said.code, said.out) == (0, "no plugins\n")


def test_a_hook_that_is_not_there_suggests_the_nearest(call: Call) -> None:
    said = call("plugins", "--hook", "modelss")
    assert said.code == 2
    assert "no hook is called 'modelss'; there are: marsys_caches, " in said.err
    assert "Did you mean 'marsys_models'" in said.err


def test_check_fails_where_something_is_broken_or_incompatible(call: Call, zoo: Site) -> None:
    said = call("plugins", "check")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "plugin 'broken' is broken: ModuleNotFoundError: No module named 'not_there_xyz' (marsys-broken 1.0)\n"
        "plugin 'late' is incompatible: written for plugin API 99; this engine speaks 1 to 1 (marsys-late 1.0)\n"
    )


def test_check_passes_where_a_plugin_only_lacks_something(call: Call, site: Site) -> None:
    site.add(
        "marsys-poor",
        poor="from marsys_core.errors import PluginUnavailable\nraise PluginUnavailable('pip install it')",
    )
    said = call("plugins", "check")
    assert (said.code, said.err) == (0, "")
    assert re.fullmatch(r"\d+ loaded, 1 not, none of them broken or incompatible\n", said.out)


def test_check_fails_where_two_plugins_clash(call: Call, site: Site) -> None:
    site.add("marsys-one", one=MODELS)
    site.add("marsys-two", two=MODELS)
    said = call("plugins", "check")
    assert said.code == 1
    assert said.err == (
        "marsys: plugins do not fit together:\n"
        "  - model provider 'echo' is declared by 'one' (marsys-one 1.0) and 'two' (marsys-two 1.0)\n"
        "Say in the team file which one is meant, for example:\n"
        "\n"
        "    [plugins.prefer]\n"
        '    "model.echo" = "one"\n'
    )


def test_a_clash_is_told_with_toml_that_ends_it(call: Call, site: Site, team: Callable[[str], str]) -> None:
    site.add("marsys-one", one=MODELS)
    site.add("marsys-two", two=MODELS)
    text = '[agents.A]\nmodel = "echo"\n'
    refused = call("topology", team(text)).err
    advice = textwrap.dedent(refused.partition("for example:\n\n")[2])
    assert "plugins.prefer:" not in refused
    assert advice == '[plugins.prefer]\n"model.echo" = "one"\n'
    assert call("topology", team(text + advice)).code == 0


def test_the_table_is_shown_also_where_the_plugins_clash(call: Call, site: Site) -> None:
    site.add("marsys-one", one=MODELS)
    site.add("marsys-two", two=MODELS)
    said = call("plugins")
    assert said.code == 1
    assert rows(said.out)["two/loaded"] == ["loaded", "marsys-two 1.0", "marsys_models"]
    assert said.err.startswith("marsys: PluginError: plugins do not fit together:\n")
    trace = call("plugins", "trace").out
    assert re.search(r"^  \d+\. one: not known, as the plugins cannot be used as asked$", trace, re.MULTILINE)


def test_check_opens_nothing(call: Call, site: Site) -> None:
    site.add(
        "marsys-eager",
        eager="""
        from marsys_core import Provider, hookimpl

        def opened(context, settings):
            raise SystemExit("it was opened")

        @hookimpl
        def marsys_guards():
            return [Provider("eager", opened)]
        """,
    )
    assert call("plugins", "check").code == 0


def test_trace_says_who_was_asked_in_which_order(call: Call, site: Site) -> None:
    site.add("marsys-good", good=MODELS)
    site.add(
        "marsys-first", first=MODELS.replace("@hookimpl", "@hookimpl(tryfirst=True)").replace("echo", "one")
    )
    said = call("plugins", "trace")
    assert said.code == 0
    asked = said.out.partition("marsys_models\n")[2].partition("\nmarsys_")[0].splitlines()
    assert asked[0] == "  1. first: one"
    assert any(re.fullmatch(r"  \d+\. models: extractive, scripted", line) for line in asked)
    assert re.fullmatch(r"  \d+\. good: echo", asked[-1])
    assert said.out.endswith("marsys_classify_error\n  1. resilience: asked when the question comes up\n")


def test_options_of_the_list_do_not_go_with_its_commands(call: Call) -> None:
    said = call("plugins", "--json", "check")
    assert said.code == 2
    assert said.err.endswith("Error: --json, --hook and -v go without 'check'\n")


def test_a_name_that_no_plugin_has_is_told_beside_the_table(call: Call) -> None:
    said = call("-p", "modles", "plugins")
    assert said.code == 1
    assert said.err == (
        "marsys: PluginError: plugins cannot be chosen as asked:\n"
        "  - -p names 'modles', and no plugin or distribution is called that. Did you mean 'models'?\n"
    )
    assert "not named in -p" in said.out


def test_where_nothing_is_installed_that_is_said(
    call: Call, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(site.path)])
        scan()
    said = call("plugins")
    notice = "marsys-core is not installed in this environment (running from a checkout?)"
    assert (said.code, said.out) == (0, "no plugins\n")
    assert said.err == f"marsys: {notice}\n"
    assert json.loads(call("plugins", "--json").out)["notice"] == notice
    doctor = call("doctor")
    assert doctor.code == 1
    lines = [re.split(r" {2,}", line) for line in doctor.out.splitlines()]
    assert [
        "wrong",
        "marsys-core",
        f"{notice}; pip install marsys-core, or pip install -e . in a checkout",
    ] in lines
    assert ["note", "health", "no plugin has health checks"] in lines
