"""The plugin that offers the models that need no network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.models import Model
    from marsys_core.plugins.providers import OpenContext

__all__ = ["ExtractiveSettings", "ScriptedSettings", "marsys_models"]


@attrs.frozen(kw_only=True)
class ExtractiveSettings:
    """How the extractive model answers.

    Args:
        sentences: How many sentences it quotes at most.
    """

    sentences: int = attrs.field(default=6, validator=attrs.validators.ge(1))


@attrs.frozen(kw_only=True)
class ScriptedSettings:
    """What the scripted model says.

    Args:
        replies: Its answers, in the order of the calls.
        delay: How long each call takes, in seconds.
    """

    replies: tuple[str, ...] = ()
    delay: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))


@asynccontextmanager
async def _open_extractive(_context: OpenContext, settings: ExtractiveSettings) -> AsyncIterator[Model]:
    from marsys.models.extractive import ExtractiveModel

    yield ExtractiveModel(sentences=settings.sentences)


@asynccontextmanager
async def _open_scripted(_context: OpenContext, settings: ScriptedSettings) -> AsyncIterator[Model]:
    from marsys.models.scripted import ScriptedModel

    yield ScriptedModel(settings.replies, delay=settings.delay)


@hookimpl
def marsys_models() -> Iterable[Provider[Model]]:
    """Offer the extractive and the scripted model."""
    return [
        Provider(
            "extractive",
            _open_extractive,
            settings=ExtractiveSettings,
            summary="Answers with sentences of the texts it is given, with their sources; no network",
        ),
        Provider(
            "scripted",
            _open_scripted,
            settings=ScriptedSettings,
            summary="Gives the replies of a list, for tests",
        ),
    ]
