"""How much a model is told to think."""

from __future__ import annotations

from typing import Any

from marsys.anthropic._traits import DEFAULT_OUTPUT, Traits
from marsys_core.models import Reasoning

__all__ = ["think"]

_LEAST = 1_024  # tokens that the API wants a model to think for, if it thinks for a number of them
_TOKENS = {"minimal": _LEAST, "low": 4_096, "medium": 8_192, "high": 16_384, "max": 32_768}


def think(
    body: dict[str, Any], reasoning: Reasoning | None, traits: Traits, forced: bool, left_out: list[str]
) -> bool:
    """Add how much to think to `body`, and return whether the model thinks.

    A model that has to call a tool is not told to think: the API refuses both in one request.

    Args:
        body: The request; its ``max_tokens`` are raised by what is thought, where nobody said how many.
        reasoning: What is asked.
        traits: What the model can do.
        forced: Whether it has to call a tool.
        left_out: Gets what the model does not take.
    """
    if reasoning is None or traits.thinking == "none":
        if reasoning is not None and not _is_off(reasoning):
            left_out.append("reasoning")
        return traits.thinks_unasked
    if _is_off(reasoning):
        return _off(body, traits)
    if traits.efforts and reasoning.effort is not None:
        body["output_config"] = {"effort": _nearest(reasoning.effort, traits.efforts)}
    asked = reasoning.effort is not None or reasoning.max_tokens is not None or traits.thinks_unasked
    if not asked:
        return False
    config = None if forced else _config(body, reasoning, traits)
    if config is None:
        left_out.append("reasoning")
        return traits.thinks_unasked
    if reasoning.visible is not None:
        config["display"] = "summarized" if reasoning.visible else "omitted"
    body["thinking"] = config
    return True


def _is_off(reasoning: Reasoning) -> bool:
    return reasoning.effort == "none" or reasoning.max_tokens == 0


def _off(body: dict[str, Any], traits: Traits) -> bool:
    """Keep the model from thinking, or as near to that as it comes; return whether it thinks."""
    if not traits.thinks_unasked:
        return False
    if traits.off:
        body["thinking"] = {"type": traits.off}
        return traits.off != "disabled"
    body["output_config"] = {"effort": traits.efforts[0]}
    return True


def _config(body: dict[str, Any], reasoning: Reasoning, traits: Traits) -> dict[str, Any] | None:
    if traits.thinking == "adaptive" or (traits.thinking == "either" and reasoning.max_tokens is None):
        return {"type": "adaptive"}
    wanted = reasoning.max_tokens
    if wanted is None:
        wanted = _TOKENS[reasoning.effort or "medium"]
    wanted = max(_LEAST, wanted)
    most = body["max_tokens"]
    if most is None:
        most = body["max_tokens"] = min(traits.max_output, wanted + DEFAULT_OUTPUT)
    if most <= _LEAST:
        return None
    # Half of what it may say is left for the answer, or as much as an answer has where nobody says.
    room = max(_LEAST, most // 2, most - DEFAULT_OUTPUT)
    return {"type": "enabled", "budget_tokens": min(wanted, room)}


def _nearest(effort: str, known: tuple[str, ...]) -> str:
    if effort in known:
        return effort
    return known[0] if effort == "minimal" else known[-1]
