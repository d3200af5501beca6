"""Choose few records of many, so that every feature of every provider is still there: a program.

    python -m tests.wire.thin FOLDER API > tests/data/wire/API.jsonl

The shortest records are preferred. Of a request no more is kept than where it went; where it is the next turn of another
record and sends its thoughts back, what was said before is kept, too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
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


def turns(records: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Take of every provider the shortest two answers of one conversation where the second was sent the thoughts of the first."""
    by_file: dict[Any, list[Record]] = {}
    for record in records:
        by_file.setdefault((record["source"]["repo"], record["source"]["path"]), []).append(record)
    pairs = [pair for file in by_file.values() for pair in pairwise(file) if goes_on(*pair)]
    pairs.sort(key=lambda pair: -len(json.dumps(pair)))
    return list({(one["provider"], one["response"]["format"]): (one, other) for one, other in pairs}.values())


def goes_on(one: Record, other: Record) -> bool:
    answered = json.dumps(one["response"]["body"])
    thoughts = [item.get("encrypted_content") for item in said_before(other)]
    return any(thought and thought in answered for thought in thoughts)


def said_before(record: Record) -> list[Any]:
    given = (record["request"].get("json") or {}).get("input")
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def short(record: Record, *, whole: bool = False) -> Record:
    request = {key: record["request"].get(key) for key in ("method", "path")}
    return {**record, "request": {**request, "json": {"input": said_before(record)}} if whole else request}


def main(folder: str, api: str) -> None:
    found = []
    for path in sorted(Path(folder).glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            found += [record for line in lines if (record := json.loads(line))["api"] == api]
    pairs = turns(found)
    later = {record["id"] for _, record in pairs}
    kept = {record["id"]: record for record in (*thinned(found), *(each for pair in pairs for each in pair))}
    for id, record in sorted(kept.items()):
        line = short(record, whole=id in later)
        sys.stdout.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
