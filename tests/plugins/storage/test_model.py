"""Any sequence of calls does to the file what it does to a few dictionaries."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys.storage import SQLiteStore
from tests.plugins.storage.model import CALLS, ENTRIES, TEXTS, Model


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(CALLS, max_size=30))
def test_two_stores_on_one_file_do_what_a_few_dictionaries_would(calls):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)

        def opened(clock, count):
            # One of the two commits on the loop's thread, the other on its own.
            return SQLiteStore(path / "runs.db", clock=clock, inline=not count)

        trio.run(Model(path, opened).play, calls)


@given(ENTRIES, TEXTS, st.integers(1, 2**30))
def test_an_entry_comes_back_from_its_row_and_from_no_other_run(entry, run_id, key):
    from marsys.storage import _rows

    base, salt = _rows.base_of(key), _rows.salt_of(run_id)
    row = _rows.row_of(entry, base, salt)

    assert _rows.entry_of(row, base, salt) == entry
    assert _rows.entry_of(row, base, _rows.salt_of(run_id + "x")) is None
