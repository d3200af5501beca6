"""The loggers of the engine and of its plugins, silent until the application configures logging."""

from __future__ import annotations

import logging

__all__ = ["get_logger"]

# A warning that finds no handler anywhere is written to standard error by `logging` itself; with this one it is not.
logging.getLogger("marsys").addHandler(logging.NullHandler())


def get_logger(name: str) -> logging.Logger:
    """Return the logger ``marsys.<name>``. It has no level and no handler of its own.

    Use it instead of `logging.getLogger`: an application that has not configured logging is then told nothing,
    and one that has hears all of it.

    Args:
        name: What follows ``marsys.``: a plugin's name, or a part of the engine.
    """
    return logging.getLogger(f"marsys.{name}")
