"""The plugin that guards against input that is too large."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from marsys_core import Provider, hookimpl

if TYPE_CHECKING:
    from marsys_core.plugins.providers import OpenContext
    from marsys_core.protocols.guard import Guard

__all__ = ["InputSizeSettings", "marsys_guards"]


@attrs.frozen(kw_only=True)
class InputSizeSettings:
    """How large a task or the arguments of a tool call may be.

    Args:
        max_bytes: The largest input, in bytes.
        max_depth: The deepest input: lists, mappings and objects within one another.
    """

    max_bytes: int = attrs.field(default=4 * 1024 * 1024, validator=attrs.validators.ge(1))
    max_depth: int = attrs.field(default=64, validator=attrs.validators.ge(1))


def _make_input_size(_context: OpenContext, settings: InputSizeSettings) -> Guard:
    from marsys.security._input_size import InputSizeGuard

    return InputSizeGuard(max_bytes=settings.max_bytes, max_depth=settings.max_depth)


@hookimpl
def marsys_guards() -> Iterable[Provider[Guard]]:
    """Offer the guard of input sizes."""
    summary = "Refuses tasks and tool arguments that are too large or nested too deep"
    return [Provider("input-size", make=_make_input_size, settings=InputSizeSettings, summary=summary)]
