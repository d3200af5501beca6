"""A secret tells its value when it is asked for, and at no other time."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from marsys_core.errors import ConfigError, ValueRefused
from marsys_core.models import ModelConfig
from marsys_core.secret import Secret
from marsys_core.values import Converter

KEY = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    "told",
    [
        repr,
        str,
        "{}".format,
        "{!r:>40}".format,
        "{:>40}".format,
        lambda secret: "%s %r" % (secret, secret),  # noqa: UP031 - that is what logging does
        lambda secret: json.dumps({"key": secret}, default=str),
        lambda secret: repr(ModelConfig(provider="p", name="m", api_key=secret)),
        lambda secret: str(attrs.asdict(ModelConfig(provider="p", name="m", api_key=secret))),
        lambda secret: str(copy.deepcopy([secret, copy.copy(secret)])),
        lambda secret: logging.LogRecord("n", 10, "p", 1, "%s", (secret,), None).getMessage(),
        lambda secret: "".join(traceback.format_exception(ValueError(secret))),
        lambda secret: repr(dir(secret)),
    ],
)
def test_no_text_of_it_has_its_value(told: Callable[[Any], str]) -> None:
    assert KEY not in told(Secret(KEY))
    assert KEY not in told(Secret(KEY, "THE_KEY"))


def test_it_is_told_where_it_is_asked_for() -> None:
    assert Secret(f" {KEY}\n").reveal() == KEY
    assert (repr(Secret(KEY)), repr(Secret(KEY, "THE_KEY"))) == ("Secret(***)", "Secret(THE_KEY)")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_never_pickled(protocol: int) -> None:
    for value in (Secret(KEY, "K"), ModelConfig(provider="p", name="m", api_key=KEY)):
        with pytest.raises(
            TypeError, match="is never pickled; give its name, and read it where it is needed$"
        ):
            pickle.dumps(value, protocol)


def test_it_is_never_recorded() -> None:
    with pytest.raises(ValueRefused, match=r"^a value of type 'Secret' cannot be recorded") as caught:
        Converter().plain({"key": Secret(KEY)})
    assert KEY not in str(caught.value)
    with pytest.raises(ValueRefused) as caught:
        Converter().plain(ModelConfig(provider="p", name="m", api_key=KEY))
    assert KEY not in str(caught.value)
    with pytest.raises(TypeError):
        json.dumps({"key": Secret(KEY)})


def test_two_of_one_value_are_equal() -> None:
    assert Secret(KEY) == Secret(KEY, "other name")
    assert hash(Secret(KEY)) == hash(Secret(KEY))
    assert Secret(KEY) != Secret("other")
    assert Secret(KEY) != KEY


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match=r"^Secret\(\*\*\*\) cannot be changed$"):
        Secret(KEY)._value = "other"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", r"^a Secret \(K\) is a text with something in it, not an empty text$"),
        (" \n", r"^a Secret \(K\) is a text with something in it, not an empty text$"),
        (5, r"^a Secret \(K\) is a text with something in it, not a value of type 'int'$"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(value: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Secret(value, "K")


def test_it_is_taken_out_of_what_others_say() -> None:
    assert Secret(KEY).redact(f"Incorrect API key provided: {KEY}.") == "Incorrect API key provided: ***."
    assert Secret("none").redact("none of it") == "none of it"


def test_a_text_is_made_one() -> None:
    secret = Secret(KEY)
    assert Secret.of(secret) is secret
    assert Secret.of(None) is None
    made = Secret.of(KEY)
    assert made == secret
