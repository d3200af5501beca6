"""Rules for random runs: what they say is a pure function of where they are asked."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import attrs
from hypothesis import strategies as st

from marsys_core.protocols.rule import Block, Modify, RuleFacts, Stop

__all__ = ["Table", "stopping", "tables"]


@attrs.frozen
class Table:
    """A pure rule: what it says depends on where it is asked, and on nothing else."""

    choices: tuple[str, ...]
    salt: int = 0

    def choice(self, facts: RuleFacts, point: str) -> tuple[str, str]:
        place = f"{self.salt}:{point}:{facts.branch_id}:{facts.node}:{facts.step}"
        return self.choices[crc32(place.encode()) % len(self.choices)], place

    def say(self, facts: RuleFacts, point: str, changed: Any) -> Any:
        word, place = self.choice(facts, point)
        if word == "raise":
            raise ValueError(place)
        return {"block": Block(place), "stop": Stop(place), "modify": Modify(changed, place)}.get(word)

    def before_step(self, facts: RuleFacts) -> Any:
        return self.say(facts, "before_step", f"~{self.choice(facts, 'before_step')[1]}")

    def after_step(self, facts: RuleFacts) -> Any:
        value, place = facts.value, f"~{self.choice(facts, 'after_step')[1]}"
        changed = [f"{place}/{i}" for i in range(3)] if isinstance(value, list) else place
        return None if value is None else self.say(facts, "after_step", changed)

    def before_fork(self, facts: RuleFacts) -> Any:
        calls, place = facts.value, f"~{self.choice(facts, 'before_fork')[1]}"
        kept = calls[: max(1, len(calls) - 1)]
        return self.say(facts, "before_fork", [(node, f"{place}/{i}") for i, (node, _) in enumerate(kept)])


_WORDS = ("", "", "", "modify", "block", "raise")
tables = st.builds(
    Table, st.lists(st.sampled_from(_WORDS), min_size=1, max_size=8).map(tuple), st.integers(0, 99)
)
stopping = st.builds(
    Table,
    st.lists(st.sampled_from([*_WORDS, "stop"]), min_size=1, max_size=12).map(tuple),
    st.integers(0, 99),
)
