"""What an application writes to keep runs in a database of its own."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["DatabaseBackend"]


class DatabaseBackend(abc.ABC):
    """Keeps the runs of a session as one state, in whatever the two methods of a subclass write to.

    Give an instance as ``storage=``. The engine opens it, folds what happens into the state, and writes that at
    each step. The methods are coroutines for asyncio, which may also be called directly under asyncio. The engine
    calls all of them on one asyncio loop: that of the program where it is an asyncio program, or one of its own.

    A state is written whole each time, so it costs more the longer its runs are, and two processes that go on with
    one session are not kept apart: the later one overwrites what the other wrote.
    """

    async_library: ClassVar[str] = "asyncio"
    """What the methods are written for: ``"asyncio"`` or ``"trio"``."""

    save_every: ClassVar[int] = 1
    """After how many steps of a run its state is written; a crash repeats what was not written.

    A call of a tool, a question and the end of a run are written at once, whatever is said here.
    """

    keep_runs: ClassVar[int] = 1
    """How many runs of a session that have ended stay in its state when the next one begins."""

    async def initialize(self) -> None:  # noqa: B027 - there may be nothing to do
        """Connect; called once, before anything else.

        What it puts on the object and has a method ``close`` or ``aclose`` is closed when the last engine that uses
        the backend closes; a method ``close`` of the subclass is called instead, where there is one.
        """

    @abc.abstractmethod
    async def save_state(self, session_id: str, state: dict[str, Any]) -> None:
        """Write the state of a session in place of the one before; return when it is kept.

        Args:
            session_id: The session; of a run that belongs to none its own id.
            state: Plain JSON: objects with string keys, arrays, strings, whole numbers and None. There is no U+0000
                and no lone surrogate in it, and the order of keys means nothing.
        """

    @abc.abstractmethod
    async def load_state(self, session_id: str) -> Mapping[str, Any] | str | bytes | None:
        """Return what was last written for a session, also as JSON text; None where nothing was."""
