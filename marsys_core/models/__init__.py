"""The model protocol: what is asked of a language model, and what it answers.

A model is any object with `generate` (or `stream`) and a `name`. Its errors are
`marsys_core.errors.ModelError`, classified, so that retries, fallbacks and the three endings of a run
need not know the provider.
"""

from marsys_core.models.accumulator import Accumulator, collect, deltas_of
from marsys_core.models.config import ConfiguredModel, ModelConfig, ModelSource
from marsys_core.models.deltas import (
    CallClosed,
    CallDelta,
    CallOpened,
    ModelDelta,
    PartAdded,
    PartClosed,
    ReasoningDelta,
    RefusalDelta,
    StreamAbandoned,
    StreamEnded,
    TextDelta,
    UsageDelta,
)
from marsys_core.models.http import kind_of_status, wait_of
from marsys_core.models.protocol import Capabilities, Model, StreamingModel, usable_model
from marsys_core.models.request import Caching, ModelRequest, Reasoning, Sampling, ToolChoice, ToolSpec
from marsys_core.models.response import FinishReason, ModelResponse, content_of, unanswered

__all__ = [
    "Accumulator",
    "Caching",
    "CallClosed",
    "CallDelta",
    "CallOpened",
    "Capabilities",
    "ConfiguredModel",
    "FinishReason",
    "Model",
    "ModelConfig",
    "ModelDelta",
    "ModelRequest",
    "ModelResponse",
    "ModelSource",
    "PartAdded",
    "PartClosed",
    "Reasoning",
    "ReasoningDelta",
    "RefusalDelta",
    "Sampling",
    "StreamAbandoned",
    "StreamEnded",
    "StreamingModel",
    "TextDelta",
    "ToolChoice",
    "ToolSpec",
    "UsageDelta",
    "collect",
    "content_of",
    "deltas_of",
    "kind_of_status",
    "unanswered",
    "usable_model",
    "wait_of",
]
