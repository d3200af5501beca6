"""Backends that keep states in a dict, as databases would give them back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import trio

from marsys_core.backend import BackendStore, DatabaseBackend
from marsys_core.protocols.store import Entry


def entry(seq: int, text: str = "", *, kind: str = "StepFinished") -> Entry:
    return Entry(seq, "0", seq, ("0", seq - 1), kind, seq / 8, json.dumps({"text": text or f"t{seq}"}))


def jsonb(state: Any) -> Any:
    """Return what a strict database makes of a state, or refuse it as one would."""
    text = json.dumps(state, allow_nan=False)

    def ordered(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(sorted(pairs, key=lambda pair: (len(pair[0]), pair[0])))

    read = json.loads(text, object_pairs_hook=ordered, parse_int=float)  # one kind of numbers only
    plain(read)
    return read


def _lone(value: Any) -> bool:
    if isinstance(value, str):
        return re.search("[\x00\ud800-\udfff]", value) is not None
    if isinstance(value, dict):
        return any(_lone(each) for pair in value.items() for each in pair)
    return isinstance(value, list) and any(map(_lone, value))


def plain(value: Any) -> None:
    """See that a value is made of what JSON has, and that no text in it is refused by databases."""
    assert not _lone(value)
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        for each in value.values():
            plain(each)
    elif isinstance(value, list):
        for each in value:
            plain(each)
    else:
        assert value is None or type(value) in (str, int, float)


class Kept(DatabaseBackend):
    """Keeps states in a dict, for Trio, which needs no thread; tells what was asked of it."""

    async_library = "trio"

    def __init__(
        self, states: dict[str, Any] | None = None, given_back: Callable[[Any], Any] = jsonb
    ) -> None:
        self.states = {} if states is None else states
        self.given_back = given_back
        self.asked: list[str] = []
        self.refusal: BaseException | None = None

    async def initialize(self) -> None:
        self.asked.append("initialize")

    async def save_state(self, session_id: str, state: dict[str, Any]) -> None:
        plain(state)
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(f"save {session_id}")
        self.states[session_id] = json.loads(json.dumps(state))

    async def load_state(self, session_id: str) -> Any:
        await trio.lowlevel.checkpoint()
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(f"load {session_id}")
        return self.given_back(self.states[session_id]) if session_id in self.states else None

    @property
    def saves(self) -> int:
        return len([each for each in self.asked if each.startswith("save")])


def opened(backend: DatabaseBackend, main: Callable[[BackendStore], Any], **settings: Any) -> Any:
    async def run() -> Any:
        async with BackendStore(backend, **settings) as store:
            return await main(store)

    return trio.run(run)
