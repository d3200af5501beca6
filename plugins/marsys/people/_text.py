"""Questions and answers as text."""

from __future__ import annotations

from typing import Any

from marsys_core.errors import AnswerRefused
from marsys_core.questions import WITHIN_STEP, Question
from marsys_core.values import render

__all__ = ["read", "shown"]

_DIGITS = 10  # no question has so many options that the number of one is as long as this


def shown(question: Question) -> str:
    """Return a question as text, with its options numbered."""
    prompt = question.prompt
    if question.kind == "approval":
        prompt = f"May {prompt['agent']!r} call {prompt['tool']!r} with {render(prompt['arguments'])}?"
    elif question.kind == "uncertain":
        prompt = f"Did {prompt['tool']!r} take effect, which {prompt['agent']!r} had called with {render(prompt['arguments'])}?"
    lines = [prompt if isinstance(prompt, str) else render(prompt)]
    lines += [f"  {number}. {option}" for number, option in enumerate(question.options, 1)]
    if question.default is not None:
        lines.append(f"  (after {question.timeout:g} s: {question.default})" if question.timeout else "")
    text = "\n".join(filter(None, lines))
    # What agents say may hold control sequences, which would let a question look like another one.
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def read(question: Question, text: str) -> Any:
    """Return the answer that `text` stands for: an option may be given by its number, data as JSON.

    Raises:
        AnswerRefused: It is none.
    """
    options = question.options
    if text not in options and text.isdecimal() and len(text) < _DIGITS and 0 < int(text) <= len(options):
        text = options[int(text) - 1]
    value: Any = text
    typed = question.schema is not None and question.schema.get("type", "string") != "string"
    if typed or (question.kind in WITHIN_STEP and text.startswith("{")):
        import json

        try:
            value = json.loads(text, parse_constant=_no_number)
        except ValueError as error:
            msg = f"the answer is JSON: {error}"
            raise AnswerRefused(msg) from None
        except RecursionError:
            msg = "the answer is JSON, and not nested so deeply"
            raise AnswerRefused(msg) from None
    question.check(value)
    return value


def _no_number(text: str) -> Any:
    msg = f"{text} is not a number in JSON"
    raise ValueError(msg)
