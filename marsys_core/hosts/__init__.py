"""The program round the engine: which event loop is in charge, and how calls cross from one to another."""

from marsys_core.hosts.library import asyncio_loop, current_library

__all__ = ["asyncio_loop", "current_library"]
