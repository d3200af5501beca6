"""Workflows that between them use everything a run is made of; each is cancelled at every checkpoint."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import attrs
import trio

from marsys_core.actions import AskUser, EndConversation, Fail, Finish, Invoke, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Registry, Team
from marsys_core.agents.pool import AgentPool
from marsys_core.config import ExecutionConfig, RetryConfig
from marsys_core.hosts.declared import uses_asyncio
from marsys_core.messages import ToolCall
from marsys_core.models import Capabilities, ModelRequest
from marsys_core.protocols.rule import Block, Modify, RuleFacts, Stop
from marsys_core.tools import tool
from marsys_core.topology import ConvergencePolicy, Edge, Limits, Node, Topology
from tests.core.fakes import FakeModel, Reply, StreamingFake, bare, call, invoking

__all__ = ["CORPUS", "Books", "Workflow"]


class Books:
    """Who came in has to go out again: coroutines and threads of the agents in hand."""

    def __init__(self) -> None:
        self.inside = 0
        self.threads = 0
        self.visits = 0
        self.pools: list[AgentPool] = []
        self.taken: Counter[str] = Counter()  # how much of each script an earlier process has used up
        self._lock = threading.Lock()

    @property
    def leases(self) -> int:
        """How many instances of pools are out, and how many tasks wait for one."""
        return sum(found.leased + found.waiting for found in (pool.statistics() for pool in self.pools))

    @contextlib.asynccontextmanager
    async def visit(self) -> AsyncIterator[None]:
        """Work whose end has to be awaited, also when it is cancelled."""
        self.inside += 1
        self.visits += 1
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
                await trio.lowlevel.checkpoint()
            self.inside -= 1

    def in_thread(self, value: Any) -> str:
        """Work in a thread."""
        with self._lock:
            self.threads += 1
        try:
            return f"{value}t"
        finally:
            with self._lock:
                self.threads -= 1


@attrs.frozen(kw_only=True)
class Workflow:
    """What is run: the agents are made anew for each run, so that scripts start from the beginning."""

    topology: Topology
    agents: Callable[[Books], Mapping[str, BaseAgent]]
    config: ExecutionConfig
    person: Callable[[Books], Any] | None = None


CORPUS: dict[str, Workflow] = {}


def workflow(
    name: str, topology: Any, /, *, nodes: list[Any] | None = None, person: Any = None, **config: Any
) -> Callable[[Any], Any]:
    """Put a function that makes the agents of a run into the corpus."""

    def add(agents: Callable[[Books], Mapping[str, Any]]) -> Any:
        laid = Topology.of(topology) if nodes is None else Topology(nodes=nodes, edges=topology)

        def made(books: Books) -> dict[str, BaseAgent]:
            with Registry():  # ten thousand runs would fill the one that is shared
                return {key: _agent(key, given, books) for key, given in agents(books).items()}

        CORPUS[name] = Workflow(
            topology=laid,
            agents=made,
            config=ExecutionConfig(**{"raise_errors": False, "seed": 1, **config}),
            person=person,
        )
        return agents

    return add


def _agent(name: str, given: Any, books: Books) -> BaseAgent:
    """An agent, or what a plain one returns: each time the same, or in turn."""
    if isinstance(given, BaseAgent):
        if isinstance(given, Agent) and isinstance(given.model, FakeModel):
            given.model.skip(books.taken[name])
        return given
    if callable(given):
        return FunctionAgent(given, name=name)
    replies = itertools.islice(given, books.taken[name], None) if isinstance(given, list) else None

    async def act(prompt: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return f"{name}" if given is None else next(replies, f"{name}.") if replies else given

    return FunctionAgent(act, name=name)


def _llm(name: str, replies: Any, *, delay: float | None = None, tools: Any = ()) -> Agent:
    return Agent(name, model=FakeModel(replies, delay=delay), tools=tools)


def _asks(*names: str) -> Invoke:
    return Invoke([(name, f"for {name}") for name in names])


@workflow("chain", "A -> B -> C -> D")
def _(books: Books) -> Mapping[str, Any]:
    return dict.fromkeys("ABCD")


@workflow("fan-out", "A -> [B, C, D, E] -> F")
def _(books: Books) -> Mapping[str, Any]:
    return dict.fromkeys("ABCDEF")


@workflow("nested forks", "A <-> [B, C]; B <-> [D, E]; C <-> [F, G]")
def _(books: Books) -> Mapping[str, Any]:
    return {
        "A": [_asks("B", "C"), "a"],
        "B": [_asks("D", "E"), Return("b")],
        "C": [_asks("F", "G"), Return("c")],
        **dict.fromkeys("DEFG"),
    }


@workflow("calls", "A <-> B; B <-> C")
def _(books: Books) -> Mapping[str, Any]:
    return {"A": [_asks("B"), "a"], "B": [_asks("C"), Return("b")], "C": Return("c")}


@workflow("conversations", "S -> [A, B]; A <~3> B; B -> C; A <~3> B -> D; A -> D")
def _(books: Books) -> Mapping[str, Any]:
    async def talk(prompt: Any) -> Any:
        async with books.visit():
            await trio.lowlevel.checkpoint()
        return EndConversation("enough") if len(prompt) > 10 else f"{prompt}, and"

    return {"S": None, "A": talk, "B": talk, "C": None, "D": None}


@workflow("streamed answers", "A <-> [B, C]", auto_retry_on_error=True)
def _(books: Books) -> Mapping[str, Any]:
    class Visited(StreamingFake):
        async def stream(self, request: ModelRequest) -> Any:
            async with books.visit(), contextlib.aclosing(super().stream(request)) as deltas:
                async for delta in deltas:
                    yield delta

    return {
        "A": Agent("A", model=Visited([invoking("B", "C"), "a"])),
        "B": Agent("B", model=Visited(["b"], delay=0.1)),
        "C": Agent("C", model=Visited(["c"], delay=0.2)),
    }


@workflow("models in conversation", "M <-> A; A <~4> B")
def _(books: Books) -> Mapping[str, Any]:
    words = ["a1", call("end_conversation", summary="the end")]
    return {"M": [_asks("A"), "m"], "A": _llm("A", words), "B": _llm("B", ["b1", "b2"], delay=1)}


@workflow("a model that calls an agent", "A <-> B")
def _(books: Books) -> Mapping[str, Any]:
    return {"A": _llm("A", [invoking("B"), "a"]), "B": _llm("B", ["b"])}


@workflow("tools side by side", "A")
def _(books: Books) -> Mapping[str, Any]:
    @tool
    async def slow(seconds: float) -> str:
        """Wait."""
        async with books.visit():
            await trio.sleep(seconds)
        return "slow"

    @tool
    def plain(value: str) -> str:
        """Work in a thread."""
        return books.in_thread(value)

    first = [
        call("slow", "1", seconds=1),
        call("plain", "2", value="v"),
        call("slow", "3", seconds=2),
        ToolCall("4", "slow", "{"),
    ]
    return {"A": _llm("A", [first, "done"], tools=[slow, plain])}


@workflow("long texts", "A -> B -> A; B -> [C, D] -> E")
def _(books: Books) -> Mapping[str, Any]:
    @tool
    async def look(at: str) -> dict[str, Any]:
        """Look something up."""
        async with books.visit():
            await trio.lowlevel.checkpoint()
        return {"at": at, "found": [f"what {at} is about", "more " * 40]}

    first = [call("look", at="this " * 40), "more " * 40]
    return {
        "A": _llm("A", first, tools=[look]),
        "B": Invoke([("C", "a " * 90), ("D", "a " * 90)]),
        **dict.fromkeys("CDE"),
    }


@workflow("a model that waits", "A -> B")
def _(books: Books) -> Mapping[str, Any]:
    return {"A": _llm("A", ["a"], delay=5), "B": _llm("B", ["b"], delay=5)}


@workflow("detached branches", "A <-> [B, C]")
def _(books: Books) -> Mapping[str, Any]:
    async def late(prompt: Any) -> Any:
        async with books.visit():
            await trio.sleep(3)
        return Finish("late")

    start = Invoke([("B", 1), ("C", 2)], wait=False)
    return {"A": [start, Return("a")], "B": late, "C": Return("c")}


@workflow("retries", "A -> B", auto_retry_on_error=True, retry=RetryConfig(initial_delay=2, max_attempts=4))
def _(books: Books) -> Mapping[str, Any]:
    attempts = iter([ConnectionError("1"), ConnectionError("2"), None][books.taken["B"] :])

    async def flaky(prompt: Any) -> str:
        async with books.visit():
            error = next(attempts, None)
            if error is not None:
                raise error
        return "b"

    return {"A": None, "B": flaky}


@workflow("max_steps", "A -> [B, C]; B -> B2 -> B; C -> C2 -> C", max_steps=9)
def _(books: Books) -> Mapping[str, Any]:
    async def on(prompt: Any, context: Any) -> Any:
        async with books.visit():
            await trio.lowlevel.checkpoint()
        return _asks({"B": "B2", "B2": "B", "C": "C2", "C2": "C"}[context.node])

    return {"A": None, "B": on, "B2": on, "C": on, "C2": on}


@workflow("max_steps_per_branch", "A -> B; B -> A", max_steps_per_branch=4)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": _asks("B"), "B": _asks("A")}


@workflow("max_branch_depth", "A <-> [B, C]; B <-> [D, E]", max_branch_depth=1)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": _asks("B", "C"), "B": _asks("D", "E"), **dict.fromkeys("CDE")}


def _sleeper(books: Books, seconds: float) -> Callable[..., Any]:
    async def sleep(prompt: Any) -> str:
        async with books.visit():
            await trio.sleep(seconds)
        return "slept"

    return sleep


@workflow("timeout", "A -> [B, C]", timeout=2)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, "B": _sleeper(books, 1), "C": _sleeper(books, 9)}


@workflow("step_timeout", "A -> [B, C]", step_timeout=2)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, "B": _sleeper(books, 1), "C": _sleeper(books, 9)}


@workflow("branch_timeout", "A -> B -> C", branch_timeout=3)
def _(books: Books) -> Mapping[str, Any]:
    return dict.fromkeys("ABC", _sleeper(books, 2))


@workflow("convergence_timeout", "A -> [B, C] -> D", convergence_timeout=2, convergence_policy=0.5)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, "B": _sleeper(books, 1), "C": _sleeper(books, 9), "D": None}


@workflow("model_timeout", "A -> B", model_timeout=2)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, "B": _llm("B", ["b"], delay=5)}


@workflow("tool_timeout", "A", tool_timeout=2)
def _(books: Books) -> Mapping[str, Any]:
    @tool
    async def slow(seconds: float) -> str:
        """Wait."""
        async with books.visit():
            await trio.sleep(seconds)
        return "slow"

    both = [call("slow", "1", seconds=1), call("slow", "2", seconds=9)]
    return {"A": _llm("A", [both, "done"], tools=[slow])}


@workflow("max_tool_rounds", "A", max_tool_rounds=2)
def _(books: Books) -> Mapping[str, Any]:
    @tool
    async def look() -> str:
        """Look."""
        return "seen"

    return {"A": _llm("A", lambda request: call("look", f"c{len(request.messages)}"), tools=[look])}


@workflow("one step at a time", "A -> [B, C, D] -> E", max_parallel_branches=1)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, **dict.fromkeys("BCD", _sleeper(books, 1)), "E": None}


@workflow("two steps at a time", "A <-> [B, C]; B <-> [D, E]", max_parallel_branches=2)
def _(books: Books) -> Mapping[str, Any]:
    return {
        "A": [_asks("B", "C"), "a"],
        "B": [_asks("D", "E"), Return("b")],
        **dict.fromkeys("CDE", _sleeper(books, 1)),
    }


EARLY = ConvergencePolicy(quorum=1, early=True)


@workflow(
    "an early policy",
    "A -> [B, C, D] -> E",
    nodes=[Node("A", dispatch="all", convergence_policy=EARLY), *"BCDE"],
)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, "B": _sleeper(books, 1), "C": _sleeper(books, 5), "D": _sleeper(books, 5), "E": None}


@workflow("first_result", "A -> [B, C]", first_result=True)
def _(books: Books) -> Mapping[str, Any]:
    async def first(prompt: Any) -> Any:
        return Finish("first")

    return {"A": None, "B": first, "C": _sleeper(books, 9)}


@workflow("steering", "A <-> B")
def _(books: Books) -> Mapping[str, Any]:
    wrong: list[Reply] = [invoking("Nobody"), '{"next_action": "dance"}', invoking("B"), "done"]
    return {"A": _llm("A", wrong), "B": None}


@workflow("threads", "A -> [B, C] -> D")
def _(books: Books) -> Mapping[str, Any]:
    return dict.fromkeys("ABCD", books.in_thread)


@workflow("a thread past its deadline", "A -> B", step_timeout=1)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": books.in_thread, "B": _sleeper(books, 9)}


@workflow("agents with nurseries", "A -> [B, C]")
def _(books: Books) -> Mapping[str, Any]:
    async def part(seconds: float) -> None:
        async with books.visit():
            await trio.sleep(seconds)

    async def parallel(prompt: Any) -> str:
        async with trio.open_nursery() as nursery:
            for seconds in (1, 2, 3):
                nursery.start_soon(part, seconds)
            async with books.visit():
                await trio.lowlevel.checkpoint()
        return "parts"

    return {"A": parallel, "B": parallel, "C": parallel}


@workflow(
    "errors in clean-up", "A -> [B, C] -> D", convergence_policy=ConvergencePolicy(quorum=1, early=True)
)
def _(books: Books) -> Mapping[str, Any]:
    async def broken() -> None:
        try:
            await trio.sleep(5)
        finally:
            raise ValueError("while cleaning up")

    async def parallel(prompt: Any) -> str:
        async with books.visit(), trio.open_nursery() as nursery:
            nursery.start_soon(broken)
            await trio.sleep(4)
            nursery.cancel_scope.cancel()
        return "parts"

    return {"A": None, "B": parallel, "C": None, "D": None}


@workflow("failures that a policy lets pass", "A <-> [B, C]", convergence_policy=0.5)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": [_asks("B", "C"), _asks("B", "C"), "a"], "B": Fail("no"), "C": _sleeper(books, 1)}


class _Ruled:
    """Says something of each kind: before and after steps, and before forks."""

    def limits(self, limits: Limits) -> Limits:
        return limits.lowered("agent_timeout", {"E": 2, "": 20}, "ruled").lowered("max_agents", 3, "ruled")

    def before_step(self, facts: RuleFacts) -> Any:
        if facts.node == "H":
            return Stop("at the end")
        return Block("not D") if facts.node == "D" else Modify(f"{facts.value}~")

    def after_step(self, facts: RuleFacts) -> Any:
        return Block("say more") if facts.value == "short" else None

    def before_fork(self, facts: RuleFacts) -> Any:
        return Modify([(node, payload) for node, payload in facts.value if node != "F"])


@workflow(
    "rules",
    Topology(
        [Node("A", dispatch="all", convergence_policy=0.1), *"BCDEFGH"],
        ["A -> B", "A -> C", "A -> D", "A -> E", "A -> F", *[f"{name} -> G" for name in "BCDEF"], "G -> H"],
        rules=[_Ruled()],
    ),
)
def _(books: Books) -> Mapping[str, Any]:
    talker = _llm("B", ["short", "short", "a longer answer"], delay=1)
    return {"A": None, "B": talker, "C": _sleeper(books, 1), "E": _sleeper(books, 9), **dict.fromkeys("DFGH")}


@workflow("a team of models", "H <-> [S1, S2, S3]")
def _(books: Books) -> Mapping[str, Any]:
    @tool
    async def look(at: str) -> str:
        """Look at something."""
        async with books.visit():
            await trio.sleep(1)
        return f"seen {at}"

    def spoke(request: ModelRequest) -> Reply:
        return "an answer" if request.messages[-1].role == "tool" else call("look", at="it")

    hub = [invoking("S1", "S2", "S3"), [invoking("S1", id="x"), invoking("S3", id="y")], "the end"]
    spokes = {name: _llm(name, spoke, tools=[look], delay=1) for name in ("S1", "S2", "S3")}
    return {"H": _llm("H", hub), **spokes}


def _pool(books: Books, name: str, function: Callable[..., Any], size: int, **given: Any) -> AgentPool:
    books.pools.append(AgentPool(FunctionAgent, size, name=name, function=function, **given))
    return books.pools[-1]


@workflow("a pool of two", "A -> [B, C, D, E]", nodes=["A", *[Node(x, agent="P") for x in "BCDE"]])
def _(books: Books) -> Mapping[str, Any]:
    return {"A": None, "P": _pool(books, "P", _sleeper(books, 1), 2)}


@workflow("a pool with limits", "A <-> P", step_timeout=2, branch_timeout=5, convergence_policy=0.1)
def _(books: Books) -> Mapping[str, Any]:
    pool = _pool(books, "P", _sleeper(books, 1.5), 1, max_idle_time=1, warm_start=True)
    return {"A": [_asks("P", "P", "P"), "a"], "P": pool}


@workflow("a pool of threads", "A <-> P", max_parallel_branches=2)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": [_asks("P", "P", "P"), "a"], "P": _pool(books, "P", books.in_thread, 1)}


@workflow("a pool whose instances close", "A <-> P")
def _(books: Books) -> Mapping[str, Any]:
    class Closing(BaseAgent):
        async def _run(self, prompt: Any, context: Any, **kwargs: Any) -> str:
            async with books.visit():
                await trio.sleep(prompt)
            return "slept"

        async def aclose(self) -> None:
            async with books.visit():
                await trio.sleep(1)

    books.pools.append(AgentPool(Closing, 2, name="P", max_idle_time=2))
    return {"A": [Invoke([("P", 1), ("P", 4)]), Invoke([("P", 1), ("P", 1)]), "a"], "P": books.pools[0]}


@workflow("a run inside a pool's step", "A <-> P")
def _(books: Books) -> Mapping[str, Any]:
    async def inner(prompt: Any) -> Any:
        async with books.visit():
            await trio.sleep(1)
        if prompt == "inner":
            return prompt
        async with bare() as orchestra:
            result = await orchestra.execute("inner", "P", agents=books.pools)
        return result.final_response

    return {"A": [_asks("P", "P"), "a"], "P": _pool(books, "P", inner, 1)}


@attrs.frozen
class Said:
    text: str


async def _kind(subject: Any) -> str | None:
    await trio.lowlevel.checkpoint()
    return "be kind" if subject.kind == "output" and subject.value == {"text": "rude"} else None


@workflow("shapes and guards", "A <-> B")
def _(books: Books) -> Mapping[str, Any]:
    async def told(context: Any) -> str:
        async with books.visit():
            return f"You are {context.node}."

    ask: list[Reply] = [
        call("invoke_agent", str(i), invocations=[{"agent_name": "B", "request": request}])
        for i, request in enumerate(["free text", {"text": "a question"}])
    ]
    replies: list[Reply] = ["no JSON", *ask, '{"text": "rude"}', '{"text": "kind"}']
    model = FakeModel(replies)
    return {
        "A": Agent("A", model=model, instruction=told, output_type=Said, guards=[_kind]),
        "B": FunctionAgent(_sleeper(books, 1), name="B", input_type=Said, guards=[_kind]),
    }


def _answering(*answers: Any) -> Callable[[Books], Any]:
    """A channel to a person who takes two seconds for each answer, the last of which repeats."""

    def made(books: Books) -> Any:
        left = iter(answers[books.taken["user"] :])

        async def person(question: Any) -> Any:
            async with books.visit():
                await trio.sleep(2)
            return next(left, answers[-1])

        return person

    return made


@workflow(
    "open questions",
    "A <-> [B, C]; A -> user; B -> user; C -> user",
    person=_answering("yes"),
    branch_timeout=9,
    convergence_timeout=5,
    max_parallel_branches=1,
)
def _(books: Books) -> Mapping[str, Any]:
    async def asks(prompt: Any, context: Any) -> Any:
        async with books.visit():
            await trio.sleep(1)
        return AskUser("may I?", timeout=4, default="no") if context.step == 1 else f"heard {prompt}"

    return {"A": [Invoke([("B", 1), ("user", "and you?"), ("C", 2)]), "a"], "B": asks, "C": asks}


@workflow("a model that asks", "A -> user", person=_answering("yes"))
def _(books: Books) -> Mapping[str, Any]:
    return {"A": _llm("A", [call("ask_user", question="may I?"), "a"], delay=1)}


def _deciding(books: Books) -> Any:
    """A channel to a person who takes two seconds, and rejects the call that would take longest."""

    async def person(question: Any) -> Any:
        async with books.visit():
            await trio.sleep(2)
        return "reject" if question.prompt["arguments"]["seconds"] == 3 else "approve"

    return person


@workflow("approvals", "A", person=_deciding, step_timeout=9)
def _(books: Books) -> Mapping[str, Any]:
    @tool(approval=True)
    async def slow(seconds: float) -> str:
        """Wait."""
        async with books.visit():
            await trio.sleep(seconds)
        return "slow"

    both = [call("slow", "1", seconds=1), call("slow", "2", seconds=3), call("slow", "3", seconds=2)]
    return {"A": _llm("A", [both, "done"], tools=[slow])}


@workflow("error routing", "A -> B", person=_answering("retry", "skip"), error_routing_enabled=True)
def _(books: Books) -> Mapping[str, Any]:
    async def fails(prompt: Any) -> Any:
        async with books.visit():
            await trio.sleep(1)
        raise ConnectionError("gone")

    return {"A": fails, "B": None}


@workflow(
    "a person decides about a join",
    "A <-> [B, C]",
    person=_answering("retry", "proceed"),
    convergence_policy=ConvergencePolicy(on_insufficient="user"),
)
def _(books: Books) -> Mapping[str, Any]:
    return {"A": [_asks("B", "C"), "a"], "B": Fail("no"), "C": _sleeper(books, 1)}


@workflow(
    "state and conditions",
    [
        "A -> [B, C] -> D",
        Edge("D", "A", condition=lambda facts: facts.visits < 2),
        Edge("D", "end", condition=lambda facts: facts.visits >= 2),
    ],
    nodes=["A", "B", "C", "D"],
)
def _(books: Books) -> Mapping[str, Any]:
    async def writing(prompt: Any, context: Any) -> str:
        async with books.visit():
            context.state[f"{context.branch_id} {context.node}"] = context.step
            await trio.lowlevel.checkpoint()
        return str(len(context.state))

    return dict.fromkeys("ABCD", writing)


def _bounded(replies: Any, most: int, *, delay: float) -> FakeModel:
    """A model of which a call may come to much more than it then does."""
    model = FakeModel(replies, delay=delay)
    model.capabilities = Capabilities(max_output_tokens=most)
    return model


@workflow("calls that wait for the budget", "A -> [B, C, D, E] -> F", max_tokens=70, convergence_policy=0.5)
def _(books: Books) -> Mapping[str, Any]:
    async def ask(prompt: Any, context: Any) -> Any:
        async with books.visit():
            return (await context.generate("x", model=_bounded(["x"], 30, delay=1))).text

    return {
        "A": None,
        **dict.fromkeys("BCD", ask),
        "E": Agent("E", model=_bounded(["e"], 90, delay=1)),
        "F": None,
    }


@workflow("a share of the budget", "A <-> [B, C]", max_tool_calls=5)
def _(books: Books) -> Mapping[str, Any]:
    @tool
    async def look() -> str:
        """Look."""
        async with books.visit():
            await trio.sleep(1)
        return "seen"

    share = Invoke([("B", 1), ("C", 2)], budget={"max_tool_calls": 3, "max_tokens": 40}, policy="any")
    looks = [call("look", "1"), call("look", "2")]
    return {
        "A": [share, Return("a")],
        **{name: _llm(name, [looks, "done"], tools=[look], delay=1) for name in ("B", "C")},
    }


@workflow("nested teams", "A -> [B, C] -> D", max_parallel_branches=1, max_tokens=10_000, max_steps=40)
def _(books: Books) -> Mapping[str, Any]:
    def sleepers(*names: str) -> list[BaseAgent]:
        return [FunctionAgent(_sleeper(books, 1), name=name) for name in names]

    innermost = Team("X -> [Y, Z]", sleepers(*"XYZ"), name="innermost")
    inner = Team("P -> Q", [*sleepers("P"), innermost.as_node("Q")], name="inner")
    return {
        "A": None,
        "B": inner.as_node("B"),
        "C": inner.as_node("C"),
        "D": _llm("D", ["d"], delay=1),
    }


@workflow("teams as tools", "A", tool_timeout=9)
def _(books: Books) -> Mapping[str, Any]:
    detaching = [Invoke([("R", 1)], wait=False), Return("c")]
    made = [_agent("C", detaching, books), FunctionAgent(_sleeper(books, 3), name="R")]
    team = Team("C <-> R", made, name="crew")
    writer = _llm("Writer", ["written"], delay=2)
    both = [call("crew", "1", request="x"), call("Writer", "2", request="y"), call("crew", "3", request="z")]
    return {"A": _llm("A", [both, "done"], tools=[team.as_tool(), writer.as_tool()])}


@workflow("code written for asyncio", "A -> [B, C] -> D")
def _(books: Books) -> Mapping[str, Any]:
    @contextlib.asynccontextmanager
    async def visit() -> AsyncIterator[None]:
        import asyncio

        books.inside += 1
        books.visits += 1
        try:
            await asyncio.sleep(0)
            yield
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                books.inside -= 1

    @tool(async_library="asyncio")
    async def look(at: str, context: Any) -> str:
        """Look at something."""
        async with visit():
            context.state[f"{context.branch_id} {at}"] = at
        return f"seen {at}"

    @uses_asyncio
    async def asks(prompt: Any, context: Any) -> Any:
        import asyncio

        model = FakeModel(lambda request: f"{request.messages[-1].content}!")
        async with visit():
            replies = await asyncio.gather(*[context.generate(text, model=model) for text in "xy"])
            assert [reply.text for reply in replies] == ["x!", "y!"]
        return "asked"

    @uses_asyncio
    async def fails(prompt: Any) -> Any:
        async with visit():
            raise ValueError("no")

    team = Agent(
        "A", model=FakeModel([[call("look", "1", at="it"), call("look", "2", at="that")], "a"]), tools=[look]
    )
    return {"A": team, "B": asks, "C": asks, "D": fails}


@workflow("a pool's instance that asks a team", "A <-> P", max_parallel_branches=1)
def _(books: Books) -> Mapping[str, Any]:
    async def ask(prompt: Any, context: Any) -> Any:
        async with books.visit():
            await trio.sleep(1)
        return prompt if prompt == "inner" else await context.run_team(team, "inner")

    team = Team("P -> Q", {"P": _pool(books, "P", ask, 1), "Q": _agent("Q", None, books)})
    return {"A": [_asks("P", "P"), "a"], "P": books.pools[0]}
