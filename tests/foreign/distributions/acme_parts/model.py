"""A model that shouts, and asks for a serial number first where it can."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import trio

from marsys_core.messages import ToolCall
from marsys_core.models import Capabilities, ModelDelta, ModelRequest, ModelResponse

__all__ = ["LoudModel"]


class LoudModel:
    """Calls ``acme_serial`` if it is offered, and says the last message aloud."""

    name = "acme-loud"
    capabilities = Capabilities(tools=True, streaming=True)

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer as a whole."""
        await trio.lowlevel.checkpoint()
        last = request.messages[-1]
        if last.role != "tool" and any(tool.name == "acme_serial" for tool in request.tools):
            call = ToolCall("1", "acme_serial", json.dumps({"part": last.text}))
            return ModelResponse(tool_calls=(call,), model=self.name)
        return ModelResponse(content=f"{last.text.upper()}!", model=self.name)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer in one piece."""
        response = await self.generate(request)
        yield ModelDelta(text=response.text, response=response)
