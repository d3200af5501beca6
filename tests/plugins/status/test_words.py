import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.status._words import counted, one_line, reason, seconds, shown
from marsys_core.values import JoinInput, Ref


@given(st.text(), st.integers(10, 40))
def test_whatever_is_said_fits_on_one_line_and_controls_no_terminal(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.isprintable()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("short", "short"),
        ("two\nlines\tand  more", "two lines and more"),
        ("\x1b[31mred", "?[31mred"),
        ("x" * 21, "x" * 17 + "..."),
        ("x" * 20, "x" * 20),
        (" " * 100 + "far", "..."),
    ],
)
def test_a_line_keeps_what_can_be_read(text, line):
    assert one_line(text, 20) == line


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (0.0996, "0.1 s"),
        (3.44, "3.4 s"),
        (59.96, "1 min 00 s"),
        (125, "2 min 05 s"),
    ],
)
def test_durations_are_read_at_a_glance(duration, text):
    assert seconds(duration) == text


def test_numbers_agree_with_their_nouns():
    assert [counted(n, "step") for n in (0, 1, 12345)] == ["0 steps", "1 step", "12,345 steps"]


def test_values_are_shown_by_their_beginning_or_their_size():
    assert shown({"a": [1, None]}) == '{"a": [1, null]}'
    assert shown(Ref("0" * 64, 12 * 1024)) == "(12 kB)"
    assert shown(JoinInput([("A", "0.0", "x")])) == "1 contribution"
    assert shown("y" * 200) == "y" * 97 + "..."


def test_the_place_of_an_error_is_left_to_the_columns():
    error = "failed: AgentError: no (really) (at branch 0.1, node 'A', step 2)"
    assert reason(error) == "AgentError: no (really)"
    assert reason(error, place=True) == error.removeprefix("failed: ")
    assert reason("failed: AgentError: no (really)") == "AgentError: no (really)"
