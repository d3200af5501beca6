"""``marsys show``: what happened in a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from marsys.cli.ending import say
from marsys.cli.kept import find, in_store
from marsys.cli.origin import team_of
from marsys.cli.place import Place, storage_option
from marsys.cli.runs import facts, moment
from marsys.cli.story import Call, StepTold, brief, said, steps_of
from marsys.cli.tables import aligned
from marsys_core.errors import StoreDamaged
from marsys_core.format import in_full

if TYPE_CHECKING:
    from marsys_core.protocols.store import Entry, RunInfo, Store

__all__ = ["show"]


@attrs.frozen(kw_only=True)
class _Found:
    """What a store has of a run, and what is wrong with it, if anything."""

    info: RunInfo
    entries: Sequence[Entry]
    damage: str = ""


@click.command()
@click.argument("run_id", metavar="ID")
@click.option("--events", "all_events", is_flag=True, help="Show all that happened, event by event.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@storage_option
@click.pass_context
def show(ctx: click.Context, /, run_id: str, place: Place, *, all_events: bool, as_json: bool) -> None:
    """Say what happened in the run ID: its steps, how long they took, what they called and what failed.

    The beginning of an ID is enough. The exit code is 1 where the record is damaged; what can be read is shown.
    """

    async def look(store: Store) -> _Found:
        info = await find(store, run_id)
        try:
            return _Found(info=info, entries=in_full(await store.entries(info.run_id)))
        except StoreDamaged as error:
            return _Found(info=info, entries=in_full(error.entries), damage=str(error))

    found = in_store(ctx, place, look)
    steps = steps_of(found.entries)
    if as_json:
        click.echo(json.dumps(_data(found, steps, all_events=all_events), indent=2, ensure_ascii=False))
    else:
        for line in (*_head(found), "", *(_events(found.entries) if all_events else _lines(steps))):
            click.echo(line)
    if found.damage:
        say(found.damage)
        ctx.exit(1)


def _head(found: _Found) -> list[str]:
    info = found.info
    seconds = found.entries[-1].time if found.entries else 0.0
    rows = [
        ("run", info.run_id),
        ("status", info.status),
        ("held by", info.holder),
        ("task", info.task),
        ("team", team_of(info)),
        ("session", info.session_id),
        ("part of", info.parent),
        ("forked from", "" if info.forked_from is None else f"{info.forked_from[0]}, after {info.forked_from[1]}"),
        ("begun", moment(info.created)),
        ("took", f"{info.steps} step{'' if info.steps == 1 else 's'}, {seconds:.1f} s"),
        ("error", info.error),
    ]  # fmt: skip
    return aligned([row for row in rows if row[1]])


def _lines(steps: Sequence[StepTold]) -> Iterator[str]:
    yield from aligned([row for step in steps for row in _rows(step)]) if steps else ["no step was begun"]


def _rows(step: StepTold) -> Iterator[tuple[str, str, str, str, str, str]]:
    void = " (counts no more)" if step.void else ""
    again = f" (taken {step.attempts} times)" if step.attempts > 1 else ""
    number = f"{step.number:4}" if step.number else ""
    yield (
        number,
        f"{step.time:7.1f} s",
        step.branch,
        step.node,
        _lasted(step.seconds),
        f"{said(step)}{again}{void}",
    )
    for call in step.calls:
        if call.kind != "model" or call.outcome != "done":
            yield "", "", "", "", _lasted(call.seconds), f"  {_told(call)}"


def _told(call: Call) -> str:
    given = "" if call.given is None else f" with {brief(call.given)}"
    ends = {"begun": ", which has not ended", "uncertain": ": nobody knows whether it took effect"}
    end = f": failed: {call.error}" if call.outcome == "failed" else ends.get(call.outcome, "")
    return f"{call.kind} {call.name}{given}{end}"


def _lasted(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _events(entries: Sequence[Entry]) -> list[str]:
    rows = [(str(e.seq), f"{e.time:.3f} s", e.branch or "-", e.kind, e.data) for e in entries]
    return aligned(rows) if rows else ["nothing happened"]


def _data(found: _Found, steps: Sequence[StepTold], *, all_events: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "run": facts(found.info),
        "steps": [
            {
                "branch": step.branch,
                "node": step.node,
                "step": step.step,
                "number": step.number or None,
                "seq": step.seq,
                "time": step.time,
                "outcome": step.outcome,
                "attempts": step.attempts,
                "void": step.void,
                "seconds": step.seconds,
                "action": step.action,
                "error": step.error or None,
                "calls": [
                    {
                        "kind": call.kind,
                        "name": call.name,
                        "given": call.given,
                        "outcome": call.outcome,
                        "error": call.error or None,
                        "seconds": call.seconds,
                    }
                    for call in step.calls
                ],
            }
            for step in steps
        ],
        "damage": found.damage or None,
    }
    if all_events:
        data["events"] = [
            {
                "seq": entry.seq,
                "time": entry.time,
                "branch": entry.branch,
                "n": entry.n,
                "cause": list(entry.cause),
                "kind": entry.kind,
                "data": json.loads(entry.data),
            }
            for entry in found.entries
        ]
    return data
