"""Whatever stands in what a store keeps besides entries: it is what was written, or it is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marsys_core.backend.document import entries_of, read_state, state_of
from marsys_core.backend.memory import Memory, Piece
from marsys_core.errors import FormatError, StoreError
from marsys_core.format import decode_value, encode, encode_value
from marsys_core.messages import Message, TextPart, ToolCall
from marsys_core.protocols.store import Entry, RunInfo, Said
from marsys_core.transfer import Run, read_file, write_file
from marsys_core.values import JoinInput, Ref
from tests.core.backend.test_document import kept
from tests.core.format.golden import EVENTS
from tests.core.format.strategies import CONVERTER, Point
from tests.core.format.test_fuzz import mutated_data, mutated_text

ROOT = Path(__file__).resolve().parents[2]
TRIES = 200_000 if os.environ.get("MARSYS_SIMULATE") == "1" else 1_000
VALUES: list[Any] = [
    {"a": [1, 2.5, None, True, {"b": "c"}], "$type": "dict"},
    [Message("assistant", (TextPart("hi"),), tool_calls=(ToolCall("c1", "pay", '{"amount": 3}'),))],
    JoinInput([("A", "0.0", (1, 2)), ("B", "0.1", Point(1, 2.0))]),
    {1: 10**30, 2: float("nan"), 3: "\ud800\udfff", (4,): Ref("a" * 64, 5)},
]
TEXTS = [encode_value(value, CONVERTER) for value in VALUES]
ENTRIES = [
    Entry(seq, event.branch, event.n, event.cause, type(event).__name__, 1.5, encode(event, CONVERTER))
    for seq, event in enumerate(EVENTS[:4])
]
INFO = RunInfo(run_id="r", session_id="s", task="Why?", created=1.5, forked_from=("q", 3))


def mutated(text: str, rng: random.Random) -> str:
    return (mutated_text if rng.random() < 0.4 else mutated_data)(text, rng)


def value_or_refusal(text: str) -> Any:
    try:
        return decode_value(text, CONVERTER)
    except FormatError as error:
        return error


@pytest.mark.slow
def test_simulated_damage_to_a_large_value_gives_a_value_or_is_refused():
    rng, refused = random.Random(1), 0
    for _ in range(TRIES):
        value = value_or_refusal(mutated(rng.choice(TEXTS), rng))
        if isinstance(value, FormatError):
            refused += 1
            assert len(str(value)) < 2_000
        else:
            text = encode_value(value, CONVERTER)
            assert encode_value(decode_value(text, CONVERTER), CONVERTER) == text
    assert 0.1 * TRIES < refused < 0.97 * TRIES


@pytest.mark.slow
def test_simulated_damage_to_a_state_gives_runs_or_is_refused():
    rng, refused = random.Random(2), 0
    memory = Memory(2, [Piece(Said("A", "r", '[{"role": "user", "content": "Why?"}]'), 1, None)])
    whole = json.dumps(state_of([kept(INFO, ENTRIES, [b"x" * 50, b"\xff" * 50])], memory))
    for _ in range(TRIES // 4):
        try:
            runs, _ = read_state(mutated(whole, rng), "the state")
            for run in runs:
                entries_of(run)
        except StoreError:
            refused += 1
    assert 0.1 * TRIES / 4 < refused < 0.97 * TRIES / 4


@pytest.mark.slow
def test_simulated_damage_to_an_exported_run_gives_a_run_or_is_refused(tmp_path: Path):
    rng, refused, path = random.Random(3), 0, tmp_path / "run.jsonl"
    blob = b"x" * 50
    write_file(Run(info=INFO, blobs={hashlib.sha256(blob).hexdigest(): blob}, entries=ENTRIES), path)
    whole = path.read_text().splitlines()[:-1]
    for _ in range(TRIES // 10):
        lines = list(whole)
        at = rng.randrange(len(lines))
        lines[at] = mutated(lines[at], rng)
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        path.write_bytes(text + json.dumps({"end": hashlib.sha256(text).hexdigest()}).encode() + b"\n")
        try:
            (run,) = read_file(path)
        except StoreError:
            refused += 1
        else:
            assert type(run.info.run_id) is str
            assert all(type(each.data) is str and type(each.seq) is int for each in run.entries)
            assert all(hashlib.sha256(data).hexdigest() == sha256 for sha256, data in run.blobs.items())
    assert 0.1 * TRIES / 10 < refused < 0.99 * TRIES / 10


WATCHED = """
import random, sys
from tests.core.format import test_fuzz as f
from tests.core import test_damaged_files as d

def all_of(seed, tries):
    rng = random.Random(seed)
    for _ in range(tries):
        kind, text = rng.choice(f.TEXTS)
        f.event_or_refusal(kind, d.mutated(text, rng))
        d.value_or_refusal(d.mutated(rng.choice(d.TEXTS), rng))

all_of(1, 2000)  # what is imported and made on first use
happened = []

def hook(event, arguments):
    if watching and not event.startswith(("builtins.id", "sys._getframe", "object.__getattr__")):
        happened.append(f"{event} {arguments!r:.200}")

watching = False
sys.addaudithook(hook)
watching = True
all_of(2, int(sys.argv[1]))
watching = False
print(happened)
"""


@pytest.mark.slow
def test_simulated_damage_runs_no_code_opens_nothing_and_imports_nothing():
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(TRIES)],
        capture_output=True, text=True, timeout=600, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
