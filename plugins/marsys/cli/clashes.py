"""What to write in a team file where two plugins declare the same name."""

from __future__ import annotations

import re

__all__ = ["with_toml"]

_CHOICE = re.compile(r"; choose one with plugins\.prefer: \{'(?P<name>[^']+)': '(?P<plugin>[^']+)'\}")


def with_toml(text: str) -> str:
    """Return the text of an error with its choices of plugins as TOML, all in one table at its end.

    Args:
        text: What an error says; without such a choice it stays as it is.
    """
    choices = [f'    "{found["name"]}" = "{found["plugin"]}"' for found in _CHOICE.finditer(text)]
    if not choices:
        return text
    advice = ["Say in the team file which one is meant, for example:", "", "    [plugins.prefer]"]
    return "\n".join([_CHOICE.sub("", text), *advice, *dict.fromkeys(choices)])
