"""Drawings of a topology: Mermaid for pages, DOT for Graphviz, indented text for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from marsys_core.topology.conditions import condition_name
from marsys_core.topology.names import RESERVED, spelled
from marsys_core.topology.nodes import Dispatch, Edge, Node, NodeKind
from marsys_core.topology.text import workers

__all__ = ["draw_dot", "draw_mermaid", "draw_text", "write_text"]

_SHAPES = {
    NodeKind.AGENT: ("[", "]"),
    NodeKind.USER: ("[/", "/]"),
    NodeKind.START: ("([", "])"),
    NodeKind.END: ("([", "])"),
    NodeKind.GATHER: ("{{", "}}"),
}


def draw_mermaid(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> str:
    """Return a Mermaid flowchart; convergence points have double walls."""
    # Identifiers are numbered: a node called `end` or `graph` would break the diagram.
    ids = {name: f"n{index}" for index, name in enumerate(nodes)}
    lines = ["flowchart TD"]
    for name, node in nodes.items():
        left, right = ("[[", "]]") if node.is_convergence_point else _SHAPES[node.kind]
        lines.append(f'    {ids[name]}{left}"{_label(node)}"{right}')
    for edge in edges:
        for name in (edge.source, edge.target):
            if name not in ids:
                ids[name] = f"n{len(ids)}"
                lines.append(f'    {ids[name]}["{name} (unknown)"]')
        arrow = _mermaid_arrow(edge)
        if edge.condition is not None:
            arrow += f'|"{_condition(edge).replace("#", "#35;").replace(chr(34), "#quot;")}"|'
        lines.append(f"    {ids[edge.source]} {arrow} {ids[edge.target]}")
    return "\n".join(lines) + "\n"


_OUTLINES = {
    NodeKind.AGENT: "box",
    NodeKind.USER: "parallelogram",
    NodeKind.START: "oval",
    NodeKind.END: "oval",
    NodeKind.GATHER: "hexagon",
}


def draw_dot(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> str:
    """Return a directed graph in the DOT language of Graphviz; convergence points have double walls."""
    lines = ["digraph topology {"]
    for name, node in nodes.items():
        walls = ", peripheries=2" if node.is_convergence_point else ""
        lines.append(
            f"    {_quoted(name)} [label={_quoted(_label(node))}, shape={_OUTLINES[node.kind]}{walls}];"
        )
    lines += [f"    {_quoted(edge.source)} -> {_quoted(edge.target)}{_dot_style(edge)};" for edge in edges]
    return "\n".join([*lines, "}"]) + "\n"


def _dot_style(edge: Edge) -> str:
    if edge.pattern is None:
        return " [dir=both]" if edge.bidirectional else ""
    return f' [dir=both, style=dashed, label="{edge.max_turns} turns"]'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mermaid_arrow(edge: Edge) -> str:
    if edge.pattern is None:
        return "<-->" if edge.bidirectional else "-->"
    return f'<-.->|"{edge.max_turns} turns"|'


def draw_text(nodes: Mapping[str, Node], edges: Iterable[Edge], rules: Iterable[str] = ()) -> str:
    """Return one paragraph a node: its name, what is set on it, and where its edges lead; then the rules."""
    leading: dict[str, list[str]] = {name: [] for name in nodes}
    for edge in edges:
        note = "" if edge.target in nodes else " (unknown)"
        if edge.condition is not None:
            note += f"  if {_condition(edge)}"
        leading.setdefault(edge.source, []).append(f"  {edge.arrow} {edge.target}{note}")
    lines: list[str] = []
    for name, targets in leading.items():
        lines.append(_label(nodes[name]) if name in nodes else f"{name} (unknown)")
        lines += targets
    lines += [f"rule {rule}" for rule in rules]
    return "\n".join(lines) + "\n" if lines else ""


def write_text(nodes: Mapping[str, Node], edges: Iterable[Edge]) -> str:
    """Return the text form. It holds names, edges, their order and forks to groups, and nothing else."""
    edges = list(edges)
    runs = _runs(edges)
    lines = [_statement(nodes, run) for run in runs]
    lines += [_statement(nodes, again) for again in _forks_in_pieces(nodes, edges, runs)]
    mentioned = dict.fromkeys(name for edge in edges for name in (edge.source, edge.target))
    if list(mentioned) != list(nodes):
        lines.insert(0, _group(nodes) if nodes else "")
    return "\n".join(lines)


def _forks_in_pieces(
    nodes: Mapping[str, Node], edges: Iterable[Edge], runs: Iterable[list[Edge]]
) -> list[list[Edge]]:
    """Return runs to write once more, which changes no edge, so that the text says of a node that it forks."""
    said = {run[0].source for run in runs if len(workers(edge.target for edge in run)) > 1}
    pieces: dict[str, list[Edge]] = {}
    for edge in edges:
        node = nodes.get(edge.source)
        if node is not None and node.dispatch is Dispatch.ALL and edge.source not in said:
            if edge.pattern is not None:
                continue  # it is no part of a fork by content
            # One-way says enough: an edge that is written twice is bidirectional if either is.
            pieces.setdefault(edge.source, []).append(Edge(edge.source, edge.target))
    return [run for run in pieces.values() if len(workers(edge.target for edge in run)) > 1]


def _runs(edges: Iterable[Edge]) -> list[list[Edge]]:
    """Return the edges as neighbours of one source and one direction."""
    runs: list[list[Edge]] = []
    for edge in edges:
        last = runs[-1][-1] if runs else None
        alone = edge.pattern is not None  # a conversation stands between two nodes, not in a group
        if last and not alone and (last.source, last.arrow) == (edge.source, edge.arrow):
            runs[-1].append(edge)
        else:
            runs.append([edge])
    return runs


def _statement(nodes: Mapping[str, Node], run: list[Edge]) -> str:
    source, arrow = run[0].source, run[0].arrow
    targets = [edge.target for edge in run]
    node = nodes.get(source)
    # A wide group would set the dispatch of an agent that has none; then each edge has its own line.
    as_group = (
        node is None or node.dispatch is Dispatch.ALL or source in RESERVED or len(workers(targets)) < 2
    )
    if as_group:
        return f"{spelled(source)} {arrow} {_group(targets)}"
    return "\n".join(f"{spelled(source)} {arrow} {spelled(target)}" for target in targets)


def _group(names: Iterable[str]) -> str:
    written = [spelled(name) for name in names]
    return written[0] if len(written) == 1 else f"[{', '.join(written)}]"


def _label(node: Node) -> str:
    words = []
    if node.dispatch is not None and node.kind is NodeKind.AGENT:
        words.append(node.dispatch.value)
    if node.limit is not None:
        words.append(f"limit {node.limit}")
    if node.rounds != 1:
        words.append(f"{node.rounds} rounds")
    if node.agent is not None and node.agent != node.name:
        words.append(f"agent {_safe(node.agent)}")
    return f"{node.name} ({', '.join(words)})" if words else node.name


def _condition(edge: Edge) -> str:
    """Return the condition on one line, without what a terminal could take for its own."""
    assert edge.condition is not None  # the callers have looked
    text = " ".join(condition_name(edge.condition).split())
    return "".join(char if char.isprintable() else "?" for char in text)


def _safe(agent: str) -> str:
    """Return an agent's name, which may hold anything, without what a drawing could take for its own."""
    return "".join(char if char.isalnum() or char in "_-.: " else "?" for char in agent)
