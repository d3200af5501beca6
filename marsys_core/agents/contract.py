"""What an agent takes and gives, and which functions have a say in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from marsys_core.errors import ConfigError
from marsys_core.shapes import Shape

__all__ = ["Contract"]


@attrs.frozen(kw_only=True, eq=False)
class Contract:
    """What an agent takes and gives; one of a JSON Schema is made a shape when a run is put together.

    Args:
        input: What it may be handed.
        output: What its answers have to be.
        guards: Functions that are asked about its input, its output and its tool calls.
    """

    input: Shape | Mapping[str, Any] | None = None
    output: Shape | Mapping[str, Any] | None = None
    guards: tuple[Callable[..., Any], ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        *,
        input_type: Any,
        input_schema: Any,
        output_type: Any,
        output_schema: Any,
        guards: Iterable[Callable[..., Any]],
    ) -> Contract | None:
        """Return what an agent was made with, or None where it says nothing of this.

        Raises:
            ConfigError: A type without a JSON Schema, a schema that is no mapping, both of them, or guards
                that cannot be called; all of it at once.
        """
        if input_type is input_schema is output_type is output_schema is None and guards == ():
            return None
        problems: list[str] = []
        made = cls(
            input=_side("input", input_type, input_schema, problems),
            output=_side("output", output_type, output_schema, problems),
            guards=_callables(guards, problems),
        )
        if problems:
            msg = f"agent {name!r} cannot be made:"
            raise ConfigError(msg, problems)
        return made

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        """The JSON Schema of its answers; None for free text."""
        return self.output.schema if isinstance(self.output, Shape) else self.output


def _side(side: str, wanted: Any, schema: Any, problems: list[str]) -> Shape | Mapping[str, Any] | None:
    if schema is not None and not isinstance(schema, Mapping):
        problems.append(f"{side}_schema takes a JSON Schema as a mapping, not {schema!r:.200}")
        return None
    if wanted is None:
        return schema
    if schema is not None:
        problems.append(f"{side}_type and {side}_schema say the same thing; give one")
    try:
        return Shape.of_type(wanted, f"{side}_type")
    except ConfigError as error:
        problems.append(str(error))
        return None


def _callables(guards: Any, problems: list[str]) -> tuple[Callable[..., Any], ...]:
    if isinstance(guards, str | Mapping) or not isinstance(guards, Iterable):
        problems.append(f"guards is a list of functions, not {guards!r:.200}")
        return ()
    given = tuple(guards)
    problems += [
        f"a guard is a function of one subject, not {each!r:.200}" for each in given if not callable(each)
    ]
    return given
