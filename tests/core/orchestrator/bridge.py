"""From the reference's plain data to the orchestrator, and back: one net, one script, two machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from zlib import crc32

import attrs

from marsys_core.actions import (
    Action,
    AskUser,
    Content,
    EndConversation,
    Fail,
    Finish,
    Invoke,
    Malformed,
    Return,
)
from marsys_core.config import ExecutionConfig
from marsys_core.errors import RecoverableError, UserUnavailable
from marsys_core.events import Dropped, UserAsked
from marsys_core.orchestrator import RunState
from marsys_core.topology import ConvergencePolicy, Dispatch, Edge, Graph, Node, NodeKind
from marsys_core.values import Detached, Failure, JoinInput
from tests.core.orchestrator.driver import TIMEOUT, Outcome, Simulation, Turn
from tests.core.reference import data as ref
from tests.core.reference import net as ref_net
from tests.core.reference.model import run
from tests.core.reference.net import Net, NodeSpec, Policy

__all__ = ["Play", "Verdict", "verdict_of"]


@attrs.frozen
class Verdict:
    """What both machines have to agree on. Of a run that came to the step limit only the first three."""

    success: bool
    steps: int
    limited: bool
    values: Any = None
    log: Any = None
    settled: Any = None
    branch_results: Any = None
    dropped: Any = None


@attrs.frozen
class Play:
    """One case: a net, what its agents do, and the policy where nothing else gives one.

    Three things the reference does not know: with `early`, joins are complete as soon as their policy is
    decided; with `people`, agents ask some at times, and so do policies and failed steps; with `budget`, every
    fork that an agent makes gets such a share.
    """

    net: Net
    script: ref.Script
    policy: Policy = Policy()
    max_steps: int = 60
    early: bool = False
    people: bool = False
    budget: Any = None

    def expected(self) -> Verdict:
        got = run(self.net, self.script, policy=self.policy, max_steps=self.max_steps)
        if got.error is not None and got.error.kind == "LimitError":
            return Verdict(got.success, got.steps, True)
        return Verdict(
            got.success,
            got.steps,
            False,
            got.values,
            got.log,
            got.settled,
            got.branch_results,
            Counter(value for value, _ in got.dropped),
        )

    def simulation(self, seed: int | None = None, config: ExecutionConfig | None = None) -> Simulation:
        config = config or ExecutionConfig()
        config = attrs.evolve(
            config,
            convergence_policy=policy_of(self.policy, self.early),
            max_steps=self.max_steps,
            max_branch_depth=999,
        )
        if not self.people:
            return Simulation.of(graph_of(self.net, self.early), self.answer, config=config, seed=seed)
        config = attrs.evolve(config, error_routing_enabled=True)
        if config.convergence_policy.on_insufficient == "fail":
            asking = attrs.evolve(config.convergence_policy, on_insufficient="user")
            config = attrs.evolve(config, convergence_policy=asking)
        graph = with_people(graph_of(self.net, self.early))
        return Simulation.of(graph, self.ask_or_answer, config=config, seed=seed, answers=person)

    def ask_or_answer(self, turn: Turn) -> Action:
        """What `answer` says, or a question, or a call of `user` more; an error may pass."""
        action = self.answer(turn)
        place = f"{turn.branch.id}:{turn.node}:{turn.visit}"
        draw = crc32(place.encode()) % 12
        if draw < 2:
            return AskUser(f"{place}?", options=["a", "b"] if draw else [], default="a")
        if type(action) is Fail:
            return Fail(RecoverableError(place)) if draw < 8 else action
        if type(action) is Invoke and draw < 5:
            return attrs.evolve(action, calls=[*action.calls, ("user", f"{place}/user")])
        return Invoke([("user", f"{place}/user")]) if draw == 5 else action

    def answer(self, turn: Turn) -> Action:
        """What the reference's script says, as an action of the orchestrator."""
        branch = turn.branch
        asked = ref.Turn(
            branch=branch.id, name=branch.name, node=turn.node, visit=turn.visit, input=turn.value
        )
        action = action_of(self.script(asked))
        if self.budget is None or type(action) is not Invoke or (action.wait and len(action.calls) < 2):
            return action
        return attrs.evolve(action, budget=self.budget)


def verdict_of(got: Outcome) -> Verdict:
    state = got.state
    if "max_steps=" in got.error:
        return Verdict(got.success, state.steps, True)
    return Verdict(
        got.success,
        state.steps,
        False,
        [rendered(value) for value in got.values],
        log_of(got),
        got.settled,
        results_of(state),
        Counter(rendered(event.value) for event in got.of(Dropped) if not event.state),
    )


def log_of(got: Outcome) -> frozenset[tuple[str, int, str, Any]]:
    count: Counter[str] = Counter()
    log = []
    for branch, node, value in got.steps:
        count[branch] += 1
        log.append((branch, count[branch], node, rendered(value)))
    return frozenset(log)


def results_of(state: RunState) -> dict[str, Any]:
    detached = [branch for branch in state.branches.values() if branch.detached]
    return {b.id: rendered(b.result) for b in detached if b.outcome and b.outcome.value == "returned"}


def rendered(value: Any) -> Any:
    """A value as nested tuples, as the reference renders its own."""
    match value:
        case JoinInput():
            return ("join", tuple((node, branch, rendered(inner)) for node, branch, inner in value))
        case Failure(error=error):
            return ("failure", "Fail" if error == "AgentError" else error)
        case Detached(branches):
            return ("detached", branches)
        case list():
            return ("list", tuple(map(rendered, value)))
    return value


def action_of(action: ref.Action) -> Action:
    match action:
        case ref.Content(value):
            return Content(value)
        case ref.Return(value):
            return Return(value)
        case ref.Finish(value):
            return Finish(value)
        case ref.EndConversation(value):
            return EndConversation(value)
        case ref.Fail(detail):
            return Fail(detail)
        case ref.Invoke(calls=()):
            return Malformed("no call")
        case ref.Invoke(calls, wait, policy):
            return Invoke(calls, wait, policy=None if policy is None else policy_of(policy))


def policy_of(policy: Policy, early: bool = False) -> ConvergencePolicy:
    ratio = policy.min_ratio if policy.quorum is None else 1.0
    return ConvergencePolicy(
        min_ratio=ratio, quorum=policy.quorum, on_insufficient=policy.on_insufficient, early=early
    )


def with_people(graph: Graph) -> Graph:
    nodes = {**graph.nodes, "user": Node("user")}
    links = [link.edge for links in graph.out.values() for link in links]
    asking = [Edge(name, "user") for name, node in nodes.items() if node.kind is NodeKind.AGENT]
    return Graph(nodes, [*dict.fromkeys(links), *asking], graph.entries[0])


def person(asked: UserAsked) -> Any:
    """A person whose answers depend on the question only."""
    draw = crc32(asked.request_id.encode())
    if draw % 7 == 0:
        return TIMEOUT
    if draw % 7 == 1:
        return UserUnavailable("gone home")
    return asked.options[draw % len(asked.options)] if asked.options else f"answer {asked.request_id}"


def graph_of(net: Net, early: bool = False) -> Graph:
    nodes = {name: node_of(name, spec, early) for name, spec in net.nodes.items()}
    edges = [edge_of(edge) for edge in net.edges]
    return Graph(nodes, edges, net.entry_point)


def edge_of(edge: ref_net.Edge) -> Edge:
    pattern = None if edge.turns is None else "alternating"
    return Edge(edge.src, edge.dst, bidirectional=edge.bidirectional, pattern=pattern, max_turns=edge.turns)


def node_of(name: str, spec: NodeSpec, early: bool) -> Node:
    kind = NodeKind(spec.kind)
    settings: dict[str, Any] = {"is_convergence_point": spec.convergence}
    if spec.policy is not None:
        settings["convergence_policy"] = policy_of(spec.policy, early)
    if kind is NodeKind.AGENT:
        settings["dispatch"], settings["rounds"] = spec.dispatch, spec.rounds
    if kind is NodeKind.GATHER or spec.dispatch == Dispatch.ALL.value:
        settings["limit"] = spec.limit
    make: Callable[..., Node] = Node
    return make(name, kind=kind, **settings)
