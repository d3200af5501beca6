"""What the model says, and what the engine makes of the plugin. Run where the distribution is installed."""

from __future__ import annotations

import pytest
import trio

from marsys_core.agents import Agent
from marsys_core.errors import ModelError
from marsys_core.messages import Message
from marsys_core.models import ModelDelta, ModelRequest
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings, Status, compose
from marsys_template.model import EchoModel


def asked(text: str) -> ModelRequest:
    return ModelRequest(messages=[Message("user", "earlier"), Message("user", text)])


def test_it_answers_with_the_last_message() -> None:
    response = trio.run(EchoModel(prefix="> ").generate, asked("hello"))
    assert response.text == "> hello"


def test_the_pieces_of_a_stream_make_up_the_answer() -> None:
    async def streamed() -> list[ModelDelta]:
        return [delta async for delta in EchoModel().stream(asked("one\ntwo"))]

    *pieces, last = trio.run(streamed)
    assert [piece.text for piece in pieces] == ["one\n", "two"]
    assert last.response is not None
    assert last.response.text == "one\ntwo"


def test_a_message_without_text_is_an_error_that_is_not_tried_again() -> None:
    with pytest.raises(ModelError, match=r"^the echo has nothing to say: ") as raised:
        trio.run(EchoModel().generate, asked(""))
    assert not raised.value.retryable


def test_the_engine_finds_it_and_it_is_loaded() -> None:
    composition = compose()
    assert composition.record("template").status is Status.LOADED
    assert composition.owner_of("model", "echo") == "template"


def test_an_agent_uses_it_by_name_with_the_settings_of_its_section() -> None:
    async def run() -> object:
        plugins = PluginSettings(sections={"template": {"prefix": "I heard: "}})
        async with Orchestra(agents=[Agent("Parrot", model="echo")], plugins=plugins) as orchestra:
            return (await orchestra.execute("hello", "Parrot")).unwrap()

    assert trio.run(run) == "I heard: hello"
