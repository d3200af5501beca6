"""Long texts that a journal has already: an entry that says one of them again refers to where it stands.

What a model replied is said again by the step that it ends, by the move that hands it on, and by the step that is
given it. Of each such text a journal has one copy, and `{"$type": "again", "seq": 3, "at": "$.content"}` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.format.text import TAG, dumps, loads
from marsys_core.format.wrong import Wrong

if TYPE_CHECKING:
    from marsys_core.protocols.store import Entry

__all__ = ["LONG", "Texts", "in_full", "referred"]

LONG = 128
"""From how many characters on a text is long: one that is shorter is hardly longer than what refers to it."""

_AGAIN = "again"
_MOST = 256
_PLACES = {
    "RunStarted": ("task",),
    "BranchStarted": ("value",),
    "BranchMoved": ("value",),
    "BranchEdited": ("value",),
    "BranchForked": ("calls",),
    "BranchDelivered": ("value",),
    "BranchSettled": ("value",),
    "StepFinished": ("action", "messages"),
    "ModelReplied": ("content", "tool_calls"),
    "ToolStarted": ("arguments",),
    "ToolFinished": ("result",),
    "TeamStarted": ("task",),
    "TeamFinished": ("result",),
    "RuleDecided": ("given", "value"),
    "UserAsked": ("prompt",),
    "UserAnswered": ("value",),
    "Dropped": ("value",),
}
"""The fields that are looked through, by kind: those that hold what is said."""
_OPEN = frozenset({
    "Content", "Return", "Finish", "EndConversation", "Invoke", "AskUser", "CallTools",
    "JoinInput", "tuple", "Message", "TextPart", "ToolCall",
})  # fmt: skip
"""The tagged objects that are looked into; what stands in others stays there."""

_Found = Callable[[Any, Any, Any, str], None]


class Texts:
    """The long texts of one journal, of which all entries are written, or read, in order.

    One that writes remembers the last 256; one that reads, all.
    """

    __slots__ = ("_changed", "_seq", "_texts", "_where")

    def __init__(self) -> None:
        self._where: dict[str, tuple[int, str]] = {}
        self._texts: dict[tuple[int, str], str] = {}
        self._seq = 0
        self._changed = False

    def shorten(self, kind: str, data: dict[str, Any], seq: int) -> None:
        """Put references in place of the long texts in `data` that are known; remember where the others stand."""
        self._seq = seq
        _look(kind, data, self._again)

    def where(self, text: str) -> tuple[int, str] | None:
        """Return the entry that has `text`, and the place there; None where it is not known."""
        return self._where.get(text)

    def note(self, found: Mapping[str, str], seq: int) -> None:
        """Remember that entry `seq` has these texts, each at its place."""
        where = self._where
        for text, path in found.items():
            if len(where) >= _MOST:
                del where[next(iter(where))]
            where[text] = (seq, path)

    def restore(self, kind: str, data: Any, seq: int) -> bool:
        """Put the texts back, and return whether there were any; remember those that stand in `data`.

        Raises:
            Wrong: A reference to no text that was read before.
        """
        self._seq, self._changed = seq, False
        if type(data) is dict:
            _look(kind, data, self._known)
        return self._changed

    def remember(self, entry: Entry) -> None:
        """Know the texts that stand in `entry`, whatever it refers to itself."""
        self._seq = entry.seq
        _look_through(entry, self._stands)

    def _stands(self, _holder: Any, _key: Any, found: Any, path: str) -> None:
        if type(found) is str:
            self._texts[self._seq, path] = found

    def _again(self, holder: Any, key: Any, found: Any, path: str) -> None:
        if type(found) is not str:
            return
        known = self._where.get(found)
        if known is None:
            self.note({found: path}, self._seq)
        else:
            holder[key] = {TAG: _AGAIN, "seq": known[0], "at": known[1]}

    def _known(self, holder: Any, key: Any, found: Any, path: str) -> None:
        if type(found) is str:
            self._texts[self._seq, path] = found
            return
        seq, at = found.get("seq"), found.get("at")
        text = self._texts.get((seq, at)) if type(seq) is int and type(at) is str else None
        if text is None or len(found) != 3:
            raise Wrong("a text that an entry before has", found, path.removeprefix("$"))
        holder[key] = text
        self._changed = True


def _look(kind: str, data: dict[str, Any], found: _Found) -> None:
    """Tell `found` of each long text, and of each reference, in the fields of an entry of this kind."""
    for name in _PLACES.get(kind, ()):
        value = data.get(name)
        if type(value) is str:
            if len(value) >= LONG:
                found(data, name, value, f"$.{name}")
        elif type(value) is dict or type(value) is list:
            _look_at(data, name, value, f"$.{name}", found)


def _look_at(holder: Any, key: Any, value: Any, path: str, found: _Found) -> None:
    if type(value) is list:
        for index, inner in enumerate(value):
            if type(inner) is str:
                if len(inner) >= LONG:
                    found(value, index, inner, f"{path}[{index}]")
            elif type(inner) is dict or type(inner) is list:
                _look_at(value, index, inner, f"{path}[{index}]", found)
        return
    tag = value.get(TAG)
    if tag is not None and not (type(tag) is str and tag in _OPEN):
        if tag == _AGAIN:
            found(holder, key, value, path)
        return
    for name, inner in value.items():
        if type(inner) is str:
            if len(inner) >= LONG and name.isidentifier():  # else it is no path that every tool reads alike
                found(value, name, inner, f"{path}.{name}")
        elif (type(inner) is dict or type(inner) is list) and name.isidentifier():
            _look_at(value, name, inner, f"{path}.{name}", found)


def in_full(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries of a run, from its first one on, with every text in place of what refers to it.

    Args:
        entries: What a store has of the run; what cannot be read is left as it is.
    """
    texts, found = Texts(), []
    for entry in entries:
        if len(entry.data) >= LONG or _AGAIN in entry.data:
            try:
                data = loads(entry.data)
                if texts.restore(entry.kind, data, entry.seq):
                    entry = attrs.evolve(entry, data=dumps(data))
            except (Wrong, RecursionError):
                pass  # `decode` says what is wrong with it
        found.append(entry)
    return found


def referred(entries: Iterable[Entry]) -> set[int]:
    """Return the `seq` of each entry that has texts which these refer to.

    Args:
        entries: Some of what a store has of a run; what cannot be read refers to nothing.
    """
    found: set[int] = set()

    def note(_holder: Any, _key: Any, reference: Any, _path: str) -> None:
        if type(reference) is dict and type(seq := reference.get("seq")) is int:
            found.add(seq)

    for entry in entries:
        if _AGAIN in entry.data:
            _look_through(entry, note)
    return found


def _look_through(entry: Entry, found: _Found) -> None:
    try:
        data = loads(entry.data)
        if type(data) is dict:
            _look(entry.kind, data, found)
    except (Wrong, RecursionError):
        pass  # `decode` says what is wrong with it
