"""Choose few records of many, so that every feature of every provider is still there: a program.

    python -m tests.wire.thin FOLDER API > tests/data/wire/API.jsonl

The shortest records are preferred. Of a request no more is kept than where it went.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
TESTED_APART = 20_000  # bytes of an answer; a longer one is taken only where nothing else will do


def thinned(records: Iterable[Record]) -> list[Record]:
    """Take records, the shortest first, that bring something new."""
    left = sorted(records, key=lambda record: len(json.dumps(record["response"])))
    seen: set[Any] = set()
    kept = []
    for record in left:
        long = len(json.dumps(record["response"])) > TESTED_APART
        news = set(record["features"]) if long else brought(record)
        if not news <= seen:
            seen |= brought(record) | news
            kept.append(record)
    return sorted(kept, key=lambda record: record["id"])


def brought(record: Record) -> set[Any]:
    streams = record["response"]["format"]
    features = record["features"]
    told = record["expected"].get("error") or {}
    shape = {(record["provider"], streams, feature) for feature in features if feature in SHAPES}
    return {*features, *shape, (record["provider"], streams), (told.get("code"), told.get("type"))}


SHAPES = frozenset(
    {
        "tool_calls", "parallel_tool_fragments", "thinking_text", "text_and_tools", "cache_tokens", "error",
        "thinking_signature", "encrypted_reasoning", "server_tool_items", "citations",
    }
)  # fmt: skip
"""Features that differ from provider to provider."""


def short(record: Record) -> Record:
    return {**record, "request": {key: record["request"].get(key) for key in ("method", "path")}}


def main(folder: str, api: str) -> None:
    found = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            found += [record for line in lines if (record := json.loads(line))["api"] == api]
    for record in thinned(found):
        sys.stdout.write(json.dumps(short(record), ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
