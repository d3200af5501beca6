from hypothesis import given
from hypothesis import strategies as st

from marsys.openai._responses_input import UNANSWERED, input_of
from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from tests.plugins.openai.responses_params import assert_answered, assert_valid

US = "openai"


def sent(*messages, **how):
    items = input_of(messages, US, **how)
    assert_valid({"model": "gpt-5", "input": items})
    assert_answered(items)
    return items


def assistant(*parts, calls=(), provider=US):
    return Message("assistant", parts, tuple(calls), provider=provider)


REASONING = ReasoningPart("I look.", "gAAA", native={"id": "rs_1"})


def test_a_conversation_of_texts_is_sent_as_it_is():
    assert sent(
        Message("system", "Be short."), Message("user", "Hello"), Message("assistant", "Hi", provider=US)
    ) == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
    ]


def test_images_and_files_are_sent_by_value_or_by_address():
    message = Message(
        "user",
        (
            TextPart("Look"),
            DataPart("image/png", "QUJD"),
            DataPart("image/jpeg", url="https://example.org/a.jpg", native={"detail": "low"}),
            DataPart("application/pdf", "QUJD", name="a.pdf"),
            DataPart("application/pdf", "QUJD"),
            DataPart("application/pdf", url="https://example.org/b.pdf"),
            DataPart("application/pdf", native={"file_id": "file-1"}),
        ),
    )

    assert sent(message)[0]["content"] == [
        {"type": "input_text", "text": "Look"},
        {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,QUJD"},
        {"type": "input_image", "detail": "low", "image_url": "https://example.org/a.jpg"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
        {"type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,QUJD"},
        {"type": "input_file", "file_url": "https://example.org/b.pdf"},
        {"type": "input_file", "file_id": "file-1"},
    ]


def test_a_call_goes_back_with_its_result_and_with_images_in_it():
    call = ToolCall("call_1", "look", '{"at": 1}', native={"namespace": "eyes"})
    result = Message("tool", (TextPart("Here"), DataPart("image/png", "QUJD")), tool_call_id="call_1")

    assert sent(Message("user", "?"), assistant(calls=[call]), result)[1:] == [
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "look",
            "arguments": '{"at": 1}',
            "namespace": "eyes",
        },
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [
                {"type": "input_text", "text": "Here"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,QUJD"},
            ],
        },
    ]


def test_a_custom_call_is_answered_in_its_own_way():
    call = ToolCall("call_1", "calculate", "4 + 4", native={"type": "custom_tool_call"})

    assert sent(assistant(calls=[call]), Message("tool", "8", tool_call_id="call_1")) == [
        {"type": "custom_tool_call", "call_id": "call_1", "name": "calculate", "input": "4 + 4"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": "8"},
    ]


def test_reasoning_goes_back_with_what_it_led_to_and_with_its_ids():
    call = ToolCall("call_1", "look", "{}", native={"id": "fc_1"})
    more = ReasoningPart("I wait.", native={"id": "rs_1"})
    text = TextPart("One moment.", {"id": "msg_1", "phase": "commentary"})
    first = Message("assistant", (REASONING, more, text), (call,), provider=US)

    assert sent(first, Message("tool", "a ship", tool_call_id="call_1")) == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [
                {"type": "summary_text", "text": "I look."},
                {"type": "summary_text", "text": "I wait."},
            ],
            "encrypted_content": "gAAA",
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "One moment.", "annotations": []}],
            "phase": "commentary",
        },
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "a ship"},
    ]


def test_reasoning_that_can_be_read_goes_back_as_it_was_read():
    part = ReasoningPart("2 + 2 is 4", native={"id": "rs_1", "type": "reasoning_text"})

    assert sent(assistant(part, TextPart("4", {"id": "msg_1"})))[0] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "2 + 2 is 4"}],
    }


def test_reasoning_of_another_provider_is_left_out():
    message = assistant(REASONING, NativePart({"type": "thing"}), TextPart("4"), provider="anthropic")

    assert sent(message) == [{"role": "assistant", "content": "4"}]


def test_a_model_that_does_not_reason_is_sent_neither_reasoning_nor_what_hangs_on_it():
    search = NativePart({"type": "web_search_call", "id": "ws_1", "status": "completed"})
    call = ToolCall("call_1", "look", "{}", native={"id": "fc_1"})
    message = assistant(
        REASONING, search, TextPart("4", {"id": "msg_1", "phase": "commentary"}), calls=[call]
    )

    assert sent(message, reasons=False) == [
        {"role": "assistant", "content": "4", "phase": "commentary"},
        {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": UNANSWERED},
    ]


def test_reasoning_that_is_not_followed_by_what_it_led_to_is_left_out():
    assert sent(assistant(REASONING)) == []
    assert sent(assistant(REASONING, TextPart("4"))) == [{"role": "assistant", "content": "4"}]
    assert sent(assistant(REASONING, RefusalPart("No."))) == [{"role": "assistant", "content": "No."}]
    assert sent(assistant(ReasoningPart("mm"), TextPart("4", {"id": "msg_1"}))) == [
        {"role": "assistant", "content": "4"}
    ]


def test_reasoning_is_known_by_its_id_alone_where_answers_are_stored():
    message = assistant(ReasoningPart("", "", True, {"id": "rs_1"}), TextPart("4", {"id": "msg_1"}))

    assert sent(message) == [{"role": "assistant", "content": "4"}]
    assert sent(message, stored=True)[0] == {"type": "reasoning", "id": "rs_1", "summary": []}


def test_the_provider_s_own_items_go_back_as_they_came_between_the_texts():
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "ships"},
    }
    cited = [{"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 1}]
    made = {"type": "image_generation_call", "id": "ig_1", "status": "completed"}

    assert sent(
        assistant(
            NativePart({**search, "created_by": "x"}),
            TextPart("Two", {"id": "msg_1", "annotations": cited}),
            DataPart("image/png", "QUJD", native=made),
        )
    ) == [
        search,
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Two", "annotations": cited}],
        },
        {**made, "result": "QUJD"},
    ]


def test_the_texts_of_one_item_are_sent_as_one_item():
    message = assistant(
        REASONING, TextPart("a", {"id": "msg_1"}), TextPart("b", {"id": "msg_1"}), RefusalPart("c")
    )

    assert [part.get("text", part.get("refusal")) for part in sent(message)[1]["content"]] == ["a", "b", "c"]


def test_a_call_of_the_provider_s_own_that_nobody_answered_is_left_out():
    call = {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "status": "completed"}
    call["action"] = {"type": "exec", "command": ["ls"], "env": {}}
    output = {"type": "local_shell_call_output", "id": "c1", "call_id": "c1", "output": "a"}

    assert sent(assistant(NativePart(call), TextPart("See"))) == [{"role": "assistant", "content": "See"}]
    assert input_of([assistant(NativePart(call)), Message("user", (NativePart(output),))], US) == [
        call,
        output,
    ]


def test_an_image_by_another_model_is_shown():
    message = assistant(TextPart("See"), DataPart("image/png", "QUJD"), provider="google")

    assert [item["role"] for item in sent(message)] == ["assistant", "user"]


def test_a_call_without_a_result_is_given_one_before_the_model_speaks_again():
    calls = [ToolCall("c1", "look"), ToolCall("c2", "look")]
    result = Message("tool", "a ship", tool_call_id="c2")

    assert sent(assistant(calls=calls), result, Message("user", "And?"), assistant(TextPart("Well")))[2:] == [
        {"type": "function_call_output", "call_id": "c2", "output": "a ship"},
        {"role": "user", "content": "And?"},
        {"type": "function_call_output", "call_id": "c1", "output": UNANSWERED},
        {"role": "assistant", "content": "Well"},
    ]


def test_a_result_of_no_call_is_told_as_a_user_s_message():
    seen = (TextPart("a ship"), DataPart("image/png", "QUJD"))

    assert sent(
        Message("tool", "a ship", tool_call_id="c1", name="look"), Message("tool", seen, tool_call_id="c1")
    ) == [
        {"role": "user", "content": "Result of look: a ship"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Result of a tool:"},
                {"type": "input_text", "text": "a ship"},
                {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,QUJD"},
            ],
        },
    ]


def test_ids_and_names_that_the_api_does_not_take_are_made_such_as_it_takes():
    call = ToolCall("x" * 70, "what.is this?", "{}")
    items = sent(assistant(calls=[call], provider="google"), Message("tool", "-", tool_call_id="x" * 70))

    assert items[0]["name"] == "what_is_this_"
    assert items[0]["call_id"] == items[1]["call_id"]
    assert len(items[0]["call_id"]) <= 64


IDS = st.sampled_from(["c1", "c2", "c3"])
PARTS = st.one_of(
    st.builds(
        TextPart,
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, {"id": "msg_1"}, {"phase": "commentary"}]),
    ),
    st.builds(
        ReasoningPart,
        st.sampled_from(["", "why"]),
        st.sampled_from(["", "gAAA"]),
        native=st.sampled_from([None, {"id": "rs_1"}, {"id": "rs_2", "type": "reasoning_text"}]),
    ),
    st.builds(RefusalPart, st.just("no")),
    st.builds(NativePart, st.just({"type": "compaction", "id": "cmp_1", "encrypted_content": "g"})),
)
CALLS = st.lists(
    st.builds(
        ToolCall,
        IDS,
        st.just("t"),
        st.just("{}"),
        st.sampled_from([None, 0]),
        st.sampled_from([None, {"id": "fc_1"}]),
    ),
    max_size=3,
    unique_by=lambda call: call.id,
)
MESSAGES = st.one_of(
    st.builds(Message, st.just("user"), st.just("?")),
    st.builds(Message, st.just("tool"), st.just("!"), tool_call_id=IDS),
    st.builds(
        Message,
        st.just("assistant"),
        st.lists(PARTS, max_size=4).map(tuple),
        CALLS.map(tuple),
        provider=st.sampled_from([US, "other", ""]),
    ),
)


@given(st.lists(MESSAGES, max_size=8), st.booleans(), st.booleans())
def test_whatever_was_said_the_provider_can_take_it(messages, reasons, stored):
    items = sent(*messages, reasons=reasons, stored=stored)

    for item, after in zip(items, [*items, {}][1:], strict=True):
        if item.get("type") == "reasoning":
            assert reasons
            assert "id" in after or after.get("type") == "function_call"
