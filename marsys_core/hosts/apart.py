"""Work in a copy of the caller's context: what it sets there is its own."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["apart"]

T = TypeVar("T")


class apart(Awaitable[T]):  # noqa: N801 - it is awaited like a function
    """Awaited, this is what `work` comes to; context variables that it sets are not seen by the caller.

    It resumes `work` in a context of its own, in the task that waits: without a task more.
    """

    __slots__ = ("work",)

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.work = work

    def __await__(self) -> Generator[Any, Any, T]:
        work, run = self.work, contextvars.copy_context().run
        resume: Any = work.send
        given: Any = None
        while True:
            try:
                wanted = run(resume, given)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                given = yield wanted
                resume = work.send
            except GeneratorExit:
                run(work.close)
                raise
            except BaseException as error:
                resume, given = work.throw, error
