"""Words as a search sees them: lower case, English stop words known, endings taken off."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["STOP_WORDS", "keywords", "stem", "terms", "words"]

STOP_WORDS = frozenset(
    """a about above after again against all also am among an and any anybody anyone anything are around as at away
    be because been before being below between both but by came can cannot come could did do does doing done down
    during each either else ever every everyone everything few for from further get gets give given gives go goes
    going got had has have having he her here hers him his how however i if in into is it its itself just know let
    like made make makes many may me might more most much must my neither no nor not nothing now of off often on
    once one only onto or other others our ours out over own please put quite rather said same say says see shall
    she should since so some somebody something still such take taken tell than that the their theirs them then
    there therefore these they thing things this those though through thus till to too toward towards under until
    up upon us use very was we well went were what whatever when where whether which while who whole whom whose why
    will with within without would yes yet you your yours""".split()  # noqa: SIM905 - a list of words reads as one
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_DOUBLED = frozenset("bdgmnprt")


def words(text: str) -> list[str]:
    """Return the words of `text` in order, in lower case, possessive endings taken off."""
    found = _WORD.findall(text.lower())
    return [word[:-2] if word.endswith(("'s", "’s")) else word for word in found]


def terms(text: str) -> list[str]:
    """Return the stems of the words of `text` that are not stop words, in order, repeated as they come."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


def keywords(text: str) -> list[str]:
    """Return the words of `text` worth searching for, each once, in order.

    Stop words are left out, unless there is nothing else.
    """
    found = list(dict.fromkeys(words(text)))
    telling = [word for word in found if word not in STOP_WORDS]
    return telling or found


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Return `word` without its commonest English endings, so that "railways" and "railway" are one.

    It is crude on purpose: it never asks a dictionary, and two words may share a stem that a reader would
    tell apart.
    """
    word = _singular(word)
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) > 2 and any(vowel in root for vowel in "aeiouy"):
            if root[-1] == root[-2] and root[-1] in _DOUBLED:
                root = root[:-1]
            return root.removesuffix("e")
    if word.endswith("ly") and len(word) > 5:
        word = word[:-2]
    return word.removesuffix("e") if len(word) > 4 else word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
