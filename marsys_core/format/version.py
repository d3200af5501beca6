"""Which formats this program reads."""

from __future__ import annotations

from marsys_core.errors import FormatError

__all__ = ["FORMAT", "check_format"]

FORMAT = 1
"""The format that is written: `RunStarted.format`. Adding a kind or a field does not change it."""

# A format that changes the meaning of one before it brings a function here that turns the JSON data of an entry
# of that one into its own; `decode` then goes through them, from the format of the journal up to `FORMAT`.


def check_format(found: int, run_id: str = "") -> None:
    """Return if a journal in format `found` can be read here; ask before reading entries of it.

    Args:
        found: What its `RunStarted.format` says.
        run_id: Whose journal it is, for the message.

    Raises:
        FormatError: It is newer than this program, or none.
    """
    if type(found) is int and 1 <= found <= FORMAT:
        return
    whose = f"the journal of run {run_id!r}" if run_id else "the journal"
    if type(found) is int and found > FORMAT:
        shown = str(found) if found < 10**9 else "of a number beyond all versions"
        msg = f"{whose} is written in format {shown}, and this version of MARSYS reads formats up to {FORMAT}; use a newer one"
    else:
        msg = f"{whose} names no format: a whole number from 1 is expected, not {found!r:.80}"
    raise FormatError(msg, run_id=run_id, kind="RunStarted", path="$.format", expected=f"1 to {FORMAT}")
