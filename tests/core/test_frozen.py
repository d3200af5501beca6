"""Lists and dicts that cannot be changed in place."""

import copy
import json
import pickle

import pytest

from marsys_core.frozen import FrozenDict, FrozenList, freeze, thaw

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
