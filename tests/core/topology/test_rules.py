"""How rules are written, and what can be one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import TopologyError
from marsys_core.topology import Topology
from marsys_core.topology.rules import (
    RuleCall,
    flaw_of_rule,
    rule_from,
    rule_to_dict,
    rule_to_text,
)
from tests.core.topology.strategies import json_values


class Silent:
    def before_step(self, facts: Any) -> None: ...


class Named(Silent):
    name = "quiet"


class Written(Silent):
    def to_dict(self) -> dict[str, Any]:
        return {"silent": 3}


@pytest.mark.parametrize(
    ("value", "name", "positional", "named"),
    [
        ("timeout", "timeout", (), {}),
        ("timeout()", "timeout", (), {}),
        (" timeout ( 30 ) ", "timeout", (30,), {}),
        ("timeout(2.5)", "timeout", (2.5,), {}),
        ("timeout(-1)", "timeout", (-1,), {}),
        ("timeout(seconds=30)", "timeout", (), {"seconds": 30}),
        ("agent_timeout(A:120, default:90)", "agent_timeout", (), {"A": 120, "default": 90}),
        ('agent_timeout("Research Lead": 120)', "agent_timeout", (), {"Research Lead": 120}),
        ('parallel("Research Lead", B-2, Ä.b)', "parallel", ("Research Lead", "B-2", "Ä.b"), {}),
        ('parallel("gather:1", "3")', "parallel", ("gather:1", "3"), {}),
        ("flag(true, false, none)", "flag", (True, False, "none"), {}),
        ("two(1, 2,)", "two", (1, 2), {}),
        ({"timeout": 30}, "timeout", (30,), {}),
        ({"timeout": None}, "timeout", (), {}),
        ({"parallel": ["A", "B"]}, "parallel", ("A", "B"), {}),
        ({"agent_timeout": {"A": 120, "default": 90}}, "agent_timeout", (), {"A": 120, "default": 90}),
        ({"type": "timeout", "seconds": 30}, "timeout", (), {"seconds": 30}),
        ({"type": "timeout"}, "timeout", (), {}),
    ],
)
def test_a_rule_can_be_written_in_many_ways(
    value: Any, name: str, positional: tuple[Any, ...], named: dict[str, Any]
) -> None:
    assert rule_from(value) == RuleCall(name, positional, named)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "it ends too early"),
        ("(30)", "a rule begins with its name"),
        ('"timeout"(30)', "a rule begins with its name"),
        ("timeout(30", "')' is missing"),
        ("timeout 30", "'(' is expected where '30' stands"),
        ("timeout(30) now", "'now' stands after its end"),
        ("timeout(30 40)", "',' is expected where '40' stands"),
        ("timeout(,)", "an argument is expected where ',' stands"),
        ("timeout(A:)", "an argument is expected where ')' stands"),
        ("timeout(A:1, A:2)", "'A' is given twice"),
        ("timeout(1, A:2)", "give its arguments by place or by name, not both"),
        ("timeout([1])", "'[1])' cannot be read"),
        ('timeout("A)', "'\"A)' cannot be read"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_the_reason(value: str, why: str) -> None:
    with pytest.raises(TopologyError) as caught:
        rule_from(value)
    assert str(caught.value) == (
        f"the rule {value!r} cannot be read: {why}; write name(argument, ...), as in timeout(30)"
    )


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({}, 'a rule as a mapping is {"name": argument}'),
        ({"timeout": 1, "max_steps": 2}, 'a rule as a mapping is {"name": argument}'),
        ({"a b": 1}, "'a b' cannot be a rule's name"),
        ({"type": 3}, "3 cannot be a rule's name"),
        ({"timeout": {1, 2}}, "a rule.timeout holds set, which is not JSON data"),
        ({"object": "m:Rule"}, "the rule 'm:Rule' is an object of a program and cannot be read from data"),
        ("object(1)", "'object' cannot be a rule's name"),
        (
            3,
            "a rule is a text, a mapping or an object with one of before_step, after_step, before_fork, not 3",
        ),
        (Silent, "a rule is an object, not the class Silent; write Silent(...)"),
    ],
)
def test_what_is_no_rule_is_refused(value: Any, why: str) -> None:
    with pytest.raises(TopologyError) as caught:
        rule_from(value)
    assert str(caught.value).startswith(why)


def test_a_rule_that_would_wait_is_refused() -> None:
    class Waits:
        async def after_step(self, facts: Any) -> None: ...

    assert flaw_of_rule(Waits()) == (
        "after_step of rule Waits is async, and rules may not wait; write a plain function"
    )
    with pytest.raises(TopologyError, match=r"after_step of rule Waits is async, .* @ \$\.rules\[1\]$"):
        Topology(["A"], rules=[Silent(), Waits()])


def test_a_callable_object_that_would_wait_is_refused() -> None:
    class Later:
        async def __call__(self, facts: Any) -> None: ...

    class Waits:
        before_fork = Later()

    assert flaw_of_rule(Waits()).startswith("before_fork of rule Waits is async")


words = st.text("AB é\"',:=()[]0.", min_size=1, max_size=5) | st.sampled_from(
    ["true", "3", "2.50", "default"]
)
names = st.text("ab_-.", min_size=1, max_size=5)
calls = st.builds(
    lambda name, positional, named, which: RuleCall(
        name, *((tuple(positional), {}) if which else ((), named))
    ),
    names,
    st.lists(json_values, max_size=3),
    st.dictionaries(st.text(max_size=4), json_values, max_size=3),
    st.booleans(),
)
simple = st.integers(-9, 9) | st.booleans() | words.filter(lambda word: '"' not in word)
texts = st.builds(
    lambda name, positional, named, which: RuleCall(
        name, *((tuple(positional), {}) if which else ((), named))
    ),
    names,
    st.lists(simple, max_size=3),
    st.dictionaries(words.filter(lambda word: '"' not in word), simple, max_size=3),
    st.booleans(),
)


@given(calls)
def test_the_dict_form_says_all_there_is(call: RuleCall) -> None:
    assert rule_from(call.to_dict()) == call


@given(texts)
def test_the_text_of_a_rule_reads_as_the_rule(call: RuleCall) -> None:
    assert rule_from(str(call)) == call


def test_an_object_has_the_form_that_it_writes_or_the_name_of_its_class() -> None:
    assert rule_to_dict(Written()) == {"silent": 3}
    assert rule_to_dict(Silent()) == {"object": f"{__name__}:Silent"}
    assert [rule_to_text(rule) for rule in (Written(), Silent(), Named())] == ["silent(3)", "Silent", "quiet"]


def test_a_topology_keeps_its_rules_in_every_form_of_it() -> None:
    topology = Topology(["A"], rules=["timeout(30)", {"agent_timeout": {"A": 5}}, Written()])

    assert topology.to_dict()["rules"] == [{"timeout": 30}, {"agent_timeout": {"A": 5}}, {"silent": 3}]
    again = Topology.from_dict(topology.to_dict())
    assert again == topology
    assert again.rules[0] == RuleCall("timeout", (30,))
    assert topology.to_text() == "A\nrule timeout(30)\nrule agent_timeout(A:5)\nrule silent(3)\n"


def test_rules_count_for_the_fingerprint() -> None:
    plain, one, two = (Topology(["A"], rules=rules) for rules in ([], ["x(1)"], ["x(2)"]))

    assert len({each.fingerprint for each in (plain, one, two)}) == 3
    assert "rules" not in plain.to_dict()


def test_rules_can_be_set_later_all_or_none() -> None:
    topology = Topology(["A"])
    before = topology.fingerprint
    topology.rules = ["timeout(30)"]

    assert topology.rules == (RuleCall("timeout", (30,)),)
    assert topology.fingerprint != before
    with pytest.raises(TopologyError, match=r"@ \$\.rules\[0\]\n.*@ \$\.rules\[1\]$"):
        topology.rules = ["(", ")"]


def test_one_text_is_no_list_of_rules() -> None:
    with pytest.raises(TopologyError, match=r"a list is expected, not 'timeout\(30\)' \(str\) @ \$\.rules$"):
        Topology(["A"], rules="timeout(30)")
