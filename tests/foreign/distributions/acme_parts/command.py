"""The command ``marsys acme``."""

from __future__ import annotations

import click

from marsys_core.plugins import compose

__all__ = ["acme"]


@click.command()
@click.option("--prefix", default="", help="Only names that begin so.")
@click.pass_obj
def acme(knobs: object, prefix: str) -> None:
    """Say which models there are."""
    names = compose(knobs.over()).names("model")  # type: ignore[attr-defined]  # what the command line hands over
    click.echo(", ".join(name for name in names if name.startswith(prefix)))
