"""What the Messages API is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.anthropic._request import Wired, wire
from marsys.anthropic._traits import traits_of
from marsys_core.messages import Message, ReasoningPart, TextPart, ToolCall
from marsys_core.models import Caching, ModelRequest, Reasoning, Sampling, ToolChoice, ToolSpec
from tests.plugins.anthropic.laws import check_body, places

ASK = [Message("user", "Hello")]
LOOK = ToolSpec("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})
OLD, NEW, UNFORCED = "claude-sonnet-4-0", "claude-opus-4-8", "claude-sonnet-5-5"
NAMES = [
    "claude-3-5-haiku-latest",
    OLD,
    "claude-haiku-4-5",
    "claude-opus-4-5",
    "claude-sonnet-4-6",
    NEW,
    "claude-opus-5",
    "claude-fable-5-1",
    UNFORCED,
    "claude-later-9",
    "other",
]


def wired(name: str = OLD, messages: list[Message] = ASK, **fields: Any) -> Wired:
    return wire(ModelRequest(messages=messages, **fields), name, traits_of(name))


def body(name: str = OLD, messages: list[Message] = ASK, **fields: Any) -> dict[str, Any]:
    made = wired(name, messages, **fields).body
    check_body(made)
    return made


def test_the_least_is_a_model_a_limit_and_the_conversation() -> None:
    assert body() == {
        "model": OLD,
        "max_tokens": 20_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    }


def test_a_model_that_can_say_less_is_asked_for_less() -> None:
    assert body("claude-3-haiku-20240307")["max_tokens"] == 4_096
    assert body("another")["max_tokens"] == 8_192
    assert body(sampling=Sampling(max_output_tokens=7))["max_tokens"] == 7


def test_instructions_are_one_system() -> None:
    made = body(messages=[Message("system", "Be brief."), *ASK], system="Be kind.")

    assert made["system"] == [{"type": "text", "text": "Be kind."}, {"type": "text", "text": "Be brief."}]


def test_tools_and_their_choice() -> None:
    made = body(tools=[LOOK], tool_choice=ToolChoice("tool", "look"), parallel_tool_calls=False)

    assert made["tools"] == [{"name": "look", "description": "Looks.", "input_schema": LOOK.parameters}]
    assert made["tool_choice"] == {"type": "tool", "name": "look", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (ToolChoice(), None, None),
        (ToolChoice(), True, {"type": "auto", "disable_parallel_tool_use": False}),
        (ToolChoice(), False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("required"), None, {"type": "any"}),
        (ToolChoice("none"), False, {"type": "none"}),
    ],
)
def test_a_choice_says_whether_several_calls_may_come(
    choice: ToolChoice, parallel: bool | None, sent: Any
) -> None:
    assert body(tools=[LOOK], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == sent


def test_a_choice_without_tools_is_left_out() -> None:
    assert "tool_choice" not in body(parallel_tool_calls=False)


def test_a_schema_is_an_output_format_of_what_the_api_can_hold_to() -> None:
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 1, "description": "How many."},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 3},
            "either": {"oneOf": [{"type": "null"}, {"$ref": "#/$defs/p"}]},
        },
        "required": ["n"],
        "$defs": {"p": {"type": "object", "properties": {"on": {"type": "string", "format": "date"}}}},
    }

    assert body("claude-haiku-4-5", output_schema=schema)["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {
                    "n": {"type": "integer", "description": "How many.\n\n(minimum: 1)"},
                    "tags": {
                        "type": "array",
                        "items": {"type": "string", "description": "(maxLength: 9)"},
                        "description": "(minItems: 3)",
                    },
                    "either": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/p"}]},
                },
                "required": ["n"],
                "$defs": {
                    "p": {
                        "type": "object",
                        "properties": {"on": {"type": "string", "format": "date"}},
                        "additionalProperties": False,
                    }
                },
                "additionalProperties": False,
            },
        }
    }


def test_sampling_is_sent_with_the_version_of_the_api_that_knows_it() -> None:
    made = wired(sampling=Sampling(temperature=0.0, top_p=0.5, top_k=3, stop=("END",)))

    assert [made.body[name] for name in ("temperature", "top_p", "top_k")] == [0.0, 0.5, 3]
    assert made.body["stop_sequences"] == ["END"]
    assert made.headers == {"anthropic-version": "2023-06-01"}
    assert made.left_out == ()


def test_what_a_model_does_not_take_of_sampling_is_left_out_and_told() -> None:
    sampling = Sampling(temperature=0.0, top_p=0.5, seed=1, presence_penalty=0.1, frequency_penalty=0.1)
    one, none = wired("claude-haiku-4-5", sampling=sampling), wired(NEW, sampling=sampling)

    assert ("temperature" in one.body, "top_p" in one.body) == (True, False)
    assert one.left_out == ("seed", "presence_penalty", "frequency_penalty", "top_p")
    assert ("temperature" in none.body, none.headers) == (False, {})
    assert none.left_out == ("seed", "presence_penalty", "frequency_penalty", "temperature", "top_p")


def test_a_model_that_thinks_for_a_number_of_tokens_gets_one() -> None:
    made = wired(reasoning=Reasoning(effort="high", visible=True), sampling=Sampling(temperature=0.3))

    assert made.body["thinking"] == {"type": "enabled", "budget_tokens": 16_384, "display": "summarized"}
    assert made.body["max_tokens"] == 36_384
    assert ("temperature" in made.body, made.left_out) == (False, ("temperature",))


@pytest.mark.parametrize(
    ("tokens", "most", "budget"),
    [
        (100, None, 1_024),
        (5_000, None, 5_000),
        (5_000, 6_000, 3_000),
        (5_000, 1_500, 1_024),
        (5_000, 900, None),
    ],
)
def test_what_is_thought_leaves_room_for_the_answer(
    tokens: int, most: int | None, budget: int | None
) -> None:
    made = body(reasoning=Reasoning(max_tokens=tokens), sampling=Sampling(max_output_tokens=most))

    assert made.get("thinking", {}).get("budget_tokens") == budget
    assert made["max_tokens"] == (most or budget + 20_000)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "effort", "thinking", "sent"),
    [
        ("claude-opus-4-5", "max", {"type": "enabled", "budget_tokens": 32_768}, "high"),
        ("claude-sonnet-4-6", "minimal", {"type": "adaptive"}, "low"),
        (NEW, "max", {"type": "adaptive"}, "max"),
        (NEW, "none", None, None),
        ("claude-opus-5", "none", {"type": "disabled"}, None),
        (UNFORCED, "none", {"type": "between_tools"}, None),
        ("claude-fable-5", "none", None, "low"),
        ("claude-3-5-haiku-latest", "high", None, None),
    ],
)
def test_an_effort_is_told_in_the_words_of_the_model(
    name: str, effort: Any, thinking: Any, sent: str | None
) -> None:
    made = body(name, reasoning=Reasoning(effort=effort))

    assert made.get("thinking") == thinking
    assert made.get("output_config", {}).get("effort") == sent


def test_thoughts_are_asked_to_be_seen_where_they_come_unasked() -> None:
    assert body("claude-opus-5", reasoning=Reasoning(visible=False))["thinking"] == {
        "type": "adaptive",
        "display": "omitted",
    }
    assert "thinking" not in body(NEW, reasoning=Reasoning(visible=True))


def test_a_model_that_has_to_call_a_tool_is_not_told_to_think() -> None:
    made = wired(tools=[LOOK], tool_choice=ToolChoice("required"), reasoning=Reasoning(effort="low"))

    assert "thinking" not in made.body
    assert made.left_out == ("reasoning",)


def test_an_answer_that_another_model_began_is_not_gone_on_with_in_thought() -> None:
    thought = ReasoningPart("hm", "sig")
    call, result = (ToolCall("1", "look"),), Message("tool", "A", tool_call_id="1")
    foreign, own = (
        Message("assistant", "", call),
        Message("assistant", (thought,), call, provider="anthropic"),
    )
    later = [own, result, Message("assistant", "", call, provider="anthropic"), result]
    low = Reasoning(effort="low")

    assert wired(messages=[*ASK, foreign, result], reasoning=low).left_out == ("reasoning",)
    assert "thinking" not in body(messages=[*ASK, foreign, result], reasoning=low)
    for history in ([own, result], later, [foreign, result, Message("assistant", "ok"), *ASK]):
        assert "thinking" in body(messages=[*ASK, *history], reasoning=low)
    assert "thinking" in body(NEW, [*ASK, foreign, result], reasoning=low)


def test_options_are_added_to_what_is_there() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    options = {
        "tools": [search],
        "betas": ["one", "two"],
        "extra_headers": {"x": "y"},
        "output_config": {"effort": "xhigh"},
        "service_tier": "standard_only",
    }
    made = wired(NEW, tools=[LOOK], output_schema={"type": "object"}, options=options)

    assert [tool["name"] for tool in made.body["tools"]] == ["look", "web_search"]
    assert made.body["output_config"]["effort"] == "xhigh"
    assert made.body["output_config"]["format"]["type"] == "json_schema"
    assert made.body["service_tier"] == "standard_only"
    assert made.headers == {"anthropic-beta": "one,two", "x": "y"}
    check_body(made.body)


LONG = [
    *ASK,
    Message("assistant", "", (ToolCall("1", "look"),)),
    Message("tool", "A", tool_call_id="1"),
    Message("assistant", "ok"),
    Message("user", "More"),
]
EPHEMERAL = {"type": "ephemeral"}


def marks(made: dict[str, Any]) -> list[str]:
    return [block.get("name") or block["type"] for block in places(made) if "cache_control" in block]


def test_the_ends_of_what_is_worth_keeping_are_marked() -> None:
    made = body(messages=LONG, system="Be kind.", tools=[LOOK, LOOK], caching=Caching())

    assert marks(made) == ["look", "text", "tool_result", "text"]
    assert made["tools"][-1]["cache_control"] == EPHEMERAL
    assert made["messages"][-1]["content"][-1]["cache_control"] == EPHEMERAL
    assert made["messages"][2]["content"][-1]["cache_control"] == EPHEMERAL
    assert "cache_control" not in body(tools=[LOOK])["tools"][0]  # the tool itself is not changed


@pytest.mark.parametrize(
    ("caching", "expected"),
    [
        (Caching(instruction=False), ["tool_result", "text"]),
        (Caching(conversation=False), ["look", "text"]),
        (Caching(instruction=False, conversation=False), []),
    ],
)
def test_only_what_is_asked_is_marked(caching: Caching, expected: list[str]) -> None:
    assert marks(body(messages=LONG, system="x", tools=[LOOK], caching=caching)) == expected


@pytest.mark.parametrize(("seconds", "ttl"), [(None, None), (60, "5m"), (300, "5m"), (301, "1h")])
def test_how_long_it_is_kept_is_one_of_two_times(seconds: float | None, ttl: str | None) -> None:
    found = body(caching=Caching(seconds=seconds))["messages"][0]["content"][0]["cache_control"]

    assert found.get("ttl") == ttl


def test_marks_of_ones_own_count() -> None:
    own = {"cache_control": EPHEMERAL}
    marked = Message("user", (TextPart("a", own), TextPart("b", own)), provider="anthropic")
    options = {"tools": [{"type": "web_search_20250305", "name": "web_search", **own}]}
    made = body(messages=[marked, *LONG[1:]], system="x", options=options, caching=Caching())

    assert marks(made) == ["web_search", "text", "text", "text"]


reasonings = st.none() | st.builds(
    Reasoning,
    effort=st.sampled_from([None, "none", "minimal", "low", "medium", "high", "max"]),
    max_tokens=st.none() | st.integers(0, 200_000),
    visible=st.none() | st.booleans(),
)
samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0.1, 1),
    max_output_tokens=st.none() | st.integers(1, 128_000),
    seed=st.none() | st.just(1),
)


@pytest.mark.slow
@given(
    st.sampled_from(NAMES),
    reasonings,
    samplings,
    st.sampled_from([ToolChoice(), ToolChoice("required"), ToolChoice("none"), ToolChoice("tool", "look")]),
    st.booleans(),
    st.none() | st.builds(Caching, instruction=st.booleans(), conversation=st.booleans()),
)
def test_whatever_is_asked_the_types_of_the_sdk_take_it(
    name: str,
    reasoning: Reasoning | None,
    sampling: Sampling,
    choice: ToolChoice,
    tools: bool,
    caching: Caching | None,
) -> None:
    made = body(
        name,
        LONG,
        system="x",
        tools=[LOOK] if tools else [],
        tool_choice=choice,
        reasoning=reasoning,
        sampling=sampling,
        caching=caching,
    )
    forced = made.get("tool_choice", {}).get("type") in ("any", "tool")

    assert not (forced and "thinking" in made and made["thinking"]["type"] in ("enabled", "adaptive"))
    assert not ("thinking" in made and made["thinking"]["type"] == "enabled" and "temperature" in made)
