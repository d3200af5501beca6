"""What the engine asks: which models there are, and how to open them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.models import Model
    from marsys_core.plugins import OpenContext

__all__ = ["EchoSettings", "marsys_models"]

marsys_api = 1
"""The version of the hooks that this is written for."""


@attrs.frozen(kw_only=True)
class EchoSettings:
    """What may stand under ``[plugins.template]``.

    Args:
        prefix: What stands before every answer.
    """

    prefix: str = ""


@asynccontextmanager
async def _open_echo(context: OpenContext, settings: EchoSettings) -> AsyncIterator[Model]:
    # Imported on use, so that the plugin costs nothing where nobody asks for the model.
    from marsys_template.model import EchoModel

    context.log.debug("the echo is open")
    # A client would be connected here, and closed after the `yield`.
    yield EchoModel(prefix=settings.prefix)


@hookimpl
def marsys_models() -> Iterable[Provider[Model]]:
    """Offer the echo."""
    summary = "Answers with what it was told"
    return [Provider("echo", _open_echo, settings=EchoSettings, summary=summary)]
