"""``marsys answer``: what a run waits for is answered, and it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from marsys.cli.carry import Answering, answer_options, carried, interruptible
from marsys.cli.ending import told
from marsys.cli.knobs import Knobs
from marsys.cli.options import Work, channel_of, refuse_both
from marsys.cli.place import Place, storage_option
from marsys.cli.resume import going_on_options, with_changes_named

if TYPE_CHECKING:
    from marsys.cli.account import Account
    from marsys.cli.conduct import Begin
    from marsys.cli.team import LoadedTeam
    from marsys_core.options import RunOptions
    from marsys_core.orchestra import Orchestra
    from marsys_core.protocols.store import RunInfo, Store
    from marsys_core.questions import Question
    from marsys_core.run import Run

__all__ = ["answer"]


@attrs.frozen(kw_only=True)
class _Asked:
    """What was found: the run that goes on, and its question with the answer."""

    info: RunInfo
    question: Question
    value: Any


@click.command()
@click.argument("run_id", metavar="ID")
@click.argument("text", metavar="[ANSWER]", required=False)
@click.option(
    "--question",
    "wanted",
    metavar="QUESTION",
    help="Which question, where the run has several open: as 'marsys answer ID' lists them.",
)
@going_on_options
@storage_option
@answer_options
@click.pass_context
def answer(
    ctx: click.Context,
    /,
    run_id: str,
    text: str | None,
    wanted: str | None,
    place: Place,
    *,
    accept: bool,
    as_json: bool,
    file: Path | None,
    **given: Any,
) -> None:
    """Answer what the run ID waits for, and go on with it.

    An option may be given by its number, and data as JSON. Without ANSWER the open questions are listed. It shows and
    answers what 'marsys run' would have, and ends with the same exit codes; where more is open the run waits again.
    """
    now = Work(knobs=ctx.find_object(Knobs) or Knobs(), input_folder=None, models={}, variables={}, **given)
    refuse_both(ctx, now)
    answering = Answering(as_json=as_json, file=file)
    answering.check(ctx)

    def act(interruptions: Any) -> int:
        from marsys.cli.kept import in_store
        from marsys.cli.origin import work_again

        async def look(store: Store) -> tuple[RunInfo, Sequence[Question]]:
            return await _open(store, run_id)

        info, questions = in_store(ctx, place, look)
        if text is None:
            for each in questions:
                click.echo(told(each))
            return 0
        asked = _said(ctx, info, questions, wanted, text)
        work = work_again(info, now)
        with with_changes_named(info.run_id):
            return carried(
                work,
                lambda team: _answering(work, asked, team, accept),
                lambda _: place,
                answering,
                interruptions,
            )

    ctx.exit(interruptible(act))


async def _open(store: Store, given: str) -> tuple[RunInfo, Sequence[Question]]:
    from marsys.cli.kept import find
    from marsys_core.engine.answering import questions_of
    from marsys_core.values import Converter

    info = await find(store, given)
    while info.parent:
        info = await store.info(info.parent)
    return info, await questions_of(store, Converter(), info.run_id)


def _said(
    ctx: click.Context, info: RunInfo, questions: Sequence[Question], wanted: str | None, text: str
) -> _Asked:
    """Return the question that is meant, with what `text` is as its answer.

    Raises:
        UsageError: There is none, or there are several, or it does not allow this answer.
    """
    from marsys.people import read
    from marsys_core.errors import AnswerRefused

    found = [each for each in questions if wanted in (None, each.request_id)]
    if len(found) != 1:
        listed = "".join(f"\n{told(each)}" for each in questions)
        if not questions:
            msg = f"run {info.run_id!r} waits for no answer; it is {info.status}"
        elif found:
            msg = f"{len(found)} questions are open; say which with --question:{listed}"
        else:
            msg = f"no open question is called {wanted!r}; there are:{listed}"
        raise click.UsageError(msg, ctx)
    try:
        return _Asked(info=info, question=found[0], value=read(found[0], text))
    except AnswerRefused as error:
        raise click.UsageError(str(error), ctx) from error


def _answering(work: Work, asked: _Asked, team: LoadedTeam, accept: bool) -> Begin:
    from marsys_core.engine.rebuild import parted

    channel = channel_of(team, work)

    async def begin(orchestra: Orchestra, account: Account) -> Run:
        options: RunOptions = {"variables": work.variables, "channel": channel}
        kept, _ = parted(await orchestra.history(asked.info.run_id))
        account.catch_up(kept)
        return orchestra.take_up(
            asked.question.run_id,
            team.topology,
            accept_changes=accept,
            answer=(asked.question.request_id, asked.value),
            **options,
        )

    return begin
