"""The project's adapter to the benchmark harness that other frameworks are measured with.

The harness sets BENCH_HOME to its folder; `common` and `trio_harness` are its modules. A case registers
itself under a workload (W2 construct, W3 chain, W4 fan-out, W5 tool loop, W7 concurrent runs, W8 their
cancellation) and a variant.
"""

from __future__ import annotations

import os
import sys

sys.path[0] = os.environ["BENCH_HOME"]

import common as c  # type: ignore[import-not-found]
import trio
import trio_harness as th  # type: ignore[import-not-found]

from marsys import Agent, ExecutionConfig, Invoke, Node, Orchestra, Registry, Topology, agent, tool
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import Capabilities, ModelResponse

b = th.TrioBench("ours")
LIMITS = ExecutionConfig(max_steps=100_000)
USAGE = Usage(10, 10, model_calls=1)
REPLY = ModelResponse(content=c.REPLY, usage=USAGE)


class TextModel:
    name = "text"
    capabilities = Capabilities()

    async def generate(self, request):
        await th.latency()
        return REPLY


@tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@b.case("W2", "agent")
def w2():
    model = TextModel()
    with Registry():
        b.construct(lambda i: Agent(f"a{i}", model=model, tools=[add]))


class Ring:
    """n agents' steps in sequence: two agents in a ring of `rounds`, plain content all the way."""

    def __init__(self, n, agents):
        self.agents = agents
        self.topology = Topology(
            nodes=[Node(name, dispatch="next", rounds=max(1, n // 2)) for name in "AB"],
            edges=["A -> B", "B -> A"],
            entry_point="A",
        )


async def chain(ring, n):
    async with Orchestra(execution_config=LIMITS) as orchestra:
        result = await orchestra.execute(c.PROMPT, ring.topology, agents=ring.agents)
    assert result.success, result.error
    return result.total_steps


def agents():
    model = TextModel()
    with Registry():
        return [Agent("A", model=model), Agent("B", model=model)]


def functions():
    async def step(prompt):
        await th.latency()
        return c.REPLY

    with Registry():
        return [agent(name=name)(step) for name in "AB"]


@b.case("W3", "agent", "a ring of two agents, shared history as each agent's own conversation")
def w3():
    b.chain(lambda n: Ring(n, agents()), chain)


@b.case("W3", "graph", "a ring of two async functions")
def w3_functions():
    b.chain_graph(lambda n: Ring(n, functions()), chain)


class HubModel(TextModel):
    def __init__(self, n):
        invocations = ",".join(f'{{"agent_name": "W", "request": "{c.PROMPT}"}}' for _ in range(n))
        call = ToolCall("c1", "invoke_agent", f'{{"invocations": [{invocations}]}}')
        self.first = ModelResponse(tool_calls=(call,), usage=USAGE)

    async def generate(self, request):
        await th.latency()
        return REPLY if len(request.messages) > 2 else self.first


@b.case("W4", "agent", "the hub's model asks for n workers, which are joined")
def w4():
    topology = Topology.of("H <-> W")
    topology.entry_point = "H"

    def make(n):
        with Registry():
            return [Agent("H", model=HubModel(n)), Agent("W", model=TextModel())]

    async def run(state, n):
        async with Orchestra(execution_config=LIMITS) as orchestra:
            result = await orchestra.execute(c.PROMPT, topology, agents=state)
        assert result.success, result.error
        return len(result.branch_results) - 1

    b.fanout(make, run, min_calls=lambda n: n + 2)


@b.case("W4", "graph", "a function asks for n functions, which are joined")
def w4_functions():
    topology = Topology.of("H <-> W")
    topology.entry_point = "H"

    def make(n):
        async def hub(prompt):
            return len(prompt) if not isinstance(prompt, str) else Invoke([("W", c.PROMPT)] * n)

        async def worker(prompt):
            await th.latency()
            return c.REPLY

        with Registry():
            return [agent(name="H")(hub), agent(name="W")(worker)]

    async def run(state, n):
        async with Orchestra(execution_config=LIMITS) as orchestra:
            return (await orchestra.execute(c.PROMPT, topology, agents=state)).response

    b.fanout(make, run)


class ToolModel(TextModel):
    def __init__(self, k):
        self.k = k

    async def generate(self, request):
        await th.latency()
        i = (len(request.messages) + 1) // 2
        if i > self.k:
            return REPLY
        return ModelResponse(tool_calls=(ToolCall(f"c{i}", "add", '{"a": 1, "b": 2}'),), usage=USAGE)


@b.case("W5", "agent")
def w5():
    def make(k):
        with Registry():
            return Agent("T", model=ToolModel(k), tools=[add])

    async def run(state, k):
        config = ExecutionConfig(max_tool_rounds=k + 2)
        async with Orchestra(execution_config=config) as orchestra:
            result = await orchestra.execute(c.PROMPT, "T", agents=[state])
        assert result.success, result.error
        return result.usage.model_calls - 1

    b.tools(make, run)


class Shared:
    """One set of agents for all runs."""

    def __init__(self):
        self.agents = agents()
        self.topology = Topology.of("A -> B -> C")
        with Registry():
            self.agents.append(Agent("C", model=self.agents[0].model))


async def by_class(state, n):
    return await Orchestra.run(c.PROMPT, state.topology, agents=state.agents)


class Open(Shared):
    """With an Orchestra that a task of the system holds open for as long as the measurement takes."""

    @classmethod
    async def make(cls):
        self, ready = cls(), trio.Event()

        async def hold():
            async with Orchestra() as self.orchestra:
                ready.set()
                await trio.sleep_forever()

        trio.lowlevel.spawn_system_task(hold)
        await ready.wait()
        return self


async def in_open(state, n):
    return await state.orchestra.execute(c.PROMPT, state.topology, agents=state.agents)


@b.case("W7", "agent", "execute in one open Orchestra, shared agents")
def w7():
    b.concurrent(Open.make, in_open)


@b.case("W7", "agent_class_level", "Orchestra.run for each run, shared agents")
def w7_class():
    b.concurrent(Shared, by_class)


@b.case("W8", "agent", "execute in one open Orchestra, shared agents")
def w8():
    b.cancel(Open.make, in_open)


@b.case("W8", "agent_class_level", "Orchestra.run for each run, shared agents")
def w8_class():
    b.cancel(Shared, by_class)


b.main()
