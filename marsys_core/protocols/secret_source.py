"""Where keys come from."""

from __future__ import annotations

from typing import Protocol

from marsys_core.secret import Secret

__all__ = ["SecretLookup", "SecretSource"]


class SecretSource(Protocol):
    """A place that holds keys by their names: a file, a keyring, a vault.

    It is asked when a model or another service is opened, never during a run. Names are those of environment variables.
    """

    async def secret(self, name: str) -> str | None:
        """Return the key called `name`, or None where it is not there."""


class SecretLookup(Protocol):
    """Finds keys, for whoever opens something that needs one."""

    async def find(self, *names: str) -> Secret | None:
        """Return the first key that is found under one of `names`, or None.

        The environment counts before what plugins offer.
        """
