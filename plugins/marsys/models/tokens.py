"""Counting tokens without a model's own tokenizer.

A token is a word (letters, digits and underscores) or one other sign that is not white space. That is
within a third of what most providers count for English, and the same on every machine.
"""

from __future__ import annotations

import re

from marsys_core.messages import Usage
from marsys_core.models import FinishReason, ModelRequest, ModelResponse, Sampling

__all__ = ["count_input", "count_tokens", "trim", "usage_of"]

_TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """Return how many tokens `text` has."""
    return len(_TOKEN.findall(text))


def count_input(request: ModelRequest) -> int:
    """Return how many tokens the input of `request` has.

    That is the instruction, the text of the messages, and the names and arguments of the tool calls in them; the
    descriptions of tools are not counted.
    """
    told = count_tokens(request.system)
    for message in request.messages:
        told += count_tokens(message.text)
        told += sum(count_tokens(call.name) + count_tokens(call.arguments) for call in message.tool_calls)
    return told


def usage_of(request: ModelRequest, response: ModelResponse) -> Usage:
    """Return what a call cost; the output is the text and the tool calls."""
    said = count_tokens(response.text)
    said += sum(count_tokens(call.name) + count_tokens(call.arguments) for call in response.tool_calls)
    return Usage(input_tokens=count_input(request), output_tokens=said, model_calls=1)


def trim(text: str, sampling: Sampling) -> tuple[str, FinishReason]:
    """Return `text` up to the first stop sequence and the most tokens wanted, and why it ends there."""
    ends = [place for stop in sampling.stop if stop and (place := text.find(stop)) >= 0]
    text = text[: min(ends, default=len(text))]
    most = sampling.max_output_tokens
    if most is None or count_tokens(text) <= most:
        return text, FinishReason.STOP
    tokens = _TOKEN.finditer(text)
    end = 0
    for _ in range(most):
        end = next(tokens).end()
    return text[:end], FinishReason.LENGTH
