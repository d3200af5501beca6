"""The actions in which every step ends, and reading one from what an agent returned."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from marsys_core.messages import shown

__all__ = [
    "Action",
    "AskUser",
    "CallTools",
    "Content",
    "EndConversation",
    "Fail",
    "Finish",
    "Invoke",
    "Malformed",
    "Replies",
    "Return",
    "read_action",
]

Replies = tuple[tuple[str, int, int], ...]
"""Which calls answer which tool call of a model: (tool call id, first call, after the last)."""


class Action:
    """What a step ends in. Agents return one of the subclasses, or anything else as plain content."""

    __slots__ = ()


def _calls(value: Iterable[Any]) -> tuple[tuple[str, Any], ...]:
    calls: list[tuple[str, Any]] = []
    for call in value:
        if isinstance(call, str) or not isinstance(call, Iterable):
            msg = f"Invoke takes a sequence of (node, payload), not {shown(call)}; write Invoke([({shown(call)}, payload)])"
            raise TypeError(msg)
        given = tuple(call)
        if len(given) != 2:
            msg = f"a call is (node, payload), not {shown(call)}"
            raise TypeError(msg)
        node, payload = given
        if not isinstance(node, str):
            msg = f"the node of a call is its name, not {shown(node)}"
            raise TypeError(msg)
        calls.append((node, payload))
    if not calls:
        msg = "Invoke needs at least one (node, payload)"
        raise ValueError(msg)
    return tuple(calls)


def _wait(value: Any) -> bool:
    if type(value) is not bool:
        msg = f"wait is True or False, not {shown(value)}"
        raise TypeError(msg)
    return value


def _policy(value: Any) -> Any:
    """Return a policy that can be judged later; what it says may still be refused, with the branch's name."""
    if value is None or isinstance(value, float | str):
        return value
    from marsys_core.topology import ConvergencePolicy

    if isinstance(value, ConvergencePolicy):
        return value
    if isinstance(value, Mapping):
        return _readable(value)
    msg = f"policy is a float, 'all', 'majority', 'any', a mapping, a ConvergencePolicy or None, not {shown(value)}"
    if type(value) is int:
        msg += "; for a number of calls write {'quorum': n}"
    raise TypeError(msg)


def _readable(given: Mapping[Any, Any]) -> dict[Any, Any]:
    from marsys_core.errors import TopologyError
    from marsys_core.topology import ConvergencePolicy

    try:
        policy = dict(given)
        with contextlib.suppress(TopologyError):  # refused where the fork is made, with the branch's place
            ConvergencePolicy.of(policy)
    except Exception as error:
        msg = f"the policy {shown(given)} cannot be read: {type(error).__name__}"
        raise TypeError(msg) from error
    return policy


_LIMITS = ("max_steps", "max_tokens", "max_cost", "max_tool_calls")


def _budget(value: Any) -> Any:
    """Return a share of a budget: limits by name, or a fraction of what is left."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 < value <= 1:
            return float(value)
        msg = f"a budget that is a fraction lies above 0 and is at most 1, not {shown(value)}"
        raise ValueError(msg)
    if not isinstance(value, Mapping):
        msg = (
            f"budget is a fraction of what is left, or a mapping of {', '.join(_LIMITS)}, not {shown(value)}"
        )
        raise TypeError(msg)
    for limit, most in value.items():
        _check_share(limit, most)
    return dict(value)


def _check_share(limit: Any, most: Any) -> None:
    if limit not in _LIMITS:
        from marsys_core.errors import nearest

        msg = f"no limit of a budget is called {shown(limit)}; there are: {', '.join(_LIMITS)}."
        raise ValueError(msg + nearest(str(limit), _LIMITS))
    kinds: Any = int | float if limit == "max_cost" else int
    if isinstance(most, bool) or not isinstance(most, kinds) or not 0 <= most < math.inf:
        noun = "number" if limit == "max_cost" else "whole number"
        msg = f"{limit} of a budget is a {noun} from 0, not {shown(most)}"
        raise ValueError(msg)


def _reason(value: Any) -> str | BaseException:
    if isinstance(value, str | BaseException):
        return value
    msg = f"Fail takes a text or an exception, not {shown(value)}"
    if isinstance(value, type) and issubclass(value, BaseException):
        msg += f"; write Fail({value.__name__}(...))"
    raise TypeError(msg)


@attrs.frozen
class Invoke(Action):
    """Hand work to other nodes.

    One call along a bidirectional edge is a call that comes back; along any other edge the branch moves
    there for good. Two or more are a fork: one child branch each, which meet again.

    Args:
        calls: A non-empty sequence of ``(node, payload)``.
        wait: False starts the calls as detached branches: this agent goes on at once and gets their ids.
        policy: For a fork, the convergence policy: an object, a float, ``"all"``, ``"majority"``, ``"any"``,
            or a mapping of its fields.
        replies: Set by the engine for agents that act by tool calls.
        budget: For a fork, or with ``wait=False``: what all its children may spend together, with everything
            below them. A mapping of ``max_steps``, ``max_tokens``, ``max_cost`` and ``max_tool_calls``, or a
            fraction, above 0 and at most 1, of what is left to this agent. It spends from the agent's own.

    Raises:
        TypeError: What is given is none of these.
        ValueError: There are no calls, or a budget that is none.
    """

    calls: tuple[tuple[str, Any], ...] = attrs.field(converter=_calls)
    wait: bool = attrs.field(default=True, converter=_wait)
    policy: Any = attrs.field(default=None, kw_only=True, converter=_policy)
    replies: Replies = attrs.field(default=(), kw_only=True, repr=False)
    budget: float | Mapping[str, float] | None = attrs.field(default=None, kw_only=True, converter=_budget)

    @property
    def asks(self) -> bool:
        """Whether this is a question to a person: one call, of ``user``."""
        return len(self.calls) == 1 and self.calls[0][0] == "user"


@attrs.frozen
class Return(Action):
    """Answer whoever is waiting: the caller; else the join of the enclosing fork; else the run."""

    value: Any = None


@attrs.frozen
class Finish(Action):
    """Contribute to the run's result from wherever the branch is, and end the branch."""

    value: Any = None


def _options(value: Iterable[str]) -> tuple[str, ...]:
    options = (value,) if isinstance(value, str) else tuple(value)
    if isinstance(value, str) or not all(isinstance(option, str) for option in options):
        msg = f"options is a list of texts, not {shown(value)}"
        raise TypeError(msg)
    return options


def _schema(value: Any) -> Mapping[str, Any] | None:
    if value is None or isinstance(value, Mapping):
        return value
    msg = f"schema is a mapping, a JSON Schema, or None, not {shown(value)}"
    raise TypeError(msg)


def _seconds(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or (number and value > 0):
        return value  # type: ignore[no-any-return]
    msg = f"timeout is a number of seconds above 0, or None, not {shown(value)}"
    raise TypeError(msg)


@attrs.frozen
class AskUser(Action):
    """Ask a person. The branch waits in place until an answer arrives.

    Args:
        prompt: The question.
        options: The answers to choose from; empty for free text.
        schema: A JSON Schema for the answer.
        timeout: Seconds until `default` is taken.
        default: The answer that a timeout gives; None for none, a timeout is then a `UserTimeout`.
        replies: Set by the engine for agents that act by tool calls.

    Raises:
        TypeError: The options are no texts, the schema is no mapping, or the timeout no number of seconds above 0.
    """

    prompt: Any
    options: tuple[str, ...] = attrs.field(default=(), converter=_options)
    schema: Mapping[str, Any] | None = attrs.field(default=None, converter=_schema)
    timeout: float | None = attrs.field(default=None, converter=_seconds)
    default: Any = None
    replies: Replies = attrs.field(default=(), kw_only=True, repr=False)


@attrs.frozen
class EndConversation(Action):
    """End the conversation that this agent takes part in. `value` is the last word: it goes on from there.

    Return it instead of text when there is nothing left to talk about; elsewhere it is refused.
    """

    value: Any = None


@attrs.frozen
class Fail(Action):
    """End the branch as failed, with a text or an exception that says why.

    Raises:
        TypeError: It is neither; an exception's class is not an exception.
    """

    error: str | BaseException = attrs.field(default="the agent gave up", converter=_reason)


@attrs.frozen
class Content(Action):
    """What an agent said without naming an action: the topology decides where it goes."""

    value: Any = None


@attrs.frozen
class CallTools(Action):
    """Ordinary tool calls written as JSON text; only an agent with tools can act on them."""

    calls: tuple[tuple[str, Any], ...]


@attrs.frozen
class Malformed(Action):
    """Something that was meant as an action or an answer and cannot be taken as one.

    Args:
        reason: What is wrong with it.
        reply: What was said, for diagnosis.
        note: What the agent is told instead of the reason and of what there is to do here.
    """

    reason: str
    reply: Any = None
    note: str = attrs.field(default="", kw_only=True)


_ACTIONS: frozenset[type[Action]] = frozenset(
    {Invoke, Return, Finish, AskUser, EndConversation, Fail, Content, CallTools, Malformed}
)


def read_action(value: Any) -> Action:
    """Return the action that an agent named by what it returned.

    An action object is itself, and one of a subclass is the action that it derives from; a text that is one JSON object with ``next_action``, with or without a code
    fence, is read; anything else is `Content`. None is `Malformed`: an agent that has nothing to say has to
    say so.
    """
    if type(value) is str:
        return _read_text(value) if '"next_action"' in value else Content(value)
    if isinstance(value, Action):
        return value if type(value) in _ACTIONS else _as_base(value)
    if value is None:
        return Malformed("the agent returned None; return text, data or an action")
    return Content(value)


def _as_base(value: Action) -> Action:
    """Return the action that an instance of somebody's subclass stands for; whoever acts on it knows these only."""
    cls = type(value)
    base = next((each for each in cls.__mro__ if each in _ACTIONS), None)
    if base is None:
        return Malformed(
            f"{cls.__name__} is no action of MARSYS; return Invoke, Return, Finish, AskUser, EndConversation or Fail"
        )
    try:
        return base(**{field.name: getattr(value, field.name) for field in attrs.fields(base)})  # type: ignore[arg-type]
    except Exception as error:  # the subclass has made something else of a field
        return Malformed(f"{cls.__name__} cannot be read as {base.__name__}: {shown(error, 200)}")


def _read_text(text: str) -> Action:
    stripped = _without_fence(text.strip())
    if not stripped.startswith("{"):
        return Content(text)
    import json

    try:
        data = json.loads(stripped)
    except (ValueError, RecursionError) as error:
        return Malformed(f"the JSON with next_action does not parse: {error}", text)
    if "next_action" not in data:
        return Content(text)
    reader = _READERS.get(data["next_action"]) if isinstance(data["next_action"], str) else None
    if reader is None:
        known = ", ".join(_READERS)
        return Malformed(f"next_action {shown(data['next_action'])} is not known; there are: {known}", text)
    try:
        return reader(data)
    except (KeyError, TypeError, ValueError) as error:
        why = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        return Malformed(f"next_action {data['next_action']!r}: {why}", text)


def _without_fence(text: str) -> str:
    if not text.startswith("```") or not text.endswith("```") or "\n" not in text:
        return text
    return text[text.index("\n") + 1 : -3].strip()


def _read_invoke(data: dict[str, Any]) -> Action:
    given = data.get("action_input", data.get("invocations", data.get("agent_name")))
    entries = given if isinstance(given, list) else [given]
    return Invoke([_invocation(entry, data) for entry in entries])


def _invocation(entry: Any, data: dict[str, Any]) -> tuple[str, Any]:
    if isinstance(entry, str):
        return entry, data.get("request", data.get("content", ""))
    if not isinstance(entry, dict):
        msg = f"an invocation is a name or {{agent_name, request}}, not {shown(entry)}"
        raise TypeError(msg)
    return entry["agent_name"], entry.get("request", "")


def _read_parallel(data: dict[str, Any]) -> Action:
    agents = data["agents"]
    requests = data.get("agent_requests", data.get("action_input", ""))
    if not isinstance(agents, list):
        msg = f"agents is a list of names, not {shown(agents)}"
        raise TypeError(msg)
    for name in agents:
        if not isinstance(name, str):
            msg = f"agents is a list of names, and {shown(name)} is none"
            raise TypeError(msg)
    return Invoke([(name, _request_for(requests, name)) for name in agents])


def _request_for(requests: Any, name: str) -> Any:
    if isinstance(requests, dict):
        own = requests.get(name, "")
        return own.get("request", own) if isinstance(own, dict) else own
    return requests


def _read_call_tool(data: dict[str, Any]) -> Action:
    entries = data.get("tool_calls", data.get("action_input"))
    calls = entries if isinstance(entries, list) else [entries]
    return CallTools(tuple(_tool_call(call) for call in calls))


def _tool_call(call: Any) -> tuple[str, Any]:
    if not isinstance(call, dict):
        msg = f"a tool call is {{name, arguments}}, not {shown(call)}"
        raise TypeError(msg)
    inner = call.get("function", call)
    if not isinstance(inner, dict):
        msg = f"the function of a tool call is {{name, arguments}}, not {shown(inner)}"
        raise TypeError(msg)
    name = inner.get("name", inner.get("tool_name"))
    if not isinstance(name, str):
        msg = f"a tool call needs a name, {shown(call)} has none"
        raise TypeError(msg)
    return name, inner.get("arguments", {})


def _read_final(data: dict[str, Any]) -> Action:
    if "content" in data:
        return Return(data["content"])
    given = data["action_input"]
    return Return(given["response"] if isinstance(given, dict) and "response" in given else given)


def _read_ask(data: dict[str, Any]) -> Action:
    given = data.get("action_input", data)
    if isinstance(given, str):
        return AskUser(given)
    if not isinstance(given, dict):
        msg = f"action_input is a question or {{question, options}}, not {shown(given)}"
        raise TypeError(msg)
    options = given.get("options") or []
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        msg = f"options is a list of texts, not {shown(options)}"
        raise TypeError(msg)
    return AskUser(given["question"], tuple(options))


def _read_end(data: dict[str, Any]) -> Action:
    given = data["summary"] if "summary" in data else data["action_input"]
    return EndConversation(given["summary"] if isinstance(given, dict) and "summary" in given else given)


_READERS = {
    "invoke_agent": _read_invoke,
    "parallel_invoke": _read_parallel,
    "call_tool": _read_call_tool,
    "final_response": _read_final,
    "ask_user": _read_ask,
    "end_conversation": _read_end,
}
