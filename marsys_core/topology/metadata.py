"""What a node or an edge carries along for its author: plain JSON data, copied and checked once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from marsys_core.errors import TopologyError
from marsys_core.topology.names import clip

__all__ = ["plain_metadata"]

_MAX_DEPTH = 32
_MAX_INTEGER = 2**63  # what every JSON reader and database column takes


def plain_metadata(value: object, what: str = "metadata") -> dict[str, Any]:
    """Return a copy of `value`, which messages call `what`, that is JSON data through and through.

    Raises:
        TopologyError: It is no mapping, or it holds something that JSON does not know.
    """
    if not isinstance(value, Mapping):
        msg = f"{what} is a mapping, not {clip(value)} ({type(value).__name__})"
        raise TopologyError(msg)
    return _plain_mapping(value, what, 0)


def _plain(value: object, place: str, depth: int) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int) and -_MAX_INTEGER <= value < _MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth > _MAX_DEPTH:
        msg = f"{place.partition('.')[0]} is nested deeper than {_MAX_DEPTH} levels"
        raise TopologyError(msg)
    if isinstance(value, Mapping):
        return _plain_mapping(value, place, depth)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    msg = f"{place} holds {type(value).__name__}, which is not JSON data; use a string, a number, a list or a dict"
    raise TopologyError(msg)


def _plain_mapping(value: Mapping[Any, Any], place: str, depth: int) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            msg = f"{place} has the key {clip(key)}; the keys of JSON data are strings"
            raise TopologyError(msg)
        plain[key] = _plain(item, f"{place}.{key}" if len(place) < 200 else place, depth + 1)
    return plain
