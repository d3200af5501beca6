"""The engine's own answer to which provider is the default: the only one there is."""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from marsys_core.errors import PluginError

__all__ = ["marsys_choose"]

hookimpl = pluggy.HookimplMarker("marsys")


@hookimpl(trylast=True)
def marsys_choose(kind: str, names: Sequence[str]) -> str:
    """Take the only one.

    Raises:
        PluginError: There are several; they are listed.
    """
    if len(names) == 1:
        return names[0]
    msg = f"there are {len(names)} {kind} providers ({', '.join(names)}) and nothing says which to use; name one"
    raise PluginError(msg)
