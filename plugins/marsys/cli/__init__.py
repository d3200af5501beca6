"""The command `marsys`.

A command that a plugin adds is a click command; what it is handed with ``@click.pass_obj`` is a `Knobs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marsys.cli.knobs import Knobs

__all__ = ["Knobs", "main"]


def main() -> None:
    """Run the command line and end the process with its exit code.

    0 is success; 1 that the run, or what was examined, failed; 2 a mistake in the call or in a
    configuration; 130 and 143 an interruption by Ctrl-C or SIGTERM; 141 that nobody reads the output.
    """
    # Ctrl-C may come while the first modules are imported, and never shows a traceback.
    try:
        from marsys.cli.process import run_process, shut_ears

        code = run_process()
        shut_ears()
    except KeyboardInterrupt as interruption:
        code = getattr(interruption, "exit_code", 130)
    raise SystemExit(code)


def __getattr__(name: str) -> object:
    if name == "Knobs":
        from marsys.cli.knobs import Knobs

        return Knobs
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
