"""What is asked of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from marsys_core.errors import ConfigError, nearest
from marsys_core.messages import Message

__all__ = ["Caching", "ModelRequest", "Reasoning", "Sampling", "ToolChoice", "ToolSpec"]


@attrs.define(eq=False)
class ToolSpec:
    """A tool as a model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Sampling:
    """How to sample. None leaves a choice to the provider."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    def over(self, other: Sampling) -> Sampling:
        """Return this with what it leaves open as `other` has it."""
        if self is _DEFAULT_SAMPLING or self == _DEFAULT_SAMPLING:
            return other
        said = {
            field.name: value
            for field in attrs.fields(Sampling)
            if (value := getattr(self, field.name)) != field.default
        }
        return attrs.evolve(other, **said)


_MODES = ("auto", "none", "required", "tool")


@attrs.frozen
class ToolChoice:
    """Whether a model has to call a tool.

    Args:
        mode: ``"auto"``, it may; ``"none"``, it may not; ``"required"``, it calls one or more; ``"tool"``, it calls
            the one that is named.
        name: The tool, where `mode` is ``"tool"``.

    Raises:
        ConfigError: Another mode, or a name without need or a need without name.
    """

    mode: Literal["auto", "none", "required", "tool"] = "auto"
    name: str = ""

    def __attrs_post_init__(self) -> None:
        if self.mode not in _MODES:
            msg = f"a ToolChoice is one of {', '.join(_MODES)}, not {self.mode!r:.200}.{nearest(str(self.mode), _MODES)}"
            raise ConfigError(msg)
        if bool(self.name) is not (self.mode == "tool"):
            msg = f"a ToolChoice names a tool in mode 'tool' and only there, and here mode={self.mode!r}, name={self.name!r:.200}"
            raise ConfigError(msg)


_EFFORTS = ("none", "minimal", "low", "medium", "high", "max")


@attrs.frozen(kw_only=True)
class Reasoning:
    """How much a model is to think before it answers. A model that does not think leaves it out of account.

    Args:
        effort: ``none``, ``minimal``, ``low``, ``medium``, ``high`` or ``max``; None leaves it to the provider.
            A provider takes the nearest that it has.
        max_tokens: The most tokens that it may think for, where the provider takes a number.
        visible: Whether what it thinks, or a summary, is to come with the answer; None leaves it to the provider.

    Raises:
        ConfigError: Another effort, or a number below 0.
    """

    effort: Literal["none", "minimal", "low", "medium", "high", "max"] | None = None
    max_tokens: int | None = None
    visible: bool | None = None

    def __attrs_post_init__(self) -> None:
        if self.effort is not None and self.effort not in _EFFORTS:
            msg = f"the effort of Reasoning is one of {', '.join(_EFFORTS)}, not {self.effort!r:.200}.{nearest(str(self.effort), _EFFORTS)}"
            raise ConfigError(msg)
        if self.max_tokens is not None and (type(self.max_tokens) is not int or self.max_tokens < 0):
            msg = f"max_tokens of Reasoning is a whole number from 0, not {self.max_tokens!r:.200}"
            raise ConfigError(msg)

    @classmethod
    def of(cls, given: Any) -> Reasoning | None:
        """Return `given`; a text is an effort.

        Raises:
            ConfigError: It is neither, or another effort.
        """
        if given is None or isinstance(given, Reasoning):
            return given
        if isinstance(given, str):
            return cls(effort=given)  # type: ignore[arg-type]  # it is looked at when it is made
        msg = f"reasoning is an effort ({', '.join(_EFFORTS)}) or a Reasoning, not {given!r:.200}"
        raise ConfigError(msg)


@attrs.frozen(kw_only=True)
class Caching:
    """What of a request is worth keeping at the provider, because the next requests begin with the same.

    A provider that caches by itself, or not at all, leaves out of account what it has no use for.

    Args:
        instruction: The tools and the instruction.
        conversation: The conversation up to its last message.
        seconds: For how long; None leaves it to the provider.
        key: What requests with a common beginning have in common, where the provider wants to be told.
    """

    instruction: bool = True
    conversation: bool = True
    seconds: float | None = None
    key: str = ""


_DEFAULT_SAMPLING = Sampling()
_DEFAULT_CHOICE = ToolChoice()


@attrs.define(eq=False, kw_only=True)
class ModelRequest:
    """One question to a model.

    Args:
        messages: The conversation; a sequence that must not be changed, and may be a view.
        system: The instruction, apart from the conversation.
        tools: What the model may call.
        output_schema: A JSON Schema that the answer should meet, or None for free text.
        sampling: How to sample.
        deadline: When `model_timeout` ends this call, on Trio's clock, in seconds; None where that is not
            set. A step, branch or run may end earlier, which cancels the call.
        tool_choice: Whether it has to call a tool.
        parallel_tool_calls: Whether one answer may call several tools; None leaves it to the provider.
        reasoning: How much to think; None leaves it to the provider.
        caching: What to keep at the provider; None leaves it to the provider.
        options: What only this provider knows, by its own names, added to what it is sent.
    """

    messages: Sequence[Message]
    system: str = ""
    tools: Sequence[ToolSpec] = ()
    output_schema: Mapping[str, Any] | None = None
    sampling: Sampling = _DEFAULT_SAMPLING
    deadline: float | None = None
    tool_choice: ToolChoice = _DEFAULT_CHOICE
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    caching: Caching | None = None
    options: Mapping[str, Any] | None = None
