"""The entries that every step has, as they usually are, written in one go.

A step of a model is five events, and to write them is much of what it costs to keep a run. Here each kind has its
own way for what its events nearly always hold; whatever else they hold is left to `Record`, which writes the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from marsys_core import events as e
from marsys_core.actions import Content, EndConversation, Finish, Invoke, Return
from marsys_core.format.text import SURROGATE
from marsys_core.format.texts import LONG, Texts
from marsys_core.messages import Message, Usage

__all__ = ["usual"]

_BIG = 1 << 62
_VALUED = frozenset({Content, EndConversation, Finish, Return})

_Known = Texts | None
_New = dict[str, str]


class _Unusual(Exception):
    """What is written has something in it that is not for here."""


class _Usual:
    """Writes events; `new` takes the long texts that are in none of the entries before, each with its place."""

    def __init__(self) -> None:
        from json.encoder import encode_basestring

        self._quote: Callable[[str], str] = encode_basestring
        self._kinds: dict[type[e.Event], Callable[[Any, _Known, _New], str]] = {
            e.StepStarted: self._step_started,
            e.ModelCalled: self._model_called,
            e.ModelReplied: self._model_replied,
            e.StepFinished: self._step_finished,
            e.BranchMoved: self._branch_moved,
        }

    def write(self, event: e.Event, texts: _Known) -> str | None:
        """Return the text of the entry, or None where `event` is not a usual one."""
        write = self._kinds.get(type(event))
        if write is None:
            return None
        new: _New = {}
        try:
            text = write(event, texts, new)
        except (_Unusual, TypeError, ValueError):  # what is no text where text is usual, and the like
            return None
        if not text.isascii() and SURROGATE.search(text) is not None:
            return None
        if texts is not None and new:
            texts.note(new, event.seq)
        return text

    def _step_started(self, event: e.StepStarted, _texts: _Known, _new: _New) -> str:
        turn = _whole(event.turn)
        of_turn = f',"turn":{turn}' if turn else ""
        ids = self._ids(event.inputs)
        return f'{{"node":{self._quote(event.node)},"step":{_whole(event.step)},"inputs":{ids}{of_turn}}}'

    def _model_called(self, event: e.ModelCalled, _texts: _Known, _new: _New) -> str:
        quote, attempt = self._quote, _whole(event.attempt)
        again = "" if attempt == 1 else f',"attempt":{attempt}'
        return (
            f'{{"node":{quote(event.node)},"model":{quote(event.model)},'
            f'"messages":{_whole(event.messages)},"tools":{_whole(event.tools)}{again}}}'
        )

    def _model_replied(self, event: e.ModelReplied, texts: _Known, new: _New) -> str:
        if event.tool_calls != ():
            raise _Unusual
        quote, asked = self._quote, _whole(event.asked)
        of_request = f',"asked":{asked}' if asked else ""
        return (
            f'{{"node":{quote(event.node)},"model":{quote(event.model)},'
            f'"content":{self._said(event.content, "$.content", event.seq, texts, new)},"tool_calls":[],'
            f'"finish_reason":{quote(event.finish_reason)},"usage":{_usage(event.usage)},'
            f'"duration":{_number(event.duration)}{of_request}}}'
        )

    def _step_finished(self, event: e.StepFinished, texts: _Known, new: _New) -> str:
        usage = event.usage
        if event.unasked != () or event.writes != ():
            raise _Unusual
        if event.conditions != () or type(event.offered) is not bool or type(event.turn) is not bool:
            raise _Unusual
        action = self._action(event.action, event.seq, texts, new)
        parts = [f'{{"node":{self._quote(event.node)},"action":{action}']
        if event.offered:
            parts.append(',"offered":true')
        if event.messages != ():
            messages = [
                self._message(message, index, event.seq, texts, new)
                for index, message in enumerate(event.messages)
            ]
            parts.append(f',"messages":[{",".join(messages)}]')
        if usage is not None:
            parts.append(f',"usage":{_usage(usage)}')
        parts.append(f',"duration":{_number(event.duration)}')
        parts.append(',"turn":true}' if event.turn else "}")
        return "".join(parts)

    def _action(self, action: Any, seq: int, texts: _Known, new: _New) -> str:
        if type(action) in _VALUED:
            said = self._said(action.value, "$.action.value", seq, texts, new)
            return f'{{"$type":"{type(action).__name__}","value":{said}}}'
        if type(action) is not Invoke or action.policy is not None or action.budget is not None:
            raise _Unusual
        if not action.calls or action.wait is not True or action.replies != ():
            raise _Unusual
        calls = [
            f"[{self._quote(node)},{self._said(value, f'$.action.calls[{index}][1]', seq, texts, new)}]"
            for index, (node, value) in enumerate(action.calls)
        ]
        return f'{{"$type":"Invoke","calls":[{",".join(calls)}]}}'

    def _message(self, message: Message, index: int, seq: int, texts: _Known, new: _New) -> str:
        if type(message) is not Message or not message.content or message.tool_calls != ():
            raise _Unusual
        if message.is_error is not False:
            raise _Unusual
        said = self._said(message.content, f"$.messages[{index}].content", seq, texts, new)
        answers = f',"tool_call_id":{self._quote(message.tool_call_id)}' if message.tool_call_id != "" else ""
        name = f',"name":{self._quote(message.name)}' if message.name != "" else ""
        return f'{{"role":{self._quote(message.role)},"content":{said}{answers}{name}}}'

    def _branch_moved(self, event: e.BranchMoved, texts: _Known, new: _New) -> str:
        if event.stack != () or event.asked != () or event.conditions != () or event.error is not None:
            raise _Unusual
        if event.loop is not False or type(event.fresh) is not bool:
            raise _Unusual
        quote = self._quote
        said = self._said(event.value, "$.value", event.seq, texts, new)
        inputs = f',"inputs":{self._ids(event.inputs)}' if event.inputs != () else ""
        fresh = ',"fresh":true' if event.fresh else ""
        return f'{{"node":{quote(event.node)},"how":{quote(event.how)},"value":{said}{inputs}{fresh}}}'

    def _said(self, text: Any, path: str, seq: int, texts: _Known, new: _New) -> str:
        if type(text) is not str:
            raise _Unusual
        if texts is None or len(text) < LONG:
            return self._quote(text)
        known = (seq, new[text]) if text in new else texts.where(text)
        if known is None:
            new[text] = path
            return self._quote(text)
        return f'{{"$type":"again","seq":{known[0]},"at":{self._quote(known[1])}}}'

    def _ids(self, ids: tuple[e.EventId, ...]) -> str:
        quote = self._quote
        return f"[{','.join([f'[{quote(branch)},{_whole(n)}]' for branch, n in ids])}]"


def _whole(number: Any) -> int:
    if type(number) is int and -_BIG < number < _BIG:
        return number
    raise _Unusual


def _number(number: Any) -> str:
    """A float that has to be written: not 0.0, which is left out at places, and not an infinite one."""
    if type(number) is float and number and number - number == 0:
        return repr(number)
    raise _Unusual


def _usage(usage: Usage) -> str:
    if type(usage) is not Usage:
        raise _Unusual
    found = []
    if usage.input_tokens != 0:
        found.append(f'"input_tokens":{_whole(usage.input_tokens)}')
    if usage.output_tokens != 0:
        found.append(f'"output_tokens":{_whole(usage.output_tokens)}')
    if usage.cached_tokens != 0:
        found.append(f'"cached_tokens":{_whole(usage.cached_tokens)}')
    if usage.reasoning_tokens != 0:
        found.append(f'"reasoning_tokens":{_whole(usage.reasoning_tokens)}')
    if usage.model_calls != 0:
        found.append(f'"model_calls":{_whole(usage.model_calls)}')
    if usage.cost != 0:
        found.append(f'"cost":{_number(usage.cost)}')
    elif repr(usage.cost) != "0.0":
        raise _Unusual
    return f"{{{','.join(found)}}}"


@functools.cache
def usual() -> Callable[[e.Event, _Known], str | None]:
    """Return what writes usual events; made when the first one is written."""
    return _Usual().write
