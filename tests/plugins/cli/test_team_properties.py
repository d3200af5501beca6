from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsys.cli.team import load_team, team_from
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConfigError, TopologyError
from marsys_core.topology import NodeKind, Topology
from tests.core.topology.strategies import topologies

FOLDER = Path("nowhere-at-all")
WORDS = st.sampled_from(
    [
        "A", "B", "start", "end", "user", "gather:1", "A -> B", "A <-> [B, C]", "A ->", "extractive", "scripted",
        "search", "search:search_1", "window", "hub_and_spoke", "ring", "pipeline", "hierarchical", "all", "majority",
        "nowhere_at_all:X", "a:b:c", ":", "full", "", " ", "\u00e9\n", "x" * 120,
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "team", "name", "description", "agents", "topology", "limits", "plugins", "A", "B", "model", "instruction",
        "goal", "tools", "memory", "class", "function", "flows", "edges", "nodes", "entry_point", "pattern", "hub",
        "spokes", "agents", "stages", "tree", "rounds", "source", "target", "dispatch", "limit", "metadata", "kind",
        "agent", "is_convergence_point", "convergence_policy", "retry", "status", "max_steps", "timeout",
        "max_attempts", "verbosity", "quorum", "min_ratio", "search", "models", "only", "block", "prefer", "strict",
        "require", "parts", "folder", "replies", "modle", "self", "", "a b", 'q"', "end",
    ]
)  # fmt: skip
SCALARS = st.one_of(
    WORDS,
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.just(date(2024, 1, 1)),
    st.just(time(1, 2)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
AGENT = st.fixed_dictionaries(
    {},
    optional={
        "model": st.one_of(WORDS, VALUES),
        "tools": st.one_of(st.lists(WORDS, max_size=2), VALUES),
        "memory": WORDS,
        "function": st.just("nowhere_at_all:f"),
        "colour": VALUES,
    },
)
TOPOLOGY = st.one_of(
    VALUES,
    st.dictionaries(KEYS, VALUES, max_size=5),
    st.fixed_dictionaries(
        {
            "pattern": st.sampled_from(
                ["hub_and_spoke", "ring", "pipeline", "hierarchical", "mesh", "debate", "no"]
            )
        },
        optional=dict.fromkeys(
            ("hub", "spokes", "agents", "stages", "tree", "root", "levels", "rounds", "debaters", "judge"),
            VALUES,
        ),
    ),
    st.fixed_dictionaries(
        {"flows": st.lists(WORDS, max_size=3)},
        optional={"nodes": st.dictionaries(st.sampled_from("AB"), VALUES), "entry_point": VALUES},
    ),
)
# Mostly of the right shape, so that more than the first check is reached.
TEAMS = st.one_of(
    st.dictionaries(KEYS, VALUES, max_size=6),
    st.fixed_dictionaries(
        {
            "agents": st.dictionaries(
                st.sampled_from(["A", "B", "a b", "end", ""]), st.one_of(AGENT, AGENT, VALUES), max_size=3
            )
        },
        optional={
            "topology": TOPOLOGY,
            "limits": st.dictionaries(
                st.sampled_from([*ExecutionConfig.__annotations__, "timeot"]), VALUES, max_size=3
            ),
            "plugins": st.dictionaries(KEYS, VALUES, max_size=2),
            "name": VALUES,
            "team": VALUES,
        },
    ),
)


@pytest.mark.slow
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEAMS)
def test_whatever_a_file_says_is_a_team_or_a_configuration_error(data: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        team = team_from(data, folder=FOLDER)
        team.topology.validate(team.agents)


def as_data(topology: Topology) -> dict[str, Any]:
    agents = {node.agent for node in topology.nodes.values() if node.kind is NodeKind.AGENT}
    return {
        "agents": {name: {"model": "extractive"} for name in sorted(filter(None, agents))},
        "topology": topology.to_dict(),
    }


def can_run(topology: Topology) -> bool:
    try:
        topology.validate()
    except TopologyError:
        return False
    return any(node.kind is NodeKind.AGENT for node in topology.nodes.values())


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(topologies().filter(can_run))
def test_a_topology_that_can_run_comes_back_equal_from_a_team(topology: Topology) -> None:
    loaded = team_from(as_data(topology), folder=FOLDER).topology
    assert loaded == topology
    again = team_from({**as_data(topology), "topology": loaded.to_dict()}, folder=FOLDER).topology
    assert again.fingerprint == topology.fingerprint


def toml(value: Any) -> str:
    """Write a value as TOML inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        import json

        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return repr(value)


def test_a_topology_comes_back_equal_from_a_file(tmp_path: Path) -> None:
    topology = Topology(
        ["A", {"name": "B", "is_convergence_point": True, "metadata": {"x": [1, 2.5, "é"]}}, "C c"],
        ['A -> [B, "C c"]', {"source": "B", "target": "A", "bidirectional": True}],
        entry_point="A",
    )
    topology.update_node("A", dispatch="all", limit=1, convergence_policy={"quorum": 1, "early": True})
    text = "".join(f"{key} = {toml(value)}\n" for key, value in as_data(topology).items())
    assert tomllib.loads(text) == as_data(topology)
    path = tmp_path / "team.toml"
    path.write_text(text, encoding="utf-8")
    assert load_team(path).topology == topology
