"""Finding the sentences of an English text, and where each one lies."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from marsys.search.blocks import split_blocks

__all__ = ["Sentence", "split_sentences"]

# They never end a sentence: a name, a number or a date follows.
_TITLES = frozenset(
    """adm brig capt cf cmdr col dr ed eds eg fig figs gen gov hon ie lieut lt maj messrs mr mrs ms mt no nos
    pp pres prof rep rev sec secs sen sergt sgt st supt viz vol vols vs
    jan feb mar apr aug sept oct nov dec""".split()  # noqa: SIM905 - a list of words reads as one
)
# They may end one: what follows decides.
_SHORT = frozenset(
    "am pm bc ad us usa uk dc etc inc co corp ltd bros jr sr phd ma ba al ft lb lbs".split()  # noqa: SIM905 - a list of words reads as one
)
_STARTERS = frozenset(
    """a after all although an and as at both but by each every few for from had he her here his how however i if
    in it its many most my no not now of on one or our she since so some such that the their then there these
    they this those though thus to under until we what when where while who why with yet you your""".split()  # noqa: SIM905 - a list of words reads as one
)
_STOP = re.compile(r"([.!?]+|…)(?P<close>[\"'”’)\]]*)(?=\s)\s+(?=[\"'“‘(\[]*(?P<next>[^\W_]+))")
_LAST_WORD = re.compile(r"(?:[^\W\d_]\.)*[^\W_]+$")
_MARK = re.compile(r"\s*(?:(?:[-*+•]|#{1,6}|>)\s+)*")


@attrs.define(eq=False)
class Sentence:
    """A sentence on one line, and where it starts and ends in the text it was found in.

    `is_prose` is false for headings and lines of code, which state nothing.
    """

    text: str
    start: int
    end: int
    is_prose: bool = True


def split_sentences(text: str) -> list[Sentence]:
    """Return the sentences of `text` in order.

    Every word of the text is in exactly one sentence. The end of a block ends one always, whatever it ends
    with: of a paragraph, a list item, a heading, a row of a table or a line of code. The marks of items and
    headings (``-``, ``#``) are left out. Abbreviations, initials, decimals and closing quotation marks are
    known; the rules are those of English.
    """
    found = []
    for block in split_blocks(text):
        for start, end in _within(text, block.start, block.end):
            start = _MARK.match(text, start, end).end()  # type: ignore[union-attr]  # it matches nothing, too
            words = text[start:end].split()
            if words:
                stop = start + len(text[start:end].rstrip())
                found.append(Sentence(" ".join(words), start, stop, block.kind == "text"))
    return found


def _within(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a block where sentences end."""
    position = start
    for stop in _STOP.finditer(text, start, end):
        if _ends(text, position, stop):
            yield position, stop.end()
            position = stop.end()
    yield position, end


def _ends(text: str, start: int, stop: re.Match[str]) -> bool:
    """Tell whether the mark at `stop` ends the sentence that began at `start`."""
    following = stop["next"]
    if not (following[0].isupper() or following[0].isdigit()):
        return False
    if stop[1] != "." or stop["close"]:
        return True
    before = _LAST_WORD.search(text, max(start, stop.start() - 24), stop.start())
    if before is None:
        return True
    word = before[0].replace(".", "").lower()
    if word in _TITLES or (word.isdigit() and before.start() == start):
        return False  # "Dr. Gray", and the number of a list's item
    if word in _SHORT or "." in before[0]:
        return following.lower() in _STARTERS
    initial = len(before[0]) == 1 and before[0].isupper()
    return not initial or (word == "i" and following.lower() in _STARTERS)
