"""Which model, and how: what a name such as ``"openai:gpt-5"`` stands for."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from marsys_core.errors import ConfigError
from marsys_core.models.protocol import Capabilities, Model
from marsys_core.models.request import Caching, ModelRequest, Reasoning, Sampling
from marsys_core.secret import Secret

__all__ = ["ConfiguredModel", "ModelConfig", "ModelSource"]


def _is_word(config: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, str) or not value or value != value.strip():
        msg = f"{attribute.name} of a ModelConfig is a text without spaces round it, not {value!r:.200}"
        raise ConfigError(msg)
    if attribute.name == "provider" and ":" in value:
        msg = f"the provider of a ModelConfig has no colon in it, and here it is {value!r:.200}; give the rest as name="
        raise ConfigError(msg)


def _secret(given: Secret | str | None) -> Secret | None:
    return Secret.of(given)


def _reasoning(given: Reasoning | str | None) -> Reasoning | None:
    return Reasoning.of(given)


@attrs.frozen(kw_only=True)
class ModelConfig:
    """A model of a provider, and what it is asked with where a request leaves it open.

    Give it to an agent in place of a name, where ``"provider:model"`` does not say enough.

    Args:
        provider: Who has the model: the name of a provider that a plugin offers.
        name: The model, in the provider's words.
        api_key: The key; by default it is looked for under the names that the provider gives, in the environment and
            then in the secret sources of plugins.
        base_url: Where the provider is, where that is another place than usual.
        sampling: How to sample.
        reasoning: How much to think: an effort, such as ``"low"``, or a `Reasoning`.
        caching: What to keep at the provider.
        parallel_tool_calls: Whether one answer may call several tools.
        options: What only this provider knows, by its own names, added to every request.
        capabilities: What the model can do and costs, where you know it better than the plugin.

    Raises:
        ConfigError: A provider or a name that is none, or another value that cannot be right.
    """

    provider: str = attrs.field(validator=_is_word)
    name: str = attrs.field(validator=_is_word)
    api_key: Secret | None = attrs.field(default=None, converter=_secret)
    base_url: str = ""
    sampling: Sampling | None = None
    reasoning: Reasoning | None = attrs.field(default=None, converter=_reasoning)
    caching: Caching | None = None
    parallel_tool_calls: bool | None = None
    options: Mapping[str, Any] = attrs.field(factory=dict)
    capabilities: Capabilities | None = None

    @classmethod
    def of(cls, given: str | ModelConfig) -> ModelConfig:
        """Return `given`; a text is ``"provider:model"``, cut at its first colon.

        Raises:
            ConfigError: There is no colon in it, or nothing before or after it.
        """
        if isinstance(given, ModelConfig):
            return given
        provider, colon, name = given.partition(":")
        if not (colon and provider and name):
            msg = f"a model is named as 'provider:model', and not {given!r:.200}"
            raise ConfigError(msg)
        return cls(provider=provider, name=name)

    def __str__(self) -> str:
        return f"{self.provider}:{self.name}"

    def __hash__(self) -> int:
        return hash((self.provider, self.name))

    def fill(self, request: ModelRequest) -> ModelRequest:
        """Return `request` with what it leaves open as it is set here."""
        if self.sampling is not None:
            request = attrs.evolve(request, sampling=request.sampling.over(self.sampling))
        unsaid = {
            field: value
            for field in ("reasoning", "caching", "parallel_tool_calls")
            if getattr(request, field) is None and (value := getattr(self, field)) is not None
        }
        if self.options:
            unsaid["options"] = {**self.options, **(request.options or {})}
        return attrs.evolve(request, **unsaid) if unsaid else request

    @property
    def fills(self) -> bool:
        """Whether there is anything that a request might leave open."""
        own = (self.sampling, self.reasoning, self.caching, self.parallel_tool_calls)
        return any(value is not None for value in own) or bool(self.options)


class ModelSource(Protocol):
    """What a provider of many models opens to: it makes the model that a name stands for.

    With ``key_optional = True`` it is asked without a key as well.

    Attributes:
        key_names: Under which names its key is looked for; none where it needs no key.
    """

    key_names: Sequence[str]

    def model(self, config: ModelConfig) -> Model | Awaitable[Model]:
        """Return the model that `config` names; its `api_key` has been found already. It may be async.

        Raises:
            UnknownName: It has no such model.
            ConfigError: A setting that it cannot honour.
        """


class ConfiguredModel:
    """A model with what it is asked with where a request leaves it open; everything else is the model's own.

    Attributes:
        defaults: What a request that leaves something open is filled with, by whoever makes it.
    """

    def __init__(self, model: Any, config: ModelConfig) -> None:
        self._model = model
        self.defaults = config
        self.capabilities = config.capabilities or getattr(model, "capabilities", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __repr__(self) -> str:
        return f"<{self.defaults} {self._model!r}>"
