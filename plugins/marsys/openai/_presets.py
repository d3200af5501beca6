"""Who speaks Chat Completions: where each is, what its key is called, and in what it differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import attrs

from marsys_core.models import Capabilities

__all__ = ["PRESETS", "Preset", "Thinking"]

Back = Literal["", "reasoning_content", "reasoning", "reasoning_details", "content"]

_SAME = {each: each for each in ("none", "minimal", "low", "medium", "high")}
_ALL = {**_SAME, "max": "high"}
_THREE = {**_ALL, "minimal": "low"}


@attrs.frozen(kw_only=True)
class Thinking:
    """How a provider is told how much a model is to think, and takes back what it thought.

    Args:
        form: As what it is told: ``reasoning_effort``; an object ``reasoning``; an object ``thinking`` that is on or
            off; a switch ``enable_thinking`` with ``thinking_budget``, by itself or for the chat template; or not at all.
        efforts: The provider's word for each effort; one that is missing is not told.
        back: In which field of an assistant's message it wants its thoughts back; ``content``: among the parts.
        back_with_calls: Whether it wants them only where the message calls tools.
        back_always: Whether a message that calls tools has to have that field, also where nothing is known of thoughts.
    """

    form: Literal["", "effort", "object", "switch", "enable", "template"] = "effort"
    efforts: Mapping[str, str] = attrs.field(default=attrs.Factory(lambda: _THREE))
    back: Back = ""
    back_with_calls: bool = True
    back_always: bool = False


_ABLE = Capabilities(
    tools=True, tool_choice=True, output_schema=True, streaming=True, images=True, reasoning=True
)
_NO_SCHEMA = attrs.evolve(_ABLE, output_schema=False)


@attrs.frozen(kw_only=True)
class Preset:
    """A provider, and in what it differs from OpenAI.

    Args:
        name: What its models are named by: ``groq`` in ``"groq:llama-3.3-70b-versatile"``.
        summary: One line about it.
        base_url: Where it is; empty where that has to be said.
        key_names: Under which names its key is looked for.
        key_optional: Whether it is asked without a key, too.
        key_header: In which header the key goes, where that is not ``Authorization``.
        capabilities: What its models can do, as far as that holds for all.
        limit_field: What it calls the most tokens of an answer.
        seed_field: What it calls the seed.
        extra_sampling: What of `Sampling` it takes that OpenAI does not.
        stream_usage: Whether it is asked for the usage of a stream; others tell it unasked.
        named_tool: Whether it can be made to call one tool by its name.
        call_id: What the ids of tool calls have to look like, where they are its own only.
        pdf: How it takes documents: as OpenAI does, or by address.
        caching: How it is told what to keep: by a key, by marks in the messages, or not at all.
        names: Whether messages may say who of several speaks.
        strict_arguments: Whether it refuses a history with a tool call whose arguments are no JSON object.
        thinking: How its models think.
        of_openai: Whether it is OpenAI itself.
    """

    name: str
    summary: str
    base_url: str = ""
    key_names: tuple[str, ...] = ()
    key_optional: bool = False
    key_header: str = ""
    capabilities: Capabilities = _ABLE
    limit_field: str = "max_tokens"
    seed_field: str = "seed"
    extra_sampling: frozenset[str] = frozenset()
    stream_usage: bool = True
    named_tool: bool = True
    call_id: Literal["", "nine"] = ""
    pdf: Literal["", "file", "url"] = ""
    caching: Literal["", "key", "marks"] = ""
    names: bool = False
    strict_arguments: bool = True
    thinking: Thinking = Thinking()
    of_openai: bool = False


_TOP_K = frozenset({"top_k"})
_FILES = attrs.evolve(_ABLE, files=True)
_SWITCH = {"none": "disabled", **dict.fromkeys(("minimal", "low", "medium", "high", "max"), "enabled")}
_SWITCHED = Thinking(
    form="switch", efforts=_SWITCH, back="reasoning_content", back_with_calls=False, back_always=True
)
_LOCAL = "a server on this machine; base_url says where else"

_TABLE = (
    Preset(
        name="openai-chat",
        summary="Models of OpenAI through Chat Completions",
        key_names=("OPENAI_API_KEY",),
        capabilities=_FILES,
        limit_field="max_completion_tokens",
        pdf="file",
        caching="key",
        names=True,
        strict_arguments=False,
        thinking=Thinking(efforts=_ALL),
        of_openai=True,
    ),
    Preset(
        name="openai-compatible",
        summary="Models of any server that speaks Chat Completions; base_url says where it is",
        key_names=("OPENAI_COMPATIBLE_API_KEY",),
        key_optional=True,
        extra_sampling=_TOP_K,
    ),
    Preset(
        name="azure",
        summary="Models of OpenAI and others at Azure; base_url is https://NAME.openai.azure.com/openai/v1",
        key_names=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        key_header="api-key",
        capabilities=_FILES,
        limit_field="max_completion_tokens",
        caching="key",
        names=True,
        thinking=Thinking(efforts=_ALL),
    ),
    Preset(
        name="ollama",
        summary=f"Models of Ollama, {_LOCAL}",
        base_url="http://127.0.0.1:11434/v1",
        key_names=("OLLAMA_API_KEY",),
        key_optional=True,
        capabilities=attrs.evolve(_ABLE, tool_choice=False),
        thinking=Thinking(back="reasoning"),
    ),
    Preset(
        name="ollama-cloud",
        summary="Models that Ollama runs",
        base_url="https://ollama.com/v1",
        key_names=("OLLAMA_API_KEY",),
        capabilities=attrs.evolve(_ABLE, tool_choice=False),
        thinking=Thinking(back="reasoning"),
    ),
    Preset(
        name="vllm",
        summary=f"Models of vLLM, {_LOCAL}",
        base_url="http://127.0.0.1:8000/v1",
        key_names=("VLLM_API_KEY",),
        key_optional=True,
        extra_sampling=_TOP_K,
        thinking=Thinking(back="reasoning"),
    ),
    Preset(
        name="lmstudio",
        summary=f"Models of LM Studio, {_LOCAL}",
        base_url="http://127.0.0.1:1234/v1",
        key_names=("LMSTUDIO_API_KEY",),
        key_optional=True,
        extra_sampling=_TOP_K,
        named_tool=False,
    ),
    Preset(
        name="llamacpp",
        summary=f"Models of llama.cpp's server, {_LOCAL}",
        base_url="http://127.0.0.1:8080/v1",
        key_names=("LLAMACPP_API_KEY",),
        key_optional=True,
        extra_sampling=_TOP_K,
        named_tool=False,
        thinking=Thinking(form="template", back="reasoning_content"),
    ),
    Preset(
        name="openrouter",
        summary="Models of many providers through OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        key_names=("OPENROUTER_API_KEY",),
        capabilities=_FILES,
        extra_sampling=_TOP_K,
        pdf="file",
        caching="marks",
        thinking=Thinking(
            form="object", efforts={**_SAME, "max": "xhigh"}, back="reasoning_details", back_with_calls=False
        ),
    ),
    Preset(
        name="xai",
        summary="Models of xAI",
        base_url="https://api.x.ai/v1",
        key_names=("XAI_API_KEY",),
        thinking=Thinking(
            efforts={"minimal": "low", "low": "low", "medium": "high", "high": "high", "max": "high"}
        ),
    ),
    Preset(
        name="groq",
        summary="Models that Groq runs",
        base_url="https://api.groq.com/openai/v1",
        key_names=("GROQ_API_KEY",),
        capabilities=_NO_SCHEMA,
        limit_field="max_completion_tokens",
        thinking=Thinking(back="reasoning"),
    ),
    Preset(
        name="mistral",
        summary="Models of Mistral",
        base_url="https://api.mistral.ai/v1",
        key_names=("MISTRAL_API_KEY",),
        capabilities=_FILES,
        seed_field="random_seed",
        stream_usage=False,
        call_id="nine",
        pdf="url",
        thinking=Thinking(
            efforts={
                "none": "none",
                "minimal": "none",
                **dict.fromkeys(("low", "medium", "high", "max"), "high"),
            },
            back="content",
            back_with_calls=False,
        ),
    ),
    Preset(
        name="deepseek",
        summary="Models of DeepSeek",
        base_url="https://api.deepseek.com",
        key_names=("DEEPSEEK_API_KEY",),
        capabilities=attrs.evolve(_NO_SCHEMA, images=False),
        thinking=_SWITCHED,
    ),
    Preset(
        name="together",
        summary="Models that Together runs",
        base_url="https://api.together.xyz/v1",
        key_names=("TOGETHER_API_KEY",),
        extra_sampling=_TOP_K,
    ),
    Preset(
        name="fireworks",
        summary="Models that Fireworks runs",
        base_url="https://api.fireworks.ai/inference/v1",
        key_names=("FIREWORKS_API_KEY",),
        extra_sampling=_TOP_K,
        thinking=Thinking(back="reasoning_content"),
    ),
    Preset(
        name="cerebras",
        summary="Models that Cerebras runs",
        base_url="https://api.cerebras.ai/v1",
        key_names=("CEREBRAS_API_KEY",),
        capabilities=attrs.evolve(_ABLE, images=False),
        limit_field="max_completion_tokens",
    ),
    Preset(
        name="perplexity",
        summary="Models of Perplexity, which search the web",
        base_url="https://api.perplexity.ai",
        key_names=("PERPLEXITY_API_KEY",),
        capabilities=attrs.evolve(_ABLE, tools=False, tool_choice=False),
        thinking=Thinking(efforts=_ALL),
    ),
    Preset(
        name="moonshot",
        summary="Models of Moonshot",
        base_url="https://api.moonshot.ai/v1",
        key_names=("MOONSHOT_API_KEY",),
        capabilities=_NO_SCHEMA,
        named_tool=False,
        thinking=_SWITCHED,
    ),
    Preset(
        name="zai",
        summary="Models of Z.ai",
        base_url="https://api.z.ai/api/paas/v4",
        key_names=("ZAI_API_KEY",),
        capabilities=attrs.evolve(_NO_SCHEMA, tool_choice=False),
        thinking=_SWITCHED,
    ),
    Preset(
        name="alibaba",
        summary="Models of Alibaba Cloud",
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_names=("DASHSCOPE_API_KEY",),
        capabilities=_NO_SCHEMA,
        extra_sampling=_TOP_K,
        thinking=Thinking(form="enable", back="reasoning_content"),
    ),
    Preset(
        name="huggingface",
        summary="Models of many providers through Hugging Face",
        base_url="https://router.huggingface.co/v1",
        key_names=("HF_TOKEN",),
    ),
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _TABLE}
"""The providers, by their names."""
