"""One run as one file."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsys_core.errors import StoreError
from marsys_core.protocols.store import Entry, RunInfo, Said
from marsys_core.transfer import Run, began_in, read_file, teams_in, write_file

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
INTS = st.integers(-(2**63), 2**63 - 1)
TIMES = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def runs(draw):
    forked = draw(st.none() | st.tuples(TEXTS, INTS))
    info = RunInfo(
        run_id=draw(TEXTS), task=draw(TEXTS), created=draw(TIMES), steps=draw(INTS), forked_from=forked
    )
    entries = [
        Entry(seq, draw(TEXTS), draw(INTS), (draw(TEXTS), draw(INTS)), draw(TEXTS), draw(TIMES), draw(TEXTS))
        for seq in range(draw(st.integers(0, 3)))
    ]
    blobs = {hashlib.sha256(data).hexdigest(): data for data in draw(st.lists(st.binary(), max_size=3))}
    arrays = st.lists(INTS, min_size=1, max_size=3).map(json.dumps)
    said = draw(st.lists(st.builds(Said, TEXTS, TEXTS, arrays), max_size=3))
    return Run(info=info, blobs=blobs, entries=entries, said=tuple(said))


def test_a_file_on_a_disk_that_may_not_be_written_is_a_store_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(
        StoreError, match="^could not write the run 'r' to 'run.jsonl': Read-only file system$"
    ):
        write_file(Run(info=RunInfo(run_id="r"), blobs={}, entries=()), Path("run.jsonl"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs())
def test_a_run_comes_back_from_its_file(tmp_path, run):
    write_file(run, tmp_path / "run.jsonl")
    (read,) = read_file(tmp_path / "run.jsonl")

    assert attrs.evolve(read, blobs=run.blobs) == run
    began_with: dict[str, list[int]] = {}
    for each in run.said:
        if each.run_id != run.info.run_id:
            began_with.setdefault(each.agent, []).extend(json.loads(each.data))
    more = [json.loads(data) for sha256, data in read.blobs.items() if sha256 not in run.blobs]
    assert all(each in more for each in began_with.values())
    assert run.blobs.items() <= read.blobs.items()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs(), st.data())
def test_a_file_of_which_a_byte_was_changed_is_refused(tmp_path, run, data):
    path = tmp_path / "run.jsonl"
    write_file(run, path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 2))  # the last byte is the end of the line
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    with pytest.raises(StoreError):
        list(read_file(path))


def run_of(run_id, parent="", **fields):
    return Run(info=RunInfo(run_id=run_id, parent=parent), blobs={}, entries=[], **fields)


def test_nested_runs_come_after_the_run_one_by_one(tmp_path):
    path, asked = tmp_path / "run.jsonl", []
    data = b"large"
    inner = attrs.evolve(run_of("a-1", "a"), blobs={hashlib.sha256(data).hexdigest(): data})

    def nested():
        for run in (inner, run_of("a-1-1", "a-1"), run_of("a-2", "a")):
            asked.append(run.info.run_id)
            yield run

    write_file(run_of("a"), path, nested())
    read = read_file(path)

    assert asked == ["a-1", "a-1-1", "a-2"]
    assert next(read) == run_of("a")
    assert list(read) == [inner, run_of("a-1-1", "a-1"), run_of("a-2", "a")]
    path.write_bytes(path.read_bytes().replace(b'"run_id":"a-2"', b'"run_id":"a-3"'))
    with pytest.raises(StoreError, match="its last line is not the checksum of those before"):
        list(read_file(path))


def test_a_nested_run_without_the_one_that_it_is_part_of_is_refused(tmp_path):
    path = tmp_path / "run.jsonl"
    write_file(run_of("a"), path, [run_of("b-1", "b")])

    with pytest.raises(StoreError, match="run 'b-1' is nested in 'b', which is not before it$"):
        list(read_file(path))


def test_where_a_nested_run_cannot_be_read_no_file_is_left(tmp_path):
    def nested():
        yield run_of("a-1", "a")
        msg = "damaged"
        raise StoreError(msg)

    with pytest.raises(StoreError, match="^damaged$"):
        write_file(run_of("a"), tmp_path / "run.jsonl", nested())
    assert list(tmp_path.iterdir()) == []


def test_a_log_names_the_runs_that_are_nested_in_it_once():
    data = ['{"inner":"a-1"}', '{"inner":"a-1"}', "sealed", "[]", '{"inner":3}', "{}", '{"inner":"a-2"}']
    entries = [Entry(seq, "0", seq, ("", 0), "TeamStarted", 0.0, text) for seq, text in enumerate(data)]

    assert teams_in(entries) == ["a-1", "a-2"]
    assert teams_in([attrs.evolve(each, kind="TeamFinished") for each in entries]) == []


def test_a_file_that_cannot_be_written_is_not_there(tmp_path):
    run = Run(info=RunInfo(run_id="r"), blobs={}, entries=[])

    with pytest.raises(StoreError, match=r"^could not write the run 'r' to '.*': No such file or directory$"):
        write_file(run, tmp_path / "nowhere" / "run.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "began"),
    [
        ('{"session_id":"s","session_version":3}', ("s", 3)),
        ('{"session_id":"s","session_version":0}', ("s", 0)),
        ('{"session_id":"s"}', None),
        ('{"session_id":"s","session_version":null}', None),
        ('{"session_id":"s","session_version":true}', None),
        ('{"session_id":5,"session_version":3}', None),
        ("[]", None),
        ("sealed", None),
        ("[" * 100_000, None),
    ],
)
def test_the_session_a_run_began_in_is_told_by_its_first_entry(data, began):
    assert began_in([Entry(0, "", 0, ("", -1), "RunStarted", 0.0, data)]) == began
    assert began_in([Entry(0, "", 0, ("", -1), "StepStarted", 0.0, data)]) is None
    assert began_in([]) is None
