"""Channels: ways to a person who answers what a run asks."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import trio

from marsys_core.errors import LifecycleError
from marsys_core.questions import Question

__all__ = ["Channel", "refuse_elsewhere"]


@runtime_checkable
class Channel(Protocol):
    """A way to a person: a terminal, a queue in the application, a chat.

    Write one to bring questions where somebody sees them. One channel serves any number of runs, and is
    asked any number of questions at once, which may be answered in any order.
    """

    @property
    def name(self) -> str:
        """What a run's record calls the source of an answer."""
        ...

    async def ask(self, question: Question) -> Any:
        """Put `question` to a person, wait, and return the answer.

        It is cancelled when the answer is wanted no more: the run has ended, the time is up, or somebody
        has answered elsewhere. `question.check` says whether an answer is allowed, so that a channel can
        ask again; one that returns another fails the branch that asked.

        Raises:
            marsys_core.errors.UserUnavailable: Nobody can be asked this way.
        """
        ...


def refuse_elsewhere(token: trio.lowlevel.TrioToken, what: str) -> None:
    """Refuse to go on in another thread than that of the Trio run with this `token`, which would not notice.

    Raises:
        LifecycleError: This is another thread, or no Trio run at all.
    """
    try:
        here = trio.lowlevel.current_trio_token()
    except RuntimeError:
        here = None
    if here is not token:
        call = what.partition(".")[2]
        msg = (
            f"{what} is called in the thread of the run; from another thread: "
            f"trio.from_thread.run_sync({call}, ..., trio_token=token) under Trio, "
            f"loop.call_soon_threadsafe({call}, ...) under asyncio"
        )
        raise LifecycleError(msg)
