"""States: what any database gives back as it was."""

from __future__ import annotations

import hashlib
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.backend.document import (
    KeptRun,
    entries_of,
    entry_text,
    escaped,
    read_state,
    state_of,
    unescaped,
)
from marsys_core.backend.memory import Memory
from marsys_core.errors import StoreDamaged, StoreError
from marsys_core.protocols.store import STATUSES, Entry, Recalled, RunInfo
from tests.core.backend.backends import entry, jsonb, plain

anything = st.text(st.characters(exclude_categories=()) | st.sampled_from("\x00\x10\ud800\udfff\\\"'0af😀\n"))
writable = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from('\x00\x10\\"0\n\r\u2028'))
whole = st.integers(0, 2**31)
seconds = st.floats(0, allow_nan=False, allow_infinity=False)
infos = st.builds(
    RunInfo,
    run_id=anything,
    session_id=anything,
    status=st.sampled_from(STATUSES),
    task=anything,
    fingerprint=anything,
    error=anything,
    parent=anything,
    steps=whole,
    format=whole,
    created=seconds,
    updated=seconds,
    forked_from=st.none() | st.tuples(anything, whole),
)
logs = st.lists(
    st.builds(
        Entry,
        seq=st.just(0),
        branch=writable,
        n=whole,
        cause=st.tuples(writable, st.integers(-1)),
        kind=writable,
        time=seconds,
        data=writable,
    )
).map(lambda found: [attrs.evolve(each, seq=seq) for seq, each in enumerate(found)])


def kept(info, entries=(), blobs=()):
    run = KeptRun(info=info, entries=[entry_text(each) for each in entries])
    for data in blobs:
        run.put(hashlib.sha256(data).hexdigest(), data)
    return run


@given(anything)
def test_every_text_can_be_escaped_and_read_again(text):
    found = escaped(text)

    assert unescaped(found) == text
    plain(found)


@given(infos, logs, st.lists(st.binary() | anything.map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_every_run_survives_a_database_that_orders_keys_and_has_one_kind_of_numbers(info, entries, blobs):
    state = state_of([kept(info, entries, blobs)])
    plain(state)

    (run,), _ = read_state(jsonb(state), "it")
    assert run.info == info
    assert entries_of(run) == entries
    assert run.blobs() == {hashlib.sha256(data).hexdigest(): data for data in blobs}
    assert state_of([run]) == state == json.loads(json.dumps(state))


@pytest.mark.parametrize("nothing", [None, {}, "{}", b"{}", bytearray(b"{}"), memoryview(b"{}"), "null"])
def test_nothing_is_a_session_without_runs(nothing):
    runs, memory = read_state(nothing, "it")
    assert (runs, memory.version, memory.recall()) == ([], 0, Recalled())


@pytest.mark.parametrize("form", [json.dumps, lambda state: json.dumps(state).encode(), dict])
def test_a_state_may_come_as_text_or_as_an_object(form):
    (run,), _ = read_state(form(state_of([kept(RunInfo(run_id="r"), [entry(0)])])), "it")

    assert entries_of(run) == [entry(0)]


def test_a_state_is_not_changed_by_what_happens_later():
    run = kept(RunInfo(run_id="r"), [entry(0)], [b"x"])
    state = state_of([run])
    before = json.dumps(state)
    run.entries.append(entry_text(entry(1)))
    run.put("0", b"y")

    assert json.dumps(state) == before


@pytest.mark.parametrize(
    ("given_back", "told"),
    [
        (7, "^it was loaded as int: 7; load_state returns what was saved, or None$"),
        ([1], r"^it was loaded as list: \[1\]; load_state"),
        ({"mine": 1}, "^it was not written by MARSYS: it is {'mine': 1}; give runs a table of their own$"),
        ({"marsys": True}, "^it was not written by MARSYS"),
        ({"marsys": 2}, "^it was written by a newer MARSYS: it is version 2, and this one knows 1; update$"),
    ],
)
def test_what_is_no_state_is_refused(given_back, told):
    with pytest.raises(StoreError, match=told):
        read_state(given_back, "it")


@pytest.mark.parametrize("given_back", ["", "{", b"\xff", {"marsys": 1}, {"marsys": 1, "runs": [{}]}])
def test_a_state_that_is_not_whole_is_damaged(given_back):
    with pytest.raises(StoreDamaged, match=r"^it is (no JSON|not as it was written): "):
        read_state(given_back, "it")


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": 1},
        {"status": "done"},
        {"steps": 1.5},
        {"steps": True},
        {"created": 5},
        {"created": "soon"},
        {"forked_from": ["r"]},
        {"forked_from": ["r", "1"]},
        {"entries": [1]},
        {"texts": []},
        {"binary": {"a": None}},
    ],
)
def test_a_run_that_holds_something_else_is_damaged(change):
    state = state_of([kept(RunInfo(run_id="r"))])
    state["runs"][0] |= change

    with pytest.raises(StoreDamaged, match="^it is not as it was written: "):
        read_state(state, "it")


@pytest.mark.parametrize(
    "text", ["", "[]\n{}", '["",0,"",0,"X",0]\n{}', "[" * 100_000, '["",0,"",0,1,0.0]\n']
)
def test_an_entry_that_cannot_be_read_is_named_with_those_before_it(text):
    run = kept(RunInfo(run_id="r"), [entry(0), entry(1)])
    run.entries[1] = text

    with pytest.raises(StoreDamaged, match="^entry 1 of run 'r' is not as it was written: ") as told:
        entries_of(run)
    assert (told.value.run_id, told.value.seq, told.value.entries) == ("r", 1, (entry(0),))


def test_a_large_value_that_was_changed_is_damaged():
    run = kept(RunInfo(run_id="r"), [], [b"\xff", b"text"])
    (sha256,) = run.texts
    run.texts[sha256] = "other"
    with pytest.raises(StoreDamaged, match=f"^the large value {sha256} of run 'r' has another hash$"):
        run.blobs()
    run.binary = dict.fromkeys(run.binary, "=")
    with pytest.raises(StoreDamaged, match="^a large value of run 'r' cannot be read: "):
        run.blobs()


@given(st.lists(st.tuples(anything, st.dictionaries(anything, anything))))
def test_what_a_session_remembers_survives_a_database_too(additions):
    memory = Memory()
    for run_id, said in additions:
        memory.remember(run_id, said)
    state = state_of([], memory)
    plain(state)

    runs, read = read_state(jsonb(state), "it")
    assert runs == []
    for version in range(memory.version + 1):
        assert read.recall(version=version) == memory.recall(version=version)
    assert state_of([], read) == state == json.loads(json.dumps(state))
    assert bool(state) is bool(memory.version)


@pytest.mark.parametrize(
    "memory",
    [
        {"version": 1},
        {"version": "1", "said": []},
        {"version": 1, "said": [[1, None, "A", "r"]]},
        {"version": 1, "said": [[1, None, "A", "r", 5]]},
        {"version": 1, "said": [[1, "2", "A", "r", "[]"]]},
        [],
    ],
)
def test_a_memory_that_holds_something_else_is_damaged(memory):
    with pytest.raises(StoreDamaged, match="^it is not as it was written: "):
        read_state({"marsys": 1, "runs": [], "memory": memory}, "it")
