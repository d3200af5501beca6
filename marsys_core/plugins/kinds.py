"""The kinds of things that plugins declare, and the hook for each."""

from __future__ import annotations

import attrs

from marsys_core.errors import UnknownName
from marsys_core.plugins.providers import Provider
from marsys_core.protocols.middleware import METHODS

__all__ = ["KINDS", "Kind", "kind_called"]


@attrs.frozen(kw_only=True)
class Kind:
    """One kind of declaration.

    Args:
        name: The singular word: ``"model"``.
        hook: The hook that declares it.
        providers: Whether a declaration may be a `Provider`.
        plain: What a plain declaration has: any of these attributes is enough. Empty where every
            declaration is a provider.
        called: What messages call one of it, where that is another word.
    """

    name: str
    hook: str
    providers: bool = False
    plain: tuple[str, ...] = ()
    called: str = ""

    @property
    def noun(self) -> str:
        """What messages call one of it."""
        if self.called:
            return self.called
        return self.name if self.plain else f"{self.name} provider"

    def name_of(self, declared: object) -> str:
        """Return the name of a declaration.

        Raises:
            TypeError: It is not of this kind, or has no name.
        """
        if isinstance(declared, Provider) and self.providers:
            return declared.name
        wanted = " or ".join([*(["a Provider"] if self.providers else []), *self._plain_words()])
        if isinstance(declared, (Provider, type)) or not any(hasattr(declared, each) for each in self.plain):
            msg = f"{self.hook} declares {declared!r}; expected {wanted}"
            raise TypeError(msg)
        name = getattr(declared, "name", None) or getattr(declared, "__name__", None)
        if not isinstance(name, str) or not name:
            msg = f"{self.hook} declares {declared!r}, which has no name"
            raise TypeError(msg)
        return name

    def _plain_words(self) -> list[str]:
        return [f"an object with {' or '.join(self.plain)}"] if self.plain else []


_ALL = (
    Kind(name="model", hook="marsys_models", providers=True),
    Kind(name="tool", hook="marsys_tools", providers=True, plain=("name", "__call__")),
    Kind(name="memory", hook="marsys_memory", providers=True),
    Kind(name="topology", hook="marsys_topologies", plain=("build",), called="pattern"),
    Kind(name="cache", hook="marsys_caches", providers=True),
    Kind(name="journal", hook="marsys_journals", providers=True),
    Kind(name="channel", hook="marsys_channels", providers=True),
    Kind(name="guard", hook="marsys_guards", providers=True),
    Kind(name="secret source", hook="marsys_secrets", providers=True),
    Kind(name="schema checker", hook="marsys_schema_checkers", providers=True),
    Kind(name="event sink", hook="marsys_event_sinks", providers=True),
    Kind(name="middleware", hook="marsys_middleware", plain=METHODS),
    Kind(name="command", hook="marsys_commands", plain=("target",)),
    Kind(name="rule", hook="marsys_rules", plain=("make",)),
    Kind(name="expression", hook="marsys_expressions", plain=("compile",), called="expression language"),
    Kind(name="health check", hook="marsys_health_checks", plain=("check",)),
)

KINDS = {kind.name: kind for kind in _ALL}
"""Every kind by its name."""


def kind_called(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        UnknownName: There is no such kind.
    """
    kind = KINDS.get(name)
    if kind is None:
        raise UnknownName("kind of declaration", name, KINDS)
    return kind
