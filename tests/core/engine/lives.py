"""Runs workflows that die after one entry of their journal, and goes on with them in another life."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.agents import Agent, BaseAgent
from marsys_core.engine.rebuild import read_events
from marsys_core.results import RunResult
from marsys_core.values import Converter
from tests.core.engine.corpus import CORPUS, Books, Workflow
from tests.core.fakes import bare, virtually
from tests.core.stores import MemoryStore

__all__ = ["RUN", "UNDRAWN", "Life", "first_life", "forked_life", "later_life", "meaning"]

RUN = "r"
DATE = 1_700_000_000.0
"""When each process begins: no time goes by between two, however long the tests before this one took."""
UNDRAWN = ["rules", "state and conditions"]
"""Workflows whose topologies have functions or objects in them, which are not recorded."""


@attrs.frozen
class Effect:
    """A tool that took effect, when so many entries were written."""

    call: tuple[str, str]
    entries: int


@attrs.define(eq=False)
class Life:
    """What one process saw of a run: its result, what its tools did, and the store that it left."""

    store: MemoryStore
    books: Books = attrs.field(factory=Books)
    effects: list[Effect] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    asked_models: list[str] = attrs.field(factory=list)
    result: RunResult | None = None

    async def model_call(self, call: Any, proceed: Any) -> Any:
        """Note which models are asked, as middleware."""
        self.asked_models.append(call.model.name)
        return await proceed(call)

    async def tool_call(self, call: Any, proceed: Any) -> Any:
        """Count what tools do, as middleware."""
        arguments = json.dumps(call.arguments, sort_keys=True, default=str)
        kept = self.store.kept.get(RUN)
        if kept is not None and call.run_id == RUN:
            self.effects.append(Effect((call.tool.name, arguments), len(kept.entries)))
        return await proceed(call)

    @property
    def events(self) -> list[e.Event]:
        """What the store has of the run."""
        return read_events(self.store.kept[RUN].entries, Converter(), RUN)

    def counted(self, entries: int | None = None) -> Counter[tuple[str, str]]:
        """Return how often each call has taken effect, when no more than so many entries were written."""
        return Counter(each.call for each in self.effects if entries is None or each.entries <= entries)


def first_life(name: str, *, idempotent: bool = False, seed: int = 0) -> Life:
    """Run a workflow of the corpus to its end."""
    workflow, life = CORPUS[name], Life(MemoryStore())

    async def main() -> RunResult:
        async with bare(storage=life.store, middleware=[life], new_id=lambda: RUN) as orchestra:
            orchestra.engine.wall = lambda: DATE
            return await orchestra.execute("task", workflow.topology, **given_to(workflow, life, idempotent))

    life.result = virtually(main, seed=seed)
    return life


def later_life(name: str, store: MemoryStore, *, idempotent: bool = False, seed: int = 0) -> Life:
    """Go on with what `store` has of a workflow of the corpus."""
    workflow, life = CORPUS[name], Life(store)
    life.books.taken = _taken(life.events)

    async def main() -> RunResult:
        async with bare(storage=life.store, middleware=[life]) as orchestra:
            orchestra.engine.wall = lambda: DATE
            topology = workflow.topology if name in UNDRAWN else None
            return await orchestra.resume(RUN, topology, **given_to(workflow, life, idempotent))

    life.result = virtually(main, seed=seed)
    return life


def forked_life(name: str, store: MemoryStore, at: int, new_id: str, **changes: Any) -> Life:
    """Fork what `store` has of a workflow of the corpus, whose scripts are used up."""
    workflow, life = CORPUS[name], Life(store)
    life.books.taken = _taken(life.events)

    async def main() -> RunResult:
        async with bare(storage=life.store, middleware=[life], new_id=lambda: new_id) as orchestra:
            orchestra.engine.wall = lambda: DATE
            topology = workflow.topology if name in UNDRAWN else None
            given = given_to(workflow, life, idempotent=True)
            return await orchestra.fork(RUN, at, topology=topology, **changes, **given)

    life.result = virtually(main)
    return life


def given_to(workflow: Workflow, life: Life, idempotent: bool) -> dict[str, Any]:
    agents = workflow.agents(life.books)
    if idempotent:
        _declare(agents)
    person = workflow.person
    return {
        "agents": agents,
        "execution_config": workflow.config,
        "channel": None if person is None else _listening(person(life.books), life),
    }


def _listening(person: Any, life: Life) -> Any:
    async def ask(question: Any) -> Any:
        life.asked.append(question.request_id)
        return await person(question)

    return ask


def _declare(agents: Mapping[str, BaseAgent]) -> None:
    """Say of every tool that it may be called again."""
    for agent in agents.values():
        if isinstance(agent, Agent):
            agent.tools = tuple(attrs.evolve(tool, idempotent=True) for tool in agent.tools)


def _taken(events: Sequence[e.Event]) -> Counter[str]:
    """Return how much of each script was used up by what is recorded: replies, outcomes of steps, answers."""
    taken: Counter[str] = Counter()
    models = {event.node for event in events if isinstance(event, e.ModelCalled)}
    for event in events:
        if isinstance(event, e.ModelReplied | e.ModelFailed):
            taken[event.node] += 1
        elif isinstance(event, e.StepFinished | e.StepFailed | e.StepRetried | e.StepSteered):
            taken[event.node] += event.node not in models
        elif isinstance(event, e.UserAnswered):
            taken["user"] += 1
    return taken


def meaning(result: RunResult) -> dict[str, Any]:
    """Return what two runs that mean the same have in common."""
    return {
        "response": result.final_response,
        "success": result.success,
        "error": (type(result.error), str(result.error)),
        "steps": result.total_steps,
        "state": dict(result.state),
        "usage": result.usage,
        "said": [(each.role, each.content) for each in result.conversation],
        "branches": [
            (b.branch_id, b.agent, b.success, b.response, type(b.error), str(b.error), b.steps, b.outcome)
            for b in result.branch_results
        ],
    }
