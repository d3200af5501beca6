"""The model."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import trio

from marsys_core.errors import ModelError, ModelErrorKind
from marsys_core.models import Capabilities, ModelDelta, ModelRequest, ModelResponse

__all__ = ["EchoModel"]


@attrs.frozen(kw_only=True)
class EchoModel:
    """Answers with the last message it was sent.

    Args:
        prefix: What stands before every answer.
    """

    prefix: str = ""

    @property
    def name(self) -> str:
        """What traces and prices know the model by."""
        return "echo"

    @property
    def capabilities(self) -> Capabilities:
        """What may be asked of it: it calls no tools."""
        return Capabilities(tools=False, streaming=True)

    async def generate(self, request: ModelRequest) -> ModelResponse:
        """Answer as a whole.

        Raises:
            ModelError: There is no message, or one without text.
        """
        await trio.lowlevel.checkpoint()
        text = request.messages[-1].text if request.messages else ""
        if not text:
            msg = "the echo has nothing to say: the last message has no text"
            raise ModelError(msg, kind=ModelErrorKind.BAD_REQUEST)
        return ModelResponse(content=self.prefix + text, model=self.name)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta]:
        """Answer line by line.

        Raises:
            ModelError: There is no message, or one without text.
        """
        response = await self.generate(request)
        for line in response.text.splitlines(keepends=True):
            yield ModelDelta(text=line)
        yield ModelDelta(response=response)
