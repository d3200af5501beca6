"""``marsys topology``: who may invoke whom."""

from __future__ import annotations

import re
from pathlib import Path

import click

from marsys.cli.knobs import Knobs

__all__ = ["topology"]

_FORMS = {"text": "to_text", "mermaid": "to_mermaid", "dot": "to_dot"}
_ARROW = re.compile(r"->|<~\d*>")


@click.command()
@click.argument("team")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMS)),
    default="text",
    show_default=True,
    help="How to draw.",
)
@click.pass_context
def topology(ctx: click.Context, /, team: str, form: str) -> None:
    """Draw the topology of TEAM: a team file, or a text such as "A -> [B, C] -> D"."""
    from marsys_core.topology import Topology

    path = Path(team)
    if _ARROW.search(team) and not path.is_file():
        drawn = Topology.of(team)
        drawn.validate()
    elif "\n" in team or not path.exists():
        msg = f'there is no file {team!r}, and as a topology it has no arrow; write "A -> B" or name a team file'
        raise click.UsageError(msg, ctx)
    else:
        from marsys.cli.team import load_team

        drawn = load_team(path, ctx.find_object(Knobs) or Knobs(), to_run=False).topology
    for warning in drawn.warnings:
        click.echo(f"marsys: {warning}", err=True)
    click.echo(getattr(drawn, _FORMS[form])(), nl=False)
