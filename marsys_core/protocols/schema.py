"""Schema checkers: what says whether a value meets a JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["SchemaChecker"]


@runtime_checkable
class SchemaChecker(Protocol):
    """Checks plain data against JSON Schemas, for agents that are given one.

    A schema may come from a file: preparing it fetches nothing, and neither does checking.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def prepare(self, schema: Mapping[str, Any], whose: str) -> Callable[[Any], list[str]]:
        """Return a function that says what is wrong with a value: every problem with its path, ``$.items[0]``.

        The function is called from the middle of a run: it answers at once, and raises nothing but
        `marsys_core.errors.ConfigError`.

        Args:
            schema: The schema.
            whose: What messages call it.

        Raises:
            marsys_core.errors.ConfigError: It is no JSON Schema, or refers to something elsewhere.
        """
        ...
