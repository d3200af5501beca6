from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.cli.conftest import Call

Write = Callable[[str], str]
TEAM = """
[agents]
A.model = "extractive"
B = { model = "extractive", tools = ["search"] }
[topology]
pattern = "hub_and_spoke"
hub = "A"
spokes = ["B"]
"""


def test_a_team_file_is_drawn_without_its_input(call: Call, team: Write) -> None:
    said = call("topology", team(TEAM))
    assert (said.code, said.err) == (0, "")
    assert said.out == "A (each)\n  <-> B\nB\n"


def test_a_text_is_drawn(call: Call) -> None:
    assert call("topology", "A -> [B, C] -> D").out == "A (all)\n  -> B\n  -> C\nB\n  -> D\nC\n  -> D\nD\n"


def test_mermaid_is_another_form(call: Call) -> None:
    said = call("topology", "A <-> B", "--format", "mermaid")
    assert said.out == 'flowchart TD\n    n0["A"]\n    n1["B"]\n    n0 <--> n1\n'


def test_warnings_go_to_standard_error(call: Call) -> None:
    said = call("topology", "A -> B -> C -> B")
    assert said.code == 0
    assert said.err.startswith("marsys: no edge leads out of the cycle of B, C")


@pytest.mark.parametrize("text", ["nowhere.toml", "A", "A\nB"])
def test_what_is_neither_a_file_nor_a_topology_is_refused(call: Call, text: str) -> None:
    said = call("topology", text)
    assert said.code == 2
    assert said.err.endswith(
        f"Error: there is no file {text!r}, and as a topology it has no arrow; "
        'write "A -> B" or name a team file\n'
    )


def test_a_text_that_cannot_be_read_shows_the_place(call: Call) -> None:
    said = call("topology", "A -> [B")
    assert said.code == 2
    assert said.err == (
        "marsys: line 1, column 6: this group is not closed on its line\n    A -> [B\n         ^\n"
    )


def test_a_file_with_an_arrow_in_its_name_is_a_file(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "A->B.toml"
    path.write_text('[agents.X]\nmodel = "extractive"')
    assert call("topology", str(path)).out == "X\n"


def test_conditions_are_drawn(call: Call, team: Write) -> None:
    edges = 'edges = ["A -> B", { source = "B", target = "A", condition = "visits < 3" }]'
    text = TEAM.partition("[topology]")[0] + f"[topology]\n{edges}\n"
    assert call("topology", team(text)).out == "A\n  -> B\nB\n  -> A  if visits < 3\n"
    assert '-->|"visits < 3"|' in call("topology", team(text), "--format", "mermaid").out
