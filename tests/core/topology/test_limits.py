"""Of several limits the smallest holds, and it is known whose it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marsys_core.topology import NO_LIMITS, Limits

tables = st.dictionaries(st.sampled_from(["", "A", "B"]), st.integers(1, 9), min_size=1)


def test_a_limit_can_only_be_lowered() -> None:
    limits = (
        NO_LIMITS.lowered("timeout", 30, "one").lowered("timeout", 60, "two").lowered("timeout", 20, "three")
    )

    assert limits.timeout == 20
    assert limits.whose("timeout") == " (rule three)"
    assert NO_LIMITS.timeout is None
    assert NO_LIMITS.whose("timeout") == ""


def test_of_equal_limits_the_first_rule_is_named() -> None:
    limits = NO_LIMITS.lowered("max_steps", 3, "one").lowered("max_steps", 3, "two")

    assert limits.whose("max_steps") == " (rule one)"


def test_a_limit_that_gives_way_to_a_smaller_setting_is_nobodys() -> None:
    limits = NO_LIMITS.lowered("timeout", 30, "one").lowered("max_steps", 3, "two").without("timeout")

    assert limits == Limits(max_steps=3, set_by={"max_steps": "two"})


def test_a_limit_by_node_knows_whose_it_is() -> None:
    limits = NO_LIMITS.lowered("agent_timeout", {"A": 5, "": 9}, "one").lowered(
        "agent_timeout", {"": 7}, "two"
    )

    assert [limits.of("agent_timeout", node) for node in "AB"] == [5, 7]
    assert [limits.whose("agent_timeout", node) for node in "AB"] == [" (rule one)", " (rule two)"]
    assert NO_LIMITS.of("agent_timeout", "A") is None


@given(tables, tables)
def test_the_smaller_of_two_tables_holds_for_every_node(one: dict[str, int], two: dict[str, int]) -> None:
    limits = NO_LIMITS.lowered("max_turns", one, "one").lowered("max_turns", two, "two")

    for node in ("A", "B", "C"):
        asked = {name: table.get(node, table.get("")) for name, table in (("one", one), ("two", two))}
        found = {name: value for name, value in asked.items() if value is not None}
        assert limits.of("max_turns", node) == min(found.values(), default=None)
        if found:
            named = limits.whose("max_turns", node).removeprefix(" (rule ").removesuffix(")")
            assert found[named] == min(found.values())
