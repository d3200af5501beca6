"""What strangers' plugins can do while they are installed, and what is left when they are gone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import marsys
import marsys_core
from tests.foreign.environments import Environment
from tests.foreign.wheels import build_wheel, folder_of_files

pytestmark = pytest.mark.slow  # every test runs programs of its own

DISTRIBUTIONS = Path(__file__).with_name("distributions")

TEAM = """
    [agents.Clerk]
    model = "acme-loud"
    tools = ["acme_serial"]
    memory = "acme-label"

    [agents.Porter]
    model = "acme-loud"

    [topology]
    pattern = "acme_relay"
    agents = ["Clerk", "Porter"]

    [plugins.acme-watch]
    stamp = "(acme)"
"""


def our_code() -> str:
    """Return a digest of every module of ours."""
    digest = hashlib.sha256()
    for package in (marsys_core, marsys):
        for path, text in folder_of_files(Path(str(package.__file__)).parent).items():
            digest.update(f"{path}\0{text}\0".encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What a third party has built."""
    folder = tmp_path_factory.mktemp("acme")
    files = folder_of_files(DISTRIBUTIONS)
    return [
        build_wheel(
            folder,
            name,
            {path: text for path, text in files.items() if path.startswith(f"{module}/")},
            {name: f"{module}.plugin"},
        )
        for name, module in (("acme-parts", "acme_parts"), ("acme-watch", "acme_watch"))
    ]


@pytest.fixture(scope="module")
def installed(new_environment: Callable[[], Environment], wheels: list[Path]) -> Environment:
    environment = new_environment()
    environment.install(*wheels)
    return environment


def test_the_listing_shows_them_and_nothing_is_wrong(installed: Environment) -> None:
    ran = installed.marsys("--strict-plugins", "plugins")
    rows = [line.split(None, 4) for line in ran.out.splitlines() if line.startswith("acme")]
    assert rows == [
        ["acme-parts", "loaded", "acme-parts", "1.0", "marsys_commands, marsys_models, marsys_tools, marsys_topologies"],
        ["acme-watch", "loaded", "acme-watch", "1.0", "marsys_event_sinks, marsys_guards, marsys_memory, marsys_middleware"],
    ]  # fmt: skip
    assert (ran.code, ran.err) == (0, "")


def test_the_listing_in_json_has_all_that_is_known(installed: Environment) -> None:
    data = json.loads(installed.marsys("plugins", "--json").out)
    (record,) = (each for each in data["plugins"] if each["name"] == "acme-parts")
    assert record.pop("import_seconds") > 0
    assert Path(record.pop("path")).samefile(installed.packages / "acme_parts" / "plugin.py")
    assert record == {
        "name": "acme-parts",
        "status": "loaded",
        "distribution": "acme-parts",
        "version": "1.0",
        "target": "acme_parts.plugin",
        "hooks": ["marsys_commands", "marsys_models", "marsys_tools", "marsys_topologies"],
        "reason": "",
        "knob": "",
    }
    declared = {
        kind: [each["name"] for each in names if each["plugin"].startswith("acme")]
        for kind, names in data["providers"].items()
    }
    assert {kind: names for kind, names in declared.items() if names} == {
        "model": ["acme-loud"],
        "tool": ["acme_serial"],
        "memory": ["acme-label"],
        "topology": ["acme_relay"],
        "guard": ["acme-word"],
        "event sink": ["acme-count"],
        "command": ["acme"],
    }  # the middleware is there once its setting is


def test_a_team_file_names_its_parts_and_has_settings_for_it(installed: Environment, tmp_path: Path) -> None:
    ran = installed.marsys("run", write_team(tmp_path, TEAM), "--task", "engine", "-q")
    # The tool answered, each agent shouted, and the middleware put its stamp after both answers.
    assert (ran.code, ran.out) == (0, "ENGINE HAS NUMBER 6! (ACME)! (acme)\n")


def test_its_guard_refuses_a_task(installed: Environment, tmp_path: Path) -> None:
    ran = installed.marsys("run", write_team(tmp_path, TEAM), "--task", "some dynamite", "-q")
    assert (ran.code, ran.out) == (1, "")
    assert "marsys: the run failed: GuardRefused: a task may not speak of dynamite\n" in ran.err


def test_its_command_runs_with_its_own_options(installed: Environment) -> None:
    ran = installed.marsys("acme", "--prefix", "acme")
    assert (ran.code, ran.out, ran.err) == (0, "acme-loud\n", "")


def test_a_program_uses_its_model_its_pattern_its_memory_and_its_sink(installed: Environment) -> None:
    ran = installed.python("""
        import trio
        from acme_watch.parts import Counter
        from marsys import Agent, Orchestra, PatternConfig
        from marsys.models.scripted import ScriptedModel

        print(*(f"{edge.source}-{edge.target}" for edge in PatternConfig.acme_relay(agents="ABC").edges))
        print("acme_relay" in dir(PatternConfig), "pipeline" in dir(PatternConfig))

        async def once():
            result = await Orchestra.run("engine", "Loud", agents=[Agent("Loud", model="acme-loud")])
            print(result.unwrap())

        async def twice():
            script = ScriptedModel(lambda request: f"shown {[message.text for message in request.messages]}")
            agents = [Agent("Clerk", model=script, memory="acme-label")]
            async with Orchestra(agents=agents, sinks=["acme-count"]) as orchestra:
                topology = orchestra.patterns.acme_relay(["Clerk"])
                for task in ("a nut", "a bolt"):
                    print((await orchestra.execute(task, topology)).unwrap())
            print(Counter.steps, "steps")

        trio.run(once)
        trio.run(twice)
    """)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "A-B B-C",
        "True True",
        "ENGINE!",
        "shown [\"this is acme's\", 'a nut']",
        "shown [\"this is acme's\", 'a bolt']",
        "2 steps",
    ]


def test_where_one_is_blocked_whoever_needs_it_is_told_so(installed: Environment, tmp_path: Path) -> None:
    ran = installed.marsys("-p", "no:acme-parts", "run", write_team(tmp_path, TEAM), "--task", "engine")
    assert (ran.code, ran.out) == (2, "")
    blocked = "It may be in what is not loaded: plugin 'acme-parts' is blocked: by -p no:acme-parts"
    assert ran.err.count(blocked) == 1  # said once, for the first of the names that it explains
    assert "  - no tool is called 'acme_serial'; there are: search. @ $.agents.Clerk.tools[0]\n" in ran.err


def test_once_uninstalled_they_are_gone_and_whoever_asks_is_told_what_there_is(
    new_environment: Callable[[], Environment], wheels: list[Path], tmp_path: Path
) -> None:
    environment = new_environment()
    before = environment.files(), our_code()
    environment.install(*wheels)
    used = environment.marsys("acme", "--prefix", "acme")
    environment.uninstall("acme-parts", "acme-watch")
    listed = environment.marsys("plugins")
    asked = environment.marsys("run", write_team(tmp_path, TEAM), "--task", "engine")
    commanded = environment.marsys("acme")
    after = environment.files(), our_code()

    assert used.out == "acme-loud\n"
    assert (listed.code, "acme" in listed.out, listed.err) == (0, False, "")
    assert (asked.code, asked.out) == (2, "")
    assert _shortened(asked.err).splitlines()[1:] == [
        "  - there is no plugin called 'acme-watch' @ $.plugins.acme-watch.",
        "  - no model provider is called 'acme-loud'; there are: .... @ $.agents.Clerk.model",
        "  - no memory provider is called 'acme-label'; there are: conversation, window. @ $.agents.Clerk.memory",
        "  - no tool is called 'acme_serial'; there are: search. @ $.agents.Clerk.tools[0]",
        "  - no model provider is called 'acme-loud'; there are: .... @ $.agents.Porter.model",
        "  - no pattern is called 'acme_relay'; there are: broadcast, debate, hierarchical, hub_and_spoke, map_reduce, "
        "mesh, pipeline, ring, star. @ $.topology.pattern",
    ]
    assert commanded.code == 2
    known = commanded.err.partition("no command is called 'acme'; there are: ")[2].splitlines()[0]
    assert {"chat", "resume", "run"} < set(known.rstrip(".").split(", "))
    assert after == before


def test_a_name_that_is_nearly_one_of_a_stranger_brings_up_the_nearest(installed: Environment) -> None:
    ran = installed.python("""
        import trio
        from marsys import Agent, Orchestra, PatternConfig

        async def run():
            await Orchestra.run("engine", "Loud", agents=[Agent("Loud", model="acme-lout")])

        for ask in (lambda: PatternConfig.acme_rely, lambda: trio.run(run)):
            try:
                ask()
            except Exception as error:
                print(f"{type(error).__name__}: {error}")
    """)
    assert (ran.code, ran.err) == (0, "")
    assert _shortened(ran.out).splitlines() == [
        "UnknownName: no pattern is called 'acme_rely'; there are: acme_relay, broadcast, debate, hierarchical, "
        "hub_and_spoke, map_reduce, mesh, pipeline, ring, star. Did you mean 'acme_relay'?",
        "UnknownName: no model provider is called 'acme-lout'; there are: .... "
        "Did you mean 'acme-loud'? (agent 'Loud')",
    ]


def _shortened(text: str) -> str:
    """Return messages without the names of all models."""
    listed = (
        r"(no model provider is called '[\w-]+'; there are: )[a-z, -]+\.(?: Did you mean 'ollama-cloud'\?)?"
    )
    return re.sub(listed, r"\1....", text)


def write_team(folder: Path, text: str) -> Path:
    path = folder / "team.toml"
    path.write_text(text, encoding="utf-8")
    return path
