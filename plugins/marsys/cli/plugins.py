"""``marsys plugins``: what became of each plugin, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import click

from marsys.cli.clashes import with_toml
from marsys.cli.commands import NamedCommands
from marsys.cli.knobs import Knobs
from marsys.cli.survey import Survey
from marsys.cli.tables import aligned
from marsys_core.errors import nearest
from marsys_core.plugins.records import Record, Status

__all__ = ["check", "plugins", "trace"]


@click.group(cls=NamedCommands, invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Write JSON, with everything that is known.")
@click.option("--hook", metavar="NAME", help="Only plugins that implement this hook.")
@click.option("-v", "--verbose", is_flag=True, help="Also paths, import times, and what is provided.")
@click.pass_context
def plugins(ctx: click.Context, /, hook: str | None, *, as_json: bool, verbose: bool) -> None:
    """List the plugins and say what became of each. No plugin has to work for this."""
    if ctx.invoked_subcommand is not None:
        if hook or as_json or verbose:
            msg = f"--json, --hook and -v go without {ctx.invoked_subcommand!r}"
            raise click.UsageError(msg, ctx)
        return
    survey = Survey.of(_knobs(ctx).over())
    records = survey.records if hook is None else _implementing(ctx, hook, survey.records)
    if as_json:
        click.echo(json.dumps(_data(survey, records), indent=2, ensure_ascii=False))
        return
    _say_what_is_odd(survey)
    _write_table(records, verbose=verbose)
    if verbose:
        _write_providers(survey)
    if survey.error is not None:
        ctx.exit(1)


@plugins.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Load all plugins and open nothing; the exit code is 1 where one is broken or incompatible."""
    # Not strict itself, so that everything is found and not only the first.
    survey = Survey.of(attrs.evolve(_knobs(ctx).over(), strict=False))
    _say_what_is_odd(survey, also_the_error=False)
    bad = [each for each in survey.records if each.status in (Status.BROKEN, Status.INCOMPATIBLE)]
    for record in bad:
        click.echo(f"{record.cause} ({record.source})", err=True)
    if survey.error is not None:
        click.echo(f"marsys: {with_toml(str(survey.error))}", err=True)
    if bad or survey.error is not None:
        ctx.exit(1)
    loaded = sum(record.status is Status.LOADED for record in survey.records)
    rest = len(survey.records) - loaded
    click.echo(f"{loaded} loaded, {rest} not, none of them broken or incompatible")


@plugins.command()
@click.pass_context
def trace(ctx: click.Context) -> None:
    """Say which implementation of each hook was asked, in order, and what it declared."""
    survey = Survey.of(_knobs(ctx).over())
    _say_what_is_odd(survey)
    for hook, asked in survey.trace():
        click.echo(hook)
        for number, (plugin, declared) in enumerate(asked, 1):
            click.echo(f"  {number}. {plugin}: {declared}")


def _knobs(ctx: click.Context) -> Knobs:
    return ctx.find_object(Knobs) or Knobs()


def _implementing(ctx: click.Context, hook: str, records: Iterable[Record]) -> list[Record]:
    from marsys_core import hookspecs

    known = [name for name in hookspecs.__all__ if name.startswith("marsys_")]
    full = hook if hook.startswith("marsys_") else f"marsys_{hook}"
    if full not in known:
        msg = f"no hook is called {hook!r}; there are: {', '.join(known)}.{nearest(full, known)}"
        raise click.UsageError(msg, ctx)
    return [record for record in records if full in record.hooks]


def _say_what_is_odd(survey: Survey, *, also_the_error: bool = True) -> None:
    if survey.notice:
        click.echo(f"marsys: {survey.notice}", err=True)
    if also_the_error and survey.error is not None:
        click.echo(f"marsys: {type(survey.error).__name__}: {with_toml(str(survey.error))}", err=True)


def _write_table(records: Sequence[Record], *, verbose: bool) -> None:
    if not records:
        click.echo("no plugins")
        return
    rows = [(each.name, each.status.value, each.source, _remark(each)) for each in records]
    for record, line in zip(records, aligned(rows), strict=True):
        click.echo(line)
        if verbose:
            for detail in _details(record):
                click.echo(f"    {detail}")


def _remark(record: Record) -> str:
    return (record.reason or ", ".join(record.hooks)).partition("\n")[0]


def _details(record: Record) -> Iterable[str]:
    if record.knob:
        yield f"blocked by: {record.knob}"
    if record.seconds:
        yield f"imported in: {record.seconds * 1000:.1f} ms"
    if record.target:
        yield f"from: {record.target}"
    if record.path:
        yield f"path: {record.path}"
    yield from record.reason.splitlines()[1:]


def _write_providers(survey: Survey) -> None:
    for kind, names in survey.providers().items():
        click.echo(f"\n{kind}")
        rows = [(f"{'*' if each.chosen else ' '} {each.name}", each.plugin, each.summary) for each in names]
        for line in aligned(rows):
            click.echo(f"  {line}")
    click.echo("\n* is taken where nothing is named")


def _data(survey: Survey, records: Iterable[Record]) -> Mapping[str, Any]:
    return {
        "notice": survey.notice,
        "error": "" if survey.error is None else f"{type(survey.error).__name__}: {survey.error}",
        "plugins": [
            {
                "name": record.name,
                "status": record.status.value,
                "distribution": record.distribution,
                "version": record.version,
                "target": record.target,
                "path": record.path,
                "hooks": list(record.hooks),
                "reason": record.reason,
                "knob": record.knob,
                "import_seconds": record.seconds,
            }
            for record in records
        ],
        "providers": {
            kind: [
                {"name": each.name, "plugin": each.plugin, "chosen": each.chosen, "summary": each.summary}
                for each in names
            ]
            for kind, names in survey.providers().items()
        },
    }
