"""The reference pages list what there is: members, events, keys of team files, options of commands."""

import inspect
import re
import tomllib
import typing

import attrs
import click
import pytest

from marsys.cache.plugin import CacheSettings
from marsys.cli import process, team, team_agents, team_pools, team_topology
from marsys.cli.group import marsys
from marsys.expressions.plugin import ExpressionSettings
from marsys.memory.plugin import WindowSettings
from marsys.models.plugin import ExtractiveSettings, ScriptedSettings
from marsys.search.plugin import SearchSettings
from marsys.security.plugin import InputSizeSettings
from marsys_core import events
from marsys_core.context import Context
from marsys_core.errors import ModelErrorKind
from marsys_core.models import FinishReason, ModelRequest, ModelResponse, Sampling
from marsys_core.plugins import knobs
from marsys_core.topology import Node
from tests.docs.pages import ROOT, blocks

SETTINGS = {
    "search": [SearchSettings],
    "models": [ExtractiveSettings, ScriptedSettings],
    "memory": [WindowSettings],
    "cache": [CacheSettings],
    "expressions": [ExpressionSettings],
    "security": [InputSizeSettings],
}


def section(page: str, title: str = "") -> str:
    """Return a page, or what stands in it below a heading and before the next one."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    if not title:
        return text
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[2]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of all tables that begin with code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def first_cells(text: str) -> list[str]:
    return [row[0].strip(" `") for row in rows(text)]


def signature(name: str) -> str:
    """Return a method of `Context` as the page has it: without types, and with its `await`."""
    method = getattr(Context, name)
    given = inspect.signature(method)
    plain = [each.replace(annotation=each.empty) for each in given.parameters.values() if each.name != "self"]
    wait = "await " if inspect.iscoroutinefunction(method) else ""
    return f"{wait}{name}{inspect.Signature(plain)}"


def test_every_attribute_of_the_context_is_listed():
    data = [name for name in typing.get_type_hints(Context, localns=vars(typing)) if name[0] != "_"]
    properties = [name for name, each in vars(Context).items() if isinstance(each, property)]

    assert first_cells(section("reference/context.md", "What it says")) == data + properties


def test_every_method_of_the_context_is_listed_with_its_arguments():
    methods = [name for name, each in vars(Context).items() if name[0] != "_" and inspect.isfunction(each)]

    assert first_cells(section("reference/context.md", "What it does")) == [
        "context[key]",
        *map(signature, methods),
    ]


def test_every_argument_of_generate_is_listed():
    _, *arguments = inspect.signature(Context.generate).parameters

    assert first_cells(section("reference/context.md", "Ask a model")) == arguments


@pytest.mark.parametrize(
    ("title", "cls"), [("What it is asked", ModelRequest), ("What it answers", ModelResponse)]
)
def test_every_field_of_a_request_and_of_a_response_is_listed(title, cls):
    assert first_cells(section("how-to/models.md", title)) == [field.name for field in attrs.fields(cls)]


def test_every_kind_of_model_error_is_listed_once():
    table = rows(section("how-to/models.md", "When it fails"))[1:]
    listed = [name for row in table for name in re.findall(r"`(\w+)`", row[0])]

    assert sorted(listed) == sorted(kind.name for kind in ModelErrorKind)


def test_every_way_to_sample_and_to_finish_is_named():
    asked, answered = (section("how-to/models.md", f"What it {does}") for does in ("is asked", "answers"))

    assert [field.name for field in attrs.fields(Sampling) if f"`{field.name}`" not in asked] == []
    assert [reason.name for reason in FinishReason if f"`{reason.name}`" not in answered] == []


def test_every_kind_of_event_is_listed_with_its_fields():
    common = [field.name for field in attrs.fields(events.Event)]
    text = section("reference/events.md")
    listed = {row[0].strip(" `"): re.findall(r"`(\w+)`", row[1]) for row in rows(text) if row[0][1].isupper()}
    fields = {
        name: [field.name for field in attrs.fields(cls) if field.name not in common]
        for name, cls in events.KINDS.items()
    }

    assert first_cells(section("reference/events.md", "What all of them have")) == common
    assert listed == fields


@pytest.mark.parametrize(
    ("title", "keys"),
    [
        ("The tables", {*team._KEYS}),
        ("`[agents.NAME]`", {*team_agents._AGENT}),
        ("`[agents.NAME.pool]`", {*team_pools._KEYS}),
        ("`[topology]`", {*team_topology._KEYS}),
        ("`[topology.nodes.NAME]`", {field.name for field in attrs.fields(Node)} - {"name"}),
    ],
)
def test_every_key_of_a_team_file_is_listed(title, keys):
    listed = first_cells(section("reference/team-file.md", title))

    assert set(listed) == keys
    assert len(listed) == len(keys)


def test_every_key_of_the_plugins_table_and_every_setting_of_the_standard_plugins_is_listed():
    table = rows(section("reference/team-file.md", "`[plugins]`"))
    keys = [row[0].strip(" `") for row in table if len(row) == 2]
    settings = {row[0].strip(" `"): row[1].strip("`") for row in table if len(row) == 3}

    assert keys == list(knobs._KEYS)
    assert settings == {
        f"{plugin}.{field.name}": "" if field.default is attrs.NOTHING else str(field.default)
        for plugin, classes in SETTINGS.items()
        for cls in classes
        for field in attrs.fields(cls)
    }


def test_every_setting_that_is_a_place_is_told_to_be_relative_to_the_file():
    text = section("reference/team-file.md", "Relative folders")

    assert [key for key in team._PLACES if f"`{key}`" not in text] == []


@pytest.mark.parametrize("text", [each.text for each in blocks(section("reference/team-file.md"))])
def test_the_pieces_of_team_files_on_the_page_can_be_read(text):
    data = tomllib.loads(text)
    names = set(re.findall(r"Desk|Facts|Tone|Final", text)) or {"Desk"}
    data.setdefault("agents", {name: {"model": "scripted"} for name in sorted(names)})

    assert team.team_from(data, folder=ROOT / "examples").agents.keys() == data["agents"].keys()


def options(command: click.Command) -> set[str]:
    given = (each for each in command.params if isinstance(each, click.Option))
    return {name for each in given for name in each.opts if name.startswith("-")}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Options before the command", ""),
        ("`marsys run TEAM`", "run"),
        ("`marsys chat TEAM`", "chat"),
        ("`marsys new FOLDER`", "new"),
        ("`marsys topology TEAM`", "topology"),
        ("`marsys plugins`", "plugins"),
        ("`marsys doctor`", "doctor"),
    ],
)
def test_every_option_of_a_command_is_listed(title, name):
    with marsys.make_context("marsys", ["doctor"]) as context:
        command = marsys.get_command(context, name) if name else marsys
    assert command is not None
    cells = "\n".join(row[0] for row in rows(section("reference/command-line.md", title)))

    assert set(re.findall(r"`(--?[\w-]+)", cells)) - {"-h", "--help"} == options(command)


def test_every_command_has_a_heading():
    with marsys.make_context("marsys", ["doctor"]) as context:
        commands = marsys.list_commands(context)
    headings = re.findall(r"^## `marsys (\w+)", section("reference/command-line.md"), re.MULTILINE)

    assert sorted(headings) == commands


def test_the_exit_codes_are_those_of_the_process():
    text = section("reference/command-line.md", "Exit codes")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}

    assert listed == {0, process._FAILED, process._MISTAKE, process._BROKEN_PIPE, 128 + 2, 128 + 15}
