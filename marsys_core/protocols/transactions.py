"""What a store may offer besides keeping runs: writing rows of the application together with what happened.

A store without it is a whole store; a run with a tool that needs it is refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs

from marsys_core.protocols.store import RunLog

__all__ = ["Done", "Statement", "TransactionalStore"]


@attrs.frozen(kw_only=True)
class Statement:
    """One statement of SQL, as a call of a tool asks for it.

    Args:
        sql: The statement.
        parameters: What stands for its placeholders: a tuple, or a mapping by name; with `many`, a tuple of such.
        many: Whether it is carried out once for each of `parameters`.
        reads: Whether it may only read.
    """

    sql: str
    parameters: Sequence[Any] | Mapping[str, Any] = ()
    many: bool = False
    reads: bool = False


@attrs.frozen(kw_only=True)
class Done:
    """What a statement came to.

    Args:
        columns: The names of the columns of its rows.
        rows: What it selected or returned.
        rowcount: How many rows it wrote; -1 where that says nothing.
        error: Why it was refused, and then it has no effect; else nothing.
    """

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    rowcount: int = -1
    error: str = ""


@runtime_checkable
class TransactionalStore(Protocol):
    """Writes rows of the application in the transaction that records the outcome of a call.

    No transaction stays open while a call works. Its statements are tried and undone as it asks for them, and
    carried out once, when it has come to its end.
    """

    async def attempt(self, statements: Sequence[Statement]) -> Sequence[Done]:
        """Carry out `statements` in order, undo all of them, and return what each came to.

        One that is refused has no effect on those after it. When this is cancelled, nothing is left of it.

        Raises:
            ToolError: A statement that no call may make: it writes to what is the store's own, for example.
            StoreError: The store cannot write or read.
        """
        ...

    async def conclude(
        self, log: RunLog, statements: Sequence[Statement], seen: Sequence[Done], record: Callable[[], None]
    ) -> bool:
        """Carry out `statements` for good, together with what `record` appends to `log`; return whether it was done.

        It is done if each statement comes to what was `seen` before; nothing is changed otherwise, and `record`
        is not called. Once `record` was called, all that it appended is kept together with the statements, or none
        of it, whatever happens; a commit of `log` that comes later tries it again.

        Args:
            log: The run's, held here.
            statements: What is to be carried out, in order.
            seen: What each of them came to.
            record: Appends to `log`; called on the loop, while nobody else writes.

        Raises:
            StoreError: It could not be written. If `record` was called, it is tried again with the next commit.
            RunHeld: Somebody else has taken the run over; then nothing is changed.
        """
        ...
