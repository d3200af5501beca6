"""Finding plugins: the entry points of the group ``marsys``."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from marsys_core.plugins.specifiers import normalized

if TYPE_CHECKING:
    import importlib.metadata

__all__ = ["FIRST_PARTY", "GROUP", "Found", "notice", "scan"]

GROUP = "marsys"
"""The group of entry points, which is also what hooks are marked with."""

FIRST_PARTY = "marsys-core"
"""The distribution whose plugins come first."""


@attrs.frozen(kw_only=True, eq=False)
class Found:
    """One entry point, not imported.

    Args:
        name: The plugin's name.
        distribution: The name of the distribution that has it.
        version: Its version.
        path: Where the distribution lies.
        entry_point: What imports it.
    """

    name: str
    distribution: str
    version: str
    path: str
    entry_point: importlib.metadata.EntryPoint

    def is_called(self, names: frozenset[str]) -> bool:
        """Say whether normalised names contain the plugin's or its distribution's."""
        return normalized(self.name) in names or normalized(self.distribution) in names


@functools.cache
def scan() -> tuple[Found, ...]:
    """Return every plugin that is installed, in the order in which plugins are loaded.

    Those of ``marsys-core`` come first, so that no other distribution can take one of their names by
    sorting before them; the rest follow by distribution and name. The answer is kept for the life of
    the process; ``scan.cache_clear()`` forgets it.
    """
    import importlib.metadata

    # `entry_points` leaves out a second copy of a distribution further along the path, and does not
    # read metadata; so only that of distributions with plugins is read here.
    points = importlib.metadata.entry_points(group=GROUP)
    return tuple(sorted((_found(point) for point in points), key=_rank))


def _found(point: importlib.metadata.EntryPoint) -> Found:
    assert point.dist is not None  # `entry_points` always says where each came from
    metadata = point.dist.metadata
    return Found(
        name=point.name.strip(),
        distribution=metadata["Name"],
        version=metadata["Version"],
        path=str(point.dist.locate_file("")),
        entry_point=point,
    )


def _rank(found: Found) -> tuple[bool, str, str, str]:
    distribution = normalized(found.distribution)
    return distribution != FIRST_PARTY, distribution, found.name, found.entry_point.value


def notice(found: Sequence[Found]) -> str:
    """Return a sentence for people where the standard plugins are not installed, else an empty string."""
    if any(normalized(each.distribution) == FIRST_PARTY for each in found):
        return ""
    return f"{FIRST_PARTY} is not installed in this environment (running from a checkout?)"
