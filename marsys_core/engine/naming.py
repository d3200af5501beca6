"""From the name of a model to the model: ``"extractive"``, ``"openai:gpt-5"``, a `ModelConfig`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from marsys_core.errors import ConfigError, UnknownName
from marsys_core.models import ConfiguredModel, ModelConfig, usable_model

if TYPE_CHECKING:
    from marsys_core.engine.engine import Engine

__all__ = ["model_of"]


async def model_of(engine: Engine, given: str | ModelConfig) -> Any:
    """Return the model that `given` names.

    Raises:
        UnknownName: No plugin provides it, or the provider has no such model.
        PluginError: Its provider cannot be opened.
        ConfigError: There is no key for it, or the name is not one of a model.
    """
    known = engine.composition.names("model")
    if isinstance(given, str) and (given in known or ":" not in given):
        opened = await engine.get("model", given)
        if _is_source(opened):
            msg = f"{given!r} has many models; name one of them: '{given}:NAME'"
            raise ConfigError(msg)
        return usable_model(opened, _whose(engine, given, given))
    config = ModelConfig.of(given)
    if config.provider not in known:
        raise UnknownName("provider of models", config.provider, known, f"(for model {str(config)!r})")
    source = await engine.get("model", config.provider)
    if not _is_source(source):
        msg = (
            f"{config.provider!r} is a model, and has none called {config.name!r}; write {config.provider!r}"
        )
        raise ConfigError(msg)
    config = await _with_key(engine, source, config)
    made = source.model(config)
    model = usable_model(
        await made if hasattr(made, "__await__") else made, _whose(engine, config.provider, config)
    )
    return ConfiguredModel(model, config) if config.fills or config.capabilities is not None else model


def _is_source(opened: Any) -> bool:
    return callable(getattr(opened, "model", None)) and not hasattr(opened, "generate")


def _whose(engine: Engine, provider: str, given: object) -> str:
    return f"what model {str(given)!r} {engine.composition.origin_of('model', provider)} opened to"


async def _with_key(engine: Engine, source: Any, config: ModelConfig) -> ModelConfig:
    names = tuple(getattr(source, "key_names", ()))
    if config.api_key is not None or not names:
        return config
    found = await engine.services.secrets.find(*names)
    if found is not None:
        return attrs.evolve(config, api_key=found)
    if getattr(source, "key_optional", False):
        return config
    msg = (
        f"there is no key for model {str(config)!r}: set {' or '.join(names)} in the environment, "
        "or give ModelConfig(api_key=...)"
    )
    raise ConfigError(msg)
