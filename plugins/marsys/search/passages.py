"""Passages with their sources, and the text in which tools and agents hand them on.

There are two forms. A search writes blocks::

    [source: railways.txt, lines 10-24]
    The first railway was opened in ...

and an answer quotes sentences and lists where they stand::

    Question: When was the first railway opened?

    The first railway was opened in ... [1]

    Sources:
    [1] railways.txt, lines 10-11

`read_message` understands both, also several of them in one message, each under a label such as
``[from Reader1 (branch 0.0)]``. What was written is read back as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import attrs

__all__ = [
    "FRAME",
    "INCOMPLETE",
    "NOTHING_FOUND",
    "NO_PASSAGES",
    "NO_SUBJECT",
    "NO_TEXTS",
    "Briefing",
    "Passage",
    "read_message",
    "write_answer",
    "write_passages",
]

FRAME = "These sentences are quoted from their sources as they stand; this model extracts and does not write."
"""The last line of an answer."""
NOTHING_FOUND = "Nothing in the texts at hand answers this question."
"""What an answer says that has nothing to quote."""
NO_TEXTS = "There are no texts to answer from."
"""What an answer says for which there was nothing to read."""
NO_SUBJECT = "The question has only words that any text may have: name what it is about."
"""What an answer says to a question of stop words."""
INCOMPLETE = "Part of the work failed, so there may be more."
"""What an answer adds where tools or agents failed."""
NO_PASSAGES = "No passage has any of these words."
"""What a search says that has nothing to show."""
_REMARKS = frozenset({FRAME, NOTHING_FOUND, NO_TEXTS, NO_SUBJECT, INCOMPLETE, NO_PASSAGES})

_PLACE = r"(?P<source>.+), lines? (?P<first>\d+)(?:-(?P<last>\d+))?"
_HEADER = re.compile(rf"\[source: {_PLACE}\]")
_ENTRY = re.compile(rf"\[(?P<number>\d+)\] {_PLACE}")
_LABEL = re.compile(r"\[from ([^\[\]]+)\]")
_QUESTION = re.compile(r"\s*question:\s*(.*)", re.IGNORECASE)
_CITED = re.compile(r"(?P<text>.+) \[(?P<number>\d+)\]")
_SOURCES = "Sources:"
# A line of a passage that would be read as one of the above gets a backslash before it.
_SPECIAL = re.compile(r"(\\*)(?=\[source: |\[from |\s*question:|Sources:|\[\d+\] )", re.IGNORECASE)
_NAME_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}


@attrs.frozen(kw_only=True)
class Passage:
    """A stretch of a text, and where it stands.

    Args:
        source: The name of the text, for example a path within a folder.
        first: The number of its first line, from 1.
        last: The number of its last line.
        text: The text itself, without blank lines before and after it.
        score: How well it answered a search; the higher the better, comparable within one search only.
        quoted: Whether someone has quoted it in an answer, and so found it to the point.
    """

    source: str
    first: int
    last: int
    text: str
    score: float = attrs.field(default=0.0, eq=False)
    quoted: bool = attrs.field(default=False, eq=False)

    @property
    def place(self) -> str:
        """The source and the lines, as a reader would note them."""
        lines = f"line {self.first}" if self.first == self.last else f"lines {self.first}-{self.last}"
        return f"{_escaped_name(self.source)}, {lines}"


@attrs.define(eq=False)
class Briefing:
    """What a message holds.

    `plain` is the text without a source, one passage for each label it stood under (``""`` for none), lines
    counted within it. `labels` says who contributed, in order. `remarks` are the sentences above that say
    what a search or an answer lacks.
    """

    question: str = ""
    passages: list[Passage] = attrs.field(factory=list)
    plain: list[Passage] = attrs.field(factory=list)
    labels: list[str] = attrs.field(factory=list)
    remarks: set[str] = attrs.field(factory=set)

    @property
    def is_reply(self) -> bool:
        """Whether other agents have answered here."""
        return bool(self.labels) or any(each.quoted for each in self.passages)

    @property
    def unlabelled(self) -> str:
        """The plain text that stands under no label."""
        return next((each.text for each in self.plain if not each.source), "")


def write_passages(passages: Iterable[Passage]) -> str:
    """Return `passages` as blocks, the way a search hands them to a model, or say that there are none."""
    blocks = [f"[source: {each.place}]\n{_escaped(each.text)}" for each in passages]
    return "\n\n".join(blocks) or NO_PASSAGES


def write_answer(
    question: str, quotes: Sequence[Passage], *, incomplete: bool = False, otherwise: str = NOTHING_FOUND
) -> str:
    """Return an answer that quotes sentences and says where each one stands.

    Args:
        question: What was asked, so that whoever reads the answer next knows it.
        quotes: The sentences, each on one line, in the order in which they are to be read.
        incomplete: Whether to add that the texts may be incomplete.
        otherwise: What to say where there is nothing to quote.
    """
    head = f"Question: {' '.join(question.split())}\n\n"
    tail = f"\n{INCOMPLETE}" if incomplete else ""
    if not quotes:
        return f"{head}{otherwise}{tail}"
    numbers: dict[str, int] = {}
    lines = [f"{_escaped(each.text)} [{numbers.setdefault(each.place, len(numbers) + 1)}]" for each in quotes]
    places = [f"[{number}] {place}" for place, number in numbers.items()]
    return head + "\n".join(lines) + f"\n\n{_SOURCES}\n" + "\n".join(places) + f"\n\n{FRAME}{tail}"


def read_message(text: str) -> Briefing:
    """Return the question, the passages and the plain text that `text` holds."""
    reader = _Reader()
    for line in text.replace("\r\n", "\n").split("\n"):
        reader.feed(line)
    reader.close_section()
    return reader.found


@attrs.define(eq=False)
class _Reader:
    """Reads line by line: under a `header` a passage, else plain text or, when `listing`, where sentences stand."""

    found: Briefing = attrs.field(factory=Briefing)
    label: str = ""
    header: re.Match[str] | None = None
    lines: list[str] = attrs.field(factory=list)
    loose: list[str] = attrs.field(factory=list)
    cited: list[tuple[str, str]] = attrs.field(factory=list)
    listing: bool = False

    def feed(self, line: str) -> None:
        """Take the next line."""
        if header := _HEADER.fullmatch(line):
            self.close_block()
            self.header = header
        elif label := _LABEL.fullmatch(line):
            self.close_section()
            self.label = label[1]
            self.found.labels.append(label[1])
        elif question := _QUESTION.fullmatch(line):
            self.close_block()
            self.found.question = self.found.question or question[1].strip()
        elif self.header is not None:
            self.lines.append(_unescaped(line))
        else:
            self._feed_plain(line)

    def _feed_plain(self, line: str) -> None:
        if line == _SOURCES and self._take_cited():
            self.listing = True
        elif self.listing and (entry := _ENTRY.fullmatch(line)):
            self._cite(entry)
        elif line.strip() or not self.listing:
            self.close_block()
            if line in _REMARKS:
                self.found.remarks.add(line)
            else:
                self.loose.append(line)

    def _take_cited(self) -> bool:
        """Move the sentences that bear a number from the plain text to those that await their source."""
        matches = [_CITED.fullmatch(line) for line in self.loose]
        self.cited = [(match["number"], _unescaped(match["text"])) for match in matches if match]
        self.loose = [line for line, match in zip(self.loose, matches, strict=True) if not match]
        return bool(self.cited)

    def _cite(self, entry: re.Match[str]) -> None:
        texts = [text for number, text in self.cited if number == entry["number"]]
        self.cited = [pair for pair in self.cited if pair[0] != entry["number"]]
        self.found.passages += [attrs.evolve(_passage(entry, text), quoted=True) for text in texts]

    def close_block(self) -> None:
        """End the block or the list of sources that is open; sentences without their source become plain text."""
        if self.header is not None:
            self.found.passages.append(_passage(self.header, "\n".join(self.lines)))
        self.loose += [text for _, text in self.cited]
        self.header, self.lines, self.cited, self.listing = None, [], [], False

    def close_section(self) -> None:
        """End what stands under the label that is open."""
        self.close_block()
        text = "\n".join(self.loose).strip()
        if text:
            self.found.plain.append(Passage(source=self.label, first=1, last=text.count("\n") + 1, text=text))
        self.loose = []


def _passage(place: re.Match[str], text: str) -> Passage:
    first = int(place["first"])
    source = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), place["source"])
    return Passage(source=source, first=first, last=int(place["last"] or first), text=text.strip("\n"))


def _escaped_name(name: str) -> str:
    return "".join(_NAME_ESCAPES.get(letter, letter) for letter in name)


def _escaped(text: str) -> str:
    return "\n".join(f"\\{line}" if _SPECIAL.match(line) else line for line in text.split("\n"))


def _unescaped(line: str) -> str:
    return line[1:] if line.startswith("\\") and _SPECIAL.match(line) else line
