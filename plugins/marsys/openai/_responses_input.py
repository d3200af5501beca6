"""A conversation as the input items of the Responses API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from marsys_core.messages import (
    DataPart,
    Message,
    NativePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
    in_order,
)

__all__ = ["input_of"]

Item: TypeAlias = dict[str, Any]

UNANSWERED = "There is no result: the call was interrupted."
_READ_ONLY = frozenset({"created_by"})  # in items that are given, and refused in items that are sent
_TEXTS = {"summary_text": "summary", "reasoning_text": "content"}


def input_of(
    messages: Iterable[Message], provider: str, *, reasons: bool = True, stored: bool = False
) -> list[Item]:
    """Return the input items for a conversation.

    Every call of a tool has one output after it, and every output a call before it, whatever the conversation is
    like: a call without a result is given one that says so, and a result of no call is told as a user's message.

    Args:
        messages: The conversation.
        provider: Whose opaque items are sent back, as assistants' messages are marked with it.
        reasons: Whether the model takes reasoning items.
        stored: Whether the provider keeps its answers, and knows a reasoning item by its id alone.
    """
    messages = list(messages)
    made = _Input(provider, reasons, stored, messages)
    for message in messages:
        made.add(message)
    made.close()
    return made.items


@attrs.define(eq=False)
class _Input:
    """The items so far, and the calls among them that have no output yet, with the kind of output that each wants."""

    provider: str
    reasons: bool
    stored: bool
    messages: Sequence[Message]
    items: list[Item] = attrs.field(factory=list)
    _waiting: dict[str, str] = attrs.field(factory=dict)
    _answered: frozenset[str] | None = None

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            self.close()
            own = bool(message.provider) and message.provider == self.provider
            items = None if not own else self._whole(message)
            self.items += self._plain(message) if items is None else items
        elif message.role == "tool":
            self._add_result(message)
        else:
            self._add_words(message)

    def close(self) -> None:
        """Give the calls that wait an output; none will come."""
        for id, kind in self._waiting.items():
            self.items.append({"type": kind, "call_id": id, "output": UNANSWERED})
        self._waiting.clear()

    def _add_words(self, message: Message) -> None:
        if isinstance(message.content, str) or message.role == "system":
            self.items.append({"role": message.role, "content": message.text})
            return
        if content := _contents(message.content):
            self.items.append({"role": message.role, "content": content})
        if message.provider in ("", self.provider):
            self.items += [dict(part.item) for part in message.content if isinstance(part, NativePart)]

    def _add_result(self, message: Message) -> None:
        kind = self._waiting.pop(_call_id(message.tool_call_id), None)
        said = message.content if isinstance(message.content, str) else _contents(message.content) or ""
        if kind is not None:
            self.items.append({"type": kind, "call_id": _call_id(message.tool_call_id), "output": said})
            return
        told = f"Result of {message.name or 'a tool'}:"
        begun = f"{told} {said}" if isinstance(said, str) else [{"type": "input_text", "text": told}, *said]
        self.items.append({"role": "user", "content": begun})

    def _plain(self, message: Message) -> list[Item]:
        """An answer without what is opaque in it: another provider's, or one that cannot go back whole."""
        items: list[Item] = []
        own = message.provider == self.provider
        for said in in_order(message):
            if isinstance(said, ToolCall):
                items.append(self._call(said, ids=False, own=own))
            elif isinstance(said, TextPart | RefusalPart):
                items.append(_assistant(said.text if isinstance(said, TextPart) else said.refusal))
                if own and isinstance(said, TextPart) and said.native and said.native.get("phase"):
                    items[-1]["phase"] = said.native["phase"]
            elif isinstance(said, DataPart):
                # No assistant's message has room for it, and what it showed is part of the conversation.
                items.append({"role": "user", "content": [_data(said, own=False)]})
        return items

    def _whole(self, message: Message) -> list[Item] | None:
        """An answer of this provider, item by item as it gave them; None where they cannot all go back.

        A reasoning item and what it led to belong together: the provider refuses either without the other.
        """
        reasoned = any(isinstance(part, ReasoningPart) for part in _parts(message))
        if reasoned and not self.reasons:
            return None
        items: list[Item] = []
        waiting = dict(self._waiting)
        for said in in_order(message):
            item = self._item(said, items, ids=reasoned)
            if item is None:
                self._waiting = waiting
                return None
            if item:
                items.append(item)
        if reasoned and not all(self._stands(items, index) for index in range(len(items))):
            self._waiting = waiting
            return None
        return items

    def _item(self, said: Part | ToolCall, items: list[Item], ids: bool) -> Item | None:
        """Return the item for a part; an empty one where it went into the last item, None where it cannot go back."""
        if isinstance(said, ToolCall):
            return self._call(said, ids=ids, own=True)
        if isinstance(said, TextPart):
            return _text(said, items, ids=ids)
        if isinstance(said, RefusalPart):
            return _refusal(said, items)
        if isinstance(said, ReasoningPart):
            return _reasoning(said, items)
        if isinstance(said, NativePart):
            return self._native(said)
        return _data(said, own=True) if said.native else {"role": "user", "content": [_data(said, own=False)]}

    def _stands(self, items: list[Item], index: int) -> bool:
        """Whether a reasoning item can be read by the provider, and is followed by what it led to."""
        item = items[index]
        if item.get("type") != "reasoning":
            return True
        if not (item.get("encrypted_content") or item.get("content") or (self.stored and item.get("id"))):
            return False
        after = items[index + 1] if index + 1 < len(items) else {}
        return "id" in after or after.get("type") in ("function_call", "custom_tool_call")

    def _call(self, call: ToolCall, *, ids: bool, own: bool) -> Item:
        native = (call.native or {}) if own else {}
        id, custom = _call_id(call.id), native.get("type") == "custom_tool_call"
        self._waiting[id] = "custom_tool_call_output" if custom else "function_call_output"
        if custom:
            item: Item = {
                "type": "custom_tool_call",
                "call_id": id,
                "name": call.name,
                "input": call.arguments,
            }
        else:
            item = {
                "type": "function_call",
                "call_id": id,
                "name": _tool_name(call.name),
                "arguments": call.arguments,
            }
        item.update((key, value) for key, value in native.items() if key != "type" and (ids or key != "id"))
        return item

    def _native(self, part: NativePart) -> Item:
        item = {key: value for key, value in part.item.items() if key not in _READ_ONLY}
        kind, call_id = str(item.get("type")), item.get("call_id")
        if kind.endswith("_call") and call_id and call_id not in self._outputs():
            return {}  # a call that the application was to make, and did not: the provider refuses it alone
        action = item.get("action")
        if kind == "web_search_call" and isinstance(action, Mapping) and "sources" in action:
            # They are for the reader; some of their kinds are not taken back.
            item["action"] = {key: value for key, value in action.items() if key != "sources"}
        return item

    def _outputs(self) -> frozenset[str]:
        """The ids of the calls that native items answer."""
        if self._answered is None:
            natives = (
                part.item for each in self.messages for part in _parts(each) if isinstance(part, NativePart)
            )
            self._answered = frozenset(
                str(item["call_id"])
                for item in natives
                if item.get("call_id") and str(item.get("type")).endswith("_output")
            )
        return self._answered


def _parts(message: Message) -> Sequence[Part]:
    return () if isinstance(message.content, str) else message.content


def _assistant(text: str) -> Item:
    return {"role": "assistant", "content": text}


def _text(part: TextPart, items: list[Item], *, ids: bool) -> Item:
    native = part.native or {}
    if not native.get("id") or not (ids or native.get("annotations")):
        item = _assistant(part.text)
        if native.get("phase"):
            item["phase"] = native["phase"]
        return item
    said = {"type": "output_text", "text": part.text, "annotations": native.get("annotations") or []}
    if items and items[-1].get("type") == "message" and items[-1]["id"] == native["id"]:
        items[-1]["content"].append(said)
        return {}
    item = {
        "type": "message",
        "id": native["id"],
        "role": "assistant",
        "status": native.get("status") or "completed",
        "content": [said],
    }
    if native.get("phase"):
        item["phase"] = native["phase"]
    return item


def _refusal(part: RefusalPart, items: list[Item]) -> Item:
    if items and items[-1].get("type") == "message":
        items[-1]["content"].append({"type": "refusal", "refusal": part.refusal})
        return {}
    return _assistant(part.refusal)


def _reasoning(part: ReasoningPart, items: list[Item]) -> Item | None:
    """Return the reasoning item that a part is of; its parts, which follow each other, share the id."""
    native = part.native or {}
    id = native.get("id")
    if not id:
        return None
    item: Item = {"type": "reasoning", "id": id, "summary": []}
    if items and items[-1].get("type") == "reasoning" and items[-1]["id"] == id:
        item = items[-1]
    if part.text:
        kind = native.get("type") if native.get("type") in _TEXTS else "summary_text"
        item.setdefault(_TEXTS[str(kind)], []).append({"type": kind, "text": part.text})
    if part.signature:
        item["encrypted_content"] = part.signature
    return {} if items and item is items[-1] else item


def _contents(parts: Iterable[Part]) -> list[Item]:
    """Return parts as what a user's message, or the output of a call, is made of."""
    found = []
    for part in parts:
        if isinstance(part, TextPart):
            found.append({"type": "input_text", "text": part.text, **_extra(part)})
        elif isinstance(part, RefusalPart):
            found.append({"type": "input_text", "text": part.refusal})
        elif isinstance(part, DataPart):
            found.append(_data(part, own=False))
    return found


def _extra(part: TextPart | DataPart) -> Mapping[str, Any]:
    return {key: value for key, value in (part.native or {}).items() if key in _CONTENT_FIELDS}


_CONTENT_FIELDS = frozenset({"detail", "file_id", "prompt_cache_breakpoint"})


def _data(part: DataPart, *, own: bool) -> Item:
    if own:  # an image that the provider made: its item, with the image back in its place
        return {**(part.native or {}), "result": part.data}
    where = part.url or (f"data:{part.media_type};base64,{part.data}" if part.data else "")
    extra = _extra(part)
    if part.media_type.startswith("image/"):
        item: Item = {"type": "input_image", "detail": "auto", **extra}
        return {**item, "image_url": where} if where else item
    item = {"type": "input_file", **extra}
    if part.url and not part.url.startswith("data:"):
        return {**item, "file_url": part.url}
    if not where:
        return item
    return {**item, "filename": part.name or _file_name(part.media_type), "file_data": where}


def _file_name(media_type: str) -> str:
    import mimetypes

    return f"file{mimetypes.guess_extension(media_type) or ''}"


_LONGEST_ID = 64


def _call_id(id: str) -> str:
    """Return the id of a call as the API takes it: another provider's may be longer."""
    if len(id) <= _LONGEST_ID:
        return id
    import hashlib

    return f"call_{hashlib.sha256(id.encode()).hexdigest()[:48]}"


def _tool_name(name: str) -> str:
    """Return the name of a called tool as the API takes it: a model may have made one up that it does not."""
    if name.isascii() and name.replace("_", "a").replace("-", "a").isalnum() and len(name) <= 128:
        return name
    kept = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in name
    )
    return kept[:64] or "_"
