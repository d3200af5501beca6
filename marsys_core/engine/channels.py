"""What ``channel=`` stands for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.errors import ConfigError
from marsys_core.hosts.declared import adapted
from marsys_core.protocols.channel import Channel
from marsys_core.questions import Question

if TYPE_CHECKING:
    from marsys_core.engine.engine import Engine

__all__ = ["FunctionChannel", "channel_of", "refuse_unanswerable"]


@attrs.frozen(eq=False)
class FunctionChannel:
    """A function of the question as a channel: awaited, or run in a worker thread where it is a plain one."""

    function: Callable[[Question], Any]
    threads: trio.CapacityLimiter

    @property
    def name(self) -> str:
        """What the record calls the source of its answers."""
        return getattr(self.function, "__name__", "function")

    async def ask(self, question: Question) -> Any:
        """Call the function."""
        if inspect.iscoroutinefunction(self.function):
            return await self.function(question)
        value = await trio.to_thread.run_sync(self.function, question, limiter=self.threads)
        return await value if inspect.isawaitable(value) else value


def refuse_unanswerable(given: Any, engine: Engine) -> None:
    """Refuse a channel that the application answers, where nobody but the engine would know it.

    Raises:
        ConfigError: Whoever waits for the run could never answer.
    """
    if not isinstance(given, str) or given not in engine.composition.names("channel"):
        return
    features = getattr(engine.composition.item("channel", given), "features", ())
    if "application" in features:
        msg = (
            f"channel={given!r} is answered by the application, which cannot reach it while it waits for this call; "
            "give a channel that you hold, such as QueueChannel(), or start(...) the run and use run.answer(...)"
        )
        raise ConfigError(msg)


async def channel_of(given: Any, engine: Engine) -> Channel | None:
    """Return the channel that `given` stands for: a name, a function, a channel, or None.

    Raises:
        UnknownName: No plugin provides a channel of that name.
        ConfigError: It is none of these, or opened to none.
    """
    if given is None:
        return None
    found = await engine.get("channel", given) if isinstance(given, str) else given
    if isinstance(found, type):
        msg = f"channel= takes an object: write {found.__name__}()"
        raise ConfigError(msg)
    if hasattr(found, "ask"):
        return adapted(found, "the channel")  # type: ignore[no-any-return]
    if not callable(found) or isinstance(given, str):
        msg = f"channel= takes a name, a function of the question or a channel with `ask`, not {found!r:.200}"
        raise ConfigError(msg)
    return FunctionChannel(adapted(found, "the channel"), engine.threads)
