"""Finding keys: in the environment, then in what plugins offer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from marsys_core.secret import Secret

if TYPE_CHECKING:
    from marsys_core.plugins.services import Services

__all__ = ["Secrets"]


@attrs.define(eq=False)
class Secrets:
    """Finds keys in the environment, and then in the open secret sources of `services`, where it has any.

    A source is opened when the first key is looked for that the environment has not.
    """

    _services: Services | None = None

    async def find(self, *names: str) -> Secret | None:
        """Return the first key that is found under one of `names`, or None.

        Raises:
            PluginError: A secret source cannot be opened.
        """
        for name in names:
            if value := os.environ.get(name, "").strip():
                return Secret(value, name)
        if self._services is None:
            return None
        for provided in self._services.composition.names("secret source"):
            source = await self._services.get("secret source", provided)
            for name in names:
                if value := ((await source.secret(name)) or "").strip():
                    return Secret(value, name)
        return None
