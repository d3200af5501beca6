"""Claude models by name, in a team."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from marsys import Agent, ModelConfig, Orchestra, PluginSettings, tool
from marsys.anthropic import plugin
from marsys.anthropic._traits import traits_of
from marsys.schema import plugin as schema_plugin
from marsys_core.errors import ConfigError, PluginError
from marsys_core.results import RunResult
from tests.plugins.anthropic.asking import KEY, run
from tests.wire.server import Answer, Server, answer, serving

USAGE = {"input_tokens": 5, "output_tokens": 2}


def said(*content: Any, stop: str = "end_turn") -> Answer:
    body = {
        "id": "m",
        "type": "message",
        "model": "c",
        "content": content,
        "stop_reason": stop,
        "usage": USAGE,
    }
    return answer(json_body=body)


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


@tool
def depth(harbour: str) -> str:
    """Say how deep a harbour is.

    Args:
        harbour: Its name.
    """
    return f"{harbour}: 9 m"


def ask(*answers: Answer, name: str = "claude-sonnet-4-5", **agent: Any) -> tuple[RunResult, Server]:
    async def main() -> tuple[RunResult, Server]:
        settings = PluginSettings(discover=False, plugins={"anthropic": plugin, "schema": schema_plugin})
        async with serving(*answers) as server:
            model = ModelConfig(provider="anthropic", name=name, api_key=KEY, base_url=server.url)
            one = Agent("Pilot", model=model, instruction="You know harbours.", **agent)
            async with Orchestra(plugins=settings) as orchestra:
                result = await orchestra.execute("Can we land?", "Pilot", agents=[one])
            await server.closed()
        return result, server

    return run(main)


@pytest.mark.sockets
@pytest.mark.slow
def test_an_agent_calls_tools_and_its_thoughts_go_back() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    call = {"type": "tool_use", "id": "t1", "name": "depth", "input": {"harbour": "Belt"}}
    result, server = ask(said(thought, call, stop="tool_use"), said(text("Yes.")), tools=[depth])
    second = server.asked[1].json

    assert result.unwrap() == "Yes."
    assert (result.usage.input_tokens, result.usage.model_calls) == (10, 2)
    assert second["messages"][1] == {"role": "assistant", "content": [thought, call]}
    assert second["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": "Belt: 9 m"}
    ]
    assert second["system"] == server.asked[0].json["system"]


@pytest.mark.sockets
@pytest.mark.slow
def test_a_paused_turn_is_gone_on_with() -> None:
    use = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
    result, server = ask(said(use, stop="pause_turn"), said(found, text("Yes.")))

    assert result.unwrap() == "Yes."
    assert server.asked[1].json["messages"][-1] == {"role": "assistant", "content": [use]}


@pytest.mark.sockets
@pytest.mark.slow
@pytest.mark.parametrize("name", ["claude-sonnet-4-5", "claude-sonnet-4-0", "claude-sonnet-5-5"])
def test_an_output_schema_is_held_to_natively_or_by_a_tool(name: str) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    native = traits_of(name).schema
    given: dict[str, Any] = text('{"ok": true}')
    if not native:
        given = {"type": "tool_use", "id": "t1", "name": "", "input": {"ok": True}}

    async def named(asked: Any, connection: Any) -> None:
        if not native:
            given["name"] = asked.json["tools"][-1]["name"]
        await said(given, stop="end_turn" if native else "tool_use")(asked, connection)

    result, server = ask(named, name=name, output_schema=schema)
    sent = server.asked[0].json

    assert result.unwrap() == {"ok": True}
    assert ("output_config" in sent) is native
    assert ("tool_choice" in sent) is not native


def test_a_missing_key_is_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    async def main() -> None:
        settings = PluginSettings(discover=False, plugins={"anthropic": plugin})
        async with Orchestra(plugins=settings) as orchestra:
            await orchestra.execute("x", "A", agents=[Agent("A", model="anthropic:claude-sonnet-4-5")])

    with pytest.raises(
        ConfigError,
        match="there is no key for model 'anthropic:claude-sonnet-4-5': set ANTHROPIC_API_KEY in the environment",
    ):
        run(main)


def test_a_missing_library_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "anthropic" else there(name)
    )
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    async def main() -> None:
        settings = PluginSettings(discover=False, plugins={"anthropic": plugin})
        async with Orchestra(plugins=settings) as orchestra:
            await orchestra.execute("x", "A", agents=[Agent("A", model="anthropic:claude-sonnet-4-5")])

    with pytest.raises(PluginError, match=r"pip install 'marsys-core\[anthropic\]'"):
        run(main)


@pytest.mark.slow
def test_the_library_is_imported_when_a_model_is_made_and_not_before() -> None:
    program = """
import sys
from marsys.anthropic._source import AnthropicSource
from marsys.anthropic.plugin import AnthropicSettings, marsys_models
from marsys_core.models import ModelConfig
list(marsys_models())
source = AnthropicSource(AnthropicSettings())
before = "anthropic" in sys.modules
source.model(ModelConfig(provider="anthropic", name="claude-x", api_key="no-real-key"))
print(before, "anthropic" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ran.stdout.split() == ["False", "True"]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-5-haiku-latest", 8_192),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-20250514", 32_000),
        ("claude-sonnet-4-5-20250929", 64_000),
        ("us.anthropic.claude-sonnet-4-5-v1:0", 64_000),
        ("claude-opus-5-5", 128_000),
        ("claude-quartz-7", 64_000),
        ("kimi-k2", 8_192),
    ],
)
def test_a_model_is_known_by_its_name_or_by_what_it_is_like(name: str, most: int) -> None:
    able = traits_of(name).capabilities()

    assert able.max_output_tokens == most
    assert (able.tools, able.streaming, able.images, able.files) == (True, True, True, True)


def test_models_that_cannot_be_made_to_call_a_tool_can_be_held_to_a_schema() -> None:
    from marsys.anthropic import _traits

    for traits in _traits._TABLE.values():
        assert traits.forced or traits.schema
