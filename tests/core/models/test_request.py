import pytest

from marsys_core.errors import ConfigError
from marsys_core.models import Reasoning, Sampling, ToolChoice


def test_a_choice_of_tools_is_one_of_four():
    assert ToolChoice() == ToolChoice("auto")
    assert ToolChoice("tool", "look").name == "look"
    with pytest.raises(
        ConfigError,
        match=r"^a ToolChoice is one of auto, none, required, tool, not 'requierd'\. Did you mean 'required'\?$",
    ):
        ToolChoice("requierd")  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [("tool", ""), ("auto", "look")])
def test_a_choice_names_a_tool_where_it_is_one_and_only_there(given):
    with pytest.raises(
        ConfigError, match=r"^a ToolChoice names a tool in mode 'tool' and only there, and here"
    ):
        ToolChoice(*given)


def test_an_effort_is_as_good_as_a_reasoning():
    assert Reasoning.of("low") == Reasoning(effort="low")
    assert Reasoning.of(None) is None
    given = Reasoning(max_tokens=100, visible=True)
    assert Reasoning.of(given) is given


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Reasoning.of("hihg"),
            r"^the effort of Reasoning is one of none, minimal, low, medium, high, max, not 'hihg'\. Did you mean 'high'\?$",
        ),
        (lambda: Reasoning(max_tokens=-1), r"^max_tokens of Reasoning is a whole number from 0, not -1$"),
        (lambda: Reasoning(max_tokens=True), r"^max_tokens of Reasoning is a whole number from 0, not True$"),
        (
            lambda: Reasoning.of(3),
            r"^reasoning is an effort \(none, .*, max\) or a Reasoning, not 3$",
        ),
    ],
)
def test_what_is_no_reasoning_is_refused(make, text):
    with pytest.raises(ConfigError, match=text):
        make()


def test_what_is_left_open_is_as_in_the_other():
    base = Sampling(temperature=0.5, max_output_tokens=100)

    assert Sampling().over(base) is base
    assert Sampling(temperature=0.0, top_k=3).over(base) == Sampling(
        temperature=0.0, max_output_tokens=100, top_k=3
    )
