from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marsys.memory import FullMemory, WindowMemory
from marsys_core.memory import ConversationLog, ConversationMemory
from marsys_core.messages import Conversation, Message, ToolCall


def is_valid(history: Sequence[Message]) -> bool:
    """Whether a provider would take it: every answer has its call before it, every call its answer after it."""
    waiting: list[str] = []
    for message in history:
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                return False
            waiting.remove(message.tool_call_id)
        elif waiting and message.role == "assistant":
            return False
        waiting += [call.id for call in message.tool_calls]
    return not waiting


def call(*ids: str) -> Message:
    return Message("assistant", "", tool_calls=tuple(ToolCall(each, "look") for each in ids))


def answer(id: str) -> Message:
    return Message("tool", "found", tool_call_id=id)


def user(text: str = "go on") -> Message:
    return Message("user", text)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """One turn: what a user says, rounds of calls and answers, and perhaps a last word."""
    said = [user() for _ in range(draw(st.integers(0, 2)))]
    for _ in range(draw(st.integers(0, 3))):
        ids = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        answers = [answer(id) for id in draw(st.permutations(ids))]
        # Somebody may speak while the calls are open.
        answers.insert(draw(st.integers(0, len(answers))), user()) if draw(st.booleans()) else None
        said += [call(*ids), *answers]
    return said + ([Message("assistant", "so")] if draw(st.booleans()) else [])


conversations = st.builds(
    lambda system, parts: (
        [Message("system", "be brief")] * system + [each for part in parts for each in part]
    ),
    st.integers(0, 2),
    st.lists(turns(), max_size=6),
)


def test_the_full_memory_recalls_the_conversation_itself():
    view = Conversation([user(), Message("assistant", "yes")])
    assert FullMemory().recall(view) is view


@settings(max_examples=60, deadline=None)
@given(conversations, st.integers(1, 4))
def test_what_the_window_recalls_is_a_valid_history(conversation, turns):
    assert is_valid(conversation)
    recalled = WindowMemory(turns).recall(Conversation(conversation))
    assert is_valid(recalled)


@settings(max_examples=60, deadline=None)
@given(conversations, st.integers(1, 4))
def test_the_window_recalls_the_end_after_the_system_messages_and_is_never_empty(conversation, turns):
    recalled = list(WindowMemory(turns).recall(Conversation(conversation)))
    system = [message for message in conversation if message.role == "system"]
    rest = recalled[len(system) :]
    assert recalled[: len(system)] == system
    assert rest == conversation[len(conversation) - len(rest) :]
    assert bool(recalled) == bool(conversation)


@settings(max_examples=60, deadline=None)
@given(conversations, st.integers(1, 4))
def test_the_window_recalls_as_many_turns_as_it_is_told_or_all_there_are(conversation, turns):
    count = sum(message.role == "user" for message in conversation)
    recalled = WindowMemory(turns).recall(Conversation(conversation))
    assert sum(message.role == "user" for message in recalled) >= min(turns, count)


def test_the_window_recalls_no_more_turns_than_it_is_told():
    said = [
        each for n in range(5) for each in (user(str(n)), call("a"), answer("a"), Message("assistant", "ok"))
    ]
    assert [m.text for m in WindowMemory(2).recall(said) if m.role == "user"] == ["3", "4"]


def test_a_result_is_not_parted_from_its_call_by_a_user_who_speaks_between_them():
    said = [user("old"), user("first"), call("a"), user("second"), answer("a")]
    assert WindowMemory(1).recall(said) == said[1:]


def test_a_short_conversation_is_recalled_without_a_copy():
    view = Conversation([user(), Message("assistant", "yes")])
    assert WindowMemory(1).recall(view) is view


def test_the_window_serves_a_step_whose_calls_nobody_answered():
    log = ConversationLog([user("old"), user("new"), call("a")], open_calls=("a",), handed_to="Writer")
    recalled = ConversationMemory(log, 3, WindowMemory(1)).messages
    assert [message.text for message in recalled] == ["new", "", "handed over to Writer"]


def test_a_window_of_no_turns_is_refused():
    with pytest.raises(ValueError, match="^'turns' must be >= 1: 0$"):
        WindowMemory(0)
