"""The rules of a topology, made ready once, and asked while a run goes on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from marsys_core.actions import Action, Content, EndConversation, Finish, Invoke, Return
from marsys_core.config import ExecutionConfig
from marsys_core.errors import ConfigError, TopologyError, ValueRefused, told
from marsys_core.orchestrator import Branch, RunState, Said
from marsys_core.protocols.rule import Allow, Block, Modify, RuleFacts, Stop
from marsys_core.topology import NO_LIMITS, Graph, Limits, Topology
from marsys_core.topology.names import unknown_nodes
from marsys_core.topology.rules import POINTS, RuleCall, flaw_of_rule, rule_to_text

__all__ = ["Asked", "Laid", "Rulebook", "lay_rules", "lowered_config"]

_WITH_VALUE = (Content, Return, Finish, EndConversation)

Asked = tuple[tuple[str, Callable[[RuleFacts], Any]], ...]
"""The rules that are asked at one point: what each is called, and its method."""


@attrs.frozen(kw_only=True)
class Laid:
    """What the rules of a topology come to.

    Args:
        graph: The graph with what the rules change in it.
        limits: What the rules allow.
        points: Who is asked when, by the names of the three points; None where nobody is.
        problems: What is wrong with them, each with its path; then the rest is of no use.
    """

    graph: Graph | None = None
    limits: Limits = NO_LIMITS
    points: Mapping[str, Asked] | None = None
    problems: tuple[str, ...] = ()


def lay_rules(topology: Topology, find: Callable[[str], Any]) -> Laid:
    """Make the rules of `topology`, and work out what they change.

    Args:
        topology: Whose rules.
        find: Returns the `RuleType` of a name, or raises `UnknownName`.
    """
    rules: list[tuple[str, Any]] = []
    problems: list[str] = []
    limits, shaped = NO_LIMITS, Topology(topology.nodes.values(), topology.edges)
    shaped.entry_point = topology.entry_point
    for index, given in enumerate(topology.rules):
        try:
            rule = _made(given, find) if isinstance(given, RuleCall) else given
            name = rule_to_text(given)
            _check_nodes(rule, topology)
            if _has(rule, "limits"):
                limits = _limited(rule, name, limits)
            if _has(rule, "shape"):
                _shape(rule, shaped)
        except ConfigError as error:
            problems += [f"{problem} @ $.rules[{index}]" for problem in error.problems or (str(error),)]
        except Exception as error:  # a rule's own code
            problems.append(
                f"rule {rule_to_text(given)}: {type(error).__name__}: {told(error)} @ $.rules[{index}]"
            )
        else:
            rules.append((name, rule))
    if problems:
        return Laid(problems=tuple(problems))
    return Laid(graph=_graph(topology, shaped), limits=limits, points=_points(rules))


def _graph(topology: Topology, shaped: Topology) -> Graph | None:
    """Return what runs; None where the topology cannot be laid out, which its own validation says."""
    try:
        return topology.graph if dict(shaped.nodes) == dict(topology.nodes) else shaped.graph
    except TopologyError:
        return None


def _points(rules: Iterable[tuple[str, Any]]) -> Mapping[str, Asked] | None:
    rules = list(rules)
    asked = {
        point: tuple((name, getattr(rule, point)) for name, rule in rules if _has(rule, point))
        for point in POINTS
    }
    return asked if any(asked.values()) else None


def _has(rule: Any, method: str) -> bool:
    return callable(getattr(rule, method, None))


def _made(call: RuleCall, find: Callable[[str], Any]) -> Any:
    make = find(call.name).make
    try:
        inspect.signature(make).bind(*call.positional, **call.named)
    except TypeError as error:
        msg = f"rule {call.name!r} takes {_parameters(make)}, not {call}: {error}"
        raise TopologyError(msg) from error
    try:
        rule = make(*call.positional, **call.named)
    except (ValueError, TypeError, TopologyError) as error:
        msg = f"rule {call}: {error}"
        raise TopologyError(msg) from error
    if flaw := flaw_of_rule(rule):
        msg = f"rule {call.name!r} was made as {rule!r:.100}: {flaw}"
        raise TopologyError(msg)
    return rule


def _parameters(make: Callable[..., Any]) -> str:
    plain = [
        each.replace(annotation=each.empty, kind=each.kind)
        for each in inspect.signature(make).parameters.values()
    ]
    return str(inspect.Signature(plain))


def _check_nodes(rule: Any, topology: Topology) -> None:
    named: Sequence[str] = tuple(getattr(rule, "nodes", ()))
    if problems := list(unknown_nodes(dict.fromkeys(named), topology.nodes)):
        raise TopologyError("", problems)


def _limited(rule: Any, name: str, limits: Limits) -> Limits:
    found = rule.limits(limits)
    if isinstance(found, Limits):
        return found
    msg = f"rule {name}: limits() returned {found!r:.100}, not Limits"
    raise TopologyError(msg)


def _shape(rule: Any, topology: Topology) -> None:
    for node in list(rule.shape(topology)):
        fields = {field.name: getattr(node, field.name) for field in attrs.fields(type(node))}
        topology.update_node(fields.pop("name"), **fields)


def lowered_config(config: ExecutionConfig, limits: Limits) -> tuple[ExecutionConfig, Limits]:
    """Return the settings and the limits that hold: of two the smaller, and the rule's name only where it is.

    Args:
        config: The settings of the run.
        limits: What its rules allow.
    """
    changes: dict[str, Any] = {}
    for field, setting in (("timeout", "timeout"), ("max_steps", "max_steps"), ("max_agents", _SLOTS)):
        allowed, present = getattr(limits, field), getattr(config, setting)
        if allowed is None:
            continue
        if present is not None and present <= allowed:
            limits = limits.without(field)
        else:
            changes[setting] = allowed
    return (attrs.evolve(config, **changes) if changes else config), limits


_SLOTS = "max_parallel_branches"


@attrs.define(eq=False, kw_only=True)
class Rulebook:
    """Asks the rules of a run, and reads what they say.

    Args:
        before_step: Who is asked before a step.
        after_step: Who is asked after one.
        before_fork: Who is asked before a fork.
        task: The run's task.
        unpack: Returns the value behind what events carry.
        keep: Makes a value what events carry, or raises `ValueRefused`.
        elapsed: Returns the seconds since the run began.
    """

    before_step: Asked = ()
    after_step: Asked = ()
    before_fork: Asked = ()
    task: Any = None
    unpack: Callable[[Any], Any] = lambda value: value
    keep: Callable[[Any], Any] = lambda value: value
    elapsed: Callable[[], float] = lambda: 0.0

    def ask(
        self,
        point: str,
        first: int,
        branch: Branch,
        value: Any,
        action: Action | None,
        state: RunState,
    ) -> Said | None:
        """Ask the rules at `point` from the one at index `first` on, until one says more than Allow.

        Args:
            point: One of the three points.
            first: Whom to begin with.
            branch: The branch it is about.
            value: What the facts call the value, as events carry it.
            action: After a step what it ended in.
            state: The run's state, for the numbers of its steps.
        """
        rules: Asked = getattr(self, point)
        ahead = point == "before_step"
        facts = RuleFacts(
            branch.node, branch.id, branch.steps + ahead, state.steps + ahead, value, action, self
        )
        index = first
        try:
            for _, rule in rules[first:] if first else rules:
                verdict = rule(facts)
                if verdict is not None and type(verdict) is not Allow:
                    break
                index += 1
            else:
                return None
        except Exception as error:
            why = f"it raised {type(error).__name__}: {told(error)}"
            return _raised(index, rules[index][0], why, error)
        return self._read(index, rules[index][0], verdict, point, action)

    def _read(self, index: int, name: str, verdict: Any, point: str, action: Action | None) -> Said:
        if isinstance(verdict, Block):
            return Said(index, name, "block", str(verdict.reason))
        if isinstance(verdict, Stop):
            return Said(index, name, "stop", str(verdict.reason))
        if isinstance(verdict, Modify):
            return self._modified(index, name, verdict, point, action)
        if inspect.iscoroutine(verdict):
            verdict.close()
        known = "None, Allow(), Block(reason), Modify(value) or Stop(reason)"
        return _raised(index, name, f"{point} returned {verdict!r:.100}, not {known}")

    def _modified(self, index: int, name: str, verdict: Modify, point: str, action: Action | None) -> Said:
        if point == "after_step" and type(action) not in _WITH_VALUE:
            what = type(action).__name__
            return _raised(index, name, f"a step that ended in {what} has no output value to modify")
        try:
            if point == "before_fork":
                calls = Invoke(verdict.value).calls
                value: Any = tuple((node, self.keep(payload)) for node, payload in calls)
            else:
                value = self.keep(verdict.value)
        except (ValueRefused, TypeError, ValueError) as error:
            return _raised(index, name, f"{point} gave a value that cannot be taken: {told(error)}", error)
        return Said(index, name, "modify", str(verdict.reason), value)


def _raised(index: int, name: str, reason: str, error: BaseException | None = None) -> Said:
    return Said(index, name, "raised", reason, cause=error)
