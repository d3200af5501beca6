"""A plugin written for version 1 of the hook contract. It must load for as long as that is spoken."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from marsys_core import Provider, hookimpl

marsys_api = 1


@asynccontextmanager
async def open_echo(context: Any, settings: Any) -> AsyncIterator[str]:
    yield "echo"


@hookimpl
def marsys_models(settings: Any) -> list[Provider[Any]]:
    return [Provider("echo", open_echo, summary="Answers with what it was told")]


@hookimpl
def marsys_choose(kind: str, names: Sequence[str], settings: Any) -> str | None:
    return "echo" if kind == "model" else None
