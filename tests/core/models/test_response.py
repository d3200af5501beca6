import pytest

from marsys_core.errors import ModelErrorKind
from marsys_core.messages import DataPart, ReasoningPart, RefusalPart, TextPart, Usage
from marsys_core.models import FinishReason, ModelResponse, content_of, unanswered


def test_content_is_a_text_where_there_is_no_more():
    assert content_of([]) == content_of([TextPart("")]) == ""
    assert content_of([TextPart("a"), ReasoningPart()]) == "a"
    two = content_of([TextPart("a"), TextPart(""), TextPart("b")])
    assert [part.text for part in two] == ["a", "b"]
    assert isinstance(content_of([TextPart("a", {"citations": []})]), tuple)


@pytest.mark.parametrize(
    ("reason", "kind", "text"),
    [
        (FinishReason.REFUSAL, ModelErrorKind.REFUSAL, "model 'm' refused to answer (refused): I will not"),
        (
            FinishReason.CONTENT_FILTER,
            ModelErrorKind.CONTENT_FILTER,
            "model 'm' was kept from answering by a content filter (refused): I will not",
        ),
        (
            FinishReason.LENGTH,
            ModelErrorKind.EMPTY,
            "model 'm' came to its limit of output tokens before it said anything (refused): I will not",
        ),
        (
            FinishReason.OTHER,
            ModelErrorKind.EMPTY,
            "model 'm' ended without saying anything (refused): I will not",
        ),
    ],
)
def test_a_response_without_an_answer_says_why(reason, kind, text):
    response = ModelResponse(
        content=(ReasoningPart("hm"), RefusalPart("I will not")),
        finish_reason=reason,
        raw_finish_reason="refused",
        usage=Usage(5, 2),
        provider="p",
    )
    error = unanswered("m", response)

    assert error is not None
    assert (str(error), error.kind, error.said, error.provider, error.code) == (
        text, kind, "I will not", "p", "refused",
    )  # fmt: skip
    assert error.usage == Usage(5, 2)
    assert not error.retryable


@pytest.mark.parametrize(
    "response",
    [
        ModelResponse(),
        ModelResponse(content=(ReasoningPart("hm"),)),
        ModelResponse(content="cut", finish_reason=FinishReason.LENGTH),
        ModelResponse(content=(DataPart("image/png", "AA"),), finish_reason=FinishReason.OTHER),
        ModelResponse(content=(RefusalPart("no"), TextPart("but")), finish_reason=FinishReason.REFUSAL),
        ModelResponse(finish_reason=FinishReason.PAUSED),
    ],
)
def test_whoever_stopped_of_itself_or_said_something_has_answered(response):
    assert unanswered("m", response) is None
