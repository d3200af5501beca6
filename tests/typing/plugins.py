"""What a plugin's author writes, to a type checker."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import attrs

from marsys import ModelRequest, ModelResponse, PluginSettings, Topology
from marsys_core import Provider, hookimpl
from marsys_core.models import Capabilities, Model, ModelDelta
from marsys_core.plugins import OpenContext
from marsys_core.protocols.event_sink import EventSink
from marsys_core.topology import Pattern


@attrs.frozen(kw_only=True)
class EchoSettings:
    prefix: str = ""


class Echo:
    """Inherits from nothing, and is a model all the same."""

    name = "echo"
    capabilities = Capabilities(tools=False)

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    async def generate(self, request: ModelRequest) -> ModelResponse:
        return ModelResponse(content=self.prefix + request.messages[-1].text)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        yield ModelDelta(response=await self.generate(request))


@asynccontextmanager
async def open_echo(context: OpenContext, settings: EchoSettings) -> AsyncIterator[Model]:
    context.log.debug("opened by %s", context.engine.name)
    yield Echo(settings.prefix)


@hookimpl
def marsys_models() -> Iterable[Provider[Model]]:
    return [Provider("echo", open_echo, settings=EchoSettings)]


@hookimpl
def marsys_topologies() -> Iterable[Pattern]:
    return [Pattern("pair", build=lambda left, right: Topology.of(f"{left} <-> {right}"), summary="Two")]


class Heard:
    def on_event(self, event: object) -> None: ...


sink: EventSink = Heard()
settings = PluginSettings(only=["models"], sections={"models": {}}, strict=True)
