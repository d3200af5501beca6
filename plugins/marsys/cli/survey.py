"""What is known of the plugins, also where they cannot be used as asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from marsys.cli.notes import prints_on_stderr
from marsys_core.errors import MarsysError
from marsys_core.plugins import Composition, PluginSettings, compose, notice, scan, survey
from marsys_core.plugins.kinds import KINDS

if TYPE_CHECKING:
    from marsys_core.plugins.records import Record

__all__ = ["Provided", "Survey"]

_CHOSEN = ("cache", "memory", "model")  # kinds of which one is taken where nothing is named
_QUESTIONS = ("marsys_choose", "marsys_classify_error")


@attrs.frozen(kw_only=True)
class Provided:
    """One thing that a plugin declares.

    Args:
        name: Its name.
        plugin: Whose it is.
        summary: What it says of itself.
        chosen: Whether it is taken where nothing is named.
    """

    name: str
    plugin: str
    summary: str
    chosen: bool


@attrs.frozen(kw_only=True, eq=False)
class Survey:
    """The plugins and what became of each.

    Args:
        records: What became of each, in loading order.
        error: Why they cannot be used as asked, or None.
        notice: A sentence where the standard plugins are not installed.
        composition: What they declare; None where they cannot be used as asked.
    """

    records: tuple[Record, ...]
    error: Exception | None
    notice: str
    composition: Composition | None

    @classmethod
    def of(cls, settings: PluginSettings) -> Survey:
        """Look at all plugins; whatever they do, this comes to an end."""
        with prints_on_stderr():
            records, error = survey(settings)
        return cls(
            records=records,
            error=error,
            notice=notice(scan()),
            composition=compose(settings) if error is None else None,
        )

    def providers(self) -> Mapping[str, list[Provided]]:
        """Return what is declared, by kind, kinds with nothing left out."""
        found = self.composition
        if found is None:
            return {}
        chosen = {kind: _chosen(found, kind) if kind in _CHOSEN else "" for kind in KINDS}
        return {
            kind: [
                Provided(
                    name=each.name,
                    plugin=each.plugin,
                    summary=_summary(each.value),
                    chosen=each.name == chosen[kind],
                )
                for each in sorted(found.declared(kind), key=lambda each: each.name)
            ]
            for kind in KINDS
            if found.declared(kind)
        }

    def trace(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield each hook that somebody implements, with who was asked, in order, and what it declared."""
        found = self.composition
        if found is None:
            yield from self._implemented()
            return
        for kind in KINDS.values():
            declared = found.declared(kind.name)
            asked = []
            for implementation in found.manager.implementations(kind.hook):
                names = [each.name for each in declared if each.plugin == implementation.plugin_name]
                asked.append((implementation.plugin_name, ", ".join(names) or "nothing that is in use"))
            if asked:
                yield kind.hook, asked
        for hook in _QUESTIONS:
            asked = [
                (each.plugin_name, "asked when the question comes up")
                for each in found.manager.implementations(hook)
            ]
            if asked:
                yield hook, asked

    def _implemented(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        for hook in (*(kind.hook for kind in KINDS.values()), *_QUESTIONS):
            names = [record.name for record in self.records if hook in record.hooks]
            if names:
                yield hook, [(name, "not known, as the plugins cannot be used as asked") for name in names]


def _chosen(composition: Composition, kind: str) -> str:
    """Return what is taken where nothing is named, or an empty text where something has to be."""
    try:
        return composition.choose(kind)
    except MarsysError:
        return ""


def _summary(declared: Any) -> str:
    for word in ("summary", "help", "description"):
        if isinstance(text := getattr(declared, word, None), str) and text:
            return text
    return ""
