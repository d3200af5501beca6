"""What the engine asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from marsys_core import Provider, hookimpl
from marsys_core.protocols.command import Command
from marsys_core.topology import Pattern, Topology

if TYPE_CHECKING:
    from acme_parts.model import LoudModel
    from marsys_core.plugins import OpenContext

__all__ = ["marsys_commands", "marsys_models", "marsys_tools", "marsys_topologies"]


@asynccontextmanager
async def _open_loud(_context: OpenContext, _settings: object) -> AsyncIterator[LoudModel]:
    from acme_parts.model import LoudModel

    yield LoudModel()


def acme_relay(agents: Iterable[str]) -> Topology:
    """Hand on from each agent to the next."""
    return Topology(edges=[" -> ".join(agents)])


def acme_serial(part: str) -> str:
    """Return the serial number of a part."""
    return f"{part} has number {len(part)}"


@hookimpl
def marsys_models() -> Iterable[Provider[LoudModel]]:
    """Offer a model that shouts."""
    return [Provider("acme-loud", _open_loud, summary="Says it aloud")]


@hookimpl
def marsys_topologies() -> Iterable[Pattern]:
    """Offer a pattern."""
    return [Pattern("acme_relay", build=acme_relay, summary="from each to the next")]


@hookimpl
def marsys_tools() -> Iterable[object]:
    """Offer a plain function as a tool."""
    return [acme_serial]


@hookimpl
def marsys_commands() -> Iterable[Command]:
    """Offer a command."""
    return [Command("acme", "Say which models there are.", target="acme_parts.command:acme")]
