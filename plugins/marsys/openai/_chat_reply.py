"""What Chat Completions answers, whole or in pieces: both are read in the same way."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from marsys.openai._chat_pieces import image_of, merge, text_of, thinking_of
from marsys.openai._chat_usage import counted, usage_of
from marsys.openai._errors import Asked, cut_short, error_in, malformed, request_id_of
from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.messages import NativePart
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
    StreamEnded,
    TextDelta,
    UsageDelta,
)

__all__ = ["Reader"]

_FINISHES = {
    "stop": FinishReason.STOP,
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "eos": FinishReason.STOP,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
}
_THOUGHTS = "thoughts"  # the key of what a model thinks, where it is told apart from the parts of the answer
_TOLD_TOP = ("service_tier", "system_fingerprint", "citations", "search_results", "provider")
_TOLD_CHOICE = ("native_finish_reason", "logprobs", "content_filter_results")
_TOLD_MESSAGE = ("annotations", "executed_tools")
_HALVES = re.compile(
    "[\ud800-\udfff]"
)  # of characters beyond the first 65,536, which some providers cut in two
_KNOWN_CALL = frozenset({"id", "type", "index", "function", "custom"})


@attrs.define(eq=False)
class _Call:
    key: int
    id: str
    native: dict[str, Any] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Reader:
    """Reads one answer: feed it chunks in order, or one whole completion, and ask for its end.

    Args:
        asked: Who answers.
        model: Who was asked, for answers that do not say.
        headers: The headers of the answer.
    """

    asked: Asked
    model: str
    headers: Mapping[str, str]
    _total: Accumulator = attrs.field(factory=Accumulator)
    _id: str = ""
    _answered_by: str = ""
    _finish: str | None = None
    _begun: bool = False
    _refused: bool = False
    _thought: bool = False
    _details: list[dict[str, Any]] = attrs.field(factory=list)
    _extra: Any = None
    _calls: dict[int, _Call] = attrs.field(factory=dict)
    _legacy: _Call | None = None
    _metadata: dict[str, Any] = attrs.field(factory=dict)
    _others: dict[int, Reader] = attrs.field(factory=dict)
    _halves: dict[Any, str] = attrs.field(factory=dict)

    def whole(self, data: Mapping[str, Any]) -> ModelResponse:
        """Return a whole answer.

        Raises:
            ModelError: There is none in `data`.
        """
        for _ in self.read(data, "message"):
            pass
        if not self._begun:
            said = data.get("message") or data.get("detail") or data.get("msg")
            if (
                said
                and "choices" not in data
                and (failure := error_in(self.asked, {"error": data}, self.headers))
            ):
                raise failure
            msg = f"{self.asked.provider} gave an answer without choices"
            raise ModelError(
                msg, kind=ModelErrorKind.EMPTY, provider=self.asked.provider, usage=self._total.usage
            )
        for _ in self._close():
            pass
        return self._response()

    def read(self, data: Mapping[str, Any], field: str = "delta") -> list[ModelDelta]:
        """Return what a chunk of an answer adds.

        Raises:
            ModelError: The chunk is not what it should be, or tells of an error.
        """
        found: list[ModelDelta] = []
        if not self._id and isinstance(id := data.get("id"), str):
            self._id = id
        if not self._answered_by and isinstance(model := data.get("model"), str):
            self._answered_by = model
        choices = data.get("choices")
        if choices:
            if type(choices) is not list:
                raise malformed(self.asked, f"choices that are no list: {choices!r:.200}")
            for choice in choices:
                self._choice(choice, field, found)
        elif choices is not None and choices != []:
            raise malformed(self.asked, f"choices that are no list: {choices!r:.200}")
        usage = data.get("usage")
        if usage is None and type(groq := data.get("x_groq")) is dict:
            usage = groq.get("usage")
        if usage:
            self._take_usage(usage, found)
        for name in _TOLD_TOP:
            if (told := data.get(name)) is not None:
                self._metadata[name] = told
        return found

    def end(self, done: bool) -> Iterator[ModelDelta]:
        """Yield what ends a stream.

        Args:
            done: Whether the provider said that it is complete.

        Raises:
            ModelError: It broke off before that.
        """
        if self._finish is None and not done:
            raise self._with_usage(cut_short(self.asked))
        if not self._begun:
            raise self._with_usage(cut_short(self.asked, "there was nothing in it"))
        yield from self._close()
        yield StreamEnded(self._response())

    def _with_usage(self, error: ModelError) -> ModelError:
        if error.usage is None:
            error.usage = self._total.usage
        return error

    def _choice(self, choice: Any, field: str, found: list[ModelDelta]) -> None:
        if type(choice) is not dict:
            raise malformed(self.asked, f"a choice that is no object: {choice!r:.200}")
        index = choice.get("index")
        if index and type(index) is int:
            self._other(index, choice, field)
            return
        self._begun = True
        if choice.get("error") and (failure := error_in(self.asked, choice, self.headers)) is not None:
            raise self._with_usage(failure)
        message = choice.get(field)
        if message:
            if type(message) is not dict:
                raise malformed(self.asked, f"a {field} that is no object: {message!r:.200}")
            self._message(message, found)
        finish = choice.get("finish_reason")
        if finish is not None:
            if type(finish) is not str:
                raise malformed(self.asked, f"a finish_reason that is no text: {finish!r:.200}")
            self._finish = finish
        for name in _TOLD_CHOICE:
            if (told := choice.get(name)) is not None:
                self._tell(name, told)

    def _tell(self, name: str, told: Any) -> None:
        """Keep what else is said; of what comes in pieces, all of them."""
        before = self._metadata.get(name)
        if name != "logprobs" or type(before) is not dict or type(told) is not dict:
            self._metadata[name] = told
            return
        for key, pieces in told.items():
            if isinstance(pieces, list):
                before[key] = [*(before.get(key) or ()), *pieces]

    def _other(self, index: int, choice: dict[str, Any], field: str) -> None:
        """Read one of the other answers to the same question, which the response tells of in its metadata."""
        other = self._others.get(index)
        if other is None:
            other = self._others[index] = Reader(self.asked, self.model, {})
        other._choice({**choice, "index": 0}, field, [])

    def _message(self, message: dict[str, Any], found: list[ModelDelta]) -> None:
        feed = self._total.feed
        thought = message.get("reasoning_content") or message.get("reasoning")
        details = message.get("reasoning_details")
        if thought or details:
            self._thoughts(thought, details, found)
        content = message.get("content")
        if content:
            if type(content) is str:
                if not content.isascii() and (_HALVES.search(content) or self._halves):
                    content = self._joined(content, "text")
                found.append(feed(TextDelta(content)))
            else:
                self._content(content, found)
        refusal = message.get("refusal")
        if refusal:
            if type(refusal) is not str:
                raise malformed(self.asked, f"a refusal that is no text: {refusal!r:.200}")
            self._refused = True
            found.append(feed(RefusalDelta(refusal)))
        calls = message.get("tool_calls")
        if calls:
            if type(calls) is not list:
                raise malformed(self.asked, f"tool_calls that are no list: {calls!r:.200}")
            for position, call in enumerate(calls):
                self._call(call, position, found)
        if len(message) > 1:
            self._rest(message, found)

    def _rest(self, message: dict[str, Any], found: list[ModelDelta]) -> None:
        """Read what few messages have."""
        feed = self._total.feed
        legacy = message.get("function_call")
        if type(legacy) is dict and (legacy.get("name") or legacy.get("arguments")):
            if self._legacy is None:
                self._legacy = self._calls[-1] = _Call(-1, "")
                found.append(feed(CallOpened(-1, "", text_of(legacy.get("name")))))
            if arguments := self._arguments(legacy.get("arguments")):
                found.append(feed(CallDelta(-1, arguments)))
        audio = message.get("audio")
        if type(audio) is dict and audio.get("data"):
            found.append(feed(PartAdded(NativePart({"audio": audio}))))
        images = message.get("images")
        if type(images) is list:
            found += [feed(PartAdded(part)) for image in images if (part := image_of(image)) is not None]
        if message.get("extra_content"):
            self._extra = message["extra_content"]
        for name in _TOLD_MESSAGE:
            if told := message.get(name):
                self._metadata[name] = told

    def _thoughts(self, thought: Any, details: Any, found: list[ModelDelta]) -> None:
        self._thought = True
        if type(details) is list:
            said = ""
            for detail in details:
                if type(detail) is dict:
                    said += text_of(detail.get("text")) or text_of(detail.get("summary"))
                    merge(self._details, detail)
            thought = thought or said
        if thought is not None and type(thought) is not str:
            raise malformed(self.asked, f"reasoning that is no text: {thought!r:.200}")
        thought = self._joined(thought or "", _THOUGHTS)
        found.append(self._total.feed(ReasoningDelta(thought, _THOUGHTS)))

    def _joined(self, text: str, key: Any) -> str:
        """Return text with characters whose halves came in two pieces made whole."""
        if text.isascii() or not (_HALVES.search(text) or key in self._halves):
            return text
        text = self._halves.pop(key, "") + text
        if "\ud800" <= text[-1:] <= "\udbff":
            self._halves[key] = text[-1]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _content(self, content: Any, found: list[ModelDelta]) -> None:
        """Read a content that is no text: a list of parts, or, where an answer in JSON was asked for, a JSON value."""
        feed = self._total.feed
        if type(content) is not list or not all(type(part) is dict and "type" in part for part in content):
            if isinstance(content, int | float):
                raise malformed(self.asked, f"a content that is neither text nor parts: {content!r:.200}")
            found.append(feed(TextDelta(json.dumps(content, ensure_ascii=False))))
            return
        for part in content:
            kind = part["type"]
            if kind in ("text", "output_text"):
                found.append(feed(TextDelta(text_of(part.get("text")))))
            elif kind in ("thinking", "reasoning"):
                found.append(feed(ReasoningDelta(thinking_of(part))))
            elif kind == "refusal":
                self._refused = True
                found.append(feed(RefusalDelta(text_of(part.get("refusal")))))
            elif kind == "image_url":
                if (image := image_of(part)) is not None:
                    found.append(feed(PartAdded(image)))
            else:
                self._metadata.setdefault("parts", []).append(part)

    def _call(self, told: Any, position: int, found: list[ModelDelta]) -> None:
        if type(told) is not dict:
            raise malformed(self.asked, f"a tool call that is no object: {told!r:.200}")
        function = told.get("function")
        id = text_of(told.get("id"))
        custom = told.get("custom")
        name: Any = None
        arguments: Any = None
        if type(function) is dict:
            name, arguments = function.get("name"), function.get("arguments")
        elif function is not None:
            raise malformed(self.asked, f"the function of a tool call that is no object: {function!r:.200}")
        is_custom = told.get("type") == "custom"
        if is_custom and type(custom) is dict:
            name, arguments = custom.get("name"), custom.get("input")
        call = self._found_call(told.get("index"), id, bool(name), position)
        fresh = call is None
        if call is None:
            call = self._new_call(told.get("index"), id)
        if fresh or id or name:
            call.id = call.id or id
            found.append(self._total.feed(CallOpened(call.key, id, text_of(name))))
        if arguments:
            text = self._joined(self._arguments(arguments), call.key)
            found.append(self._total.feed(CallDelta(call.key, text)))
        if is_custom:
            call.native["type"] = "custom"
        for key in told.keys() - _KNOWN_CALL:
            if told[key] is not None:
                call.native[key] = told[key]

    def _found_call(self, index: Any, id: str, named: bool, position: int) -> _Call | None:
        """Return the call that a piece belongs to; None: a new one.

        Some providers give no index, and some the same one to several calls, which differ in their ids then.
        """
        calls = self._calls
        if type(index) is int:
            found = calls.get(index)
            if found is not None and found.id and id and id != found.id and named:
                return next((each for each in calls.values() if each.id == id), None)
            return found
        if id:
            return next((each for each in calls.values() if each.id == id), None)
        if named:
            return None
        return list(calls.values())[-1] if calls else None

    def _new_call(self, index: Any, id: str) -> _Call:
        key = index if type(index) is int and index not in self._calls else max((*self._calls, -1)) + 1
        call = self._calls[key] = _Call(key, id)
        return call

    def _arguments(self, given: Any) -> str:
        if type(given) is str:
            return given
        if given is None:
            return ""
        if isinstance(given, dict | list):
            return json.dumps(given, ensure_ascii=False)
        raise malformed(self.asked, f"the arguments of a tool call that are no text: {given!r:.200}")

    def _take_usage(self, told: Any, found: list[ModelDelta]) -> None:
        if type(told) is not dict:
            raise malformed(self.asked, f"a usage that is no object: {told!r:.200}")
        usage = usage_of(told)
        if usage is None:
            return
        total = counted(told.get("total_tokens"))
        if total not in (0, usage.total_tokens):
            self._metadata["total_tokens"] = total
        found.append(self._total.feed(UsageDelta(usage)))

    def _close(self) -> Iterator[ModelDelta]:
        feed = self._total.feed
        if self._details:
            yield feed(PartClosed(_THOUGHTS, {"reasoning_details": self._details}))
        if self._extra is not None:
            yield feed(PartClosed(None, {"extra_content": self._extra}))
        for call in self._calls.values():
            yield feed(CallClosed(call.key, call.native or None))

    def _response(self) -> ModelResponse:
        return self._total.response(
            finish_reason=self._reason(),
            raw_finish_reason=self._finish or "",
            model=self._answered_by or self.model,
            metadata=self._told() or None,
            provider=self.asked.provider,
            id=self._id,
        )

    def _reason(self) -> FinishReason:
        raw = self._finish
        found = _FINISHES.get(raw, FinishReason.OTHER) if raw else FinishReason.STOP
        if self._calls:
            return FinishReason.TOOL_CALLS if found is FinishReason.STOP else found
        if self._refused and found is FinishReason.STOP:
            return FinishReason.REFUSAL
        if not raw and not self._total.content:
            return FinishReason.OTHER
        return found

    def _told(self) -> dict[str, Any]:
        told = self._metadata
        if request_id := request_id_of(self.headers):
            told["request_id"] = request_id
        limits = {name[12:]: value for name, value in self.headers.items() if name.startswith("x-ratelimit-")}
        if limits:
            told["rate_limit"] = limits
        if self._others:
            told["choices"] = [self._others[index]._as_choice() for index in sorted(self._others)]
        return told

    def _as_choice(self) -> dict[str, Any]:
        total = self._total
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in total.tool_calls]
        return {"text": total.text, "tool_calls": calls, "finish_reason": self._finish or ""}
