"""What a session remembers, at any version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marsys_core.backend.memory import Memory
from marsys_core.protocols.store import Recalled, Said

ADDITIONS = st.lists(
    st.tuples(st.sampled_from("rst"), st.dictionaries(st.sampled_from("AB"), st.sampled_from(["[1]", "[2]"])))
)


@given(ADDITIONS)
def test_it_is_what_runs_added_last_in_the_order_in_which_they_did(additions):
    memory, held, seen = Memory(), dict[str, dict[str, str]](), [Recalled()]
    for run_id, said in additions:
        before = memory.copy()
        changes = held.get(run_id, {}) != said
        assert memory.remember(run_id, said) is changes
        assert before.recall() == seen[-1]
        if changes:
            held.pop(run_id, None)
            held[run_id] = said
            wanted = [Said(agent, run, data) for run, by in held.items() for agent, data in by.items()]
            seen.append(Recalled(len(seen), wanted))
    for recalled in seen:
        assert memory.recall(version=recalled.version) == recalled
        late = memory.recall(after=recalled.version)
        assert late.said == tuple(
            each for each in memory.recall().said if each.run_id in _later(additions, recalled)
        )
    assert memory.recall(version=99) == memory.recall()


def _later(additions, recalled):
    """Return who has added something after that version."""
    held: dict[str, dict[str, str]] = {}
    version, late = 0, set()
    for run_id, said in additions:
        if held.get(run_id, {}) != said:
            held[run_id] = said
            version += 1
            if version > recalled.version:
                late.add(run_id)
    return late
