from __future__ import annotations

from typing import Any

import pytest

from marsys_core.errors import FormatError
from marsys_core.format import FORMAT, check_format
from tests.core.format.reading import read


def test_the_formats_up_to_this_one_can_be_read():
    for known in range(1, FORMAT + 1):
        check_format(known)


def test_a_newer_journal_is_refused_with_both_versions():
    told = (
        f"is written in format 7, and this version of MARSYS reads formats up to {FORMAT}; use a newer one$"
    )
    with pytest.raises(FormatError, match=f"^the journal of run 'r' {told}"):
        check_format(7, "r")
    with pytest.raises(FormatError, match=f"^the journal {told}"):
        check_format(7)
    with pytest.raises(FormatError, match="format of a number beyond all versions"):
        check_format(10**6000)


@pytest.mark.parametrize("found", [0, -1, 1.0, True, None, "1", [1]])
def test_a_journal_without_a_format_is_refused(found: Any):
    with pytest.raises(
        FormatError, match="^the journal names no format: a whole number from 1 is expected, not "
    ):
        check_format(found)


def test_a_newer_journal_is_refused_before_its_fields_are_looked_at():
    with pytest.raises(FormatError, match="is written in format 2, and this version"):
        read("RunStarted", '{"format":2,"things":"of another time"}')
    with pytest.raises(FormatError, match="expected the field 'session_id'"):
        read("RunStarted", '{"format":1}')
