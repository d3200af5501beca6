"""Random topologies and parts of them."""

from __future__ import annotations

from hypothesis import strategies as st

from marsys_core.topology import ConvergencePolicy, Dispatch, Edge, Node, Topology

LETTERS = [*"ABCDEFG", "start", "end", "user", "gather:1"]
AGENTS = [*"ABCDEFG"]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
metadata = st.just({}) | st.dictionaries(st.text(max_size=5), json_values, max_size=2)
policies = st.builds(
    ConvergencePolicy,
    min_ratio=st.floats(0, 1),
    early=st.booleans(),
    timeout=st.none() | st.floats(0.1, 1e6),
    on_insufficient=st.sampled_from(["fail", "proceed", "user"]),
) | st.builds(ConvergencePolicy, quorum=st.integers(1, 9), early=st.booleans())


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    if name not in AGENTS:
        return Node(name, metadata=draw(metadata))
    dispatch = draw(st.none() | st.sampled_from(Dispatch))
    return Node(
        name,
        agent=draw(st.none() | st.sampled_from(["writer", "no name / at all"])),
        dispatch=dispatch,
        limit=draw(st.none() | st.integers(1, 5)) if dispatch is Dispatch.ALL else None,
        rounds=draw(st.integers(1, 3)),
        is_convergence_point=draw(st.booleans()),
        convergence_policy=draw(st.none() | policies),
        metadata=draw(metadata),
    )


@st.composite
def edges(draw: st.DrawFn, names: list[str]) -> Edge:
    source, target = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    if source != target and draw(st.integers(0, 3)) == 0:
        turns = draw(st.none() | st.integers(1, 12))
        return Edge(source, target, pattern="alternating", max_turns=turns, metadata=draw(metadata))
    both = source != target and draw(st.booleans())
    return Edge(source, target, bidirectional=both, metadata=draw(metadata))


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    names = draw(st.permutations(LETTERS))[: draw(st.integers(1, 8))]
    laid = draw(st.lists(edges(names), max_size=10))
    talks = {(edge.source, edge.target): edge for edge in laid if edge.pattern is not None}
    return Topology(
        [draw(nodes(name)) for name in names],
        [edge for edge in laid if talks.get((edge.source, edge.target), edge) is edge],
        entry_point=draw(st.none() | st.sampled_from(names)),
    )


@st.composite
def written(draw: st.DrawFn) -> str:
    """A text that can be read: chains of names and groups."""
    names = st.sampled_from([*AGENTS, "a b", "x.y-z", "Start", "END", "user", "gather:2"])
    group = st.lists(names, min_size=1, max_size=3, unique_by=str.lower)
    # Between names that no other statement has: beside another edge a conversation cannot be read.
    statements = draw(
        st.lists(st.sampled_from(["P <~> A", "A<~3>Q", "R <~12> S -> B", "C -> [P, Q]"]), max_size=2)
    )
    for _ in range(draw(st.integers(1, 4))):
        groups = draw(st.lists(group, min_size=1, max_size=3))
        text = ""
        for index, members in enumerate(groups):
            both = (
                index
                and 1 in (len(members), len(groups[index - 1]))
                and set(members).isdisjoint(groups[index - 1])
            )
            arrow = (
                draw(st.sampled_from([" -> ", "->", " <-> "] if both else [" -> ", "->"])) if index else ""
            )
            shown = [f'"{name}"' if " " in name else name for name in members]
            text += arrow + (f"[{', '.join(shown)}]" if len(shown) > 1 else shown[0])
        statements.append(text)
    return draw(st.sampled_from(["\n", ";", " ; ", "  # note\n"])).join(statements)
