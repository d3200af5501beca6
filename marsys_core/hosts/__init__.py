"""The program round the engine: which event loop is in charge, and how calls cross from one to another."""

from marsys_core.hosts.apart import apart
from marsys_core.hosts.bridge import on_asyncio
from marsys_core.hosts.crossing import cross, hosted
from marsys_core.hosts.declared import uses_asyncio
from marsys_core.hosts.held import Held
from marsys_core.hosts.home import Home
from marsys_core.hosts.library import asyncio_loop, current_library

__all__ = [
    "Held",
    "Home",
    "apart",
    "asyncio_loop",
    "cross",
    "current_library",
    "hosted",
    "on_asyncio",
    "uses_asyncio",
]
