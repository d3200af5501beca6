"""From messages to turns as the Messages API takes them, whatever the history is.

The API refuses a conversation in which a call is not answered by the next turn, an answer has no call, a call's id
comes twice, or a text is empty. A history may be all of that: it was cut, a run was interrupted, another provider
gave the ids. So a call without a result is answered here, a result without a call becomes a text, ids are made
sound, and turns of one role are one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from marsys.anthropic._blocks import block_of, data_block, result_content, text_block
from marsys_core.messages import DataPart, Message, Part, RefusalPart, TextPart, ToolCall, in_order

__all__ = ["PROVIDER", "Block", "Turn", "is_unthought", "turns_of"]

PROVIDER = "anthropic"

Block = dict[str, Any]
Turn = dict[str, Any]

_UNSOUND = re.compile(r"[^a-zA-Z0-9_-]")
_UNANSWERED = "There is no result of this call: it was not made, or it was interrupted."
_CUT = "(What was said before is not shown.)"
_GO_ON = "Go on."
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_SERVED = frozenset({"server_tool_use", "mcp_tool_use"})


def turns_of(messages: Iterable[Message], *, prefill: bool = False) -> tuple[list[str], list[Turn]]:
    """Return what belongs to the instruction, and the turns: the first one a user's, each call answered.

    Args:
        messages: The conversation.
        prefill: Whether an assistant's turn may be the last one, to be gone on with.
    """
    history = _History()
    for message in messages:
        history.add(message)
    return history.instruction, history.finished(prefill)


def is_unthought(turns: list[Turn]) -> bool:
    """Whether the answer that is to be gone on with, after results, was begun without a thought.

    The API refuses to let a model think for a number of tokens then. Such an answer was begun by another model, or
    what it thought was cut off.
    """
    index = len(turns) - 1
    while index > 0 and turns[index]["content"][0]["type"] == "tool_result":
        if any(block["type"] in _THOUGHTS for block in turns[index - 1]["content"]):
            return False
        index -= 2
    return index < len(turns) - 1


@attrs.define(eq=False)
class _History:
    """The turns so far.

    Attributes:
        pending: The calls of the assistant's last turn that have no result yet: the id that the history has, and
            those that the API is told.
        results: The results that the user's turn in the making begins with.
        said: What comes after them.
        shown: Images and files of the assistant, which only a user's turn can hold.
    """

    instruction: list[str] = attrs.field(factory=list)
    turns: list[Turn] = attrs.field(factory=list)
    ids: set[str] = attrs.field(factory=set)
    pending: dict[str, list[str]] = attrs.field(factory=dict)
    results: list[Block] = attrs.field(factory=list)
    said: list[Block] = attrs.field(factory=list)
    shown: list[Block] = attrs.field(factory=list)

    def add(self, message: Message) -> None:
        role = message.role
        if role == "assistant":
            self._assistant(message)
        elif role == "tool":
            self._result(message)
        elif role == "system" and not self.turns and not self.said:
            self.instruction.append(message.text)
        else:
            self.said += _content(message)

    def _assistant(self, message: Message) -> None:
        before, self.pending, shown = self.pending, {}, list[Block]()
        blocks = list(self._answer(message, shown))
        made, self.pending = self.pending, before
        if blocks and (self.results or self.said):
            self._close_user()
        for id, wired in made.items():
            self.pending.setdefault(id, []).extend(wired)
        self.shown += shown
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == "assistant":
            self.turns[-1]["content"] += blocks
            return
        if not self.turns:
            self.turns.append({"role": "user", "content": [text_block(_CUT)]})
        self.turns.append({"role": "assistant", "content": blocks})

    def _answer(self, message: Message, shown: list[Block]) -> Iterator[Block]:
        own = message.provider == PROVIDER
        for said in in_order(message):
            if isinstance(said, ToolCall):
                yield self._call(said, own)
            elif isinstance(said, DataPart):
                shown.append(data_block(said, own))
            elif isinstance(said, RefusalPart):
                if said.refusal.strip() and not own:  # ours was never part of the answer
                    yield text_block(said.refusal)
            elif (block := block_of(said, own)) is not None:
                yield block

    def _call(self, call: ToolCall, own: bool) -> Block:
        id = base = _UNSOUND.sub("_", call.id)[:60] or "call"
        number = 1
        while id in self.ids:
            number += 1
            id = f"{base}-{number}"
        self.ids.add(id)
        self.pending.setdefault(call.id, []).append(id)
        name = _UNSOUND.sub("_", call.name)[:128] or "tool"
        block = {"type": "tool_use", "id": id, "name": name, "input": _input_of(call.arguments)}
        return {**block, **call.native} if own and call.native else block

    def _result(self, message: Message) -> None:
        waiting = self.pending.get(message.tool_call_id)
        if not waiting:
            told = f"(The result of an earlier call{f' of {message.name}' if message.name else ''}:)"
            self.said += [text_block(told), *_content(message)]
            return
        block: Block = {"type": "tool_result", "tool_use_id": waiting.pop(0)}
        content = result_content(message)
        if content:
            block["content"] = content
        if message.is_error:
            block["is_error"] = True
        self.results.append(block)

    def _close_user(self) -> None:
        """End the user's turn: first the results, as the API demands, of every call."""
        for ids in self.pending.values():
            for id in ids:
                missing = {"type": "tool_result", "tool_use_id": id, "content": _UNANSWERED, "is_error": True}
                self.results.append(missing)
        content = [*self.results, *self.shown, *self.said]
        self.pending, self.results, self.shown, self.said = {}, [], [], []
        if content:
            self.turns.append({"role": "user", "content": content})

    def finished(self, prefill: bool) -> list[Turn]:
        self._close_user()
        _drop_unserved(self.turns)
        if not self.turns:
            return [{"role": "user", "content": [text_block(_CUT)]}]
        last = self.turns[-1]
        if last["role"] == "assistant" and not any(block["type"] in _SERVED for block in last["content"]):
            final = last["content"][-1]
            if not prefill or final["type"] != "text":
                self.turns.append({"role": "user", "content": [text_block(_GO_ON)]})
            else:  # the API takes no white space at the end of what it is to go on with
                last["content"][-1] = {**final, "text": final["text"].rstrip()}
        return self.turns


def _content(message: Message) -> list[Block]:
    content = message.content
    parts: tuple[Part, ...] = (TextPart(content),) if isinstance(content, str) else content
    own = message.provider == PROVIDER
    return [block for part in parts if (block := block_of(part, own)) is not None]


def _input_of(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call as the object that the API takes; what is none is put into one."""
    if not arguments.strip():
        return {}
    try:
        found = json.loads(arguments)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"INVALID_JSON": arguments}


def _drop_unserved(turns: list[Turn]) -> None:
    """Take out calls of the provider's own tools that have no result, and results that have no call.

    A call at the end stays: its turn was paused, or waits for a tool of ours that it calls.
    """
    answers = [turn for turn in turns if turn["role"] == "assistant"]
    made = {block["id"] for turn in answers for block in turn["content"] if block["type"] in _SERVED}
    served = {found for turn in answers for block in turn["content"] if (found := block.get("tool_use_id"))}
    if made == served:
        return
    going_on = answers[-1] if answers and _goes_on(turns) else None
    for turn in answers:
        turn["content"] = [
            block
            for block in turn["content"]
            if (block["type"] not in _SERVED or block["id"] in served or turn is going_on)
            and ("tool_use_id" not in block or block["tool_use_id"] in made)
        ]
    turns[:] = _merged(turn for turn in turns if turn["content"])


def _goes_on(turns: list[Turn]) -> bool:
    last = turns[-1]
    return last["role"] == "assistant" or all(block["type"] == "tool_result" for block in last["content"])


def _merged(turns: Iterable[Turn]) -> Iterator[Turn]:
    before: Turn | None = None
    for turn in turns:
        if before is not None and before["role"] == turn["role"]:
            before["content"] += turn["content"]
            continue
        if before is not None:
            yield before
        before = turn
    if before is not None:
        yield before
