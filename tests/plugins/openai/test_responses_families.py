import pytest

from marsys.openai._responses_families import family_of


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        ("o3-mini", "none", "low"),
        ("o4-mini-2025-04-16", "minimal", "low"),
        ("o3", "max", "high"),
        ("gpt-5", "none", "minimal"),
        ("gpt-5-mini", "max", "high"),
        ("gpt-5-codex", "minimal", "low"),
        ("gpt-5-pro", "low", "high"),
        ("gpt-5.1", "minimal", "low"),
        ("gpt-5.1", "none", "none"),
        ("gpt-5.1-codex-max", "max", "xhigh"),
        ("gpt-5.2", "max", "xhigh"),
        ("gpt-5.6-sol", "max", "max"),
        ("gpt-6-astra", "minimal", "low"),
        ("grok-4.3", "max", "high"),
        ("grok-4.3", "minimal", "minimal"),
    ],
)
def test_a_model_is_asked_for_the_effort_that_is_nearest(model, asked, told):
    assert family_of(model).effort(asked) == told


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "gpt-4.1", "gpt-3.5-turbo", "chatgpt-4o-latest", "gpt-5-chat-latest"]
)
def test_some_models_of_openai_do_not_reason(model):
    assert not family_of(model).reasons


@pytest.mark.parametrize(
    "model", ["o1", "gpt-5", "gpt-5.4-nano", "openai/gpt-5.6-sol", "openai.gpt-5.5", "qwen3:8b"]
)
def test_all_others_are_taken_to_reason(model):
    assert family_of(model).reasons


def test_a_tuned_model_is_what_it_was_tuned_from():
    assert not family_of("ft:gpt-4o-mini-2024-07-18:acme::B1").reasons
    assert family_of("ft:o4-mini-2025-04-16:acme::B2").effort("max") == "high"
