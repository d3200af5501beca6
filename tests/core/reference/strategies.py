"""Small random nets, and scripts that mostly choose legal actions on them."""

from collections.abc import Sequence
from zlib import crc32

import attrs
from hypothesis import strategies as st

from tests.core.reference.data import (
    Action,
    Content,
    EndConversation,
    Fail,
    Finish,
    Invoke,
    Return,
    Turn,
    Value,
)
from tests.core.reference.net import Edge, Net, NodeSpec, Policy

__all__ = ["Choice", "TableScript", "PLAIN", "nets", "plays", "policies", "pruned", "scripts"]

AGENTS = "ABCDEFGH"
DISPATCHES = (None, None, None, "stop", "next", "agent", "all", "all", "each", "map")
KINDS = ("content", "content", "call", "fork", "fork", "return", "finish", "end", "fail", "detach", "illegal")
PLAIN = ("content",)
MODES: Sequence[Sequence[str]] = (
    KINDS,
    ("content", "call", "fork"),
    ("content", "content", "call", "end"),
    PLAIN,
)
ARROWS = ("->", "<-", "<->", "both", "<~>")


@attrs.frozen
class Choice:
    """One entry of a script's table; `pick` and `width` choose among the successors."""

    kind: str
    pick: int
    width: int


@attrs.frozen
class TableScript:
    """A pure function of (branch, node, visit): it looks up a choice and turns it into an action.

    Every value it emits is unique: it names its branch, node, visit and place.
    """

    net: Net
    choices: tuple[Choice, ...]

    def __call__(self, turn: Turn) -> Action:
        place = f"{turn.branch}:{turn.node}:{turn.visit}"
        choice = self.choices[crc32(place.encode()) % len(self.choices)]
        succs = self.net.successors(turn.node)
        if choice.kind in ("call", "fork", "detach") and succs:
            return self.invoke(place, choice, succs)
        match choice.kind:
            case "return":
                return Return(place)
            case "finish":
                return Finish(place)
            case "end" if self.net.partner(turn.node) is not None:
                return EndConversation(self.content(place, turn.node, choice))
            case "fail":
                return Fail(place)
            case "illegal":
                return self.illegal(place, turn.node, choice, succs)
        return Content(self.content(place, turn.node, choice))

    def content(self, place: str, node: str, choice: Choice) -> Value:
        if self.net.nodes[node].dispatch != "map":
            return place
        return [f"{place}/{i}" for i in range(choice.width)]

    def invoke(self, place: str, choice: Choice, succs: Sequence[str]) -> Invoke:
        width = {"call": 1, "fork": max(2, choice.width), "detach": max(1, choice.width - 1)}[choice.kind]
        # A stride over the successors: neighbours for an even pick, one node again and again for some odd ones.
        stride = 1 if choice.pick % 4 else 0
        targets = [succs[(choice.pick + stride * i) % len(succs)] for i in range(width)]
        calls = tuple((target, f"{place}/{i}") for i, target in enumerate(targets))
        return Invoke(calls, wait=choice.kind != "detach")

    def illegal(self, place: str, node: str, choice: Choice, succs: Sequence[str]) -> Action:
        if self.net.nodes[node].dispatch == "map" and choice.pick % 2:
            return Content(place)  # where something is onward, not a list
        wrong = [name for name in self.net.nodes if name not in succs]
        calls = [(name, f"{place}/{i}") for i, name in enumerate([*succs[:1], *wrong[:1]])]
        return Invoke(tuple(calls) if wrong else ())


policies = st.builds(
    Policy,
    st.sampled_from([1.0, 0.5, 0.34, 0.0]),
    st.none() | st.integers(1, 3),
    st.sampled_from(["fail", "proceed"]),
)


def scripts(
    net: Net, kinds: Sequence[str] = KINDS, *, empty_lists: bool = True
) -> st.SearchStrategy[TableScript]:
    width = st.integers(0 if empty_lists else 1, 3)
    choice = st.builds(Choice, st.sampled_from(kinds), st.integers(0, 7), width)
    table = st.lists(choice, min_size=1, max_size=12).map(tuple)
    return table.map(lambda choices: TableScript(net, choices))


@st.composite
def nets(draw: st.DrawFn, *, gathers: int = 2, max_agents: int = 8) -> Net:
    """A valid net: every node is reachable, nothing enters `start` and nothing leaves `end`."""
    agents = list(AGENTS[: draw(st.integers(2, max_agents))])
    nodes = {name: draw(agent_specs) for name in agents}
    edges = draw(agent_edges(agents))
    for i in range(draw(st.integers(0, gathers))):
        name = f"gather:{i}"
        nodes[name] = NodeSpec(kind="gather", convergence=draw(flags), limit=draw(limits))
        before, after = draw(some(agents)), draw(some(agents))
        calls = draw(flags)
        edges += [Edge(src, name, calls and src not in after) for src in before]
        edges += [Edge(name, dst, calls and dst not in before) for dst in after]
    if "gather:1" in nodes and draw(st.booleans()):
        edges += [Edge("gather:0", "gather:1"), Edge("gather:1", "gather:0")][: draw(st.integers(1, 2))]
    if draw(st.booleans()):
        nodes["end"] = NodeSpec(kind="end")
        edges += [Edge(src, "end") for src in draw(some(agents))]
    entry_point = draw(st.sampled_from([None, *agents]))
    if draw(st.booleans()):
        nodes["start"] = NodeSpec(kind="start", policy=draw(st.none() | policies))
        edges += [Edge("start", dst) for dst in draw(some(agents))]
    edges = draw(st.permutations(edges))
    return pruned(Net(nodes, tuple(edges), entry_point))


flags = st.sampled_from([False, False, False, True])
limits = st.sampled_from([None, None, 1, 2])
agent_specs = st.builds(
    NodeSpec,
    dispatch=st.sampled_from(DISPATCHES),
    rounds=st.sampled_from([1, 1, 1, 2, 3]),
    limit=limits,
    convergence=flags,
    policy=st.none() | st.none() | policies,
)


def some(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)


@st.composite
def agent_edges(draw: st.DrawFn, agents: list[str]) -> list[Edge]:
    pairs = [(a, b) for i, a in enumerate(agents) for b in agents[i + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=2 * len(agents)))
    edges: list[Edge] = []
    talking: set[str] = set()
    for a, b in chosen:
        arrow = draw(st.sampled_from(ARROWS))
        if arrow == "<~>" and talking.isdisjoint((a, b)):
            talking |= {a, b}
            edges.append(Edge(a, b, turns=draw(st.integers(1, 4))))
        if arrow in ("->", "both"):
            edges.append(Edge(a, b))
        if arrow in ("<-", "both"):
            edges.append(Edge(b, a))
        if arrow == "<->":
            edges.append(Edge(a, b, bidirectional=True))
    return edges


def pruned(net: Net) -> Net:
    """The net without the nodes that its entries do not reach."""
    reached = {*net.entries(), *(name for name in net.nodes if name == "start")}
    frontier = list(reached)
    while frontier:
        for succ in net.successors(frontier.pop()):
            if succ not in reached:
                reached.add(succ)
                frontier.append(succ)
    return Net(
        {name: spec for name, spec in net.nodes.items() if name in reached},
        tuple(edge for edge in net.edges if {edge.src, edge.dst} <= reached),
        net.entry_point if net.entry_point in reached else None,
    )


@st.composite
def plays(draw: st.DrawFn) -> tuple[Net, TableScript, Policy]:
    """A net, a script for it, and the policy where nothing else gives one."""
    topology = draw(nets(max_agents=6))
    return topology, draw(scripts(topology, draw(st.sampled_from(MODES)))), draw(policies)
