from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import marsys.cli
import marsys_core
from marsys.cli import Knobs, main
from tests.plugins.cli.conftest import Call, Site

ADDED = """
    from marsys_core import hookimpl
    from marsys_core.protocols.command import Command

    @hookimpl
    def marsys_commands():
        return [
            Command("greet", "Say hello.", target="marsys_greet_command:greet"),
            Command("gone", "It is not there.", target="marsys_greet_nowhere:gone"),
            Command("odd", "It is no command.", target="marsys_greet_command:number"),
            Command("count", "Count the arguments.", "marsys_greet_command:count"),
            Command("fine", "Take none.", "marsys_greet_command:fine"),
            Command("run", "It is taken.", target="marsys_greet_command:greet"),
        ]
"""
COMMAND = """
    import click

    number = 3

    @click.command()
    @click.pass_obj
    def greet(knobs):
        click.echo(f"hello, {knobs.over().block}")

    def count(arguments):
        print(arguments)
        return len(arguments)

    def fine():
        print("fine")
"""


@pytest.fixture
def greeting(site: Site) -> None:
    site.add("marsys-greet", plugin=ADDED)
    import textwrap

    (site.path / "marsys_greet_command.py").write_text(textwrap.dedent(COMMAND))


def test_the_help_lists_the_commands(call: Call) -> None:
    said = call("--help")
    assert said.code == 0
    for line in (
        "  doctor    Say what is wrong with this installation.",
        "  plugins   List the plugins and say what became of each.",
        "  run       Run a team of agents on a task.",
        "  topology  Draw who may invoke whom.",
    ):
        assert line in said.out.splitlines()


def test_the_help_lists_commands_of_plugins_without_importing_them(call: Call, greeting: None) -> None:
    said = call("-h")
    assert "  greet     Say hello." in said.out.splitlines()
    assert "marsys_greet_command" not in sys.modules


def test_a_plugin_adds_a_command_which_is_handed_the_knobs(call: Call, greeting: None) -> None:
    said = call("-p", "no:memory", "greet")
    assert (said.code, said.out, said.err) == (0, "hello, ('memory',)\n", "")


def test_a_command_that_cannot_be_imported_says_which_and_why(call: Call, greeting: None) -> None:
    said = call("gone")
    assert said.code == 2
    assert said.err == (
        "marsys: command 'gone' cannot be imported from 'marsys_greet_nowhere:gone': "
        "ModuleNotFoundError: No module named 'marsys_greet_nowhere'\n"
    )


def test_a_command_that_is_no_click_command_is_refused(call: Call, greeting: None) -> None:
    said = call("odd")
    assert said.code == 2
    assert (
        said.err
        == "marsys: command 'odd' is 'marsys_greet_command:number', which is no function and no click command: 3\n"
    )


def test_a_plain_function_is_a_command_too(call: Call, greeting: None) -> None:
    said = call("count", "a", "--b", "c")
    assert (said.code, said.out) == (3, "['a', '--b', 'c']\n")
    assert (call("fine").code, call("fine").out) == (0, "fine\n")


def test_no_plugin_takes_the_place_of_a_standard_command(call: Call, greeting: None) -> None:
    assert "--task" in call("run", "--help").out


def test_an_unknown_command_suggests_the_nearest(call: Call) -> None:
    said = call("topolgy")
    assert said.code == 2
    assert said.err.endswith(
        "Error: no command is called 'topolgy'; there are: answer, chat, diff, doctor, fork, new, plugins, resume, run, runs, "
        "show, store, topology. Did you mean 'topology'?\n"
    )


def test_an_unknown_option_is_a_mistake_in_the_call(call: Call) -> None:
    assert call("run", "--taks", "x").code == 2


def test_the_version_is_that_of_the_core(call: Call) -> None:
    said = call("--version")
    assert (said.code, said.out) == (0, f"marsys {marsys_core.__version__}\n")


def test_without_a_command_the_help_is_shown(call: Call) -> None:
    said = call()
    assert said.code == 2
    assert "Commands:" in said.err + said.out


def test_a_wrong_environment_does_not_keep_the_help_from_showing(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARSYS_STRICT_PLUGINS", "perhaps")
    said = call("--help")
    assert said.code == 0
    assert "doctor" in said.out
    assert said.err == "marsys: MARSYS_STRICT_PLUGINS='perhaps' is neither '1' nor '0'\n"


def test_knobs_that_contradict_each_other_are_refused(call: Call) -> None:
    said = call("--no-plugins", "-p", "memory", "plugins")
    assert said.code == 2
    assert said.err == "marsys: --no-plugins and -p memory contradict each other; leave one out\n"


@pytest.mark.parametrize("name", ["", "no:", " no: "])
def test_a_knob_without_a_name_is_refused(call: Call, name: str) -> None:
    said = call("-p", name, "plugins")
    assert said.code == 2
    assert said.err == (
        "marsys: -p needs the name of a plugin, as in -p NAME or -p no:NAME; 'marsys plugins' lists them\n"
    )


def test_the_command_line_is_stronger_than_the_environment_and_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from marsys_core.plugins import PluginSettings

    monkeypatch.setenv("MARSYS_PLUGINS", "models,search")
    monkeypatch.setenv("MARSYS_BLOCK_PLUGINS", "status")
    settings = Knobs(names=("memory", "no: cache"), strict=True).over(PluginSettings(block=("health",)))
    assert settings.only == ("memory",)
    assert settings.block == ("health", "status", "cache")
    assert settings.strict
    assert [settings.block_knob(name) for name in settings.block] == [
        "plugins.block",
        "MARSYS_BLOCK_PLUGINS",
        "-p no:cache",
    ]


def test_importing_the_package_imports_no_command() -> None:
    code = (
        "import sys, marsys.cli.plugin; print(sorted({'click', 'trio', 'rich', 'json'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # marsys_core.protocols.command needs attrs and nothing else.
    assert done.stdout.strip() in ("[]", "['json']")


def test_the_end_of_the_process_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from marsys.cli import process

    def interrupted() -> int:
        raise KeyboardInterrupt

    outcomes: list[Any] = [lambda: 7, interrupted]
    codes = []
    monkeypatch.setattr(process, "shut_ears", lambda: None)
    for outcome in outcomes:
        monkeypatch.setattr(process, "run_process", outcome)
        with pytest.raises(SystemExit) as raised:
            main()
        codes.append(raised.value.code)
    assert codes == [7, 130]


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match=r"^module 'marsys\.cli' has no attribute 'nothing'$"):
        _ = marsys.cli.nothing


def test_an_unknown_command_of_a_group_is_answered_as_at_the_top(call: Call) -> None:
    said = call("plugins", "chekc")
    assert said.code == 2
    assert said.err.endswith(
        "Error: no command is called 'chekc'; there are: check, trace. Did you mean 'check'?\n"
    )
