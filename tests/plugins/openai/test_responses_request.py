import pytest

from marsys.openai._responses_request import body_of
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import Message
from marsys_core.models import Caching, ModelRequest, Reasoning, Sampling, ToolChoice, ToolSpec
from tests.plugins.openai.responses_params import assert_valid

CLOSED = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"city": {"type": "string"}}}


def body(model="gpt-5", **asked):
    made = body_of(ModelRequest(messages=[Message("user", "Hello")], **asked), model, "openai", "openai")
    assert_valid(made)
    return made


def test_a_question_leaves_nothing_at_the_provider_and_asks_for_what_it_needs_to_go_on():
    assert body(system="Be short.") == {
        "model": "gpt-5",
        "input": [{"role": "user", "content": "Hello"}],
        "instructions": "Be short.",
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def test_a_model_that_does_not_reason_is_asked_for_no_reasoning():
    assert body("gpt-4o", reasoning=Reasoning(effort="low", visible=True)) == {
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "Hello"}],
        "store": False,
    }


def test_answers_are_stored_where_that_is_asked_for():
    made = body(options={"store": True})

    assert made["store"] is True
    assert "include" not in made


def test_sampling_is_told_as_far_as_the_api_has_it():
    made = body(sampling=Sampling(temperature=0, top_p=0.5, max_output_tokens=99))

    assert (made["temperature"], made["top_p"], made["max_output_tokens"]) == (0, 0.5, 99)


def test_sampling_that_the_api_does_not_have_is_refused():
    expected = (
        r"^the Responses API of 'openai' has no stop, seed; leave it out of Sampling, "
        r"or ask through Chat Completions$"
    )
    with pytest.raises(ModelError, match=expected) as caught:
        body(sampling=Sampling(stop=("x",), seed=1))
    assert caught.value.kind is ModelErrorKind.BAD_REQUEST


def test_tools_are_strict_where_their_schemas_allow_it():
    tools = [ToolSpec("weather", "Tell the weather", CLOSED), ToolSpec("map", "", LOOSE)]
    made = body(tools=tools)

    assert [(tool["name"], tool["strict"]) for tool in made["tools"]] == [("weather", True), ("map", False)]
    assert made["tools"][0]["parameters"] == CLOSED
    assert "tool_choice" not in made


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (ToolChoice("none"), "none"),
        (ToolChoice("required"), "required"),
        (ToolChoice("tool", "map"), {"type": "function", "name": "map"}),
    ],
)
def test_the_choice_of_tools_is_told(choice, told):
    made = body(tools=[ToolSpec("map", "", LOOSE)], tool_choice=choice, parallel_tool_calls=False)

    assert made["tool_choice"] == told
    assert made["parallel_tool_calls"] is False


def test_nothing_is_said_of_tools_where_there_are_none():
    made = body(tool_choice=ToolChoice("none"), parallel_tool_calls=True)

    assert "tool_choice" not in made
    assert "parallel_tool_calls" not in made


def test_an_output_schema_is_a_format_of_the_text():
    assert body(output_schema={**CLOSED, "title": "Where to go!"})["text"] == {
        "format": {
            "type": "json_schema",
            "name": "Where_to_go_",
            "schema": {**CLOSED, "title": "Where to go!"},
            "strict": True,
        }
    }
    assert body(output_schema=LOOSE)["text"]["format"]["strict"] is False


def test_reasoning_is_told_as_the_model_takes_it():
    assert body(reasoning=Reasoning(effort="max", visible=True))["reasoning"] == {
        "effort": "high",
        "summary": "auto",
    }
    assert "reasoning" not in body(reasoning=Reasoning(visible=False))


@pytest.mark.parametrize(
    ("model", "seconds", "told"),
    [
        ("gpt-5.6", 60, {"prompt_cache_options": {"ttl": "30m"}}),
        ("gpt-5.6", 7200, {"prompt_cache_options": {"ttl": "12h"}}),
        ("gpt-5", 60, {}),
        ("gpt-5", 7200, {"prompt_cache_retention": "24h"}),
        ("grok-4.3", 7200, {}),
        ("gpt-5", None, {}),
    ],
)
def test_what_is_worth_keeping_is_told(model, seconds, told):
    made = body(model, caching=Caching(key="k", seconds=seconds))

    assert made["prompt_cache_key"] == "k"
    assert {
        key: value
        for key, value in made.items()
        if key.startswith("prompt_cache_") and key != "prompt_cache_key"
    } == told


def test_options_go_beside_what_the_request_says():
    made = body(
        tools=[ToolSpec("map", "", LOOSE)],
        output_schema=CLOSED,
        options={
            "api": "responses",
            "tools": [{"type": "web_search"}],
            "include": ["web_search_call.action.sources", "reasoning.encrypted_content"],
            "text": {"verbosity": "low"},
            "service_tier": "flex",
        },
    )

    assert [tool["type"] for tool in made["tools"]] == ["function", "web_search"]
    assert made["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
    assert set(made["text"]) == {"format", "verbosity"}
    assert made["service_tier"] == "flex"
    assert "api" not in made


def test_built_in_tools_may_be_chosen_from_too():
    made = body(options={"tools": [{"type": "web_search"}]}, tool_choice=ToolChoice("required"))

    assert made["tool_choice"] == "required"
