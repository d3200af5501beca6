"""``marsys doctor``: what is wrong with this installation."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
import click

from marsys.cli.clashes import with_toml
from marsys.cli.knobs import Knobs
from marsys.cli.survey import Survey
from marsys.cli.tables import aligned
from marsys_core.plugins.records import Record, Status

__all__ = ["doctor"]

_LIMIT = 5.0  # seconds that each health check has
_OLDEST = (3, 11)


@attrs.frozen
class _Finding:
    """One thing that was looked at. `state` is ``ok``, ``note`` or ``wrong``."""

    what: str
    state: str
    text: str


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@click.pass_context
def doctor(ctx: click.Context, /, *, as_json: bool) -> None:
    """Say what is wrong with this installation; the exit code is 1 where something is."""
    survey = Survey.of((ctx.find_object(Knobs) or Knobs()).over())
    findings = [*_versions(), *_installed(survey), *_not_loaded(survey.records), *_health(survey)]
    findings += [*_encodings(), *_writing()]
    wrong = sum(each.state == "wrong" for each in findings)
    if as_json:
        data = {"wrong": wrong, "findings": [attrs.asdict(each) for each in findings]}
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        for line in _lines(findings):
            click.echo(line)
        click.echo(f"\n{wrong} wrong" if wrong else "\nnothing is wrong")
    if wrong:
        ctx.exit(1)


def _lines(findings: Sequence[_Finding]) -> Iterator[str]:
    """Yield the findings in columns; what has several lines goes on under its first."""
    texts = [each.text.split("\n") for each in findings]
    rows = [(each.state, each.what, first) for each, (first, *_) in zip(findings, texts, strict=True)]
    for row, (_, *rest) in zip(aligned(rows), texts, strict=True):
        yield row
        yield from (f"      {line}".rstrip() for line in rest)


def _versions() -> Iterator[_Finding]:
    import sqlite3

    import trio

    import marsys_core

    old = sys.version_info < _OLDEST
    text = f"{platform.python_version()} ({platform.python_implementation()}, {sys.executable or 'unknown'})"
    yield _Finding("Python", "wrong" if old else "ok", f"{text}; 3.11 is needed" if old else text)
    yield _Finding("trio", "ok", trio.__version__)
    yield _Finding("sqlite", "ok", sqlite3.sqlite_version)
    yield _Finding("marsys", "ok", f"{marsys_core.__version__} ({Path(marsys_core.__file__).parent})")


def _installed(survey: Survey) -> Iterator[_Finding]:
    remedy = "; pip install marsys-core, or pip install -e . in a checkout"
    if survey.notice:
        yield _Finding("marsys-core", "wrong", survey.notice + remedy)
    else:
        loaded = sum(record.status is Status.LOADED for record in survey.records)
        yield _Finding("marsys-core", "ok", f"installed; {loaded} plugins are loaded")
    if survey.error is not None:
        yield _Finding("plugins", "wrong", f"{type(survey.error).__name__}: {with_toml(str(survey.error))}")


def _not_loaded(records: Iterable[Record]) -> Iterator[_Finding]:
    for record in records:
        what = f"plugin {record.name}"
        if record.status in (Status.BROKEN, Status.INCOMPATIBLE):
            remedy = f"mend or update {record.source}, or block it with -p no:{record.name}"
            yield _Finding(what, "wrong", f"{record.status.value}: {record.reason}; {remedy}")
        elif record.status is Status.SHADOWED:
            text = f"shadowed: {record.reason}; uninstall one of the two"
            yield _Finding(what, "wrong", text)
        elif record.status is not Status.LOADED:
            yield _Finding(what, "note", f"{record.status.value}: {record.reason}")


def _health(survey: Survey) -> Iterator[_Finding]:
    checks = () if survey.composition is None else survey.composition.items("health check")
    if not checks:
        yield _Finding("health", "note", "no plugin has health checks")
        return
    import trio

    async def ask() -> list[_Finding]:
        return [await _asked(check) for check in checks]

    yield from trio.run(ask)


async def _asked(check: object) -> _Finding:
    import trio

    what = f"health {check.name}"  # type: ignore[attr-defined]  # HealthCheck, or what looks like one
    try:
        with trio.fail_after(_LIMIT):
            await check.check()  # type: ignore[attr-defined]
    except trio.TooSlowError:
        return _Finding(what, "wrong", f"no answer within {_LIMIT:g} s")
    except Exception as error:
        # Whatever a check raises is its answer.
        return _Finding(what, "wrong", f"{type(error).__name__}: {error}")
    return _Finding(what, "ok", "healthy")


def _encodings() -> Iterator[_Finding]:
    import locale

    found = {
        "files": locale.getpreferredencoding(do_setlocale=False),
        "file names": sys.getfilesystemencoding(),
        "standard output": getattr(sys.stdout, "encoding", None) or "closed",
        "standard error": getattr(sys.stderr, "encoding", None) or "closed",
    }
    other = {what: name for what, name in found.items() if name not in ("closed", "") and not _is_utf8(name)}
    if other:
        listed = ", ".join(f"{name} for {what}" for what, name in other.items())
        yield _Finding("encodings", "wrong", f"not UTF-8: {listed}; set PYTHONUTF8=1")
    else:
        yield _Finding("encodings", "ok", "UTF-8 everywhere")


def _is_utf8(name: str) -> bool:
    return name.lower().replace("_", "-") in ("utf-8", "utf8")


def _writing() -> Iterator[_Finding]:
    import tempfile

    yield _Finding(
        "runs", "ok", "kept in memory; nothing is written to disk unless a plugin's settings say where"
    )
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        yield _Finding(
            "temporary files", "wrong", f"no folder for them can be written to: {error}; set TMPDIR"
        )
        return
    state = "ok" if os.access(folder, os.W_OK) else "wrong"
    yield _Finding("temporary files", state, folder)
