"""What an answer cost, as those who speak Chat Completions count it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from marsys_core.messages import Usage

__all__ = ["counted", "usage_of"]


def usage_of(told: Mapping[str, Any]) -> Usage | None:
    """Return the usage that `told` tells of, or None where there is no count in it."""
    if told.get("prompt_tokens") is None and told.get("completion_tokens") is None:
        return None
    read, written, thought = 0, 0, 0
    given, made = counted(told.get("prompt_tokens")), counted(told.get("completion_tokens"))
    if type(details := told.get("prompt_tokens_details")) is dict:
        read, written = counted(details.get("cached_tokens")), counted(details.get("cache_write_tokens"))
    if not read:
        read = counted(told.get("prompt_cache_hit_tokens")) or counted(told.get("cached_tokens"))
    if type(details := told.get("completion_tokens_details")) is dict:
        thought = counted(details.get("reasoning_tokens"))
    if thought and counted(told.get("total_tokens")) == given + made + thought:
        made += thought  # some count what was thought beside what was said
    return Usage(
        input_tokens=given,
        output_tokens=made,
        cached_tokens=read,
        reasoning_tokens=thought,
        model_calls=1,
        cost=_cost(told.get("cost")),
        cache_write_tokens=written,
    )


def counted(value: Any) -> int:
    """Return a number of tokens; what is none counts as 0."""
    if type(value) is int:
        return max(value, 0)
    return int(value) if type(value) is float and 0 <= value < 1e15 else 0


def _cost(told: Any) -> float:
    """Return what a provider says that the call cost, in US dollars."""
    if type(told) is dict:
        told = told.get("total_cost")
    return float(told) if type(told) in (int, float) and 0 <= told < math.inf else 0.0
