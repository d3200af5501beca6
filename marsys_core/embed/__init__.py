"""The engine for plain code: in a thread of its own, with calls that wait."""

from marsys_core.embed.future import RunFuture
from marsys_core.embed.thread import EngineThread

__all__ = ["EngineThread", "RunFuture"]
