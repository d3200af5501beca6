from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from marsys.cli.diff import partings
from marsys_core.protocols.store import Entry
from tests.plugins.cli.conftest import Call
from tests.plugins.cli.keeping import TWO, kept
from tests.plugins.cli.test_show import entry

Write = Callable[[str], str]


def recorded(*steps: tuple[str, str, object]) -> list[Entry]:
    """Return the record of steps: branch, node, and what it said."""
    entries: list[Entry] = []
    for number, (branch, node, value) in enumerate(steps):
        entries.append(entry(len(entries), "StepStarted", branch, node=node, step=number + 1))
        action = {"$type": "Content", "value": value}
        ended = entry(
            len(entries), "StepFinished", branch, node=node, action=action, duration=len(entries) / 7
        )
        entries.append(ended)
    return entries


def test_two_runs_that_did_the_same_do_not_part(call: Call, team: Write) -> None:
    path = team(TWO)
    a, b = kept(call, path), kept(call, path)
    shown = call("diff", a, b)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"< {a} succeeded\n> {b} succeeded\n\nboth took the same steps\n"


def test_the_first_step_that_differs_is_shown_with_both_sides(call: Call, team: Write) -> None:
    a = kept(call, team(TWO))
    b = kept(call, team(TWO.replace('["x", "y"]', '["z"]')))
    shown = call("diff", a, b)
    assert shown.out == (
        f"< {a} succeeded\n> {b} succeeded\n\nbranch 0, step 2\n< Second said 'x'\n> Second said 'z'\n"
    )
    data = json.loads(call("diff", a, b, "--json").out)
    assert data["runs"] == [a, b]
    assert data["tasks"] == ["Think.", "Think."]
    (parting,) = data["partings"]
    assert (parting["branch"], parting["step"]) == ("0", 2)
    assert [side["action"]["value"] for side in parting["sides"]] == ["x", "z"]


def test_other_tasks_are_told(call: Call, team: Write) -> None:
    path = team('[agents.A]\nmodel = "scripted"\n[plugins.models]\nreplies = ["same"]\n')
    a, b = kept(call, path, task="one"), kept(call, path, task="other")
    out = call("diff", a, b).out
    assert "\ntheir tasks differ\n< 'one'\n> 'other'\n" in out
    # The answer is the same; what the agent was told is not.
    assert "\nbranch 0, step 1\n< A said 'same' (messages: [" in out


def test_each_branch_parts_by_itself() -> None:
    left = recorded(("0", "A", 1), ("0.0", "B", 2), ("0.1", "C", 3), ("0.10", "D", 4), ("0.2", "E", 5))
    right = recorded(("0", "A", 1), ("0.0", "B", 9), ("0.1", "C", 3), ("0.10", "D", 8), ("0.3", "F", 5))
    assert [
        (each.branch, each.first and each.first.node, each.second and each.second.node)
        for each in partings(left, right)
    ] == [("0.0", "B", "B"), ("0.2", "E", None), ("0.3", None, "F"), ("0.10", "D", "D")]


def test_a_step_more_is_where_they_part() -> None:
    (parting,) = partings(recorded(("0", "A", 1), ("0", "B", 2)), recorded(("0", "A", 1)))
    assert (parting.branch, parting.step, parting.second) == ("0", 2, None)


def test_calls_of_tools_count() -> None:
    def run(sum_: int) -> list[Entry]:
        return [
            entry(0, "StepStarted", node="A", step=1),
            entry(1, "ToolStarted", node="A", tool="pay", call_id=f"id{sum_}", arguments={"sum": sum_}),
            entry(2, "ToolFinished", node="A", tool="pay", call_id=f"id{sum_}", result=1, duration=sum_),
            entry(3, "StepFinished", node="A", action={"$type": "Content", "value": 1}),
        ]

    assert partings(run(1), run(1)) == []
    assert len(partings(run(1), run(2))) == 1


STEPS = st.lists(
    st.tuples(st.sampled_from(["0", "0.0", "0.1"]), st.sampled_from("AB"), st.integers(0, 2)), max_size=6
)


@given(STEPS, STEPS)
def test_runs_part_where_a_branch_says_something_else(
    left: list[tuple[str, str, object]], right: list[tuple[str, str, object]]
) -> None:
    found = {each.branch: each for each in partings(recorded(*left), recorded(*right))}
    for branch in ("0", "0.0", "0.1"):
        a = [step[1:] for step in left if step[0] == branch]
        b = [step[1:] for step in right if step[0] == branch]
        assert (branch in found) == (a != b)
        if branch in found:
            same = sum(1 for _ in _common(a, b))
            first = found[branch].first
            assert (first is None) == (same == len(a))
            assert first is None or first.node == a[same][0]


def _common(a: list[tuple[str, object]], b: list[tuple[str, object]]) -> list[object]:
    shared: list[object] = []
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        shared.append(one)
    return shared
