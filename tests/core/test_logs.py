"""The loggers of the engine: part of the application's logging, and silent without one."""

import logging
import subprocess
import sys

from marsys_core.logs import get_logger

PROGRAM = """
import logging, sys
from marsys_core.logs import get_logger
if sys.argv[1:]:
    logging.basicConfig(format="%(name)s: %(message)s")
get_logger("plugins").error("a sink is broken")
"""


def said(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def test_an_error_is_not_printed_where_nobody_has_configured_logging():
    assert said() == ""


def test_an_error_reaches_the_handlers_of_an_application_that_has():
    assert said("configured") == "marsys.plugins: a sink is broken\n"


def test_loggers_have_no_levels_and_no_handlers_of_their_own():
    logger = get_logger("weather")

    assert logger.name == "marsys.weather"
    assert (logger.level, logger.handlers, logger.propagate) == (logging.NOTSET, [], True)
