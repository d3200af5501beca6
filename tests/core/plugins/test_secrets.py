"""Who may look for keys, and where."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from marsys_core import Provider, hookimpl
from marsys_core.plugins import EngineInfo, compose, open_services
from marsys_core.plugins.knobs import PluginSettings
from marsys_core.plugins.providers import OpenContext

ENGINE = EngineInfo(name="test", version="0")


def test_the_environment_is_there_for_every_opener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TEST_KEY", "value\n")
    context = OpenContext(ENGINE, logging.getLogger("x"))

    async def main() -> list[Any]:
        return [await context.secrets.find("OTHER_TEST_KEY", "SOME_TEST_KEY"), await context.secrets.find()]

    found, nothing = trio.run(main)
    assert (found.reveal(), repr(found), nothing) == ("value", "Secret(SOME_TEST_KEY)", None)


def test_an_opener_finds_what_sources_hold_and_a_source_itself_the_environment_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    contexts: dict[str, OpenContext] = {}

    class Vault:
        async def secret(self, name: str) -> str | None:
            return "held" if name == "HELD_TEST_KEY" else " "

    class Plugin:
        @hookimpl
        def marsys_secrets(self) -> list[Provider[Any]]:
            return [
                Provider("vault", make=lambda context, _: contexts.setdefault("vault", context) and Vault())
            ]

        @hookimpl
        def marsys_models(self) -> list[Provider[Any]]:
            return [Provider("m", make=lambda context, _: contexts.setdefault("m", context))]

    async def main() -> list[Any]:
        composition = compose(PluginSettings(discover=False, plugins={"p": Plugin()}))
        async with open_services(composition, engine=ENGINE) as services:
            await services.get("model", "m")
            found = [await contexts["m"].secrets.find(name) for name in ("HELD_TEST_KEY", "BLANK_TEST_KEY")]
            return [*found, await contexts["vault"].secrets.find("HELD_TEST_KEY")]

    held, blank, alone = trio.run(main)
    assert (held.reveal(), blank, alone) == ("held", None, None)
