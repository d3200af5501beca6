"""Groups of commands that say which are nearest to one that is not there."""

from __future__ import annotations

import click

from marsys_core.errors import nearest

__all__ = ["NamedCommands"]


class NamedCommands(click.Group):
    """A group that answers an unknown name with the names there are."""

    def knows(self, ctx: click.Context, name: str) -> bool:
        """Whether there is a command of that name."""
        return name in self.list_commands(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is asked for, or say which are nearest."""
        name = args[0]
        if not ctx.resilient_parsing and not self.knows(ctx, name):
            known = self.list_commands(ctx)
            msg = f"no command is called {name!r}; there are: {', '.join(known)}.{nearest(name, known)}"
            raise click.UsageError(msg, ctx)
        return super().resolve_command(ctx, args)
