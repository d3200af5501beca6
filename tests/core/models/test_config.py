import pytest

from marsys_core.errors import ConfigError
from marsys_core.models import Caching, ModelConfig, ModelRequest, Reasoning, Sampling


def test_a_name_is_a_provider_and_a_model():
    config = ModelConfig.of("openai-compatible:llama3:8b")

    assert (config.provider, config.name, str(config)) == (
        "openai-compatible", "llama3:8b", "openai-compatible:llama3:8b",
    )  # fmt: skip
    assert ModelConfig.of(config) is config


@pytest.mark.parametrize("given", ["openai", ":gpt", "openai:", ":", ""])
def test_what_names_no_model_is_refused(given):
    with pytest.raises(ConfigError, match=f"^a model is named as 'provider:model', and not {given!r}$"):
        ModelConfig.of(given)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"provider": "", "name": "m"},
            r"^provider of a ModelConfig is a text without spaces round it, not ''$",
        ),
        (
            {"provider": "p", "name": " m"},
            r"^name of a ModelConfig is a text without spaces round it, not ' m'$",
        ),
        ({"provider": "p", "name": 5}, r"^name of a ModelConfig is a text without spaces round it, not 5$"),
        (
            {"provider": "p:q", "name": "m"},
            r"^the provider of a ModelConfig has no colon in it, and here it is 'p:q'",
        ),
        (
            {"provider": "p", "name": "m", "api_key": ""},
            r"^a Secret is a text with something in it, not an empty text$",
        ),
        ({"provider": "p", "name": "m", "reasoning": "hgih"}, r"Did you mean 'high'\?$"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused(given, text):
    with pytest.raises(ConfigError, match=text):
        ModelConfig(**given)


def test_equal_configs_are_one_key():
    made = [
        ModelConfig(provider="p", name="m", api_key="key-one", options={"a": [1]}, sampling=Sampling(seed=1))
        for _ in range(2)
    ]

    assert {made[0]: "model"}[made[1]] == "model"
    assert made[0] != ModelConfig(provider="p", name="m", api_key="key-two", options={"a": [1]})


def test_what_a_request_leaves_open_is_filled_in():
    config = ModelConfig(
        provider="p", name="m", sampling=Sampling(temperature=0.2, max_output_tokens=9), reasoning="low",
        caching=Caching(key="k"), parallel_tool_calls=False, options={"a": 1, "b": 1},
    )  # fmt: skip
    filled = config.fill(ModelRequest(messages=[], sampling=Sampling(temperature=1.0), options={"b": 2}))

    assert config.fills
    assert filled.sampling == Sampling(temperature=1.0, max_output_tokens=9)
    assert (filled.reasoning, filled.caching, filled.parallel_tool_calls) == (
        Reasoning(effort="low"), Caching(key="k"), False,
    )  # fmt: skip
    assert filled.options == {"a": 1, "b": 2}
    said = ModelRequest(messages=[], reasoning=Reasoning(effort="high"), parallel_tool_calls=True)
    kept = config.fill(said)
    assert (kept.reasoning, kept.parallel_tool_calls) == (Reasoning(effort="high"), True)


def test_a_config_that_says_nothing_leaves_a_request_as_it_is():
    config, request = ModelConfig.of("p:m"), ModelRequest(messages=[])

    assert not config.fills
    assert config.fill(request) is request
