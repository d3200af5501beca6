"""The readable text of an HTML page."""

from __future__ import annotations

from html.parser import HTMLParser

from marsys.search.reading import Paragraph

__all__ = ["html_paragraphs"]

_DROPPED = frozenset({"math", "noscript", "script", "style", "svg", "template"})
_INLINE = frozenset(
    """a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small span strike
    strong sub sup time tt u var wbr""".split()  # noqa: SIM905 - a list of words reads as one
)


def html_paragraphs(page: str) -> list[Paragraph]:
    """Return what a reader of `page` sees, a paragraph for each block, with the line it starts on.

    Scripts, styles and comments are dropped; white space is folded, save that each line of the page that a
    paragraph runs over stays a line of it. Broken markup is read as far as it goes.
    """
    parser = _Parser()
    # Python's parser gives up on an unknown "<![...]>", which browsers take for a comment.
    parser.feed(page.replace("<![", "<! ["))
    parser.close()
    parser.end_paragraph()
    return parser.found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Paragraph] = []
        self.lines: dict[int, str] = {}
        self.dropped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED:
            self.dropped.append(tag)
        self._mark(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._mark(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.dropped:
            del self.dropped[self.dropped.index(tag) :]
        self._mark(tag)

    def _mark(self, tag: str) -> None:
        if tag not in _INLINE:
            self.end_paragraph()

    def handle_data(self, data: str) -> None:
        if self.dropped:
            return
        for number, line in enumerate(data.split("\n"), self.getpos()[0]):
            self.lines[number] = self.lines.get(number, "") + line

    def end_paragraph(self) -> None:
        """Put what was gathered on the list, unless it is nothing but white space."""
        lines = {number: " ".join(line.split()) for number, line in self.lines.items()}
        told = [number for number, line in lines.items() if line]
        self.lines = {}
        if told:
            text = "\n".join(lines.get(number, "") for number in range(told[0], told[-1] + 1))
            self.found.append(Paragraph(text, told[0]))
