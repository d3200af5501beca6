"""A model that answers with sentences of the texts it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import trio

from marsys.models.ranking import best_sentences
from marsys.models.situation import INVOKE, Situation, read_request
from marsys.models.tokens import count_input, trim, usage_of
from marsys.search.passages import NO_SUBJECT, NO_TEXTS, NOTHING_FOUND, write_answer
from marsys.search.words import keywords, terms
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import ToolCall
from marsys_core.models import (
    Capabilities,
    FinishReason,
    ModelDelta,
    ModelRequest,
    ModelResponse,
    Sampling,
    TextDelta,
    deltas_of,
)

__all__ = ["ExtractiveModel"]

_CAPABILITIES = Capabilities(tools=True, output_schema=False, streaming=True, images=False)


@attrs.frozen(kw_only=True)
class ExtractiveModel:
    """Answers a question with the best sentences of the texts at hand, each with its source, word for word.

    It has no weights, needs no network and writes nothing of its own: the same request gets the same
    answer, in milliseconds. Use it to try a team of agents without a provider, to test one, and where an
    answer must be a quotation. It matches words and does not understand them.

    What it does with a request, the first of these that applies:

    * a tool takes a ``query`` and nothing has come back yet: it calls that tool with the keywords;
    * ``invoke_agent`` is offered and nothing has come back yet: it invokes every agent with the question;
    * else it quotes from the tools' results and the other agents' answers, or says that it found nothing,
      that there are no texts to answer from, or that the question consists of stop words.

    The question is what follows ``Question:`` in the last user message, else that message, else what follows
    ``Question:`` in the instruction. Of the sampling, `max_output_tokens` and `stop` shorten an answer; the
    rest has nothing to act on, because nothing is drawn by chance. Tokens are counted as in
    `marsys.models.tokens`.

    Args:
        sentences: How many sentences it quotes at most.
    """

    sentences: int = attrs.field(default=6, validator=attrs.validators.ge(1))

    @property
    def name(self) -> str:
        """What traces and prices know the model by."""
        return "extractive"

    @property
    def capabilities(self) -> Capabilities:
        """What may be asked of it: tools and streaming."""
        return _CAPABILITIES

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer `request` as a whole.

        Raises:
            ModelError: There is no question in it, or one without words.
        """
        await trio.lowlevel.checkpoint()
        return self._respond(request)

    def count_tokens(self, request: ModelRequest) -> int:
        """Return how many tokens the input of `request` has, as its usage will say."""
        return count_input(request)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer `request` line by line.

        Raises:
            ModelError: There is no question in it, or one without words.
        """
        for delta in deltas_of(await self.generate(request)):
            if not isinstance(delta, TextDelta):
                yield delta
                continue
            for line in delta.text.splitlines(keepends=True):
                await trio.lowlevel.checkpoint()
                yield TextDelta(line, delta.key)

    def _respond(self, request: ModelRequest) -> ModelResponse:
        situation = read_request(request)
        wanted = keywords(situation.question)
        if not wanted:
            msg = (
                f"the question {situation.question!r} has no words: put it in the last user message, or in a line "
                f"'Question: ...' of it or of the instruction"
            )
            raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST)
        response = self._choose(situation, wanted, request)
        response.usage = usage_of(request, response)
        return response

    def _choose(self, situation: Situation, wanted: list[str], request: ModelRequest) -> ModelResponse:
        call_id = f"call_{len(request.messages)}"
        if situation.retrieval and not situation.answered:
            return _calling(call_id, situation.retrieval, {"query": " ".join(wanted)})
        if situation.agents and not situation.retrieval and not situation.answered:
            invocations = [{"agent_name": name, "request": situation.question} for name in situation.agents]
            return _calling(call_id, INVOKE, {"invocations": invocations})
        return self._quote(situation, request.sampling)

    def _quote(self, situation: Situation, sampling: Sampling) -> ModelResponse:
        quotes = best_sentences(situation.question, situation.passages, limit=self.sentences)
        otherwise = _excuse(situation)
        text = write_answer(situation.question, quotes, incomplete=situation.incomplete, otherwise=otherwise)
        text, reason = trim(text, sampling)
        return ModelResponse(content=text, finish_reason=reason, model=self.name)


def _excuse(situation: Situation) -> str:
    """Return why there may be nothing to quote."""
    if not situation.has_texts:
        return NO_TEXTS
    return NOTHING_FOUND if terms(situation.question) else NO_SUBJECT


def _calling(call_id: str, tool: str, arguments: Mapping[str, Any]) -> ModelResponse:
    import json

    call = ToolCall(call_id, tool, json.dumps(arguments, ensure_ascii=False))
    return ModelResponse(tool_calls=(call,), finish_reason=FinishReason.TOOL_CALLS, model="extractive")
