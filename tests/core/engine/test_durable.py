"""What a store is told about a run."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys_core.agents import agent
from tests.core.fakes import bare, virtually
from tests.core.stores import MemoryStore


@agent
async def A(prompt: Any) -> Any:
    return "done"


def headline(task: Any) -> str:
    """Return what a store is told of the task."""
    store = MemoryStore()

    async def main() -> None:
        async with bare(storage=store) as orchestra:
            await orchestra.execute(task, "A", agents=[A])

    virtually(main)
    (kept,) = store.kept.values()
    return kept.info.task


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("Why build a canal?", "Why build a canal?"),
        ('It\'s "here"\n\n  and\tthere ', 'It\'s "here" and there'),
        ("漢字 ünï", "漢字 ünï"),
        ("\x1b[31mred\x00", "�[31mred�"),
        ("\ud800", "�"),
        ("", ""),
        (17, "17"),
        ({"topic": "säle", "years": [1, 2]}, '{"topic": "säle", "years": [1, 2]}'),
        (None, "null"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("a " * 5000, "a " * 99 + "a…"),
        ([1] * 100, json.dumps([1] * 100)[:199] + "…"),
    ],
)
def test_a_store_is_told_the_beginning_of_the_task_in_one_line(task: Any, told: str) -> None:
    assert headline(task) == told


@settings(max_examples=25)
@given(st.text() | st.dictionaries(st.text(), st.text()))
def test_any_task_is_told_in_a_line_that_can_be_written_anywhere(task: Any) -> None:
    told = headline(task)

    assert len(told) <= 200
    assert told.splitlines() in ([], [told])
    assert {unicodedata.category(char) for char in told}.isdisjoint({"Cc", "Cs"})
