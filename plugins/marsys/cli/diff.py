"""``marsys diff``: where two runs part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from marsys.cli.kept import find, in_store
from marsys.cli.place import Place, storage_option
from marsys.cli.story import StepTold, brief, said, steps_of
from marsys_core.format import in_full

if TYPE_CHECKING:
    from marsys_core.protocols.store import Entry, RunInfo, Store

__all__ = ["Parting", "diff", "partings"]


@attrs.frozen(kw_only=True)
class Parting:
    """Where two runs part in one branch.

    Args:
        branch: The branch.
        first: The first step of it that differs, in the one run; None where it has no such step.
        second: The same in the other run.
    """

    branch: str
    first: StepTold | None
    second: StepTold | None

    @property
    def step(self) -> int:
        """Which step of the branch it is."""
        told = self.first or self.second
        assert told is not None  # one of them has it
        return told.step


def partings(first: Sequence[Entry], second: Sequence[Entry]) -> list[Parting]:
    """Return the first step that differs of each branch, in the order of branches.

    Two steps differ in who took them, in what they ended in, or in what they added to the conversation; not in
    how long they took.
    """
    one, other = _by_branch(first), _by_branch(second)
    found = []
    for branch in sorted({*one, *other}, key=lambda name: [int(part) for part in name.split(".")]):
        left, right = one.get(branch, []), other.get(branch, [])
        for index in range(max(len(left), len(right))):
            a = left[index] if index < len(left) else None
            b = right[index] if index < len(right) else None
            if a is None or b is None or _outcome(a) != _outcome(b):
                found.append(Parting(branch=branch, first=a, second=b))
                break
    return found


def _by_branch(entries: Sequence[Entry]) -> dict[str, list[StepTold]]:
    branches: dict[str, list[StepTold]] = {}
    for step in steps_of(entries):
        if step.void:
            continue
        branches.setdefault(step.branch, []).append(step)
    return branches


def _outcome(step: StepTold) -> tuple[Any, ...]:
    calls = [(call.kind, call.name, call.given, call.outcome) for call in step.calls if call.kind != "model"]
    return step.node, step.outcome, step.record, calls


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--json", "as_json", is_flag=True, help="Write JSON.")
@storage_option
@click.pass_context
def diff(ctx: click.Context, /, first: str, second: str, place: Place, *, as_json: bool) -> None:
    """Say where the runs A and B part: of each branch the first step that differs, with both sides.

    The beginnings of their ids are enough.
    """

    async def look(store: Store) -> list[tuple[RunInfo, Sequence[Entry]]]:
        infos = [await find(store, given) for given in (first, second)]
        return [(info, in_full(await store.entries(info.run_id))) for info in infos]

    (a, one), (b, other) = in_store(ctx, place, look)
    tasks = [_task(entries) for entries in (one, other)]
    found = partings(one, other)
    if as_json:
        data = {
            "runs": [a.run_id, b.run_id],
            "statuses": [a.status, b.status],
            "tasks": tasks,
            "partings": [
                {"branch": each.branch, "step": each.step, "sides": [_side(each.first), _side(each.second)]}
                for each in found
            ],
        }
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
        return
    click.echo(f"< {a.run_id} {a.status}\n> {b.run_id} {b.status}")
    if tasks[0] != tasks[1]:
        click.echo(f"\ntheir tasks differ\n< {brief(tasks[0])}\n> {brief(tasks[1])}")
    for each in found:
        click.echo(f"\nbranch {each.branch}, step {each.step}")
        for line in _sides(each):
            click.echo(line)
    if not found:
        click.echo("\nboth took the same steps")


def _task(entries: Sequence[Entry]) -> Any:
    return json.loads(entries[0].data).get("task") if entries else None


def _sides(parting: Parting) -> list[str]:
    a, b = (_words(step) for step in (parting.first, parting.second))
    if a != b or parting.first is None or parting.second is None:
        return [f"< {a}", f"> {b}"]
    # What it came to reads the same: it is in what led there.
    one, other = (_details(step) for step in (parting.first, parting.second))
    differing = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return [
        f"{mark} {a} ({key}: {brief(side.get(key))})"
        for key in differing
        for mark, side in (("<", one), (">", other))
    ]


def _words(step: StepTold | None) -> str:
    return "no such step" if step is None else f"{step.node} {said(step)}"


def _details(step: StepTold) -> dict[str, Any]:
    calls = [
        f"{call.name} {brief(call.given)}, {call.outcome}" for call in step.calls if call.kind != "model"
    ]
    return {**(step.record or {}), "calls": calls}


def _side(step: StepTold | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return {
        "node": step.node,
        "seq": step.seq,
        "outcome": step.outcome,
        "action": step.action,
        "error": step.error or None,
    }
