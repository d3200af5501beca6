"""What is said of plugins that go wrong, and that it is nobody else's trouble."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.foreign.environments import Environment
from tests.foreign.misbehaving import CLASHING, GUARDS, HARMLESS, MISBEHAVING, Misbehaving, wheels_of

pytestmark = pytest.mark.slow  # every test runs programs of its own

TEAM = """
    [agents.Clerk]
    model = "scripted"

    [plugins.models]
    replies = ["done"]
"""
OWN_AGENT = """
    import trio
    from marsys import Orchestra, agent

    @agent
    async def Clerk(prompt):
        return f"{prompt}: done"

    async def main():
        print((await Orchestra.run("work", "Clerk")).unwrap())

    trio.run(main)
"""


@pytest.fixture(scope="module")
def everything_wrong(
    new_environment: Callable[[], Environment], tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    environment = new_environment()
    environment.install(*wheels_of(MISBEHAVING | HARMLESS, tmp_path_factory.mktemp("wheels")))
    return environment


@pytest.fixture(scope="module")
def listed(everything_wrong: Environment) -> dict[str, Any]:
    """The records, by distribution."""
    ran = everything_wrong.marsys("plugins", "--json")
    assert ran.code == 0
    return {each["distribution"]: each for each in json.loads(ran.out)["plugins"]}


@pytest.mark.parametrize(("name", "expected"), (MISBEHAVING | HARMLESS).items(), ids=MISBEHAVING | HARMLESS)
def test_the_listing_says_what_became_of_it_and_why(
    listed: dict[str, Any], name: str, expected: Misbehaving
) -> None:
    record = listed[name]
    assert (record["status"], record["reason"]) == (expected.status, expected.reason)
    assert record["name"] == (expected.plugin or name)


def test_the_table_says_the_same_in_one_line_each(everything_wrong: Environment) -> None:
    ran = everything_wrong.marsys("plugins")
    rows = {cells[2]: cells for line in ran.out.splitlines() if (cells := line.split(None, 4))}
    for name, expected in (MISBEHAVING | HARMLESS).items():
        assert rows[name][:4] == [expected.plugin or name, expected.status, name, "1.0"]
        assert rows[name][4].strip() == (expected.reason or "marsys_models")


def test_the_check_names_them_all_at_once_and_nothing_else(everything_wrong: Environment) -> None:
    ran = everything_wrong.marsys("plugins", "check")
    assert (ran.code, ran.out) == (1, "")
    assert sorted(ran.err.splitlines()) == sorted(
        ["hello from the plugin"]
        + [
            f"plugin {name!r} is {each.status}: {each.reason} ({name} 1.0)"
            for name, each in MISBEHAVING.items()
        ]
    )


def test_the_check_fails_for_each_of_them_alone_and_passes_without_them(
    everything_wrong: Environment,
) -> None:
    ran = everything_wrong.python(f"""
        from marsys.cli.process import run_process

        for name in {list(MISBEHAVING)}:
            print(name, run_process(["-p", name, "plugins", "check"]))
        blocked = [word for name in {list(MISBEHAVING)} for word in ("-p", "no:" + name)]
        print("the others", run_process([*blocked, "plugins", "check"]))
    """)
    *alone, said, others = ran.out.splitlines()
    assert alone == [f"{name} 1" for name in MISBEHAVING]
    assert said.endswith(" not, none of them broken or incompatible")
    assert others == "the others 0"
    assert ran.err.splitlines() == [
        *(
            f"plugin {name!r} is {each.status}: {each.reason} ({name} 1.0)"
            for name, each in MISBEHAVING.items()
        ),
        "hello from the plugin",
    ]


def test_a_run_with_standard_parts_goes_as_if_they_were_not_there(
    everything_wrong: Environment, tmp_path: Path
) -> None:
    ran = everything_wrong.marsys("run", write_team(tmp_path, TEAM), "--task", "work", "-q")
    assert (ran.code, ran.out) == (0, "done\n")


def test_a_program_without_plugins_of_anybody_runs_and_only_the_printing_one_is_heard(
    everything_wrong: Environment,
) -> None:
    ran = everything_wrong.python(OWN_AGENT)
    assert (ran.code, ran.out, ran.err) == (0, "hello from the plugin\nwork: done\n", "")


def test_whoever_asks_for_what_is_not_loaded_is_told_why_it_may_be_missing(
    everything_wrong: Environment, tmp_path: Path
) -> None:
    ran = everything_wrong.marsys(
        "run", write_team(tmp_path, TEAM.replace("scripted", "bad-api")), "--task", "work"
    )
    assert ran.code == 2
    told = ran.err.partition("  - no model provider is called 'bad-api'; there are: ")[2]
    assert {"extractive", "printing", "scripted", "twin-a"} < set(told.partition(".")[0].split(", "))
    assert told.partition(". The ")[2].startswith(
        "plugin 'bad-api' is incompatible: written for plugin API 99; this engine speaks 1 to 1 @ $.agents.Clerk.model\n"
    )


def test_in_strict_mode_one_that_ends_the_process_is_an_error_like_any_other(
    everything_wrong: Environment,
) -> None:
    ran = everything_wrong.python("""
        from marsys_core.errors import PluginError
        from marsys_core.plugins import PluginSettings, compose

        for name in ("bad-exit", "bad-hook-exit"):
            try:
                compose(PluginSettings(only=[name], strict=True))
            except PluginError as error:
                print(error, *error.__notes__, repr(error.__cause__), sep="; ")
    """)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "it called sys.exit(0); while loading plugin 'bad-exit' from bad-exit 1.0; SystemExit(0)",
        "it called sys.exit('enough'); while loading plugin 'bad-hook-exit' from bad-hook-exit 1.0; SystemExit('enough')",
    ]


def test_a_name_that_is_taken_is_an_error_until_somebody_chooses(
    new_environment: Callable[[], Environment], tmp_path: Path
) -> None:
    problems = [
        "  - model provider 'extractive' is declared by 'models' (marsys-core 0.1.0) and 'clash-standard' "
        "(clash-standard 1.0)",
        "  - model provider 'acme' is declared by 'clash-left' (clash-left 1.0) and 'clash-right' (clash-right 1.0)",
        "Say in the team file which one is meant, for example:",
        "",
        "    [plugins.prefer]",
        '    "model.extractive" = "models"',
        '    "model.acme" = "clash-left"',
    ]
    preferring = (
        '\n    [plugins.prefer]\n    "model.extractive" = "models"\n    "model.acme" = "clash-right"\n'
    )
    environment = new_environment()
    environment.install(*wheels_of(CLASHING, tmp_path))
    listed = environment.marsys("plugins")
    checked = environment.marsys("plugins", "check")
    refused = environment.marsys("run", write_team(tmp_path, TEAM), "--task", "work", "-q")
    chosen = environment.marsys("run", write_team(tmp_path, TEAM + preferring), "--task", "work", "-q")

    assert listed.code == 1
    assert {line.split()[2] for line in listed.out.splitlines()} == {"marsys-core", *CLASHING}
    assert listed.err.splitlines() == ["marsys: PluginError: plugins do not fit together:", *problems]
    assert (checked.code, checked.out) == (1, "")
    assert checked.err.splitlines() == ["marsys: plugins do not fit together:", *problems]
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines()[1:] == problems
    assert (chosen.code, chosen.out) == (0, "done\n")


def test_without_a_guard_that_is_broken_nothing_runs_until_somebody_blocks_it(
    new_environment: Callable[[], Environment], tmp_path: Path
) -> None:
    environment = new_environment()
    environment.install(*wheels_of(GUARDS, tmp_path))
    checked = environment.marsys("plugins", "check")
    refused = environment.marsys("run", write_team(tmp_path, TEAM), "--task", "work", "-q")
    blocked = environment.marsys(
        "-p", "no:bad-guard", "run", write_team(tmp_path, TEAM), "--task", "work", "-q"
    )

    cause = "plugin 'bad-guard' is broken: RuntimeError: no key for the guard"
    refusal = (
        f"{cause}. It holds guards, and without them the engine does not start; mend it, or block 'bad-guard'"
    )
    assert (checked.code, checked.out) == (1, "")
    assert checked.err.splitlines() == [f"{cause} (bad-guard 1.0)", f"marsys: {refusal}"]
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.splitlines()[1:] == [f"  - {refusal}"]
    assert (blocked.code, blocked.out) == (0, "done\n")


def write_team(folder: Path, text: str) -> Path:
    path = folder / "team.toml"
    path.write_text(text, encoding="utf-8")
    return path
