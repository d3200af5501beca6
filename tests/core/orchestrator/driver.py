"""Drives the orchestrator with scripted agents: no event loop, and the steps in any order."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from marsys_core.actions import Action, Invoke, read_action
from marsys_core.config import ExecutionConfig
from marsys_core.engine.rulebook import Rulebook
from marsys_core.errors import StateError
from marsys_core.events import Event, StepRetried, StepStarted, StepSteered, UserAsked, Warned
from marsys_core.orchestrator import (
    Ask,
    Branch,
    Command,
    Frame,
    Orchestrator,
    Phase,
    RunState,
    RunStep,
    Steer,
    Traits,
    Write,
    flatten,
)
from marsys_core.topology import Graph, Topology
from marsys_core.topology.rules import POINTS

__all__ = [
    "Answers",
    "Outcome",
    "Script",
    "Simulation",
    "Turn",
    "TIMEOUT",
    "Writes",
    "drive",
    "fold",
    "invoke",
    "table",
]


@attrs.frozen
class Turn:
    """What a script decides by; `visit` counts how often the node was asked on this branch, from 1."""

    branch: Branch
    node: str
    visit: int
    value: Any


Move = tuple[int, str, str]
"""(how many events there were, "begin", "end" or "answer", branch): what the driver did, and when."""

Answers = Callable[[UserAsked], Any]
"""What a person answers: a value, or an exception for none at all; `TIMEOUT` lets the time pass."""

TIMEOUT = object()

Writes = Callable[[Turn], Iterable[tuple[str, Any]]]
"""What an agent writes to the shared state in a turn, in order; one that is told that it cannot, goes on."""

Script = Callable[[Turn], Any]
"""Gives what the agent of a turn returns; a pure function, so that a run can be repeated."""


@attrs.define
class Outcome:
    """What a run came to. `steps` holds (branch, node, input) in the order in which they began."""

    success: bool
    values: list[Any]
    steps: list[tuple[str, str, Any]]
    settled: dict[str, str]
    events: list[Event]
    orchestrator: Orchestrator
    commands: list[Command]
    error: str = ""

    @property
    def path(self) -> list[str]:
        return [node for _, node, _ in self.steps]

    @property
    def final(self) -> Any:
        return self.values[0] if len(self.values) == 1 else self.values

    @property
    def state(self) -> RunState:
        return self.orchestrator.state

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if type(event) is Warned]

    def inputs(self, node: str) -> list[Any]:
        """The inputs of that node's steps, in the order in which they began."""
        return [value for _, at, value in self.steps if at == node]

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if type(event) is kind]


@attrs.define(eq=False)
class Simulation:
    """A run in progress.

    With `rng`, steps begin and end in any order, many running at a time; without, one after another as
    they become ready. A step that is cancelled while it runs gives nothing.
    """

    orchestrator: Orchestrator
    script: Script
    rng: random.Random | None = None
    events: list[Event] = attrs.field(factory=list)
    steps: list[tuple[str, str, Any]] = attrs.field(factory=list)
    commands: list[Command] = attrs.field(factory=list)
    ready: list[Branch] = attrs.field(factory=list)
    running: list[Branch] = attrs.field(factory=list)
    asked: list[UserAsked] = attrs.field(factory=list)
    answers: Answers | None = None
    writes: Writes | None = None
    visits: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    moves: list[Move] = attrs.field(factory=list)

    @classmethod
    def of(
        cls,
        topology: Any,
        script: Script | Mapping[str, Any],
        *,
        config: ExecutionConfig | None = None,
        traits: Mapping[str, Traits] | None = None,
        seed: int | None = None,
        rules: Sequence[Any] = (),
        answers: Answers | None = None,
    ) -> Simulation:
        graph = topology if isinstance(topology, Graph) else Topology.of(topology).graph
        orchestrator = Orchestrator(
            graph, config or ExecutionConfig(), traits or {}, reachable=answers is not None
        )
        rng = None if seed is None else random.Random(seed)
        made = cls(orchestrator, script if callable(script) else table(script), rng, answers=answers)
        orchestrator.append = made.record
        return made.ruled_by(rules)

    def ruled_by(self, rules: Sequence[Any]) -> Simulation:
        """Have these objects asked before and after steps and before forks."""
        if rules:
            asked = {
                point: tuple(
                    (type(rule).__name__, getattr(rule, point)) for rule in rules if hasattr(rule, point)
                )
                for point in POINTS
            }
            self.orchestrator.rules = Rulebook(**asked, task="task")
        return self

    def record(self, event: Event) -> None:
        self.events.append(event)
        self.count(event)

    def count(self, event: Event) -> None:
        if isinstance(event, StepStarted | StepSteered | StepRetried):
            self.visits[event.branch, event.node] += 1

    def start(self, task: Any = "task") -> Simulation:
        self.accept(self.orchestrator.start(task))
        return self

    def resume(self, prefix: Sequence[Event]) -> Simulation:
        """Rebuild the run from `prefix`, and take the steps again that were running there.

        Where `prefix` ends between what rules said and what came of it, that is done at once, as it was.
        """
        for event in prefix:
            self.orchestrator.state.apply(event)
            self.count(event)
        branches = self.orchestrator.state.branches.values()
        self.running += [branch for branch in branches if branch.phase is Phase.RUNNING]
        self.accept(self.orchestrator.resume())
        for waiting, go_on in ((self.ready, self.begin), (self.running, self.end)):
            for branch in [branch for branch in waiting if branch.rulings]:
                waiting.remove(branch)
                go_on(branch)
        return self

    def accept(self, commands: Iterable[Command]) -> None:
        for command in commands:
            self.commands.append(command)
            if isinstance(command, RunStep):
                self.ready.append(command.branch)
            elif isinstance(command, Steer):
                self.running.append(command.branch)
            elif isinstance(command, Ask):
                self.asked.append(command.question)

    def advance(self) -> bool:
        """Begin a step, end one or answer a question; False when there is none."""
        count = len(self.running) + len(self.ready) + len(self.asked)
        if not count:
            return False
        index = self.rng.randrange(count) if self.rng else 0
        if index < len(self.running):
            self.end(self.running.pop(index))
        elif index < len(self.running) + len(self.ready):
            self.begin(self.ready.pop(index - len(self.running)))
        else:
            self.answer(self.asked.pop(index - len(self.running) - len(self.ready)))
        return True

    def follow(self, moves: Iterable[Move]) -> Simulation:
        """Begin and end steps, and answer, in the order of another run."""
        for _, kind, id in moves:
            if kind == "answer":
                for asked in [asked for asked in self.asked if asked.branch == id]:
                    self.asked.remove(asked)
                    self.answer(asked)
                continue
            waiting = self.ready if kind == "begin" else self.running
            for branch in [branch for branch in waiting if branch.id == id]:
                waiting.remove(branch)
                self.begin(branch) if kind == "begin" else self.end(branch)
        return self

    def begin(self, branch: Branch) -> None:
        self.moves.append((len(self.events), "begin", branch.id))
        value = branch.value
        if self.orchestrator.begin(branch):
            self.steps.append((branch.id, branch.node, value))
            self.running.append(branch)
        else:
            self.accept(self.orchestrator.take())

    def end(self, branch: Branch) -> None:
        self.moves.append((len(self.events), "end", branch.id))
        if branch.phase is Phase.RUNNING:
            writes = self.written(self.turn(branch)) if self.writes is not None else ()
            self.accept(self.orchestrator.on_step(branch, self.action(branch), writes=writes))

    def answer(self, asked: UserAsked) -> None:
        self.moves.append((len(self.events), "answer", asked.branch))
        assert self.answers is not None
        if asked not in self.orchestrator.open_questions:
            return
        value = self.answers(asked)
        if value is TIMEOUT:
            self.accept(self.orchestrator.on_answer_timeout(asked.request_id))
        elif isinstance(value, BaseException):
            self.accept(self.orchestrator.on_no_answer(asked.request_id, value))
        else:
            self.accept(self.orchestrator.on_answer(asked.request_id, value, "person"))

    def action(self, branch: Branch) -> Action:
        return read_action(self.script(self.turn(branch)))

    def turn(self, branch: Branch) -> Turn:
        return Turn(branch, branch.node, self.visits[branch.id, branch.node], branch.value)

    def written(self, turn: Turn) -> tuple[Write, ...]:
        assert self.writes is not None
        frame, made = Frame(turn.branch.shared), []
        for key, value in self.writes(turn):
            with contextlib.suppress(StateError):
                made.append(self.orchestrator.sharing.write(frame, key, value))
        return tuple(made)

    def run(self) -> Outcome:
        """Go on to the end of the run."""
        while self.advance():
            pass
        state = self.orchestrator.state
        assert state.finished, "no step is left and the run is not over"
        return Outcome(
            success=state.success,
            values=flatten(c.value for c in sorted(state.contributions, key=lambda c: c.key)),
            steps=self.steps,
            settled={b.id: b.outcome.value for b in state.branches.values() if b.outcome},
            events=self.events,
            orchestrator=self.orchestrator,
            commands=self.commands,
            error=getattr(self.events[-1], "error", "") if self.events else "",
        )


def drive(
    topology: Any,
    script: Script | Mapping[str, Any],
    *,
    task: Any = "task",
    config: ExecutionConfig | None = None,
    traits: Mapping[str, Traits] | None = None,
    seed: int | None = None,
    rules: Sequence[Any] = (),
    answers: Answers | None = None,
    writes: Writes | None = None,
) -> Outcome:
    """Run `script` over `topology`; `seed` shuffles which steps begin and end next."""
    simulation = Simulation.of(
        topology, script, config=config, traits=traits, seed=seed, rules=rules, answers=answers
    )
    simulation.writes = writes
    return simulation.start(task).run()


def fold(events: Iterable[Event]) -> RunState:
    """Rebuild the state of a run from its events."""
    state = RunState()
    for event in events:
        state.apply(event)
    return state


def table(entries: Mapping[str, Any]) -> Script:
    """A script by node: one reply for every visit, or a list of replies, the last of which repeats.

    A function is called with the input; a node without a reply says its own name.
    """

    def script(turn: Turn) -> Any:
        given = entries.get(turn.node, turn.node)
        if isinstance(given, list):
            given = given[min(turn.visit, len(given)) - 1]
        return given(turn.value) if callable(given) else given

    return script


def invoke(*names: str, wait: bool = True, policy: Any = None) -> Invoke:
    """Call these nodes, each with ``for <name>``."""
    return Invoke([(name, f"for {name}") for name in names], wait=wait, policy=policy)
