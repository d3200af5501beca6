"""JSON text and JSON data: what the standard library does, and what it does not.

Text stands as it is, so that people can read it. What UTF-8 cannot hold, surrogates on their own, is escaped; a
high one before a low one, which JSON would join into one character, is written in parts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NoReturn

from marsys_core.format.wrong import Wrong

__all__ = ["SURROGATE", "TAG", "dumps", "loads"]

TAG = "$type"
_PARTS = "surrogates"
SURROGATE = re.compile("[\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


@functools.cache
def _encoder() -> Callable[[Any], str]:
    import json
    from json import encoder

    made = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))
    compiled = getattr(encoder, "c_make_encoder", None)
    if compiled is None:
        return made.encode
    # What `made.encode` does, without making the compiled part anew for each text, which takes longer than most.
    pieces = compiled(None, made.default, encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda data: "".join(pieces(data, 0))


@functools.cache
def _decoder() -> Callable[[str], Any]:
    import json

    return json.JSONDecoder(parse_constant=_no_number).decode


def _no_number(found: str) -> NoReturn:
    msg = f"{found} is no number of JSON"
    raise ValueError(msg)


def dumps(data: Any) -> str:
    """Return the text of JSON data: one line, the same for the same data."""
    try:
        text = _encoder()(data)
        if text.isascii() or SURROGATE.search(text) is None:
            return text
        if _PAIR.search(text) is not None:
            text = _encoder()(_apart(data))
    except (TypeError, ValueError, RecursionError) as error:
        expected = "what JSON can say"
        raise Wrong(expected, error) from error
    return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def loads(text: str) -> Any:
    """Return the JSON data in `text`."""
    if type(text) is not str:
        expected = "text"
        raise Wrong(expected, text)
    try:
        data = _decoder()(text)
        return _joined(data) if f'"{_PARTS}"' in text else data
    except (ValueError, RecursionError) as error:
        expected = "JSON"
        raise Wrong(expected, error) from error


def _apart(data: Any) -> Any:
    """Replace texts that JSON would change, keys too."""
    if type(data) is str:
        return {TAG: _PARTS, "parts": _split(data)} if _PAIR.search(data) else data
    if type(data) is list or type(data) is tuple:
        return [_apart(each) for each in data]
    if type(data) is not dict:
        return data
    escaped = data.get(TAG) == "dict" and type(data.get("items")) is dict
    inner = data["items"] if escaped else data
    if any(_PAIR.search(key) for key in inner):
        return {TAG: "map", "items": [[_apart(key), _apart(each)] for key, each in inner.items()]}
    found = {key: _apart(each) for key, each in inner.items()}
    return {TAG: "dict", "items": found} if escaped else found


def _split(text: str) -> list[str]:
    """Cut between every high surrogate and the low one after it."""
    parts, start = [], 0
    for found in _PAIR.finditer(text):
        parts.append(text[start : found.start() + 1])
        start = found.start() + 1
    return [*parts, text[start:]]


def _joined(data: Any) -> Any:
    if type(data) is list:
        return [_joined(each) for each in data]
    if type(data) is not dict:
        return data
    if data.get(TAG) == "dict" and type(data.get("items")) is dict:
        return {**data, "items": {key: _joined(each) for key, each in data["items"].items()}}
    parts = data.get("parts")
    if data.get(TAG) == _PARTS and type(parts) is list and all(type(part) is str for part in parts):
        return "".join(parts)
    return {key: _joined(each) for key, each in data.items()}
