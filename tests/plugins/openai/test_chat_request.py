"""What is sent through Chat Completions."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.chat_completion_message_param import ChatCompletionMessageParam
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from marsys.openai._chat_request import request_body
from marsys.openai._presets import PRESETS
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
from marsys_core.models import Caching, ModelRequest, Reasoning, Sampling, ToolChoice, ToolSpec

OPENAI = PRESETS["openai-chat"]
MESSAGES = TypeAdapter(list[ChatCompletionMessageParam])
BODY = TypeAdapter(CompletionCreateParamsNonStreaming)
SEARCH = ToolSpec("search", "Finds texts.", {"type": "object", "properties": {"query": {"type": "string"}}})
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def body(preset=OPENAI, messages=None, **fields):
    request = ModelRequest(messages=messages or [Message("user", "Hello")], **fields)
    return request_body("m", request, preset)


def sent(*messages, preset=OPENAI, system=""):
    return request_body("m", ModelRequest(messages=messages, system=system), preset)["messages"]


def checked(found):
    """Validate a body by the types of the SDK, and give it back as JSON has it."""
    plain = json.loads(json.dumps(found))
    BODY.validate_python(plain)
    return plain


def test_a_question_is_a_system_message_and_a_users():
    assert sent(Message("user", "Hello"), system="Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]


def test_everything_that_may_be_asked_for_is_of_the_types_of_the_sdk():
    found = body(
        system="Be brief.",
        tools=[SEARCH, ToolSpec("now", "", {})],
        tool_choice=ToolChoice("tool", "search"),
        parallel_tool_calls=False,
        output_schema=CLOSED,
        sampling=Sampling(temperature=0, top_p=0.5, max_output_tokens=9, stop=("x",), seed=1, presence_penalty=0.1, frequency_penalty=0.2),
        reasoning=Reasoning(effort="max"),
        caching=Caching(key="k", seconds=90_000),
        options={"api": "chat", "service_tier": "flex"},
    )  # fmt: skip

    assert checked(found) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "tools": [
            {"type": "function", "function": {"name": "search", "parameters": SEARCH.parameters, "description": "Finds texts."}},
            {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
        ],
        "tool_choice": {"type": "function", "function": {"name": "search"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CLOSED, "strict": True}},
        "temperature": 0,
        "top_p": 0.5,
        "max_completion_tokens": 9,
        "seed": 1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "stop": ["x"],
        "reasoning_effort": "high",
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "service_tier": "flex",
    }  # fmt: skip


def test_what_is_left_open_is_not_sent():
    assert body() == {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_a_stream_tells_its_usage_where_the_provider_has_to_be_asked():
    request = ModelRequest(messages=[Message("user", "Hello")])

    assert request_body("m", request, OPENAI, stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in request_body("m", request, PRESETS["mistral"], stream=True)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}},
        {**CLOSED, "required": []},
        {**CLOSED, "properties": {"a": {}}},
        {**CLOSED, "properties": {"a": {"type": "string", "default": "x"}}},
        {**CLOSED, "properties": {"a": {"type": "object", "properties": {}}}},
        {"type": "string"},
    ],
)
def test_a_schema_that_cannot_be_held_to_strictly_is_not(schema):
    held = body(output_schema=schema)["response_format"]["json_schema"]

    assert held == {"name": "answer", "schema": schema}


def test_a_schema_with_definitions_and_choices_is_held_to_strictly():
    inner = {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]}
    schema = {**CLOSED, "properties": {"a": {"type": "array", "items": inner}}, "$defs": {"A": CLOSED}}

    assert body(output_schema=schema)["response_format"]["json_schema"]["strict"] is True


def test_a_sampling_that_the_provider_does_not_know_is_refused():
    with pytest.raises(
        ModelError, match=r"^openai-chat cannot sample with top_k, and was asked to with top_k=5$"
    ):
        body(sampling=Sampling(top_k=5))

    assert body(PRESETS["vllm"], sampling=Sampling(top_k=5))["top_k"] == 5


def test_names_of_settings_are_the_providers():
    sampling = Sampling(max_output_tokens=5, seed=3)

    assert body(PRESETS["mistral"], sampling=sampling).items() >= {"max_tokens": 5, "random_seed": 3}.items()
    assert body(PRESETS["groq"], sampling=sampling).items() >= {"max_completion_tokens": 5, "seed": 3}.items()


@pytest.mark.parametrize(
    ("preset", "reasoning", "told"),
    [
        ("openai-chat", Reasoning(effort="minimal"), {"reasoning_effort": "minimal"}),
        ("groq", Reasoning(effort="minimal"), {"reasoning_effort": "low"}),
        ("xai", Reasoning(effort="none"), {}),
        (
            "openrouter",
            Reasoning(effort="max", visible=False),
            {"reasoning": {"effort": "xhigh", "exclude": True}},
        ),
        ("openrouter", Reasoning(max_tokens=200), {"reasoning": {"max_tokens": 200}}),
        ("deepseek", Reasoning(effort="none"), {"thinking": {"type": "disabled"}}),
        ("alibaba", Reasoning(effort="low", max_tokens=9), {"enable_thinking": True, "thinking_budget": 9}),
        ("llamacpp", Reasoning(effort="none"), {"chat_template_kwargs": {"enable_thinking": False}}),
        ("mistral", Reasoning(effort="low"), {"reasoning_effort": "high"}),
    ],
)
def test_how_much_to_think_is_told_in_the_providers_words(preset, reasoning, told):
    found = body(PRESETS[preset], reasoning=reasoning)

    assert {key: found[key] for key in found if key not in ("model", "messages")} == told


def test_a_server_that_knows_no_names_of_tools_is_given_only_the_one_that_it_has_to_call():
    found = body(
        PRESETS["lmstudio"], tools=[SEARCH, ToolSpec("now", "", {})], tool_choice=ToolChoice("tool", "search")
    )

    assert [tool["function"]["name"] for tool in found["tools"]] == ["search"]
    assert found["tool_choice"] == "required"


def test_what_is_to_be_kept_is_marked_in_the_messages():
    found = body(PRESETS["openrouter"], system="Long.", caching=Caching(seconds=3600))["messages"]
    mark = {"type": "ephemeral", "ttl": "1h"}

    assert found[0]["content"] == [{"type": "text", "text": "Long.", "cache_control": mark}]
    assert found[1]["content"] == [{"type": "text", "text": "Hello", "cache_control": mark}]


def test_images_sounds_and_files_are_parts():
    found = sent(
        Message(
            "user",
            (
                TextPart("What is it?"),
                DataPart("image/png", "AAAA", native={"detail": "low"}),
                DataPart("image/jpeg", url="https://example.com/a.jpg"),
                DataPart("audio/wav", "AAAA"),
                DataPart("application/pdf", "AAAA", name="a.pdf"),
                DataPart("text/csv", "YSxi", name="a.csv"),
            ),
        )
    )

    MESSAGES.validate_python(found)
    assert found[0]["content"] == [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.jpg"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
        {"type": "text", "text": "a.csv:\na,b"},
    ]


def test_a_file_that_the_provider_does_not_take_is_refused():
    part = DataPart("application/pdf", "AAAA", name="a.pdf")

    with pytest.raises(ModelError, match=r"^groq takes no document of type 'application/pdf' \(a.pdf\)$"):
        sent(Message("user", (part,)), preset=PRESETS["groq"])


def call(id, name="search", arguments='{"query": "x"}', **more):
    return ToolCall(id, name, arguments, **more)


def test_results_stand_after_their_call_in_its_order_whatever_came_between():
    found = sent(
        Message("user", "Find"),
        Message("assistant", "", tool_calls=(call("a"), call("b"))),
        Message("user", "Quickly"),
        Message("tool", "2", tool_call_id="b", name="search"),
        Message("tool", "1", tool_call_id="a", name="search"),
    )

    assert [message["role"] for message in found] == ["user", "assistant", "tool", "tool", "user"]
    assert [message["content"] for message in found[2:]] == ["1", "2", "Quickly"]


def test_a_call_without_a_result_and_a_result_without_a_call_are_told_as_such():
    found = sent(
        Message("assistant", "", tool_calls=(call("a"),)),
        Message("tool", "9 m", tool_call_id="z", name="depth"),
    )

    assert found[1:] == [
        {"role": "tool", "tool_call_id": "a", "content": "There is no result: the call was interrupted."},
        {"role": "user", "content": "Result of depth: 9 m"},
    ]


def test_ids_that_are_used_again_later_belong_to_the_nearest_call():
    found = sent(
        Message("assistant", "", tool_calls=(call("0"),)),
        Message("assistant", "", tool_calls=(call("0"),)),
        Message("tool", "second", tool_call_id="0", name="search"),
    )

    assert [message["content"] for message in found if message["role"] == "tool"][1] == "second"


def test_images_in_a_result_follow_as_a_users_message():
    picture = (TextPart("Here:"), DataPart("image/png", "AAAA"))
    found = sent(
        Message("assistant", "", tool_calls=(call("a"), call("b"))),
        Message("tool", picture, tool_call_id="a", name="camera"),
        Message("tool", "done", tool_call_id="b", name="search"),
    )

    MESSAGES.validate_python(found)
    assert [message["role"] for message in found] == ["assistant", "tool", "tool", "user"]
    assert found[1]["content"] == "Here:"
    assert found[3]["content"][0] == {"type": "text", "text": "From camera:"}


def test_arguments_that_are_no_object_are_put_into_one_where_the_server_reads_them():
    history = (Message("assistant", "", tool_calls=(call("a", arguments="{oops"),)),)
    blank = (Message("assistant", "", tool_calls=(call("a", arguments=""),)),)

    assert sent(*history)[0]["tool_calls"][0]["function"]["arguments"] == "{oops"
    assert json.loads(
        sent(*history, preset=PRESETS["vllm"])[0]["tool_calls"][0]["function"]["arguments"]
    ) == {"arguments": "{oops"}
    assert sent(*blank)[0]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_ids_of_calls_are_of_the_form_that_the_provider_takes():
    history = (
        Message("assistant", "", tool_calls=(call("toolu_01ABC"),), provider="anthropic"),
        Message("tool", "x", tool_call_id="toolu_01ABC", name="search"),
    )
    theirs = sent(*history, preset=PRESETS["mistral"])
    long = sent(Message("assistant", "", tool_calls=(call("x" * 64),)))

    assert re.fullmatch("[a-zA-Z0-9]{9}", theirs[0]["tool_calls"][0]["id"])
    assert theirs[1]["tool_call_id"] == theirs[0]["tool_calls"][0]["id"]
    assert len(long[0]["tool_calls"][0]["id"]) <= 40


def test_thoughts_go_back_to_those_who_want_them_and_to_nobody_else():
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": "s"}]
    parts = (ReasoningPart("Hm.", native={"reasoning_details": details}), TextPart("Yes."))

    def back(preset, provider=None, calls=()):
        message = Message("assistant", parts, tool_calls=calls, provider=provider or preset)
        return sent(message, preset=PRESETS[preset])[0]

    assert back("openrouter") == {"role": "assistant", "content": "Yes.", "reasoning_details": details}
    assert back("openrouter", "groq") == {"role": "assistant", "content": "Yes."}
    assert back("openai-chat") == {"role": "assistant", "content": "Yes."}
    assert back("vllm") == {"role": "assistant", "content": "Yes."}
    assert back("vllm", calls=(call("a"),))["reasoning"] == "Hm."
    assert back("deepseek") == {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    assert back("deepseek", "groq", (call("a"),))["reasoning_content"] == ""
    assert back("mistral")["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "Yes."},
    ]


def test_what_is_the_providers_own_goes_back_with_its_call():
    native = {"extra_content": {"google": {"thought_signature": "s"}}}
    history = Message("assistant", "", tool_calls=(call("a", native=native),), provider="openai-compatible")

    assert (
        sent(history, preset=PRESETS["openai-compatible"])[0]["tool_calls"][0]["extra_content"]
        == native["extra_content"]
    )
    assert "extra_content" not in sent(history)[0]["tool_calls"][0]


def test_a_refusal_goes_back_as_one_or_as_text():
    message = Message("assistant", (RefusalPart("I will not."),))

    assert sent(message) == [{"role": "assistant", "content": "", "refusal": "I will not."}]
    assert sent(message, preset=PRESETS["groq"]) == [{"role": "assistant", "content": "I will not."}]


def test_a_models_turn_with_nothing_in_it_is_left_out():
    assert sent(Message("assistant", ""), Message("user", "So?")) == [{"role": "user", "content": "So?"}]


def test_names_of_speakers_are_sent_where_they_may_be():
    message = Message("user", "Hello", name="Ann")

    assert sent(message)[0]["name"] == "Ann"
    assert "name" not in sent(message, preset=PRESETS["mistral"])[0]
    assert "name" not in sent(Message("user", "Hello", name="Ann Lee"))[0]


ids = st.sampled_from(["a", "b", "c", "", "x" * 50])
texts = st.text(st.characters(codec="utf-8"), max_size=5)
parts = st.lists(
    st.one_of(
        texts.map(TextPart),
        texts.map(RefusalPart),
        texts.map(ReasoningPart),
        st.just(DataPart("image/png", "AAAA")),
        st.just(NativePart({"type": "search"})),
    ),
    max_size=3,
).map(tuple)
contents = st.one_of(texts, parts)
calls = st.lists(
    st.builds(ToolCall, ids, st.just("search"), st.sampled_from(['{"a": 1}', "", "{oops", "[1]"])), max_size=3
)
messages = st.lists(
    st.one_of(
        st.builds(Message, st.sampled_from(["user", "system"]), contents),
        st.builds(
            Message,
            st.just("assistant"),
            contents,
            tool_calls=calls.map(tuple),
            provider=st.sampled_from(["", "groq", "openai-chat", "mistral"]),
        ),
        st.builds(Message, st.just("tool"), contents, tool_call_id=ids, name=st.just("search")),
    ),
    max_size=8,
)


@pytest.mark.slow
@given(messages, st.sampled_from(sorted(PRESETS)), texts)
def test_every_call_is_answered_in_order_and_nothing_else_is_whatever_the_history_is(history, name, system):
    found = json.loads(json.dumps(sent(*history, preset=PRESETS[name], system=system)))

    if name == "openai-chat":
        MESSAGES.validate_python(found)
    waiting = []
    for message in found:
        if waiting:
            assert (message["role"], message["tool_call_id"]) == ("tool", waiting.pop(0))
            continue
        assert message["role"] != "tool"
        if message["role"] == "assistant":
            assert message.get("content") or message.get("refusal") or message.get("tool_calls")
            waiting = [each["id"] for each in message.get("tool_calls", ())]
            assert len(set(waiting)) == len(waiting)
            assert all(waiting)
    assert not waiting


@given(messages)
def test_no_result_is_lost(history):
    told = [message.text for message in history if message.role == "tool"]
    found = json.dumps(sent(*history), ensure_ascii=False)

    assert all(json.dumps(text, ensure_ascii=False)[1:-1] in found for text in told)
