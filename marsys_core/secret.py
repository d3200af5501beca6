"""`Secret`: a key that cannot be shown, recorded or pickled by accident."""

from __future__ import annotations

from typing import Any, NoReturn

from marsys_core.errors import ConfigError

__all__ = ["Secret"]

_SHORTEST = 6  # what is shorter is in any text by accident


class Secret:
    """A key. Its value is told by `reveal` and by nothing else.

    Its representation has its name only, and nothing makes text, JSON or a pickle of it.

    Args:
        value: The key; white space round it is taken off.
        name: Where it came from, such as ``"OPENAI_API_KEY"``.

    Raises:
        ConfigError: There is nothing in it, or it is no text.
    """

    __slots__ = ("_name", "_value")
    _name: str
    _value: str

    def __init__(self, value: str, name: str = "") -> None:
        if not isinstance(value, str) or not value.strip():
            what = "an empty text" if isinstance(value, str) else f"a value of type {type(value).__name__!r}"
            msg = f"a Secret{f' ({name})' if name else ''} is a text with something in it, not {what}"
            raise ConfigError(msg)
        object.__setattr__(self, "_value", value.strip())
        object.__setattr__(self, "_name", name)

    @classmethod
    def of(cls, given: Secret | str | None) -> Secret | None:
        """Return `given` as a secret; None where it is None."""
        return given if given is None or isinstance(given, Secret) else cls(given)

    def reveal(self) -> str:
        """Return the key itself."""
        return self._value

    def redact(self, text: str) -> str:
        """Return `text` without the key in it, for messages of providers, which may repeat it."""
        return text.replace(self._value, "***") if len(self._value) >= _SHORTEST else text

    def __repr__(self) -> str:
        return f"Secret({self._name or '***'})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac

        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        msg = f"{self!r} cannot be changed"
        raise AttributeError(msg)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        msg = f"{self!r} is never pickled; give its name, and read it where it is needed"
        raise TypeError(msg)
