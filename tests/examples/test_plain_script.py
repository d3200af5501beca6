import pytest

from tests.examples.programs import run


@pytest.mark.slow
def test_a_script_without_an_event_loop_gets_its_answer():
    answer = run("-W", "error", "plain_script.py")

    assert answer.startswith("Question: Why is the sea salt?\n")
    assert "The sea is salt because rivers carry minerals from the rocks into it. [1]" in answer
    assert "look_up, line 1" in answer
