"""What a Responses API answers, whole or in events, as deltas that add up to the response."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from marsys_core.messages import DataPart, NativePart, Usage
from marsys_core.models import (
    Accumulator,
    CallClosed,
    CallDelta,
    CallOpened,
    FinishReason,
    ModelDelta,
    ModelResponse,
    PartAdded,
    PartClosed,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    UsageDelta,
)

__all__ = ["Answer", "usage_of"]

Data = Mapping[str, Any]

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_REASONS = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_TICKS = 10_000_000_000  # in which xAI counts a dollar


@attrs.define(eq=False)
class Answer:
    """An answer on its way. Every item is told once: in pieces as they come, and what was not told when it is complete.

    Attributes:
        end: The response of the provider, once it is complete.
        total: What the deltas add up to.
    """

    end: Data | None = None
    total: Accumulator = attrs.field(factory=Accumulator)
    _told: dict[str, list[str]] = attrs.field(factory=dict)
    _keys: dict[str, list[str]] = attrs.field(factory=dict)
    _opened: set[Any] = attrs.field(factory=set)
    _done: dict[Any, str] = attrs.field(factory=dict)
    _named: set[Any] = attrs.field(factory=set)
    _stored: bool = False
    _reasoned: bool = False
    _refused: bool = False

    def feed(self, event: Data) -> Iterator[ModelDelta]:
        """Return the deltas of an event.

        Raises:
            TypeError, KeyError, AttributeError: It is not made as such an event is.
        """
        kind = event["type"]
        read = _EVENTS.get(kind)
        if read is not None:
            return read(self, event)
        if kind in _ENDS:
            return self.finish(event["response"])
        if kind == "response.created":
            self._stored = event["response"].get("store") is True
        return iter(())

    def finish(self, response: Data) -> Iterator[ModelDelta]:
        """Return the deltas of what is in the whole response and was not told before.

        Raises:
            TypeError, KeyError, AttributeError: It is not made as a response is.
        """
        self._stored = response.get("store") is True
        for index, item in enumerate(response.get("output") or ()):
            if not self._knows(index, item):
                yield from self._item(item["id"] if item.get("id") in self._named else index, item)
        if response.get("usage"):
            yield self.total.feed(UsageDelta(usage_of(response["usage"])))
        self.end = response

    def response(self, *, provider: str, model: str, metadata: Mapping[str, Any]) -> ModelResponse:
        """Return the response that was read, which has to be complete.

        Args:
            provider: Who answered.
            model: Who was asked, where the provider does not say who answered.
            metadata: What else is known of it.
        """
        end = self.end or {}
        status = str(end.get("status") or "completed")
        details = end.get("incomplete_details")
        reason = str((details.get("reason") if isinstance(details, Mapping) else None) or "")
        more = {
            **({"incomplete_reason": reason} if reason else {}),
            **({"service_tier": tier} if (tier := end.get("service_tier")) else {}),
            **metadata,
        }
        return self.total.response(
            finish_reason=self._finish_reason(status, reason),
            raw_finish_reason=status,
            model=str(end.get("model") or model),
            metadata=more or None,
            provider=provider,
            id=str(end.get("id") or ""),
        )

    def _finish_reason(self, status: str, reason: str) -> FinishReason:
        if status == "incomplete":
            return _REASONS.get(reason, FinishReason.OTHER)
        if status != "completed":
            return FinishReason.OTHER
        if self._opened:
            return FinishReason.TOOL_CALLS
        return FinishReason.REFUSAL if self._refused and not self.total.text else FinishReason.STOP

    def _knows(self, index: int, item: Data) -> bool:
        """Whether an item of the whole response was told as complete already."""
        return index in self._done or bool(item.get("id") and item["id"] in self._done.values())

    def _place(self, event: Data) -> Any:
        """Where in the output an event belongs: the index of its item, or the id where no index tells items apart."""
        place = event.get("output_index")
        if place is not None and place not in self._done:
            return place
        id = event.get("item_id") or (event.get("item") or {}).get("id") or 0
        if place is None or (id and self._done[place] not in ("", id)):
            self._named.add(id)
            return id
        return place

    def _piece(self, key: str, delta: ModelDelta, text: str) -> Iterator[ModelDelta]:
        if type(text) is not str:
            msg = f"a piece of text that is {text!r:.80}"
            raise TypeError(msg)
        if not text:
            return
        pieces = self._told.get(key)
        if pieces is None:
            pieces = self._told[key] = []
            self._keys.setdefault(key.partition(".")[0], []).append(key)
        pieces.append(text)
        yield self.total.feed(delta)

    def _text(self, event: Data) -> Iterator[ModelDelta]:
        key = f"{self._place(event)}.{event.get('content_index', 0)}"
        return self._piece(key, TextDelta(event["delta"], key), event["delta"])

    def _refusal(self, event: Data) -> Iterator[ModelDelta]:
        key = f"{self._place(event)}.{event.get('content_index', 0)}"
        return self._piece(key, RefusalDelta(event["delta"], key), event["delta"])

    def _summary(self, event: Data) -> Iterator[ModelDelta]:
        key = f"{self._place(event)}s.{event.get('summary_index', 0)}"
        return self._piece(key, ReasoningDelta(event["delta"], key), event["delta"])

    def _thought(self, event: Data) -> Iterator[ModelDelta]:
        key = f"{self._place(event)}t.{event.get('content_index', 0)}"
        return self._piece(key, ReasoningDelta(event["delta"], key), event["delta"])

    def _arguments(self, event: Data) -> Iterator[ModelDelta]:
        key = str(self._place(event))
        return self._piece(key, CallDelta(key, event["delta"]), event["delta"])

    def _key(self, group: str, number: int) -> str:
        """Return the key of a text of a complete item. A server may have counted them in another way in its events."""
        told = self._keys.get(group, ())
        return told[number] if number < len(told) else f"{group}.{number}"

    def _rest(self, key: str, text: str, delta: Callable[[str, str], ModelDelta]) -> Iterator[ModelDelta]:
        """Tell what of a text was not told yet."""
        told = "".join(self._told.get(key, ()))
        if text.startswith(told) and len(text) > len(told):
            yield from self._piece(key, delta(text[len(told) :], key), text[len(told) :])

    def _item_added(self, event: Data) -> Iterator[ModelDelta]:
        item = event["item"]
        if item["type"] in _CALLS:
            yield from self._open(str(self._place(event)), item)

    def _item_done(self, event: Data) -> Iterator[ModelDelta]:
        return self._item(self._place(event), event["item"])

    def _open(self, key: str, item: Data) -> Iterator[ModelDelta]:
        name, id = item.get("name") or "", item.get("call_id") or item.get("id") or ""
        if not (isinstance(name, str) and isinstance(id, str)):
            msg = f"a call whose name is {name!r:.80} and whose id is {id!r:.80}"
            raise TypeError(msg)
        if name and key not in self._opened:
            self._opened.add(key)
            yield self.total.feed(CallOpened(key, id, name))

    def _item(self, place: Any, item: Data) -> Iterator[ModelDelta]:
        """Tell what of a complete item was not told in pieces."""
        kind = item["type"]
        self._done[place] = str(item.get("id") or "")
        if kind == "message":
            yield from self._message(place, item)
        elif kind == "reasoning":
            yield from self._reasoning(place, item)
        elif kind in _CALLS:
            key = str(place)
            yield from self._open(key, item)
            yield from self._rest(
                key, _arguments(item.get(_CALLS[kind])), lambda text, key: CallDelta(key, text)
            )
            yield self.total.feed(CallClosed(key, self._native_of_call(item)))
        else:
            yield self.total.feed(PartAdded(_other(item)))

    def _message(self, place: Any, item: Data) -> Iterator[ModelDelta]:
        parts = [part for part in item.get("content") or () if part.get("text") or part.get("refusal")]
        for number, part in enumerate(parts):
            key = self._key(str(place), number)
            if part.get("type") == "refusal":
                self._refused = True
                yield from self._rest(key, part["refusal"], RefusalDelta)
            else:
                yield from self._rest(key, part["text"], TextDelta)
                yield self.total.feed(PartClosed(key, self._native_of_text(item, part)))

    def _reasoning(self, place: Any, item: Data) -> Iterator[ModelDelta]:
        """Tell a reasoning item: a part for each of its texts, the first with the signature, all with the id."""
        id, signature, content = (
            item.get("id"),
            item.get("encrypted_content") or "",
            item.get("content") or (),
        )
        kept = {"id": id} if id else {}
        self._reasoned = self._reasoned or bool(id and (signature or content or self._stored))
        parts = [(f"{place}s", *each) for each in enumerate(_texts(item.get("summary") or ()))]
        parts += [(f"{place}t", *each) for each in enumerate(_texts(content))]
        if not parts and (signature or (self._stored and id)):
            parts = [(f"{place}s", 0, "")]
        for group, number, text in parts:
            key = self._key(group, number)
            yield from self._rest(key, text, ReasoningDelta)
            if signature or not text:
                yield self.total.feed(ReasoningDelta("", key, signature, not text))
                signature = ""
            native = {**kept, "type": "reasoning_text"} if group.endswith("t") else kept
            yield self.total.feed(PartClosed(key, native or None))

    def _native_of_text(self, item: Data, part: Data) -> Mapping[str, Any] | None:
        """What goes back with a text: its phase, its sources, and where it belongs to reasoning, whose item it was."""
        found = {key: part[key] for key in ("annotations", "logprobs") if part.get(key)}
        if (found or self._reasoned) and item.get("id"):
            found["id"] = item["id"]
        if item.get("phase"):
            found["phase"] = item["phase"]
        if found and item.get("status") not in (None, "completed"):
            found["status"] = item["status"]
        return found or None

    def _native_of_call(self, item: Data) -> Mapping[str, Any] | None:
        found = {key: item[key] for key in ("namespace", "caller") if item.get(key)}
        if item["type"] == "custom_tool_call":
            found["type"] = item["type"]
        if self._reasoned and item.get("id"):
            found["id"] = item["id"]
        return found or None


_EVENTS: dict[str, Callable[[Answer, Data], Iterator[ModelDelta]]] = {
    "response.output_text.delta": Answer._text,
    "response.refusal.delta": Answer._refusal,
    "response.reasoning_summary_text.delta": Answer._summary,
    "response.reasoning_text.delta": Answer._thought,
    "response.function_call_arguments.delta": Answer._arguments,
    "response.custom_tool_call_input.delta": Answer._arguments,
    "response.output_item.added": Answer._item_added,
    "response.output_item.done": Answer._item_done,
}


def _texts(parts: Iterable[Data]) -> list[str]:
    return [part["text"] for part in parts if part.get("text")]


def _arguments(given: Any) -> str:
    """Return the arguments of a call as text; a server may give them as an object."""
    if given is None or isinstance(given, str):
        return given or ""
    import json

    return json.dumps(given, ensure_ascii=False)


def _other(item: Data) -> DataPart | NativePart:
    if item["type"] == "image_generation_call" and isinstance(item.get("result"), str) and item["result"]:
        kept = {key: value for key, value in item.items() if key != "result"}
        return DataPart(f"image/{item.get('output_format') or 'png'}", item["result"], native=kept)
    return NativePart(item)


def usage_of(usage: Data) -> Usage:
    """Return what a provider says that a call cost; both of its sums include their parts, as ours do."""
    inputs, outputs = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    return Usage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        cached_tokens=_count(inputs.get("cached_tokens")),
        reasoning_tokens=_count(outputs.get("reasoning_tokens")),
        model_calls=1,
        cost=_number(usage.get("cost")) or _number(usage.get("cost_in_usd_ticks")) / _TICKS,
        cache_write_tokens=_count(inputs.get("cache_write_tokens")),
    )


def _number(given: Any) -> float:
    return float(given) if isinstance(given, int | float) and 0 <= given < math.inf else 0.0


def _count(given: Any) -> int:
    return max(0, given) if isinstance(given, int) else 0
