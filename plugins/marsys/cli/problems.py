"""Gathering everything that is wrong with a team file, each with its path in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from marsys_core.errors import ConfigError, nearest

__all__ = ["Problems", "at", "clipped"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NOUNS: dict[type, str] = {str: "a string", list: "a list", dict: "a table", bool: "true or false"}
_SHOWN = 80
_CAUSES = " It may be in what is not loaded: "


def at(path: str, key: str | int) -> str:
    """Return the path of what stands under `key`, quoted as TOML would quote it."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if _BARE.fullmatch(key):
        return f"{path}.{key}"
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}."{escaped}"'


@attrs.define(eq=False)
class Problems:
    """What is wrong so far, in the order in which it was found."""

    found: list[str] = attrs.field(factory=list)
    _causes: set[str] = attrs.field(factory=set)

    def add(self, text: str, path: str) -> None:
        """Add one problem; where it has several lines, the path ends the first. An empty path adds nothing."""
        first, newline, rest = self._without_known_causes(text).partition("\n")
        where = f" @ {path}" if path else ""
        self.found.append(f"{first}{where}{newline}{rest}")

    def _without_known_causes(self, text: str) -> str:
        """Leave out which plugins are not loaded where an earlier problem has said it."""
        what, mark, causes = text.partition(_CAUSES)
        if mark and causes in self._causes:
            return what
        self._causes.add(causes)
        return text

    def take(self, error: ConfigError, path: str, *, instead_of: str = "") -> None:
        """Add what an error says.

        Args:
            error: One problem, or several.
            path: Where it is, if it does not say so itself.
            instead_of: The beginning of the paths in its problems, to be replaced by `path`.
        """
        for problem in error.problems or (str(error),):
            before, mark, place = problem.rpartition(" @ $")
            if mark and instead_of and f"${place}".startswith(instead_of):
                self.found.append(f"{before} @ {path}{f'${place}'.removeprefix(instead_of)}")
            elif mark and not instead_of:
                self.found.append(problem)
            else:
                self.add(problem, path)

    def expect(self, value: object, kind: type, path: str) -> bool:
        """Say whether `value` is of that kind; where it is not, that is a problem."""
        if isinstance(value, kind):
            return True
        self.add(f"expected {_NOUNS[kind]}, got {clipped(value)}", path)
        return False

    def table(self, value: object, path: str, known: Iterable[str] | None = None) -> Mapping[str, Any]:
        """Return `value` if it is a table, else an empty one; keys that are not known are problems."""
        if value is None or not self.expect(value, dict, path):
            return {}
        assert isinstance(value, dict)
        if known is not None:
            self.refuse_unknown(value, known, path)
        return value

    def refuse_unknown(self, given: Iterable[str], known: Iterable[str], path: str) -> None:
        """Add a problem for every key that is not known, with the nearest that is."""
        known = sorted(known)
        for key in given:
            if key not in known:
                hint = nearest(key, known) or f" There are: {', '.join(known)}."
                self.add(f"unknown field {clipped(key)}.{hint}", path)

    def text(self, table: Mapping[str, Any], key: str, path: str) -> str:
        """Return the text under `key`, or an empty one."""
        value = table.get(key, "")
        return value if self.expect(value, str, at(path, key)) else ""

    def texts(self, table: Mapping[str, Any], key: str, path: str) -> list[tuple[int, str]]:
        """Return the texts of the list under `key`, each with its index."""
        values = table.get(key, [])
        if not self.expect(values, list, at(path, key)):
            return []
        return [(i, each) for i, each in enumerate(values) if self.expect(each, str, at(at(path, key), i))]

    def raise_all(self, headline: str) -> None:
        """Raise what was found, if anything.

        Raises:
            ConfigError: All of it, once each.
        """
        if self.found:
            raise ConfigError(headline, dict.fromkeys(self.found))


def clipped(value: object) -> str:
    """Return the repr of `value`, cut so that a message stays readable."""
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
