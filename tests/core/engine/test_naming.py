"""From a name to a model: providers of many models, their keys, and what a config adds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from marsys_core import Provider, events, hookimpl
from marsys_core.agents import Agent
from marsys_core.errors import ConfigError, UnknownName
from marsys_core.models import Capabilities, ModelConfig, Sampling
from marsys_core.orchestra import Orchestra
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.results import RunResult
from tests.core.fakes import FakeModel, Heard, virtually
from tests.core.stores import MemoryStore

KEY = "sk-0123456789-secret"


class Source:
    """Makes models, and keeps what it was asked for."""

    key_names = ("ACME_TEST_KEY", "ACME_OTHER_KEY")

    def __init__(self) -> None:
        self.made: list[ModelConfig] = []
        self.models: list[FakeModel] = []

    def model(self, config: ModelConfig) -> FakeModel:
        if config.name == "gone":
            raise UnknownName("model of 'acme'", config.name, ["big", "small"])
        self.made.append(config)
        self.models.append(FakeModel(lambda request: f"by {config.name}", name=config.name))
        return self.models[-1]


class Keyless(Source):
    key_names = ()

    async def model(self, config: ModelConfig) -> FakeModel:  # type: ignore[override]
        await trio.lowlevel.checkpoint()
        return super().model(config)


class Optional(Source):
    key_optional = True


class Vault:
    """A source of secrets."""

    def __init__(self, **keys: str) -> None:
        self.keys, self.asked = keys, []

    async def secret(self, name: str) -> str | None:
        await trio.lowlevel.checkpoint()
        self.asked.append(name)
        return self.keys.get(name)


class Plugin:
    def __init__(self, source: Any, vault: Any = None) -> None:
        self.source, self.vault = source, vault

    @hookimpl
    def marsys_models(self) -> list[Provider[Any]]:
        @asynccontextmanager
        async def opened(_context: Any, _settings: Any) -> AsyncIterator[Any]:
            yield self.source

        @asynccontextmanager
        async def one(_context: Any, _settings: Any) -> AsyncIterator[Any]:
            yield FakeModel(lambda request: "by the only one")

        return [Provider("acme", opened), Provider("single", one)]

    @hookimpl
    def marsys_secrets(self) -> list[Provider[Any]]:
        return [] if self.vault is None else [Provider("vault", make=lambda _context, _settings: self.vault)]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Source.key_names:
        monkeypatch.delenv(name, raising=False)


def run_with(
    source: Any, *models: Any, vault: Any = None, heard: Heard | None = None, storage: Any = None
) -> RunResult:
    settings = PluginSettings(discover=False, plugins={"acme": Plugin(source, vault)})
    agents = [Agent(f"A{index}", model=model) for index, model in enumerate(models)]

    async def main() -> RunResult:
        sinks = [] if heard is None else [heard]
        async with Orchestra(plugins=settings, sinks=sinks, storage=storage) as orchestra:
            return await orchestra.execute("x", " -> ".join(agent.name for agent in agents), agents=agents)

    return virtually(main)


def test_a_name_is_a_provider_and_a_model_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_TEST_KEY", KEY)
    source = Source()

    assert run_with(source, "acme:big").unwrap() == "by big"
    assert [str(config) for config in source.made] == ["acme:big"]


def test_equal_names_are_one_model() -> None:
    source = Keyless()
    sampled = [ModelConfig(provider="acme", name="big", sampling=Sampling(seed=1)) for _ in range(2)]
    run_with(source, "acme:big", "acme:big", "acme:small", *sampled)

    assert [config.name for config in source.made] == ["big", "small", "big"]


def test_a_model_of_its_own_name_is_found_as_ever() -> None:
    assert run_with(Source(), "single").unwrap() == "by the only one"


@pytest.mark.parametrize(
    ("model", "error", "text"),
    [
        ("acme", ConfigError, "'acme' has many models; name one of them: 'acme:NAME'"),
        ("single:one", ConfigError, "'single' is a model, and has none called 'one'; write 'single'"),
        (
            "acmee:big",
            UnknownName,
            "no provider of models is called 'acmee'; there are: acme, single. Did you mean 'acme'? "
            "(for model 'acmee:big') (agent 'A0')",
        ),
        ("acme:", ConfigError, "a model is named as 'provider:model', and not 'acme:'"),
        (
            "acme:gone",
            UnknownName,
            "no model of 'acme' is called 'gone'; there are: big, small.  (agent 'A0')",
        ),
        (
            "acme:big",
            ConfigError,
            "there is no key for model 'acme:big': set ACME_TEST_KEY or ACME_OTHER_KEY in the environment, "
            "or give ModelConfig(api_key=...)",
        ),
    ],
)
def test_a_name_of_nothing_says_what_to_do_before_anything_runs(
    model: str, error: type[Exception], text: str
) -> None:
    source: Any = Keyless() if model == "acme:gone" else Source()
    with pytest.raises(error) as caught:
        run_with(source, model)

    assert str(caught.value).replace("  ", " ") == text.replace("  ", " ")
    assert getattr(caught.value, "result").total_steps == 0  # noqa: B009 - only these errors have one


def test_a_key_is_given_or_in_the_environment_or_in_a_source_in_this_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vault = Vault(ACME_OTHER_KEY="from the vault")
    source = Source()
    run_with(source, "acme:one", vault=vault)
    assert vault.asked == ["ACME_TEST_KEY", "ACME_OTHER_KEY"]
    monkeypatch.setenv("ACME_OTHER_KEY", "from the environment")
    run_with(source, "acme:two", vault=vault)
    run_with(source, ModelConfig(provider="acme", name="three", api_key="given"), vault=vault)

    assert [config.api_key and config.api_key.reveal() for config in source.made] == [
        "from the vault", "from the environment", "given",
    ]  # fmt: skip
    assert len(vault.asked) == 2


def test_a_source_may_do_without_a_key() -> None:
    source = Optional()

    assert run_with(source, "acme:local").unwrap() == "by local"
    assert source.made[0].api_key is None


def test_a_source_of_secrets_that_breaks_is_told() -> None:
    class Broken:
        async def secret(self, name: str) -> str | None:
            raise ConfigError("the vault is sealed")

    with pytest.raises(ConfigError, match="^the vault is sealed$"):
        run_with(Source(), "acme:big", vault=Broken())


def test_what_a_config_says_fills_what_requests_leave_open() -> None:
    source = Keyless()
    config = ModelConfig(
        provider="acme", name="big", sampling=Sampling(temperature=0.0), reasoning="low", options={"a": 1}
    )
    run_with(source, config)
    [request] = source.models[0].requests

    assert request.sampling == Sampling(temperature=0.0)
    assert request.reasoning == config.reasoning
    assert request.options == {"a": 1}


def test_what_a_config_says_of_capabilities_holds() -> None:
    source = Keyless()
    able = Capabilities(output_schema=False, tools=False, input_price=3)
    settings = PluginSettings(discover=False, plugins={"acme": Plugin(source)})

    async def main() -> Any:
        async with Orchestra(plugins=settings) as orchestra:
            model = await orchestra.engine.model(ModelConfig(provider="acme", name="big", capabilities=able))
            plain = await orchestra.engine.model("acme:big")
            return model.capabilities, model.name, repr(model), plain.capabilities

    given, name, shown, own = virtually(main)
    assert (given, name, own) == (able, "big", FakeModel.capabilities)
    assert shown.startswith("<acme:big <")


def test_no_key_is_in_the_record_of_a_run_or_in_what_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACME_TEST_KEY", KEY)
    store, heard = MemoryStore(), Heard()
    given = ModelConfig(provider="acme", name="small", api_key=KEY, sampling=Sampling(seed=1))
    run_with(Source(), "acme:big", given, heard=heard, storage=store)
    kept = next(iter(store.kept.values()))

    assert heard.of(events.RunFinished)
    assert KEY not in repr(heard.events)
    assert KEY not in repr([entry.data for entry in kept.entries])
    assert KEY not in repr(kept)
    assert "acme:small" in repr(kept)
