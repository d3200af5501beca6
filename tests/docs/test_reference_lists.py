"""The reference pages list what there is: members, events, keys of team files, options of commands."""

import inspect
import json
import re
import tomllib
import typing

import attrs
import click
import pytest

from marsys.cache.plugin import CacheSettings
from marsys.cli import carry, process, response, team, team_agents, team_pools, team_topology
from marsys.cli.group import marsys
from marsys.cli.store import store
from marsys.expressions.plugin import ExpressionSettings
from marsys.keys.plugin import KeySettings
from marsys.memory.plugin import WindowSettings
from marsys.models.plugin import ExtractiveSettings, ScriptedSettings
from marsys.people import QueueChannel
from marsys.search.plugin import SearchSettings
from marsys.security.plugin import InputSizeSettings
from marsys.storage.plugin import StorageSettings
from marsys_core import actions, events
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Team
from marsys_core.agents.agent import RESERVED
from marsys_core.agents.function import ContractOptions
from marsys_core.agents.pool import AgentPool, PoolStatistics
from marsys_core.agents.reserved import read_reserved, reserved_specs
from marsys_core.context import Context
from marsys_core.embed import EngineThread, RunFuture
from marsys_core.errors import ModelErrorKind
from marsys_core.messages import ToolCall
from marsys_core.models import FinishReason, ModelRequest, ModelResponse, Sampling
from marsys_core.options import RunOptions
from marsys_core.orchestra import Orchestra
from marsys_core.orchestrator import Offer
from marsys_core.plugins import knobs
from marsys_core.questions import Question
from marsys_core.results import BranchResult, RunResult
from marsys_core.run import Run
from marsys_core.tools import ToolContext, tool
from marsys_core.topology import Node
from tests.docs.pages import ROOT, blocks

API = "reference/api.md"
SETTINGS = {
    "search": [SearchSettings],
    "models": [ExtractiveSettings, ScriptedSettings],
    "memory": [WindowSettings],
    "keys": [KeySettings],
    "cache": [CacheSettings],
    "expressions": [ExpressionSettings],
    "security": [InputSizeSettings],
    "storage": [StorageSettings],
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


def signature(name: str, cls: type = Context, hidden: tuple[str, ...] = ("self", "cls")) -> str:
    """Return a method of a class as the page has it: without types, and with its `await`."""
    method = getattr(cls, name)
    given = inspect.signature(method)
    plain = [
        each.replace(annotation=each.empty) for each in given.parameters.values() if each.name not in hidden
    ]
    wait = "await " if inspect.iscoroutinefunction(method) else ""
    return f"{wait}{name}{inspect.Signature(plain)}"


def properties(cls: type) -> list[str]:
    return [name for name, each in vars(cls).items() if isinstance(each, property) and name[0] != "_"]


def methods(cls: type) -> list[str]:
    own = {
        name for name, each in vars(cls).items() if isinstance(each, classmethod) or inspect.isfunction(each)
    }
    return [name for name in vars(cls) if name in own and name[0] != "_"]


def arguments(function: object) -> list[str]:
    """Return the names of what a function takes, without those that stand for any number."""
    given = inspect.signature(function).parameters.values()  # type: ignore[arg-type]  # also a class
    return [each.name for each in given if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)]


def in_class(text: str, *, calls: bool) -> list[str]:
    """Return the first cells that are calls, or those that are not."""
    return [cell for cell in first_cells(text) if cell.endswith(")") is calls]


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
        ("`marsys resume ID`", "resume"),
        ("`marsys fork ID`", "fork"),
        ("`marsys runs`", "runs"),
        ("`marsys show ID`", "show"),
        ("`marsys diff A B`", "diff"),
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


def test_every_part_of_the_store_command_is_listed_with_its_options():
    table = section("reference/command-line.md", "`marsys store`")
    listed = {
        re.sub(r"^`marsys store (\w+).*", r"\1", first): set(re.findall(r"(--[\w-]+)", first))
        for first in (row[0] for row in rows(table))
    }

    assert listed == {name: options(each) - {"--storage"} for name, each in store.commands.items()}


def test_every_command_has_a_heading():
    with marsys.make_context("marsys", ["doctor"]) as context:
        commands = marsys.list_commands(context)
    headings = re.findall(r"^## `marsys (\w+)", section("reference/command-line.md"), re.MULTILINE)

    assert sorted(headings) == commands


def test_the_exit_codes_are_those_of_the_process():
    text = section("reference/command-line.md", "Exit codes")
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}

    ends = {0, process._FAILED, process._MISTAKE, process._BROKEN_PIPE, carry._RESTING, 128 + 2, 128 + 15}
    assert listed == ends


@pytest.mark.parametrize(
    ("page", "title", "names"),
    [
        (API, "Orchestra", arguments(Orchestra)),
        (API, "Options of a run", list(RunOptions.__annotations__)),
        (API, "BaseAgent", arguments(BaseAgent)),
        (API, "agent", ["name", "description", *ContractOptions.__annotations__]),
        (API, "Team", arguments(Team)),
        (API, "BranchResult", [field.name for field in attrs.fields(BranchResult)]),
        (API, "Question", [field.name for field in attrs.fields(Question)]),
        (API, "ToolContext", properties(ToolContext)),
        (API, "QueueChannel", properties(QueueChannel)),
        ("how-to/agents.md", "A pool of agents", arguments(AgentPool)),
        ("how-to/people.md", "Ask people", [field.name for field in attrs.fields(actions.AskUser)][:-1]),
        ("reference/tools.md", "`tool`", arguments(tool)[1:]),
    ],
    ids=lambda given: "" if isinstance(given, list) else given,
)
def test_every_argument_and_field_is_listed(page, title, names):
    assert in_class(section(page, title), calls=False) == names


def test_every_argument_of_an_agent_is_listed_once_beside_those_of_a_base_agent():
    listed = first_cells(section(API, "Agent"))

    assert {*listed, *arguments(BaseAgent)} == {*arguments(Agent)}
    assert not {*listed} & {*arguments(BaseAgent)}


def test_agent_functions_take_what_the_page_says():
    assert arguments(FunctionAgent)[1:] == ["name", "description"]
    assert inspect.signature(FunctionAgent).parameters["contract"].annotation == "Unpack[ContractOptions]"


@pytest.mark.parametrize("cls", [Orchestra, BaseAgent, Team, QueueChannel, Question, ToolContext])
def test_every_method_is_listed_with_its_arguments(cls):
    title = "BaseAgent" if cls is BaseAgent else cls.__name__
    hidden = ("ask",)  # what the engine calls

    assert in_class(section(API, title), calls=True) == [
        signature(name, cls) for name in methods(cls) if name not in hidden
    ]


def test_every_member_of_a_run_is_listed():
    listed = first_cells(section(API, "Run"))

    assert {re.sub(r"^await |\(.*", "", cell) for cell in listed} == {"id", *properties(Run), *methods(Run)}
    assert signature("answer", Run) in listed
    assert re.findall(r"`(\w+)`", rows(section(API, "Run"))[1][1]) == re.findall(
        r"``(\w+)``", Run.status.__doc__ or ""
    )


@pytest.mark.parametrize("cls", [EngineThread, RunFuture])
def test_every_member_for_plain_code_is_listed_with_its_arguments(cls):
    listed = first_cells(section(API, cls.__name__))
    own = {"run_id"} if cls is RunFuture else set()

    assert set(listed) == {*own, *properties(cls), *[signature(name, cls) for name in methods(cls)]}


def test_every_member_of_a_result_is_listed():
    listed = first_cells(section(API, "RunResult"))

    assert sorted(listed) == sorted(
        [*(field.name for field in attrs.fields(RunResult)), *properties(RunResult), "unwrap()"]
    )


def test_every_member_of_a_pool_is_listed():
    listed = {re.sub(r"^await |\(.*", "", cell) for cell in first_cells(section(API, "AgentPool"))}
    text = section(API, "AgentPool")
    own = {"lease", "warm_up"}  # what the engine calls

    assert listed == {*methods(AgentPool), "instances"} - own
    assert [field.name for field in attrs.fields(PoolStatistics) if f"`{field.name}`" not in text] == []


def test_every_action_is_listed_with_its_arguments():
    made = {cls for cls in vars(actions).values() if inspect.isclass(cls) and issubclass(cls, actions.Action)}
    inner = {actions.Action, actions.Content, actions.CallTools, actions.Malformed}
    expected = [_action(cls) for cls in made - inner]

    assert sorted(first_cells(section(API, "Actions"))) == sorted(expected)


def _action(cls: type) -> str:
    given = inspect.signature(cls).parameters.values()
    plain = [each.replace(annotation=each.empty) for each in given if each.name != "replies"]
    return f"{cls.__name__}{inspect.Signature(plain)}"


def test_every_reserved_tool_is_listed_with_arguments_that_it_takes():
    table = rows(section("reference/topology.md", "Actions as tool calls"))
    listed = {row[0].strip("`"): json.loads(row[1].strip("`")) for row in table}
    specs = reserved_specs(Offer(("Facts", "Tone"), answer=True, finish=True, ask=True, end=True))

    assert {*listed} == RESERVED
    assert {name: [*given] for name, given in listed.items()} == {
        spec.name: [*spec.parameters["properties"]] for spec in specs
    }
    for name, given in listed.items():
        action, _ = read_reserved([ToolCall("1", name, json.dumps(given))])
        assert not isinstance(action, actions.Malformed)


def test_every_key_of_the_json_of_a_run_is_listed():
    branch = BranchResult(
        branch_id="0",
        agent="A",
        success=True,
        response=1,
        error=None,
        steps=1,
        duration=1.0,
        outcome="returned",
    )
    result = RunResult(success=False, final_response=1, error=ValueError(), branch_results=(branch,))
    data = json.loads(response.written_json(result))
    table = rows(section("reference/command-line.md", "What `--json` writes"))
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in table}

    assert list(told) == list(data)
    assert told["error"] == {*data["error"]}
    assert told["usage"] == {*data["usage"]}
    assert told["branches"] == {*data["branches"][0]}
