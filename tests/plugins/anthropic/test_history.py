"""Turns that the API takes, whatever the history is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.anthropic._history import turns_of
from marsys_core.errors import ModelError
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from tests.plugins.anthropic.laws import check_turns

texts = st.sampled_from(["", " ", "a", "b\n"])
ids = st.sampled_from(["", "1", "1", "2", "toolu_3", "call|4", "call 4"])
calls = st.builds(
    ToolCall,
    ids,
    st.sampled_from(["", "look", "a b"]),
    st.sampled_from(["", "{}", '{"a": 1}', "[1]", '{"a"', "null"]),
    st.none() | st.integers(0, 3),
    st.none() | st.just({"caller": {"type": "direct"}}),
)
served = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "server_tool_use", "id": "s2", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s2", "content": []},
        {"type": "compaction", "content": "so far"},
    ]
)
parts = st.one_of(
    st.builds(TextPart, texts, st.none() | st.just({"citations": []})),
    st.just(DataPart("image/png", "aGk=")),
    st.builds(ReasoningPart, texts, st.sampled_from(["", "sig"]), st.booleans()),
    st.builds(RefusalPart, texts),
    st.builds(NativePart, served),
)
contents = texts | st.lists(parts, max_size=3).map(tuple)
messages = st.one_of(
    st.builds(
        Message,
        st.just("assistant"),
        contents,
        st.lists(calls, max_size=3).map(tuple),
        provider=st.sampled_from(["", "openai", "anthropic"]),
    ),
    st.builds(Message, st.just("tool"), contents, tool_call_id=ids, is_error=st.booleans()),
    st.builds(Message, st.sampled_from(["user", "system"]), contents),
)


@pytest.mark.slow
@given(st.lists(messages, max_size=8))
def test_any_history_becomes_turns_that_the_api_takes(history: list[Message]) -> None:
    _, turns = turns_of(history)

    check_turns(turns)


@pytest.mark.slow
@given(st.lists(messages, max_size=6))
def test_a_history_is_left_as_it_was(history: list[Message]) -> None:
    assert turns_of(history) == turns_of(history)


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def call(id: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "look", "input": given}


def result(id: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


ASK = Message("user", "Look.")


def test_results_of_parallel_calls_are_one_turn_and_come_first() -> None:
    two = Message("assistant", "I do.", (ToolCall("1", "look", '{"at": "a"}'), ToolCall("2", "look")))
    history = [
        ASK,
        two,
        Message("tool", "A", tool_call_id="1"),
        Message("user", "Hurry."),
        Message("tool", "no", tool_call_id="2", is_error=True),
    ]

    assert turns_of(history)[1] == [
        user(text("Look.")),
        assistant(text("I do."), call("1", at="a"), call("2")),
        user(result("1", "A"), result("2", "no", is_error=True), text("Hurry.")),
    ]


def test_a_call_without_a_result_is_answered() -> None:
    lost = "There is no result of this call: it was not made, or it was interrupted."
    history = [ASK, Message("assistant", "", (ToolCall("1", "look"),)), Message("user", "Well?")]

    assert turns_of(history)[1][2] == user(result("1", lost, is_error=True), text("Well?"))
    assert turns_of(history[:2])[1][2] == user(result("1", lost, is_error=True))


def test_a_result_without_a_call_becomes_text() -> None:
    history = [Message("tool", "A", tool_call_id="gone", name="look"), ASK]

    assert turns_of(history)[1] == [
        user(text("(The result of an earlier call of look:)"), text("A"), text("Look."))
    ]


def test_a_history_that_begins_with_an_answer_gets_a_beginning() -> None:
    history = [Message("assistant", "Yes."), ASK]

    assert [turn["role"] for turn in turns_of(history)[1]] == ["user", "assistant", "user"]


def test_what_is_said_first_by_the_system_is_instruction() -> None:
    history = [Message("system", "Be brief."), ASK, Message("assistant", "ok"), Message("system", "Be kind.")]

    assert turns_of(history) == (
        ["Be brief."],
        [user(text("Look.")), assistant(text("ok")), user(text("Be kind."))],
    )


def test_thoughts_and_calls_go_back_in_the_order_in_which_they_came() -> None:
    content = (
        ReasoningPart("hm", "sig-1"),
        ReasoningPart("", "opaque", redacted=True),
        TextPart("So:", {"citations": [{"type": "page_location"}]}),
    )
    native = {"caller": {"type": "direct"}}
    message = Message(
        "assistant", content, (ToolCall("1", "look", after=1, native=native),), provider="anthropic"
    )

    assert turns_of([ASK, message])[1][1] == assistant(
        {"type": "thinking", "thinking": "hm", "signature": "sig-1"},
        {**call("1"), **native},
        {"type": "redacted_thinking", "data": "opaque"},
        {**text("So:"), "citations": [{"type": "page_location"}]},
    )


def test_what_is_opaque_of_another_provider_is_left_out() -> None:
    content = (
        ReasoningPart("hm", "sig"),
        NativePart({"type": "web_search_call", "id": "ws_1"}),
        TextPart("So.", {"id": "msg_1"}),
        RefusalPart("I may not."),
    )
    message = Message(
        "assistant", content, (ToolCall("fc|1", "look", native={"id": "fc"}),), provider="openai"
    )

    assert turns_of([ASK, message])[1][1] == assistant(text("So."), text("I may not."), call("fc_1"))


def test_thoughts_without_a_signature_are_left_out() -> None:
    message = Message("assistant", (ReasoningPart("half"), TextPart("So.")), provider="anthropic")

    assert turns_of([ASK, message, ASK])[1][1] == assistant(text("So."))


def test_ids_that_come_twice_are_told_apart() -> None:
    once = [Message("assistant", "", (ToolCall("1", "look"),)), Message("tool", "A", tool_call_id="1")]
    turns = turns_of([ASK, *once, *once])[1]

    assert [turns[1]["content"][0]["id"], turns[3]["content"][0]["id"]] == ["1", "1-2"]
    assert [turns[2]["content"][0]["tool_use_id"], turns[4]["content"][0]["tool_use_id"]] == ["1", "1-2"]


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a": {"b": null}}', {"a": {"b": None}}),
        ("", {}),
        ('{"a": ', {"INVALID_JSON": '{"a": '}),
        ("[1]", {"INVALID_JSON": "[1]"}),
    ],
)
def test_arguments_are_always_an_object(arguments: str, given: Any) -> None:
    message = Message("assistant", "", (ToolCall("1", "look", arguments),))

    assert turns_of([ASK, message])[1][1]["content"][0]["input"] == given


def test_a_result_may_be_images_and_files() -> None:
    content = (
        TextPart("See:"),
        DataPart("image/png", "aGk="),
        DataPart("application/pdf", url="https://x.test/a"),
    )
    history = [
        ASK,
        Message("assistant", "", (ToolCall("1", "look"),)),
        Message("tool", content, tool_call_id="1"),
    ]

    assert turns_of(history)[1][2] == user(
        result(
            "1",
            [
                text("See:"),
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
                {"type": "document", "source": {"type": "url", "url": "https://x.test/a"}},
            ],
        )
    )


def test_an_image_that_another_model_made_is_shown_by_the_user() -> None:
    history = [ASK, Message("assistant", (TextPart("Here."), DataPart("image/png", "aGk="))), ASK]
    turns = turns_of(history)[1]

    assert [block["type"] for block in turns[1]["content"]] == ["text"]
    assert [block["type"] for block in turns[2]["content"]] == ["image", "text"]


def test_files_are_given_by_value_by_address_and_as_text() -> None:
    parts = (
        DataPart("application/pdf", "cGRm", name="a.pdf"),
        DataPart("image/webp", url="https://x.test/i"),
        DataPart("image/gif", url="data:image/gif;base64,R0lG"),
        DataPart("text/markdown", "IyBIaQ==", name="a.md"),
        DataPart("application/pdf", native={"type": "document", "source": {"type": "file", "file_id": "f"}}),
    )
    content = turns_of([Message("user", parts, provider="anthropic")])[1][0]["content"]

    assert [json.dumps(block, sort_keys=True) for block in content] == [
        json.dumps(block, sort_keys=True)
        for block in (
            {
                "type": "document",
                "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "cGRm"},
            },
            {"type": "image", "source": {"type": "url", "url": "https://x.test/i"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
            {
                "type": "document",
                "title": "a.md",
                "source": {"type": "text", "media_type": "text/plain", "data": "# Hi"},
            },
            {"type": "document", "source": {"type": "file", "file_id": "f"}},
        )
    ]


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (
            DataPart("audio/wav", "aGk=", name="a.wav"),
            "a Claude model cannot be shown 'a.wav' of type 'audio/wav': it takes image/jpeg, image/png, image/gif, "
            "image/webp and application/pdf, by value or address, and text by value",
        ),
        (
            DataPart("text/plain", "?"),
            "'a file' is said to be 'text/plain', and is no UTF-8 text in base64: "
            "Only base64 data is allowed",
        ),
    ],
)
def test_what_cannot_be_shown_is_named(part: DataPart, told: str) -> None:
    with pytest.raises(ModelError) as caught:
        turns_of([Message("user", (part,))])

    assert str(caught.value) == told


def searched(*blocks: Any) -> Message:
    return Message("assistant", tuple(NativePart(block) for block in blocks), provider="anthropic")


USE = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}


def test_a_paused_turn_goes_back_as_it_is_and_what_follows_belongs_to_it() -> None:
    assert turns_of([ASK, searched(USE)])[1] == [user(text("Look.")), assistant(USE)]
    assert turns_of([ASK, searched(USE), searched(FOUND), ASK])[1][1] == assistant(USE, FOUND)


def test_a_search_that_was_never_made_is_left_out() -> None:
    assert turns_of([ASK, searched(USE), ASK])[1] == [user(text("Look."), text("Look."))]
    assert turns_of([ASK, searched(FOUND), ASK])[1] == [user(text("Look."), text("Look."))]


def test_the_providers_own_call_stays_open_while_it_waits_for_a_tool_of_ours() -> None:
    called = Message("assistant", (NativePart(USE),), (ToolCall("1", "look"),), provider="anthropic")
    turns = turns_of([ASK, called, Message("tool", "A", tool_call_id="1")])[1]

    assert turns[1] == assistant(USE, call("1"))


def test_an_answer_at_the_end_is_gone_on_with_only_where_the_model_can() -> None:
    history = [ASK, Message("assistant", "It is \n")]

    assert turns_of(history, prefill=True)[1][-1] == assistant(text("It is"))
    assert turns_of(history)[1][-1] == user(text("Go on."))
