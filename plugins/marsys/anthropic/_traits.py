"""What the models of Anthropic can do, by their names.

Source: the pages on models, thinking, effort and structured outputs of https://platform.claude.com/docs, and the
migration guides of the single models there; as of 2026-11-10.
"""

from __future__ import annotations

import functools
from typing import Literal

import attrs

from marsys_core.models import Capabilities

__all__ = ["DEFAULT_OUTPUT", "Traits", "traits_of"]

DEFAULT_OUTPUT = 20_000
"""How many tokens an answer may have where nobody says, if the model can give as many.

The API wants a number. This is the largest round one for which a reply as a whole comes within ten minutes.
"""

_THREE = ("low", "medium", "high")
_FOUR = (*_THREE, "max")


@attrs.frozen(kw_only=True)
class Traits:
    """What tells one model from another in a request.

    Args:
        max_output: The longest answer, with what the model thinks, in tokens.
        max_input: The longest input, in tokens.
        thinking: ``none``; ``manual``, for a number of tokens; ``adaptive``, as much as it finds right, or ``either``.
        thinks_unasked: Whether it thinks where a request does not speak of it.
        off: The type of thinking that keeps it from that; empty where nothing does.
        efforts: The efforts that it knows.
        sampling: Whether it can be told a temperature and the like: ``none``, ``one`` of temperature and top_p, ``all``.
        forced: Whether it can be made to call a tool.
        schema: Whether it can be held to a JSON Schema.
        prefill: Whether it goes on from an answer that it is sent the beginning of.
    """

    max_output: int
    max_input: int = 200_000
    thinking: Literal["none", "manual", "either", "adaptive"] = "manual"
    thinks_unasked: bool = False
    off: str = ""
    efforts: tuple[str, ...] = ()
    sampling: Literal["none", "one", "all"] = "all"
    forced: bool = True
    schema: bool = False
    prefill: bool = True

    def capabilities(self) -> Capabilities:
        """Return what the engine and whoever chooses a model has to know of it."""
        return Capabilities(
            tools=True,
            tool_choice=self.forced,
            output_schema=self.schema,
            streaming=True,
            images=True,
            files=True,
            reasoning=self.thinking != "none",
            max_output_tokens=self.max_output,
            max_input_tokens=self.max_input,
        )


_CLAUDE_3 = Traits(max_output=4_096, thinking="none")
_CLAUDE_3_5 = Traits(max_output=8_192, thinking="none")
_CLAUDE_4_5 = Traits(max_output=64_000, schema=True, sampling="one")
_CLAUDE_4_6 = Traits(
    max_output=128_000,
    max_input=1_000_000,
    thinking="either",
    efforts=_FOUR,
    sampling="one",
    schema=True,
    prefill=False,
)
_CLAUDE_4_7 = attrs.evolve(_CLAUDE_4_6, thinking="adaptive", sampling="none")
_CLAUDE_5 = attrs.evolve(_CLAUDE_4_7, thinks_unasked=True, off="disabled")
_ALWAYS = attrs.evolve(_CLAUDE_5, off="")
_UNFORCED = attrs.evolve(_ALWAYS, forced=False)

# By the beginnings of names; the longest counts.
_TABLE = {
    "claude-2": _CLAUDE_3,
    "claude-instant": _CLAUDE_3,
    "claude-3-": _CLAUDE_3,
    "claude-3-5-": _CLAUDE_3_5,
    "claude-3-7-": Traits(max_output=64_000),
    "claude-opus-4": Traits(max_output=32_000),
    "claude-4-opus": Traits(max_output=32_000),
    "claude-opus-4-1": Traits(max_output=32_000, sampling="one"),
    "claude-sonnet-4": Traits(max_output=64_000),
    "claude-4-sonnet": Traits(max_output=64_000),
    "claude-opus-4-5": attrs.evolve(_CLAUDE_4_5, efforts=_THREE),
    "claude-sonnet-4-5": _CLAUDE_4_5,
    "claude-haiku-4-5": _CLAUDE_4_5,
    "claude-opus-4-6": _CLAUDE_4_6,
    "claude-sonnet-4-6": _CLAUDE_4_6,
    "claude-opus-4-7": _CLAUDE_4_7,
    "claude-opus-4-8": _CLAUDE_4_7,
    "claude-mythos-preview": _ALWAYS,
    "claude-opus-5": _CLAUDE_5,
    "claude-sonnet-5": _CLAUDE_5,
    "claude-haiku-5": _CLAUDE_5,
    "claude-fable-5": _ALWAYS,
    "claude-mythos-5": _ALWAYS,
    "claude-fable-5-": _UNFORCED,
    "claude-mythos-5-": _UNFORCED,
    "claude-opus-5-5": _UNFORCED,
    "claude-sonnet-5-5": attrs.evolve(_UNFORCED, off="between_tools"),
}
_NEWER = attrs.evolve(
    _UNFORCED, max_output=64_000
)  # what newer ones leave out, no newer one has brought back
_FOREIGN = Traits(max_output=8_192)


@functools.lru_cache(maxsize=256)
def traits_of(name: str) -> Traits:
    """Return what is known of a model: by its name, or by what its name is like."""
    begin = name.find("claude-")
    if begin < 0:  # another model behind the same API
        return _FOREIGN
    known = [prefix for prefix in _TABLE if name.startswith(prefix, begin)]
    return _TABLE[max(known, key=len)] if known else _NEWER
