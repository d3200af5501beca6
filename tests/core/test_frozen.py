"""Lists and dicts that cannot be changed in place."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.errors import ValueRefused
from marsys_core.frozen import FrozenDict, FrozenList, freeze, freeze_small, thaw
from marsys_core.values import Converter

VALUE = {"a": [1, {"b": [2]}], "c": "text"}

CHANGES = {
    "append": lambda v: v["a"].append(1),
    "extend": lambda v: v["a"].extend([1]),
    "insert": lambda v: v["a"].insert(0, 1),
    "list pop": lambda v: v["a"].pop(),
    "remove": lambda v: v["a"].remove(1),
    "list clear": lambda v: v["a"].clear(),
    "sort": lambda v: v["a"].sort(),
    "reverse": lambda v: v["a"].reverse(),
    "list item": lambda v: v["a"].__setitem__(0, 1),
    "list del": lambda v: v["a"].__delitem__(0),
    "list +=": lambda v: v["a"].__iadd__([1]),
    "list *=": lambda v: v["a"].__imul__(2),
    "dict item": lambda v: v.__setitem__("a", 1),
    "dict del": lambda v: v.__delitem__("a"),
    "dict pop": lambda v: v.pop("a"),
    "popitem": lambda v: v.popitem(),
    "update": lambda v: v.update(a=1),
    "setdefault": lambda v: v.setdefault("z", 1),
    "dict clear": lambda v: v.clear(),
    "|=": lambda v: v.__ior__({"a": 1}),
    "deep": lambda v: v["a"][1]["b"].append(1),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_refused_and_told_how_to_assign(change):
    value = freeze(VALUE)

    with pytest.raises(
        TypeError, match='cannot be changed in place, .* assign a new one: state\\["key"\\] = '
    ):
        change(value)
    assert value == VALUE


def test_every_method_that_changes_a_list_or_a_dict_is_refused():
    reads = {"copy", "count", "index", "get", "items", "keys", "values", "fromkeys"}
    for frozen, plain in ((FrozenList, list), (FrozenDict, dict)):
        methods = {name for name in vars(plain) if not name.startswith("_")}
        assert methods - reads <= set(vars(frozen))


def test_a_frozen_value_equals_the_plain_one_and_is_written_like_it():
    value = freeze(VALUE)

    assert value == VALUE
    assert value == VALUE
    assert repr(value) == repr(VALUE)
    assert json.dumps(value) == json.dumps(VALUE)
    assert type(value["a"] + [1]) is list


@pytest.mark.parametrize(
    "copied",
    [thaw, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v)), copy.copy, dict],
    ids=["thaw", "deepcopy", "pickle", "copy", "dict"],
)
def test_a_copy_is_plain_and_the_takers_own(copied):
    value = freeze(VALUE)
    own = copied(value)
    own["c"] = "changed"

    assert type(own) is dict
    assert value["c"] == "text"


def test_thawing_goes_all_the_way_down():
    own = thaw(freeze(VALUE))
    own["a"][1]["b"].append(3)

    assert own == {"a": [1, {"b": [2, 3]}], "c": "text"}


def same(one, other):
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(ANYTHING, st.integers(0, 400))
def test_what_is_frozen_in_one_walk_is_what_checking_and_freezing_it_gives(value, room):
    found, left = freeze_small(value, room)
    if left >= 0:
        assert same(found, freeze(Converter().plain(value, max(8, room))))


@given(ANYTHING)
def test_what_cannot_be_recorded_is_left_to_be_looked_at_properly(value):
    try:
        Converter().plain(value)
    except ValueRefused:
        assert freeze_small(value, 4096) == (None, -1) or freeze_small(value, 4096)[1] < 0


def test_a_small_dict_is_frozen_in_one_walk_and_a_large_or_deep_value_is_not():
    assert freeze_small({"a": [1, {"b": None}], "c": 0.5}, 4096)[1] > 0
    assert freeze_small("x" * 1021, 4096)[1] < 0
    assert freeze_small(["x" * 10] * 100, 4096)[1] < 0
    assert freeze_small([[[[[1]]]]], 4096)[1] < 0
    assert freeze_small(2**63, 4096)[1] < 0


def test_what_is_frozen_in_one_walk_is_a_copy():
    inner = [1]
    found, _ = freeze_small({"a": inner}, 4096)
    inner.append(2)
    assert found == {"a": [1]}
