from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from marsys.cli.knobs import Knobs
from marsys.cli.team import LoadedTeam, load_team, team_from
from marsys_core.agents import current_registry
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig, RetryConfig, StatusConfig
from marsys_core.errors import ConfigError
from marsys_core.topology import Dispatch, Topology
from tests.plugins.cli.conftest import Site

Write = Callable[[str], str]
PAIR = """
    [agents.A]
    model = "extractive"
    [agents.B]
    model = "extractive"
"""


def load(write: Write, text: str, **given: object) -> LoadedTeam:
    return load_team(Path(write(text)), **given)  # type: ignore[arg-type]


def refused(write: Write, text: str, **given: object) -> str:
    """What the loader says is wrong, without the first line and without the names of all models."""
    with pytest.raises(ConfigError) as raised:
        load(write, text, **given)
    headline, _, rest = str(raised.value).partition("\n")
    assert headline.startswith("team file '")
    assert headline.endswith("team.toml' cannot be used:")
    return re.sub(r"(no model provider is called '\w+'; there are: )[a-z, -]+\.", r"\1....", rest)


# -- what can be said -------------------------------------------------------------------------------


def test_a_team_file_says_who_is_there_and_how_they_are_connected(team: Write) -> None:
    found = load(
        team,
        """
        name = "Pair"
        description = "Two of them."

        [agents.A]
        model = "extractive"
        instruction = "Read."
        goal = "To know."
        description = "Reads."
        memory = "window"
        tools = ["search"]

        [agents.B]
        model = "scripted"

        [topology]
        flows = ["A -> B", "B <-> A"]
        entry_point = "A"

        [limits]
        timeout = 3
        convergence_policy = { quorum = 1, early = true }
        retry.max_attempts = 5
        status.show_agent_thoughts = true

        [plugins]
        block = ["cache"]
        search.folder = "texts"
        """,
    )
    assert (found.name, found.description) == ("Pair", "Two of them.")
    a, b = found.agents["A"], found.agents["B"]
    assert (a.model, a.tools, a.memory, a.description) == ("extractive", ("search",), "window", "Reads.")
    assert a.system == "Read.\n\nYour goal: To know."  # type: ignore[attr-defined]
    assert b.model == "scripted"
    assert found.topology == Topology(edges=["A -> B", "B <-> A"], entry_point="A")
    assert found.config == ExecutionConfig(
        timeout=3,
        convergence_policy={"quorum": 1, "early": True},
        retry=RetryConfig(max_attempts=5),
        status=StatusConfig(show_agent_thoughts=True),
        raise_errors=False,
    )
    assert found.plugins.block == ("cache",)


def test_the_name_may_stand_in_a_table_of_its_own(team: Write) -> None:
    found = load(team, '[team]\nname = "T"\ndescription = "D"\n[agents.A]\nmodel = "extractive"')
    assert (found.name, found.description) == ("T", "D")


def test_a_single_agent_needs_no_topology(team: Write) -> None:
    found = load(team, '[agents.A]\nmodel = "extractive"')
    assert found.topology == Topology(nodes=["A"])


@pytest.mark.parametrize(
    "lines",
    [
        'topology = "A -> B"',
        'topology = ["A -> B"]',
        '[topology]\nflows = "A -> B"',
        '[topology]\nflows = [["A", "B"]]',
        '[topology]\nedges = [{ source = "A", target = "B" }]',
        '[topology]\nnodes = ["A", { name = "B" }]\nedges = ["A -> B"]',
        '[topology]\npattern = "pipeline"\nstages = ["A", "B"]\n',
    ],
)
def test_a_topology_may_be_written_in_several_ways(team: Write, lines: str) -> None:
    text = '[agents]\nA.model = "extractive"\nB.model = "extractive"\n' + lines
    found = load(team, f"{lines}\n{text.removesuffix(lines)}" if lines.startswith("topology") else text)
    assert [str(edge) for edge in found.topology.edges] == ["A -> B"]


def test_a_table_sets_fields_of_a_node(team: Write) -> None:
    found = load(
        team,
        PAIR + '[topology]\nflows = ["A -> B"]\n[topology.nodes.A]\ndispatch = "stop"\n'
        "[topology.nodes.B]\nis_convergence_point = true\nmetadata = { colour = 'red' }",
    )
    assert found.topology.nodes["A"].dispatch is Dispatch.STOP
    assert found.topology.nodes["B"].is_convergence_point
    assert found.topology.nodes["B"].metadata == {"colour": "red"}


def test_a_node_may_name_its_agent(team: Write) -> None:
    found = load(
        team,
        '[agents.A]\nmodel = "extractive"\n[topology]\nflows = ["One -> Two"]\n'
        '[topology.nodes]\nOne.agent = "A"\nTwo.agent = "A"',
    )
    assert [node.agent for node in found.topology.nodes.values()] == ["A", "A"]


def test_a_pattern_is_given_its_arguments(team: Write) -> None:
    found = load(
        team,
        PAIR + '[topology]\npattern = "hub_and_spoke"\nhub = "A"\nspokes = ["B"]\nparallel_spokes = true\n'
        "[topology.nodes.A]\nlimit = 2",
    )
    assert found.topology.nodes["A"].dispatch is Dispatch.ALL
    assert found.topology.nodes["A"].limit == 2
    assert str(found.topology.edges[0]) == "A <-> B"


@pytest.mark.parametrize("form", ['flows = ["A -> B"]', 'pattern = "pipeline"\nstages = ["A", "B"]'])
def test_rules_go_with_every_form_of_a_topology(team: Write, form: str) -> None:
    rules = 'rules = ["timeout(60)", { agent_timeout = { A = 20, default = 10 } }]'
    found = load(team, f"{PAIR}[topology]\n{form}\n{rules}")
    assert found.topology.to_dict()["rules"] == [{"timeout": 60}, {"agent_timeout": {"A": 20, "default": 10}}]


def test_relative_places_are_relative_to_the_file(team: Write, tmp_path: Path) -> None:
    text = '[agents.A]\nmodel = "extractive"\n[plugins.search]\nfolder = "texts"\ndatabase = "{}"\n'
    for given, expected in (
        ("index.db", str(tmp_path / "index.db")),
        (":memory:", ":memory:"),
        ("/var/index.db", "/var/index.db"),
    ):
        section = load(team, text.format(given)).plugins.sections["search"]
        assert section == {
            "folder": str(tmp_path / "texts"),
            "database": given if given == ":memory:" else expected,
        }


def test_loading_a_team_registers_no_agent(team: Write) -> None:
    before = set(current_registry())
    load(team, '[agents.LoadedOnly]\nmodel = "extractive"')
    assert set(current_registry()) == before


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "team.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "T"\n[agents.A]\nmodel = "extractive"\n')
    assert load_team(path).name == "T"


# -- own agents -------------------------------------------------------------------------------------

OWN = '''
from marsys_core.agents import BaseAgent, agent

class Shouter(BaseAgent):
    def __init__(self, agent_name, loudness=1, **kwargs):
        super().__init__(agent_name=agent_name, **kwargs)
        self.loudness = loudness

    async def _run(self, prompt, context):
        return prompt.upper() + "!" * self.loudness

class Closed(BaseAgent):
    def __init__(self, loudness=1):
        super().__init__(name="whatever")
        self.loudness = loudness

class Broken(BaseAgent):
    def __init__(self, **kwargs):
        raise RuntimeError("no power")

class Odd:
    pass

def plain(prompt):
    """Says it again."""
    return prompt

@agent(description="It is decorated.")
async def decorated(prompt):
    return prompt

def three(one, two, three):
    return one

number = 3
'''


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A module of own agents beside the team file, under a name of its own."""
    name = f"own_agents_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return name


def test_own_agents_are_imported_from_beside_the_file(team: Write, own: str) -> None:
    found = load(
        team,
        f"""
        [agents.Loud]
        class = "{own}:Shouter"
        loudness = 3
        tools = ["search"]

        [agents.Quiet]
        class = "{own}:Closed"
        loudness = 0

        [agents.Echo]
        function = "{own}:plain"

        [agents.Again]
        function = "{own}:decorated"
        description = "Another word."

        [topology]
        flows = ["Loud -> Quiet -> Echo -> Again"]

        [plugins.search]
        folder = "."
        """,
    )
    loud, quiet, echo, again = found.agents.values()
    assert (loud.name, loud.loudness, loud.tools) == ("Loud", 3, ("search",))  # type: ignore[attr-defined]
    assert quiet.loudness == 0  # type: ignore[attr-defined]
    assert (echo.name, echo.description) == ("Echo", "Says it again.")
    assert (again.name, again.description) == ("Again", "Another word.")


def test_own_agents_that_cannot_be_had_say_why(team: Write, own: str, tmp_path: Path) -> None:
    (tmp_path / f"{own}_exits.py").write_text("raise SystemExit(3)")
    said = refused(
        team,
        f"""
        [agents]
        A.class = "{own}:Shoutre"
        B.class = "{own}:Odd"
        C.class = "{own}:Broken"
        D.function = "{own}:three"
        E.function = "{own}:number"
        F.class = "nowhere_at_all:X"
        G.function = "no colon"
        H = {{ class = "{own}:Closed", lodness = 2 }}
        I = {{ class = "{own}:Shouter", name = "J" }}
        K = {{ class = "{own}:Shouter", function = "{own}:plain" }}
        L.function = "{own}_exits:x"
        M.function = "{own}:Odd"
        N.class = 3

        [topology]
        flows = ["A -> [B, C, D, E, F, G, H, I, K, L, M, N]"]
        """,
    )
    assert said == (
        f"  - module {own!r} has no 'Shoutre'. Did you mean 'Shouter'? @ $.agents.A.class\n"
        f"  - '{own}:Odd' is no subclass of BaseAgent: <class '{own}.Odd'> @ $.agents.B.class\n"
        "  - Broken cannot be made: RuntimeError: no power @ $.agents.C\n"
        "  - an agent function takes (prompt) or (prompt, context), not three(one, two, three) @ $.agents.D.function\n"
        f"  - '{own}:number' is no function: 3 @ $.agents.E.function\n"
        "  - 'nowhere_at_all:X' cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all' @ $.agents.F.class\n"
        "  - 'no colon' is not of the form 'module:Name' @ $.agents.G.function\n"
        "  - Closed does not take 'lodness'. Did you mean 'loudness'? @ $.agents.H\n"
        "  - the agent is called 'I' by its table; remove this @ $.agents.I.name\n"
        "  - an agent is a class or a function, not both; remove one @ $.agents.K\n"
        f"  - '{own}_exits:x' cannot be imported: SystemExit: 3 @ $.agents.L.function\n"
        f"  - '{own}:Odd' is no function: <class '{own}.Odd'> @ $.agents.M.function\n"
        "  - expected a string, got 3 @ $.agents.N.class"
    )


def test_an_agent_may_be_a_pool(team: Write, own: str) -> None:
    found = load(
        team,
        f"""
        [agents.Loud]
        class = "{own}:Shouter"
        loudness = 3
        pool = 3

        [agents.Quiet]
        class = "{own}:Closed"
        pool = {{ instances = 2, warm_start = true, max_idle_time = 60 }}

        [agents.Echo]
        function = "{own}:plain"
        pool = 1

        [agents.Reader]
        model = "extractive"
        description = "Reads."
        pool = 4

        [topology]
        flows = ["Loud -> Quiet -> Echo -> Reader"]
        """,
    )
    loud, quiet, echo, reader = pools = list(found.agents.values())
    assert all(isinstance(pool, AgentPool) for pool in pools)
    assert [pool.num_instances for pool in pools] == [3, 2, 1, 4]  # type: ignore[attr-defined]
    assert (quiet.warm_start, quiet.max_idle_time) == (True, 60)  # type: ignore[attr-defined]
    assert [pool.name for pool in (loud, echo, reader)] == ["Loud", "Echo", "Reader"]
    assert (reader.accepts_notes, reader.description) == (True, "Reads.")

    async def made() -> list[tuple[str, object]]:
        given = []
        for pool in pools:
            async with pool.acquire() as one:  # type: ignore[attr-defined]
                given.append((one.name, getattr(one, "loudness", None)))
        return given

    assert trio.run(made) == [("Loud", 3), ("whatever", 1), ("Echo", None), ("Reader", None)]


def test_pools_that_make_no_sense_are_refused(team: Write, own: str) -> None:
    said = refused(
        team,
        f"""
        [agents]
        A = {{ model = "extractive", pool = 0 }}
        B = {{ model = "extractive", pool = "3" }}
        C = {{ class = "{own}:Shouter", pool = {{ instances = 2.5, warm_start = 1, max_idle_time = 0 }} }}
        D = {{ function = "{own}:plain", pool = {{ instance = 3 }} }}
        E = {{ class = "{own}:Broken", pool = 2 }}
        F = {{ model = "extractive", pools = 2 }}
        G = {{ model = "extractive", pool = true }}

        [topology]
        flows = ["A -> [B, C, D, E, F, G]"]
        """,
    )
    assert said == (
        "  - expected a whole number from 1, got 0 @ $.agents.A.pool\n"
        "  - expected a number of instances or a table, got '3' @ $.agents.B.pool\n"
        "  - expected a whole number from 1, got 2.5 @ $.agents.C.pool.instances\n"
        "  - expected true or false, got 1 @ $.agents.C.pool.warm_start\n"
        "  - expected a number of seconds above 0, got 0 @ $.agents.C.pool.max_idle_time\n"
        "  - unknown field 'instance'. Did you mean 'instances'? @ $.agents.D.pool\n"
        "  - Broken cannot be made: RuntimeError: no power @ $.agents.E\n"
        "  - unknown field 'pools'. Did you mean 'pool' or 'tools'? @ $.agents.F\n"
        "  - expected a whole number from 1, got True @ $.agents.G.pool"
    )


# -- what is refused --------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_said_at_once(team: Write) -> None:
    said = refused(
        team,
        """
        nmae = "x"
        description = 3

        [agents.Coordinator]
        modle = "extractive"

        [agents.Reader]
        model = "extractve"
        tools = ["serch", "search:search_1", 7]

        [agents.Writer]
        model = "extractive"
        tools = ["search", "search"]
        memory = "windw"

        [topology]
        flows = ["Coordinator -> [Reader, Writr", "Reader => Writer"]
        entry = "Coordinator"

        [limits]
        max_stpes = 4
        timeout = -3
        raise_errors = true
        [limits.retry]
        max_attempts = 0
        [limits.status]
        verbosity = 7

        [plugins]
        only = "x"
        """,
    )
    assert said == (
        """\
  - unknown field 'nmae'. Did you mean 'name'? @ $
  - expected a string, got 3 @ $.description
  - the command line always reports errors itself; remove this @ $.limits.raise_errors
  - max_attempts should be a whole number, at least 1, not 0 @ $.limits.retry.max_attempts
  - verbosity should be 0, 1 or 2, not 7 @ $.limits.status.verbosity
  - unknown field 'max_stpes'. Did you mean 'max_steps' or 'max_tokens'? @ $.limits
  - timeout should be a number of seconds above 0, at most 1e9, or None, not -3 @ $.limits.timeout
  - expected a list of names, got 'x' @ $.plugins.only
  - unknown field 'modle'. Did you mean 'model'? @ $.agents.Coordinator
  - an agent needs a model: model = "NAME"; 'marsys plugins -v' lists them @ $.agents.Coordinator
  - expected a string, got 7 @ $.agents.Reader.tools[2]
  - no model provider is called 'extractve'; there are: .... Did you mean 'extractive'? @ $.agents.Reader.model
  - no tool is called 'serch'; there are: search. Did you mean 'search'? @ $.agents.Reader.tools[0]
  - 'search' twice; name each tool once @ $.agents.Writer.tools
  - no memory provider is called 'windw'; there are: conversation, window. Did you mean 'window'? @ $.agents.Writer.memory
  - unknown field 'entry'. Did you mean 'entry_point'? @ $.topology
  - line 1, column 16: this group is not closed on its line @ $.topology.flows[0]
    Coordinator -> [Reader, Writr
                   ^
  - line 1, column 8: this is no arrow; there are ->, <-> and <~> @ $.topology.flows[1]
    Reader => Writer
           ^"""
    )


TOPOLOGIES = {
    'flows = ["A -> C"]': (
        "  - there is no agent 'C'; add a table [agents.C]. @ $.topology\n"
        "  - this agent stands nowhere in the topology; add it there, or remove it @ $.agents.B"
    ),
    'flows = ["A -> B"]\nedges = ["A -> B"]': "  - write 'flows' or 'edges', not both @ $.topology",
    'entry_point = "A"': ('  - nothing says who invokes whom: flows = ["A -> B"] @ $.topology'),
    'flows = ["A -> B"]\nentry_point = "C"': (
        "  - entry_point: no node is called 'C'; there are: A, B. @ $.topology"
    ),
    'flows = ["A -> B"]\nrules = ["timeout(", 3]': (
        "  - the rule 'timeout(' cannot be read: ')' is missing; write name(argument, ...), as in timeout(30) "
        "@ $.topology.rules[0]\n"
        "  - a rule is a text, a mapping or an object with one of before_step, after_step, before_fork, not 3 (int) "
        "@ $.topology.rules[1]"
    ),
    'flows = ["A -> B"]\nrules = ["timeout(0)", { max_steps = 3 }, "convergence_point(C)"]': (
        "  - rule timeout(0): a number of seconds above 0, at most 1e9, is expected, not 0 @ $.topology.rules[0]\n"
        "  - no node is called 'C'; there are: A, B. @ $.topology.rules[2]"
    ),
    'flows = ["A -> B"]\nentry_point = 3': (
        "  - a node's name is a string, not 3 (int) @ $.topology.entry_point"
    ),
    'flows = ["A -> B", 3]': (
        "  - an edge is a text, a pair of names, an Edge or a mapping, not 3 (int) @ $.topology.flows[1]"
    ),
    "flows = 3": "  - expected a list, got 3 @ $.topology.flows",
    'flows = ["A -> B"]\nnodes = 3': "  - expected a list, got 3 @ $.topology.nodes",
    'flows = ["A -> B"]\nnodes.AA.rounds = 2': (
        "  - no node is called 'AA'; there are: A, B. Did you mean 'A'? @ $.topology.nodes.AA"
    ),
    'flows = ["A -> B"]\nnodes.A.ronds = 2': (
        "  - a node has no field 'ronds'; it has: agent, convergence_policy, dispatch, is_convergence_point, "
        "kind, limit, metadata, name, rounds. Did you mean 'rounds'? @ $.topology.nodes.A"
    ),
    'flows = ["A -> B"]\nnodes.A = 2': "  - expected a table, got 2 @ $.topology.nodes.A",
    'edges = ["A -> B"]\nnodes = ["A", "B", "A"]': (
        "  - node 'A' is there already; change it with update_node, or choose another name @ $.topology.nodes[2]"
    ),
    'pattern = "hub_and_spok"\nhub = "A"': (
        "  - no pattern is called 'hub_and_spok'; there are: broadcast, debate, hierarchical, hub_and_spoke, "
        "map_reduce, mesh, pipeline, ring, star. Did you mean 'hub_and_spoke'? @ $.topology.pattern"
    ),
    'pattern = "hub_and_spoke"\nhub = "A"\nspoks = ["B"]': (
        "  - pattern 'hub_and_spoke' does not take 'spoks'. Did you mean 'spokes'? @ $.topology\n"
        "  - pattern 'hub_and_spoke' needs 'spokes' @ $.topology"
    ),
    'pattern = "hub_and_spoke"\nhub = "A"\nspokes = ["A"]': (
        "  - hub_and_spoke: 'A' stands in spokes as hub too; each agent has one place @ $.topology"
    ),
    "pattern = 3": "  - expected a string, got 3 @ $.topology.pattern",
}


@pytest.mark.parametrize("lines", TOPOLOGIES)
def test_a_topology_that_cannot_run_is_refused(team: Write, lines: str) -> None:
    text = '[agents.A]\nmodel = "extractive"\n[agents.B]\nmodel = "extractive"\n[topology]\n' + lines
    assert refused(team, text) == TOPOLOGIES[lines]


REFUSED = {
    '[agents]\nA.model = "extractive"\n"b/c".model = "extractive"\nend.model = "extractive"\n[topology]\nflows = ["A -> end"]': (
        "  - 'b/c' cannot be a node's name: '/' is not a letter, a digit, a space or one of _ - . :; rename it, "
        'or name it as the agent of a node @ $.agents."b/c"\n'
        "  - 'end' is kept for nodes of kind 'end'; choose another name @ $.agents.end"
    ),
    '[agents]\n"b/c".model = "extractive"': (
        "  - 'b/c' cannot be a node's name: '/' is not a letter, a digit, a space or one of _ - . : @ $.agents.\"b/c\""
    ),
    "": "  - there is no agent; add a table [agents.NAME] @ $.agents",
    "agents = 3": "  - expected a table, got 3 @ $.agents",
    "[agents]\nA = 3": "  - expected a table, got 3 @ $.agents.A",
    '[agents]\nA.model = "extractive"\nB.model = "extractive"': (
        '  - with several agents, say who invokes whom: flows = ["A -> B"] @ $.topology'
    ),
    'name = "x"\n[team]\nname = "x"\n[agents]\nA.model = "extractive"': (
        "  - 'name' stands at the top of the file too; remove one of them @ $.team.name"
    ),
    '[team]\nnaem = "x"\n[agents]\nA.model = "extractive"': (
        "  - unknown field 'naem'. Did you mean 'name'? @ $.team"
    ),
    '[agents]\nA.model = "extractive"\n[limits]\nretry = 3': "  - expected a table, got 3 @ $.limits.retry",
    '[agents]\nA.model = "extractive"\n[plugins.serch]\nparts = 2': (
        "  - there is no plugin called 'serch' @ $.plugins.serch. Did you mean 'search'?"
    ),
    '[agents]\nA.model = "extractive"\n[plugins.search]\nfodler = "x"\nparts = "y"': (
        "  - unknown field 'fodler' @ $.plugins.search; did you mean 'folder'?\n"
        "  - expected int, got 'y' @ $.plugins.search.parts"
    ),
    '[agents.A]\nmodel = "extractive"\ntools = ["search"]': (
        "  - required field missing @ $.plugins.search.folder; or give the folder with --input FOLDER"
    ),
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_team_that_makes_no_sense_is_refused(team: Write, text: str) -> None:
    assert refused(team, text) == REFUSED[text]


def test_names_of_blocked_plugins_say_so(team: Write) -> None:
    said = refused(team, '[agents.A]\nmodel = "extractive"', knobs=Knobs(names=("no:models",)))
    assert said == (
        "  - no model provider is called 'extractive'; there are: .... It may be in what is not loaded: "
        "plugin 'models' is blocked: by -p no:models @ $.agents.A.model"
    )


def test_which_plugins_are_blocked_is_said_once(team: Write) -> None:
    said = refused(
        team,
        """
        [agents]
        A.model = "extractive"
        B.model = "extractive"
        C.model = "missing"
        [topology]
        flows = ["A -> B -> C"]
        """,
        knobs=Knobs(names=("no:models",)),
    )
    assert said == (
        "  - no model provider is called 'extractive'; there are: .... It may be in what is not loaded: "
        "plugin 'models' is blocked: by -p no:models @ $.agents.A.model\n"
        "  - no model provider is called 'extractive'; there are: .... @ $.agents.B.model\n"
        "  - no model provider is called 'missing'; there are: .... @ $.agents.C.model"
    )


def test_a_knob_that_names_nothing_is_told_without_a_place_in_the_file(team: Write) -> None:
    said = refused(team, '[agents.A]\nmodel = "extractive"', knobs=Knobs(names=("memry",)))
    assert said == (
        "  - -p names 'memry', and no plugin or distribution is called that. Did you mean 'memory'?"
    )


def test_a_single_tool_of_a_plugin_is_no_toolbox(team: Write, site: Site) -> None:
    site.add(
        "marsys-clock",
        clock='''
        from marsys_core import hookimpl

        def what_time() -> str:
            """Say what time it is."""
            return "noon"

        @hookimpl
        def marsys_tools():
            return [what_time]
        ''',
    )
    said = refused(team, '[agents.A]\nmodel = "extractive"\ntools = ["what_time:now"]')
    assert said == (
        "  - tool 'what_time' is a single tool; write 'what_time', not 'what_time:now' @ $.agents.A.tools[0]"
    )
    assert load(team, '[agents.A]\nmodel = "extractive"\ntools = ["what_time"]').agents["A"].tools == (
        "what_time",
    )


def test_in_strict_mode_a_broken_plugin_refuses_the_team(team: Write, site: Site) -> None:
    site.add("marsys-bad", bad="import not_there_xyz")
    said = refused(team, '[agents.A]\nmodel = "extractive"', knobs=Knobs(strict=True))
    assert said == (
        "  - ModuleNotFoundError: No module named 'not_there_xyz' (while loading plugin 'bad' from marsys-bad 1.0)"
    )


# -- --input ----------------------------------------------------------------------------------------

SEARCHER = '[agents.A]\nmodel = "extractive"\ntools = ["search"]'


def test_the_input_is_the_folder_that_is_searched(team: Write, tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("# Words")
    found = load(
        team, SEARCHER + '\n[plugins.search]\nfolder = "elsewhere"\nparts = 2', input_folder=tmp_path
    )
    assert found.plugins.sections["search"] == {"folder": str(tmp_path), "parts": 2}


def test_an_input_that_cannot_be_used_is_refused(team: Write, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / ".hidden.txt").write_text("x")
    (empty / "table.csv").write_text("x")
    path = team(SEARCHER)
    nowhere = tmp_path / "nowhere"
    for folder, problem in (
        (nowhere, f"there is no folder {str(nowhere)!r}"),
        (Path(path), f"{path!r} is a file; name the folder that it is in"),
        (empty, f"folder {str(empty)!r} has no file that can be read (.htm, .html, .md, .txt)"),
    ):
        assert refused(team, SEARCHER, input_folder=folder) == f"  - {problem} @ --input"


def test_an_input_that_nothing_uses_is_refused(team: Write, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Words.")
    assert refused(team, '[agents.A]\nmodel = "extractive"', input_folder=tmp_path) == (
        "  - nothing in this team uses an input: no agent has a tool 'search' or 'search:...' @ --input"
    )


# -- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb = \n", "is not TOML: line 2, column 5: Invalid value"),
        (b"a = 1\na = 2\n", "is not TOML: line 2, column 6: Cannot overwrite a value"),
        (b'a = 1\nb = "\xff"\n', "is not UTF-8: line 2 has the byte 0xff; save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "cannot be read: it is nested too deeply"),
        (b"a = " + b"[" * 100 + b"]" * 100, "cannot be read: it is nested too deeply"),
        (b"a." * 300_000 + b"a = 1", "cannot be read: it is nested too deeply"),
        (b"x = {" + b'"a".' * 200_000 + b"a = 1}", "cannot be read: it is nested too deeply"),
        (b"[" + b"a . " * 200_000 + b"a]", "cannot be read: it is nested too deeply"),
        (
            b"a = " + b"9" * 5_000,
            "cannot be read: Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits",
        ),
        (b"a = 0x" + b"f" * 5_000, "cannot be read: it has an integer of more than 64 bits"),
        (b" " * 1_000_001, "cannot be read: it has 1,000,001 bytes, and a team file has at most 1,000,000"),
    ],
)
def test_what_is_no_toml_says_where(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "team.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load_team(path)
    assert str(raised.value) == f"team file {str(path)!r} {problem}"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "no.toml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError) as raised:
            load_team(path)
        assert str(raised.value) == f"team file {str(path)!r} cannot be read: {why}"


def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(ConfigError) as raised:
            load_team(path)
        assert str(raised.value) == (
            f"team file {str(path)!r} cannot be read: it is no regular file; "
            "name a file in which the team is written"
        )


@pytest.mark.parametrize(("parts", "allowed"), [(0, False), (1, True), (1_000, True), (100_000_000, False)])
def test_the_number_of_readers_has_bounds(team: Write, tmp_path: Path, parts: int, allowed: bool) -> None:
    text = '[agents.A]\nmodel = "extractive"\ntools = ["search"]\n[plugins.search]\nfolder = "."\n'
    if allowed:
        assert list(load(team, f"{text}parts = {parts}").agents) == ["A"]
    else:
        assert "'parts' must be " in refused(team, f"{text}parts = {parts}")


def test_data_makes_a_team_as_a_file_does(tmp_path: Path) -> None:
    found = team_from({"agents": {"A": {"model": "extractive"}}}, folder=tmp_path)
    assert list(found.agents) == ["A"]
    with pytest.raises(ConfigError, match=r"^the team cannot be used:\n  - there is no agent"):
        team_from({}, folder=tmp_path)


# -- schemas ----------------------------------------------------------------------------------------


SCHEMAS = """
    [agents.A]
    model = "extractive"
    instruction = "On {topic}, as {\\"a\\": 1}."
    [agents.A.output_schema]
    type = "object"
    required = ["name"]
    [agents.B]
    function = "shaped_by_schemas:act"
    input_schema = {type = "object"}
    [topology]
    flows = ["A -> B"]
"""


def test_an_agent_can_be_held_to_schemas(team: Write, tmp_path: Path) -> None:
    (tmp_path / "shaped_by_schemas.py").write_text("def act(prompt):\n    return prompt\n")
    found = load(team, SCHEMAS)
    contracts = {name: agent.contract for name, agent in found.agents.items()}

    assert contracts["A"] is not None
    assert contracts["A"].output == {"type": "object", "required": ["name"]}
    assert contracts["B"] is not None
    assert contracts["B"].input == {"type": "object"}


def test_a_schema_is_a_table_and_needs_what_checks_it(team: Write) -> None:
    wrong = '[agents.A]\nmodel = "extractive"\noutput_schema = "object"\n'
    assert refused(team, wrong) == "  - expected a table, got 'object' @ $.agents.A.output_schema"
    told = refused(team, wrong.replace('"object"', "{}"), knobs=Knobs(names=("no:schema",)))
    assert told.startswith("  - the schema cannot be checked: there is no schema checker provider.")
    assert told.endswith("@ $.agents.A.output_schema")


def test_a_team_file_declares_state_and_conditions(team: Write) -> None:
    found = load(
        team,
        PAIR + '[topology]\nedges = ["A -> B", { source = "B", target = "A", condition = "visits < 3" }]\n'
        '[topology.state]\nnotes = "append"\ntotal = { reducer = "add", initial = 0 }',
    )
    assert found.topology.edges[1].condition == "visits < 3"
    assert found.topology.to_dict()["state"] == {
        "notes": {"reducer": "append", "initial": []},
        "total": {"reducer": "add", "initial": 0},
    }


def test_a_wrong_state_and_a_condition_that_cannot_be_read_are_told(team: Write) -> None:
    said = refused(team, PAIR + '[topology]\nflows = ["A -> B"]\n[topology.state]\nnotes = "apend"')
    assert "no reducer is called 'apend'" in said
    assert "@ $.topology.state['notes']" in said
    edges = 'edges = ["A -> B", { source = "B", target = "A", condition = "lambda: 1" }]'
    said = refused(team, PAIR + f"[topology]\n{edges}")
    assert (
        "edge B -> A: the condition 'lambda: 1' cannot be read: a lambda is not allowed (character 1) @ $.topology"
        in said
    )
