"""What OpenAI's models take, as far as their names tell: efforts of reasoning, encrypted reasoning, kinds of caching."""

from __future__ import annotations

import functools
import re

import attrs

__all__ = ["Family", "family_of"]

_ORDER = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_COMMON = ("none", "minimal", "low", "medium", "high")


@attrs.frozen(kw_only=True)
class Family:
    """Models that take the same.

    Args:
        reasons: Whether they think before they answer, and take and give reasoning items.
        efforts: The efforts that they know, from none to the most.
        retains: How a time for which they keep the beginning of a prompt is asked for: ``"ttl"``,
            ``"retention"``, or not at all.
    """

    reasons: bool = True
    efforts: tuple[str, ...] = _COMMON
    retains: str = ""

    def effort(self, asked: str) -> str:
        """Return the effort that is nearest to what is asked; of two, the one that thinks, or thinks more."""
        if asked in self.efforts:
            return asked
        at = _ORDER.index(asked)
        return min(self.efforts, key=lambda known: (abs(_ORDER.index(known) - at), -_ORDER.index(known)))


_UNKNOWN = Family()
_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(.*)")
_SERIES_O = re.compile(r"o\d")


@functools.lru_cache(maxsize=256)
def family_of(model: str) -> Family:
    """Return what a model takes, by its name, which may have a vendor before it or stand for a tuned one."""
    name = model.rsplit("/", 1)[-1].removeprefix("openai.").removeprefix("ft:").lower()
    if _SERIES_O.match(name):
        return Family(efforts=("low", "medium", "high"))
    if name.startswith("chatgpt-"):
        return Family(reasons=False)
    found = _GPT.match(name)
    if found is None:
        return _UNKNOWN
    version, rest = (int(found[1]), int(found[2] or 0)), found[3]
    if version < (5, 0) or (version == (5, 0) and rest.startswith("-chat")):
        return Family(reasons=False, retains="retention" if version == (4, 1) else "")
    return Family(efforts=_efforts(version, rest), retains="ttl" if version >= (5, 6) else "retention")


def _efforts(version: tuple[int, int], rest: str) -> tuple[str, ...]:
    if version == (5, 0):
        if rest.startswith("-pro"):
            return ("high",)
        return (
            ("low", "medium", "high") if rest.startswith("-codex") else ("minimal", "low", "medium", "high")
        )
    low = ("low", "medium", "high")
    if "-chat" in rest:
        return ("medium",)
    if "-pro" in rest:
        return ("medium", "high", "xhigh")
    if version == (5, 1):
        return (*low, "xhigh") if rest.startswith("-codex-max") else ("none", *low)
    if "-codex" in rest:
        return (*low, "xhigh")
    return ("none", *low, "xhigh", "max") if version >= (5, 6) else ("none", *low, "xhigh")
