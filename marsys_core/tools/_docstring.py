"""Reading docstrings in the Google, NumPy and Sphinx styles. Imported on first use.

A docstring is read once, line by line. What opens a section decides how its lines are read, so a docstring
that mixes the styles, or breaks one, gives what can be read of it; nothing here raises.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

__all__ = ["describe"]

_GOOGLE_NAMES = frozenset(
    {"Args", "Arguments", "Attributes", "Parameters", "Params", "Keyword Args", "Keyword Arguments"}
    | {"Other Parameters"}
)
_GOOGLE_OTHERS = frozenset(
    {"Example", "Examples", "Note", "Notes", "Raises", "Returns", "Yields", "Warning", "Warnings", "See Also"}
    | {"References", "Todo", "Warns", "Receives"}
)
_NUMPY_NAMES = frozenset({"parameters", "other parameters", "attributes", "arguments", "keyword arguments"})
_FIELD_NAMES = frozenset(
    {"param", "parameter", "arg", "argument", "key", "keyword", "kwarg", "var", "ivar", "cvar", "attr"}
)
_RULE = re.compile(r"(-{3,}|={3,})\s*")
_NAME = re.compile(r"\w+")


def describe(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a docstring, and what it says of each parameter or field.

    Of two descriptions of one parameter the first is taken, and of several lines one is made.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    return _first_paragraph(lines), _Reader(lines).read()


def _first_paragraph(lines: list[str]) -> str:
    paragraph = []
    for index, line in enumerate(lines):
        if not line.strip() or _google(line) or _is_underlined(lines, index, known=True) or _field(line):
            break
        if not _RULE.fullmatch(line):  # the rule under a title is no word of it
            paragraph.append(line.strip())
    return " ".join(paragraph)


def _google(line: str) -> str:
    """Return the title of a Google-style section that this line opens, or nothing."""
    title = line.rstrip()
    opens = title.endswith(":") and title[:-1] in _GOOGLE_NAMES | _GOOGLE_OTHERS
    return title[:-1] if opens else ""


def _is_underlined(lines: list[str], index: int, *, known: bool = False) -> bool:
    """Whether the line at `index` is the title of a section, and if asked one that NumPy's style knows."""
    after = lines[index + 1] if index + 1 < len(lines) else ""
    title = lines[index].strip()
    if not title or lines[index][0].isspace() or not _RULE.fullmatch(after):
        return False
    return not known or title in _GOOGLE_OTHERS or title.lower() in _NUMPY_NAMES or title == "Methods"


def _field(line: str) -> tuple[str, str] | None:
    """Read ``:param int name: text``: return the name and the text; no name in a field about something else."""
    text = line.strip()
    end = text.find(":", 1)
    if not text.startswith(":") or end < 0:
        return None
    kind, *rest = text[1:end].split() or [""]
    if kind in _FIELD_NAMES and rest:
        return rest[-1].lstrip("\\*"), text[end + 1 :].strip()
    alone = end + 1 == len(text) or text[end + 1].isspace()  # in ":class:`X`" a text goes on
    return ("", "") if kind.isidentifier() and alone else None


def _google_entry(line: str) -> tuple[str, str] | None:
    """Read ``name (type): text``."""
    text = line.strip().lstrip("\\*")
    found = _NAME.match(text)
    if found is None:
        return None
    rest = text[found.end() :].lstrip()
    if rest.startswith("("):
        rest = _after_parentheses(rest).lstrip()
    return (found.group(), rest[1:].strip()) if rest.startswith(":") else None


def _after_parentheses(text: str) -> str:
    depth = 0
    for index, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[index + 1 :]
    return ""


def _numpy_names(line: str) -> list[str]:
    """Read ``x, y : int``."""
    names = [name.strip().strip("`").lstrip("\\*") for name in line.partition(":")[0].split(",")]
    return names if all(map(_NAME.fullmatch, names)) else []


class _Reader:
    """One walk over the lines; `current` are the names that a line which goes on belongs to."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.found: list[tuple[str, list[str]]] = []
        self.current: list[str] = []
        self.state: Callable[[str, int], None] = self.outside
        self.indent = 0
        self.blank = False

    def read(self) -> dict[str, str]:
        for index, line in enumerate(self.lines):
            if not line.strip():
                self.blank = True
                continue
            depth = len(line) - len(line.lstrip())
            if depth or not self.opens(index, line):
                self.state(line, depth)
            self.blank = False
        told: dict[str, str] = {}
        for name, text in self.found:
            if name not in told and (whole := " ".join(filter(None, text))):
                told[name] = whole
        return told

    def opens(self, index: int, line: str) -> bool:
        """Begin the section that a line opens, if it does."""
        if _RULE.fullmatch(line) and index and _is_underlined(self.lines, index - 1):
            return True
        if _is_underlined(self.lines, index):
            named = line.strip().rstrip(":").lower() in _NUMPY_NAMES
            self.begin(self.numpy if named else self.outside)
            return True
        if title := _google(line):
            self.begin(self.google if title in _GOOGLE_NAMES else self.other)
            return True
        return False

    def begin(self, state: Callable[[str, int], None]) -> None:
        self.state, self.indent, self.current = state, 0, []

    def entry(self, names: list[str], text: str) -> None:
        self.current = names
        self.found += [(name, [text]) for name in names]

    def more(self, line: str) -> None:
        """Add a line to the entry that is open."""
        for _, text in self.found[len(self.found) - len(self.current) :]:
            text.append(line.strip())

    def outside(self, line: str, depth: int) -> None:
        """Read a line outside sections, where the fields of Sphinx are."""
        if (field := _field(line)) is not None:
            self.begin(self.sphinx)
            self.indent = depth
            self.entry([field[0]] if field[0] else [], field[1])

    def other(self, line: str, depth: int) -> None:
        """Read a line of a section that says nothing of parameters."""
        if not depth:
            self.begin(self.outside)
            self.outside(line, depth)

    def sphinx(self, line: str, depth: int) -> None:
        """Read a line among fields; a line goes on if it is indented, or follows at once."""
        if depth <= self.indent and (field := _field(line)) is not None:
            self.entry([field[0]] if field[0] else [], field[1])
        elif depth > self.indent or not self.blank:
            self.more(line)
        else:
            self.begin(self.outside)

    def google(self, line: str, depth: int) -> None:
        """Read an indented line of a Google-style section; the first one says how far entries are indented."""
        if not depth:
            self.other(line, depth)
            return
        self.indent = self.indent or depth
        entry = _google_entry(line) if depth <= self.indent else None
        if entry is not None:
            self.entry([entry[0]], entry[1])
        else:
            self.more(line)

    def numpy(self, line: str, depth: int) -> None:
        """Read a line of a NumPy-style section: names at the margin, texts indented."""
        if depth:
            self.more(line)
        elif _field(line) is not None:
            self.other(line, depth)
        else:
            self.entry(_numpy_names(line), "")
