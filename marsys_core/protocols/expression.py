"""What a plugin implements to read the conditions of edges: an expression language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["ExpressionLanguage"]


class ExpressionLanguage(Protocol):
    """Reads expressions; declared by `marsys_expressions`.

    Attributes:
        name: Unique among the expression languages.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    def compile(self, text: str, /) -> Callable[[Mapping[str, Any]], Any]:
        """Read `text` once, and return what works it out, as often as it is asked.

        What is returned takes the names that the expression may use, looked up as they are needed, and
        raises where the value cannot be had. It never waits, it is bounded in work whatever the text and
        the values are, and it may be called from several threads.

        Raises:
            ConfigError: The text cannot be read or is not allowed; the message says where and why.
        """
