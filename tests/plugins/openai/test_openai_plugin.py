"""The plugin: models by their names, what is missing, and keys that do not show."""

import json
import sys

import openai  # noqa: F401 - it takes a second, which no test is to be blamed for
import pytest
import trio

from marsys import Agent, ExecutionConfig, ModelConfig, Orchestra, PluginSettings, tool
from marsys.openai._presets import PRESETS
from marsys.openai.plugin import marsys_models
from marsys_core.models import Sampling
from tests.core.fakes import Heard
from tests.wire.server import answer, serving

KEY = "sk-secret-0123456789"
EVENTS = {"content-type": "text/event-stream"}


def reply(content="Hi", **message):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return answer(json_body={"id": "c1", "model": "m-1", "choices": [choice], "usage": usage})


def config(url, provider="openai-compatible", **fields):
    return ModelConfig(provider=provider, name="m", base_url=url, api_key=KEY, **fields)


async def failing(model, **settings):
    plugins = PluginSettings(sections={"openai": settings}) if settings else None
    async with Orchestra(plugins=plugins) as orchestra:
        agent = Agent("Asker", model=model)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what it says is looked at
            await orchestra.execute(
                "Hello", "Asker", agents=[agent], execution_config=ExecutionConfig(raise_errors=True)
            )
    return str(caught.value)


def test_every_preset_is_offered_and_says_what_it_is():
    offered = {provider.name: provider.summary for provider in marsys_models()}

    assert set(offered) == {"openai", *PRESETS}
    assert all(offered.values())
    for preset in PRESETS.values():
        assert preset.key_names
        assert preset.base_url.startswith(("https://", "http://127.0.0.1")) or not preset.base_url


def test_a_key_that_is_missing_is_an_error_before_anything_runs(monkeypatch):
    monkeypatch.delenv("GROQ_API_KEY", raising=False)

    assert trio.run(failing, "groq:llama") == (
        "there is no key for model 'groq:llama': set GROQ_API_KEY in the environment, or give ModelConfig(api_key=...)"
    )


def test_an_address_that_is_missing_is_an_error_before_anything_runs():
    assert trio.run(failing, "openai-compatible:llama") == (
        "it is not said where model 'openai-compatible:llama' is: give "
        "ModelConfig(provider='openai-compatible', name='llama', base_url='https://.../v1')"
    )


def test_an_address_that_is_none_is_an_error_before_anything_runs():
    assert trio.run(failing, config("localhost:80")) == (
        "base_url of 'openai-compatible' begins with http:// or https://, and here it is 'localhost:80'"
    )


def test_a_sampling_that_the_provider_does_not_know_is_an_error_before_anything_runs():
    model = ModelConfig(provider="groq", name="m", api_key=KEY, sampling=Sampling(top_k=5))

    assert trio.run(failing, model) == (
        "model 'groq:m': groq cannot sample with top_k, and was asked to with top_k=5"
    )


def test_an_extra_that_is_missing_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)

    assert "pip install 'marsys-core[openai]'" in trio.run(failing, config("http://127.0.0.1:1"))


def test_an_address_of_an_unknown_provider_is_an_error():
    told = trio.run(lambda: failing("ollama:llama", base_urls={"olama": "http://127.0.0.1:1"}))

    assert "base_urls names 'olama', which is no provider of this plugin. Did you mean 'ollama'" in told


def test_another_way_to_speak_is_refused():
    model = config("http://127.0.0.1:1", options={"api": "responses"})

    assert "and 'openai-compatible' speaks 'chat' only" in trio.run(failing, model)


@tool
def depth(harbour: str) -> str:
    """Say how deep a harbour is.

    Args:
        harbour: Its name.
    """
    return f"{harbour}: 9 m"


@pytest.mark.sockets
def test_an_agent_asks_calls_its_tool_and_answers():
    called = {
        "id": "a",
        "type": "function",
        "function": {"name": "depth", "arguments": '{"harbour": "Belt"}'},
    }

    async def main():
        async with serving(reply(None, tool_calls=[called]), reply("It is deep enough.")) as server:
            model = config(f"{server.url}/v1", options={"api": "chat", "user": "u-1"})
            async with Orchestra() as orchestra:
                result = await orchestra.execute(
                    "Can we land?", "Mate", agents=[Agent("Mate", model=model, tools=[depth])]
                )
            await server.closed()
        return result, server.asked

    result, (first, second) = trio.run(main)

    assert result.final_response == "It is deep enough."
    assert result.usage.total_tokens == 10
    assert (first.method, first.path, first.headers["authorization"]) == (
        "POST",
        "/v1/chat/completions",
        f"Bearer {KEY}",
    )
    assert (first.json["user"], "api" in first.json) == ("u-1", False)
    assert [message["role"] for message in second.json["messages"]][-2:] == ["assistant", "tool"]


@pytest.mark.sockets
def test_no_key_shows_in_events_errors_or_representations():
    told = {"error": {"message": f"Incorrect API key: {KEY}", "code": "invalid_api_key"}}
    heard = Heard()

    async def main():
        async with serving(answer(401, json_body=told)) as server, Orchestra(sinks=[heard]) as orchestra:
            agent = Agent("Asker", model=config(server.url))
            return await orchestra.execute(
                "Hello", "Asker", agents=[agent], execution_config=ExecutionConfig(raise_errors=False)
            )

    result = trio.run(main)
    shown = repr(result) + repr(heard.events) + repr(config("http://127.0.0.1:1"))
    error = result.error
    while error is not None:
        shown += repr(error) + str(error) + repr(vars(error))
        error = error.__cause__ or error.__context__

    assert not result.success
    assert "Incorrect API key: ***" in shown
    assert KEY not in shown


@pytest.mark.sockets
def test_models_of_a_provider_are_asked_at_the_address_in_its_section():
    async def main():
        async with serving(reply()) as server:
            plugins = PluginSettings(sections={"openai": {"base_urls": {"ollama": f"{server.url}/v1"}}})
            async with Orchestra(plugins=plugins) as orchestra:
                result = await orchestra.execute(
                    "Hello", "Asker", agents=[Agent("Asker", model="ollama:llama3")]
                )
        return result.final_response, server.asked[0]

    text, asked = trio.run(main)

    assert (text, asked.json["model"]) == ("Hi", "llama3")
    assert "authorization" not in asked.headers


@pytest.mark.sockets
def test_what_the_environment_says_for_openai_is_not_sent_to_others(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "sk-of-openai-only")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer sk-of-openai-only")

    async def main():
        async with serving(reply()) as server, Orchestra() as orchestra:
            for model in (
                config(server.url),
                ModelConfig(provider="openai-compatible", name="m", base_url=server.url),
            ):
                await orchestra.execute("Hello", "Asker", agents=[Agent("Asker", model=model)])
        return server.asked

    with_key, without = trio.run(main)

    assert with_key.headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in without.headers
    assert "sk-of-openai-only" not in repr(with_key.headers) + repr(without.headers)


@pytest.mark.sockets
def test_a_key_may_go_in_a_header_of_its_own():
    async def main():
        async with serving(reply()) as server, Orchestra() as orchestra:
            await orchestra.execute(
                "Hello", "Asker", agents=[Agent("Asker", model=config(server.url, "azure"))]
            )
        return server.asked[0].headers

    headers = trio.run(main)

    assert headers["api-key"] == KEY
    assert "authorization" not in headers


@pytest.mark.sockets
def test_an_answer_is_streamed_where_somebody_listens():
    pieces = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("Hel", "lo")]
    pieces.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
    heard = []

    class Listener:
        def on_model_delta(self, event):
            heard.append(event.delta.text)

    async def main():
        async with (
            serving(answer(headers=EVENTS, body=body)) as server,
            Orchestra(sinks=[Listener()]) as orchestra,
        ):
            result = await orchestra.execute(
                "Hello", "Asker", agents=[Agent("Asker", model=config(server.url))]
            )
        return result.final_response, server.asked[0].json["stream"]

    assert trio.run(main) == ("Hello", True)
    assert "".join(heard) == "Hello"
