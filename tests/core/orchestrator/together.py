"""Everything at once: random runs with people, rules, conditions, shared state, budgets, limits and cuts."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any
from zlib import crc32

import attrs
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Invoke
from marsys_core.config import ExecutionConfig
from marsys_core.errors import Cancelled, StepTimeout
from marsys_core.events import Event
from marsys_core.frozen import FrozenList
from marsys_core.orchestrator import GONE, Branch, Facts, Phase, Sharing, Traits
from marsys_core.topology import ConvergencePolicy, Graph, Node, NodeKind, Reducer
from tests.core.orchestrator.bridge import Play, graph_of, person, policy_of, with_people
from tests.core.orchestrator.driver import Move, Simulation, Turn
from tests.core.orchestrator.journals import strings
from tests.core.orchestrator.ruling import Table
from tests.core.reference.net import Edge, Net, NodeSpec, Policy
from tests.core.reference.strategies import Choice, TableScript, pruned

__all__ = ["Cut", "Everything", "calm", "case_of", "wild"]


def draw_from(words: Sequence[str], *place: object) -> str:
    return words[crc32(":".join(map(str, place)).encode()) % len(words)]


@attrs.frozen
class Condition:
    """A pure function of what a condition may read; what it asks for goes by its edge."""

    word: str
    salt: int

    def __call__(self, facts: Facts) -> bool:
        place = (self.salt, facts.visits)
        match self.word:
            case "visits":
                return facts.visits <= self.salt % 3
            case "steps":
                return facts.steps % 3 != self.salt % 3
            case "state":
                return (len(facts.state.get("log", ())) + self.salt) % 3 != 0
            case "output":
                return draw_from("yyn", *place, *strings(facts.output)) == "y"
            case "errors":
                return facts.errors == 0
            case "raise" if draw_from("yyyn", *place) == "n":
                return bool(facts.state["nothing"])
        return self.word != "never"


def together(old: str, new: str) -> str:
    return f"{old}|{new}"


def fussy(old: str, new: str) -> str:
    if crc32(new.encode()) % 3 == 0:
        msg = "too much"
        raise ValueError(msg)
    return new


REDUCERS = {key: Reducer(each) for key, each in {
    "log": "append", "list": "add", "text": together, "fussy": fussy, "sum": "add", "latest": "last",
}.items()}  # fmt: skip


@attrs.frozen
class Everything:
    """A case: a play, and all that can go on around it. What anybody does is a pure function of where it is."""

    play: Play
    config: ExecutionConfig
    rules: tuple[Table, ...] = ()
    conditions: tuple[str, ...] = ("",)
    writing: tuple[str, ...] = ("",)
    policies: tuple[str, ...] = ("",)
    approving: tuple[str, ...] = ("n",)
    refusing: tuple[str, ...] = ("n",)
    notes: bool = False
    tools: bool = False
    turn_limits: dict[str, int] | None = None
    cuts: float = 0.0
    salt: int = 0

    def simulation(self, seed: int | None = None) -> Cut:
        made: Cut = Cut.of(
            self.graph(), self.script, config=self.config, seed=seed, rules=self.rules, answers=person,
            traits={name: Traits(notes=self.notes, tools=self.tools) for name in self.play.net.nodes},
        )  # fmt: skip
        made.writes, made.case = self.writes, self
        made.orchestrator.sharing = Sharing(REDUCERS)
        made.orchestrator.turn_limits = self.turn_limits
        made.orchestrator.admits = self.admits
        return made

    def graph(self) -> Graph:
        graph = with_people(graph_of(self.play.net))
        nodes = {name: self.node(node) for name, node in graph.nodes.items()}
        edges = dict.fromkeys(link.edge for links in graph.out.values() for link in links)
        return Graph(nodes, [self.edge(edge) for edge in edges], graph.entries[0])

    def node(self, node: Node) -> Node:
        word = draw_from(self.policies, self.salt, node.name)
        if not word or node.kind is NodeKind.END or node.kind is NodeKind.USER:
            return node
        given = node.convergence_policy or policy_of(self.play.policy)
        return attrs.evolve(node, convergence_policy=self.policy(given, word))

    def policy(self, given: ConvergencePolicy, word: str) -> ConvergencePolicy:
        if word == "early":
            return attrs.evolve(given, early=True)
        return attrs.evolve(given, on_insufficient="user", early=word == "early user")

    def edge(self, edge: Any) -> Any:
        word = draw_from(self.conditions, self.salt, edge.source, edge.target)
        if not word or edge.pattern is not None or edge.source == "start":
            return edge
        return attrs.evolve(edge, condition=Condition(word, crc32(f"{edge.target}{self.salt}".encode()) % 7))

    def script(self, turn: Turn) -> Any:
        action = self.play.ask_or_answer(turn)
        if draw_from([*[""] * 30, "none"], self.salt, *where(turn)):
            return None
        if type(action) is Invoke and len(action.calls) > 1 and action.policy is None:
            word = draw_from(self.policies, self.salt, "call", *where(turn))
            if word and action.wait:
                return attrs.evolve(action, policy=self.policy(policy_of(self.play.policy), word))
        return action

    def writes(self, turn: Turn) -> Iterable[tuple[str, Any]]:
        word = draw_from(self.writing, self.salt, *where(turn))
        label = ":".join(map(str, where(turn)))
        if word:
            yield from [("log", label), ("list", FrozenList([label])), ("text", label), ("latest", label)]
        if word == "own":
            yield f"own {turn.branch.id}", label
        elif word == "sum":
            yield "sum", label if crc32(label.encode()) % 3 == 0 else len(label)
        elif word in ("same", "fussy", "gone"):
            yield ("fussy", label) if word == "fussy" else ("same", label if word == "same" else GONE)

    def admits(self, node: str, value: Any) -> str:
        word = draw_from(self.refusing, self.salt, node, *strings(value))
        return f"{node!r} does not take it" if word == "y" else ""

    def approves(self, branch: Branch) -> bool:
        return draw_from(self.approving, self.salt, branch.id, branch.steps) == "y"


def where(turn: Turn) -> tuple[str, str, int]:
    return turn.branch.id, turn.node, turn.visit


@attrs.define(eq=False)
class Cut(Simulation):
    """A simulation with approvals within steps, and with deadlines that pass and runs that are stopped."""

    case: Any = None
    approved: set[tuple[str, int]] = attrs.field(factory=set)

    def start(self, task: Any = "task") -> Cut:
        self.accept(self.orchestrator.start(task, state={"log": FrozenList(), "given": 1}))
        return self

    def count(self, event: Event) -> None:
        super().count(event)
        if type(event) is e.UserAsked and event.kind == "approval":
            self.approved.add((event.branch, self.orchestrator.state.branches[event.branch].steps))

    def resume(self, prefix: Sequence[Event]) -> Cut:
        super().resume(prefix)
        for branch in list(self.running):
            self.seek_approval(branch)
        return self

    def begin(self, branch: Branch) -> None:
        super().begin(branch)
        if branch in self.running:
            self.seek_approval(branch)

    def seek_approval(self, branch: Branch) -> None:
        """A step that has to be approved, once, waits for that."""
        person = branch.person
        asked = [] if person is None else list(person.open.values())
        if not asked and self.case.approves(branch) and (branch.id, branch.steps) not in self.approved:
            asked = [self.orchestrator.on_asked_within(branch, "approval", f"may {branch.id}?", branch.n)]
        if asked:
            self.running.remove(branch)
            self.asked += asked

    def answer(self, asked: e.UserAsked) -> None:
        super().answer(asked)
        branch = self.orchestrator.state.branches[asked.branch]
        if asked.kind == "approval" and branch.phase is Phase.RUNNING and branch not in self.running:
            self.running.append(branch)

    def advance(self) -> bool:
        if self.rng is not None and self.rng.random() < self.case.cuts:
            live = [branch for branch in self.orchestrator.state.branches.values() if branch.outcome is None]
            open_joins = [b for b in live if b.fork and b.fork.policy and not b.fork.complete]
            word = self.rng.choice(["join", "join", "branch", "stop"])
            if open_joins or (word == "stop" and live):
                owner = self.rng.choice(open_joins or live)
                self.cut(len(self.events), word, owner.id)
        return super().advance()

    def cut(self, at: int, word: str, id: str) -> None:
        """The deadline of a join, or of the branch that waits for it, passes; or the run is cancelled."""
        self.moves.append((at, word, id))
        machine = self.orchestrator
        branch = machine.state.branches[id]
        if word == "stop":
            self.accept(machine.stop(Cancelled("enough"), "cancelled"))
        elif branch.fork is not None and not branch.fork.complete and branch.fork.policy is not None:
            late = StepTimeout("too long", "branch_timeout", 1.0)
            again = (
                machine.on_timeout(branch.fork, 1.0)
                if word == "join"
                else machine.on_branch_timeout(branch, late)
            )
            self.accept(again)

    def follow(self, moves: Iterable[Move]) -> Cut:
        for move in moves:
            if move[1] in ("join", "branch", "stop"):
                self.cut(*move)
            else:
                super().follow([move])
        return self


KINDS = (
    ["content"] * 9 + ["fork"] * 7 + ["call"] * 7 + ["return"] * 2 + ["detach", "end", "fail", "finish", "illegal"]
)  # fmt: skip
ARROWS = ("->", "->", "<-", "<->", "both", "<~>")
DISPATCHES = (None, None, "next", "next", "all", "all", "each", "map")
CONDITIONS = ("visits", "steps", "state", "output", "output", "errors", "raise", "never")
WRITING = ("all", "all", "own", "sum", "fussy", "same", "gone")
VERDICTS = ("modify", "modify", "block", "raise")
BUDGETS = (None, None, None, 0.5, {"max_steps": 9, "max_tokens": 9}, {"max_steps": 0})


@attrs.frozen
class Dice:
    """Draws what a case is made of. Only the seed and what there is at all are left to the shrinker."""

    rng: random.Random
    wild: bool

    def table(self, words: Sequence[str], nothing: str = "", share: float = 0.3) -> tuple[str, ...]:
        return tuple(self.rng.choice(words) if self.rng.random() < share else nothing for _ in range(24))

    def some(self, names: list[str]) -> list[str]:
        return self.rng.sample(names, min(len(names), self.rng.randint(1, 3)))

    def play(self, size: int) -> Play:
        net = self.net(size)
        choices = [
            Choice(self.rng.choice(KINDS), self.rng.randrange(8), self.rng.randint(1, 3)) for _ in range(24)
        ]
        budget = self.rng.choice(BUDGETS if self.wild else BUDGETS[:3])
        return Play(net, TableScript(net, tuple(choices)), self.policy(), budget=budget, people=True)

    def policy(self) -> Policy:
        quorum = self.rng.choice([None, None, 1, 2])
        return Policy(self.rng.choice([1.0, 0.5, 0.34]), quorum, self.rng.choice(["fail", "proceed"]))

    def net(self, size: int) -> Net:
        rng, agents = self.rng, list("ABCDEFG"[:size])
        nodes = {
            name: NodeSpec(
                dispatch=rng.choice(DISPATCHES), rounds=rng.choice([1, 1, 2]), limit=rng.choice([None, None, 1, 2]),
                convergence=rng.random() < 0.2, policy=self.policy() if rng.random() < 0.2 else None,
            )
            for name in agents
        }  # fmt: skip
        edges = self.edges(agents)
        for name in ["gather:0", "gather:1"][: rng.randrange(3)]:
            nodes[name] = NodeSpec(kind="gather", limit=rng.choice([None, 1]))
            before, after = self.some(agents), self.some(agents)
            edges += [Edge(each, name) for each in before] + [Edge(name, each) for each in after]
        if rng.random() < 0.4:
            nodes["end"] = NodeSpec(kind="end")
            edges += [Edge(each, "end") for each in self.some(agents)]
        if rng.random() < 0.4:
            nodes["start"] = NodeSpec(kind="start")
            edges += [Edge("start", each) for each in self.some(agents)]
        rng.shuffle(edges)
        return pruned(Net(nodes, tuple(edges), rng.choice(agents)))

    def edges(self, agents: list[str]) -> list[Edge]:
        pairs = [(a, b) for i, a in enumerate(agents) for b in agents[i + 1 :]]
        edges: list[Edge] = []
        talking: set[str] = set()
        for a, b in self.rng.sample(pairs, min(len(pairs), 2 * len(agents))):
            arrow = self.rng.choice(ARROWS)
            if arrow == "<~>" and talking.isdisjoint((a, b)):
                talking |= {a, b}
                edges.append(Edge(a, b, turns=self.rng.randint(1, 4)))
            elif arrow in ("<->", "<~>"):
                edges.append(Edge(a, b, bidirectional=True))
            else:
                edges += [Edge(a, b)] * (arrow != "<-") + [Edge(b, a)] * (arrow != "->")
        return edges


FEATURES = (
    "rules", "conditions", "writing", "policies", "approving", "refusing", "notes", "tools", "turn_limits", "depth",
    "steps", "routing", "asking", "first_result", "detached_failures", "cuts",
)  # fmt: skip
DISTURBING = ("rules", "depth", "steps", "first_result", "detached_failures", "cuts")


def cases(wild: bool, max_steps: int) -> st.SearchStrategy[Everything]:
    has = st.fixed_dictionaries(dict.fromkeys(FEATURES, st.booleans()))
    return st.builds(
        case_of, st.integers(0, 2**32), st.integers(2, 7), has, st.just(wild), st.just(max_steps)
    )


def case_of(seed: int, size: int, has: dict[str, bool], wild: bool, max_steps: int) -> Everything:
    """The case of a seed, with so many agents at most, and what there is besides them."""
    rng = random.Random(seed)
    dice = Dice(rng, wild)
    # What ends runs early is rarer, or there would be nothing else.
    has = {name: on and (name not in DISTURBING or rng.random() < 0.5) for name, on in has.items()}
    cut = {"first_result", "detached_failures", "cuts"} if wild else set()
    words = (*VERDICTS, "stop") if wild else VERDICTS
    config = ExecutionConfig(
        max_steps=max_steps,
        max_branch_depth=rng.randint(1, 3) if has["depth"] else 999,
        max_steps_per_branch=rng.randint(2, 5) if has["steps"] else None,
        error_routing_enabled=has["routing"],
        convergence_policy=ConvergencePolicy(on_insufficient="user" if has["asking"] else "fail"),
        first_result=has["first_result"] and "first_result" in cut,
        detached_failures="fail" if has["detached_failures"] and "detached_failures" in cut else "record",
    )
    rules = tuple(Table(dice.table(words, share=0.1), rng.randrange(99)) for _ in range(rng.randint(1, 2)))
    policies = dice.table(["early", "early user", "user", "user"] if wild else ["user"])
    return Everything(
        play=dice.play(size),
        config=config,
        rules=rules if has["rules"] else (),
        conditions=dice.table(CONDITIONS, share=0.2) if has["conditions"] else ("",),
        writing=dice.table(WRITING, share=0.6) if has["writing"] else ("",),
        policies=policies if has["policies"] else ("",),
        approving=dice.table("y", "n") if has["approving"] else ("n",),
        refusing=dice.table("y", "n", share=0.05) if has["refusing"] else ("n",),
        notes=has["notes"] or rng.random() < 0.5,
        tools=has["tools"],
        turn_limits={"": rng.randint(1, 3)} if has["turn_limits"] else None,
        cuts=0.05 if has["cuts"] and "cuts" in cut else 0.0,
        salt=rng.randrange(99),
    )


def calm(max_steps: int = 60) -> st.SearchStrategy[Everything]:
    """Cases in which it does not matter which step ends first."""
    return cases(wild=False, max_steps=max_steps)


def wild(max_steps: int = 60) -> st.SearchStrategy[Everything]:
    """Cases of all kinds."""
    return cases(wild=True, max_steps=max_steps)
