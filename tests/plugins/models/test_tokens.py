import pytest

from marsys.models.tokens import count_tokens, trim, usage_of
from marsys_core.messages import Message, ToolCall
from marsys_core.models import FinishReason, ModelRequest, ModelResponse, Sampling


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("one two", 2), ("Stop, now!", 4), (" \n", 0), ("3.14", 3)]
)
def test_words_and_signs_are_tokens(text, tokens):
    assert count_tokens(text) == tokens


def test_usage_counts_the_instruction_the_messages_and_their_calls():
    call = ToolCall("1", "search", '{"query": "a"}')
    request = ModelRequest(
        system="Be brief.", messages=[Message("user", "Why?"), Message("assistant", tool_calls=(call,))]
    )
    usage = usage_of(request, ModelResponse(content="Because.", tool_calls=(call,)))
    assert (usage.input_tokens, usage.output_tokens, usage.model_calls) == (3 + 2 + 1 + 9, 2 + 1 + 9, 1)


@pytest.mark.parametrize(
    ("sampling", "text", "reason"),
    [
        (Sampling(), "one two. three", FinishReason.STOP),
        (Sampling(max_output_tokens=4), "one two. three", FinishReason.STOP),
        (Sampling(max_output_tokens=3), "one two.", FinishReason.LENGTH),
        (Sampling(max_output_tokens=0), "", FinishReason.LENGTH),
        (Sampling(stop=("th", "two", "")), "one ", FinishReason.STOP),
        (Sampling(stop=("two",), max_output_tokens=1), "one ", FinishReason.STOP),
    ],
)
def test_a_text_ends_at_a_stop_sequence_or_at_the_most_tokens(sampling, text, reason):
    assert trim("one two. three", sampling) == (text, reason)
