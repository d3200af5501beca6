"""The plugin that finds the keys of providers in files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.plugins.providers import OpenContext
    from marsys_core.protocols.secret_source import SecretSource

__all__ = ["KeySettings", "marsys_secrets"]


@attrs.frozen(kw_only=True)
class KeySettings:
    """Where keys are.

    Args:
        files: Files of lines ``NAME=value``, such as ``.env``; the first that has a name counts. None unless given.
    """

    files: tuple[str, ...] = ()


def _make_files(_context: OpenContext, settings: KeySettings) -> SecretSource:
    from marsys.keys.files import KeyFiles

    return KeyFiles(settings.files)


@hookimpl
def marsys_secrets() -> Iterable[Provider[SecretSource]]:
    """Offer the files of keys."""
    summary = "Keys of providers in files such as .env, where the environment has none"
    return [Provider("key-files", make=_make_files, settings=KeySettings, summary=summary)]
