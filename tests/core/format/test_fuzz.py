"""Whatever stands in an entry: it is an event, or it is refused."""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

import pytest

from marsys_core.errors import FormatError
from marsys_core.events import KINDS
from marsys_core.format import Texts, encode
from tests.core.format.golden import EVENTS
from tests.core.format.reading import read
from tests.core.format.strategies import CONVERTER

SIMULATE = os.environ.get("MARSYS_SIMULATE") == "1"
TRIES = 100_000 if SIMULATE else 500
SEEDS = range(30 if SIMULATE else 8)
TEXTS = [(type(event).__name__, encode(event, CONVERTER)) for event in EVENTS]
TEXTS += [
    ("BranchMoved", f'{{"node":"B","how":"call","value":[{again},{json.dumps("x" * 200)},{again}]}}')
    for again in ('{"$type":"again","seq":3,"at":"$.value[1]"}', '{"$type":"again","seq":0,"at":"$.value"}')
]
TAGS = [
    *[
        "dict",
        "map",
        "tuple",
        "int",
        "float",
        "surrogates",
        "again",
        "JoinInput",
        "Message",
        "TextPart",
        "Ref",
        "Failure",
    ],
    *[
        "Content",
        "Invoke",
        "AskUser",
        "Fail",
        "ConvergencePolicy",
        "builtins.eval",
        "os.system",
        "__class__",
        "",
    ],
    *["tests.core.format.strategies.Point", "Detached", "ToolCall", "Usage", "Malformed"],
]
NAMES = [
    "seq",
    "at",
    "error",
    "called",
    "args",
    "text",
    "cause",
    "errors",
    "failures",
    "items",
    "parts",
    "$type",
    "__class__",
    "x",
]
JUNK: list[Any] = [
    *[
        None,
        True,
        False,
        0,
        -1,
        1.5,
        10**30,
        "",
        "a",
        "\0",
        "\ud800",
        "nan",
        [],
        [[]],
        {},
        [1, "a"],
        {"a": 1},
    ],
    *[{"$type": tag} for tag in TAGS],
    *[{"$type": tag, "items": []} for tag in TAGS],
    *[{"$type": tag, "items": {}} for tag in TAGS],
    *[
        {"error": name, "args": []}
        for name in ("LimitError", "Exception", "ExceptionGroup", "eval", "__class__")
    ],
    *[
        {"$type": "int", "hex": "0x" + "f" * 20_000},
        {"$type": "int", "hex": "-"},
        {"$type": "float", "name": "inf"},
    ],
    {"error": "ExceptionGroup", "errors": [{"error": "Exception", "called": "a b"}], "text": ""},
    {"$type": "map", "items": [[[], 1]]},
]


def mutated_text(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 3)):
        at, other = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        how = rng.randrange(6)
        if how == 0:
            text = text[:at] + text[at + 1 :]
        elif how == 1:
            text = text[:at] + rng.choice('{}[]",:0919e-.\\u\0\ud800ntf') + text[at + 1 :]
        elif how == 2:
            text = text[:at] + text[other:]
        elif how == 3:
            text = text[:other] + text[at:]
        elif how == 4:
            text = (
                text[:at]
                + rng.choice(["1e999", "NaN", "[" * 3000, '{"$type":' * 500, "9" * 5000])
                + text[at:]
            )
        else:
            text = text[:at]
    return text


def places(data: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    pending = [data]
    while pending:
        here = pending.pop()
        inner = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
        for key, value in inner:
            found.append((here, key))
            pending.append(value)
    return found


def mutated_data(text: str, rng: random.Random) -> str:
    data = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        if not (spots := places(data)):
            return json.dumps(rng.choice(JUNK))
        here, key = rng.choice(spots)
        how = rng.randrange(6)
        if how < 3:
            here[key] = json.loads(json.dumps(rng.choice(JUNK)))
        elif how == 3:
            del here[key]
        elif how == 4 and isinstance(here, dict):
            here[rng.choice([*NAMES, *here])] = here.pop(key)
        else:
            there, other = rng.choice(places(json.loads(rng.choice(TEXTS)[1])) or [(here, key)])
            here[key] = there[other]
    return json.dumps(data)


def event_or_refusal(kind: str, text: str) -> Any:
    try:
        return read(kind, text, CONVERTER, texts=Texts())
    except FormatError as error:
        return error


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_simulated_damage_to_an_entry_gives_an_event_or_is_refused(seed: int):
    rng = random.Random(seed)
    refused = 0
    for _ in range(TRIES):
        kind, text = rng.choice(TEXTS)
        broken = (mutated_text if rng.random() < 0.4 else mutated_data)(text, rng)
        if rng.random() < 0.05:
            kind = rng.choice([*KINDS, "Event", "", "__class__"])
        began = time.process_time()
        event = event_or_refusal(kind, broken)
        if isinstance(event, FormatError):
            refused += 1
            assert len(str(event)) < 2_000
        else:
            assert type(event) is KINDS[kind]
            assert encode(read(kind, encode(event, CONVERTER), CONVERTER), CONVERTER) == encode(
                event, CONVERTER
            )
        assert time.process_time() - began < 1
    assert 0.3 * TRIES < refused < 0.97 * TRIES
