"""How much the engine costs above plain Trio: CPU, in one process, both sides in turn.

    python benchmarks/run.py                 every workload
    python benchmarks/run.py chain fan_out   only these

Each workload is done by plain Trio, as one would write it by hand, and by MARSYS, with a model or function
that yields to the scheduler once and costs nothing else. Both sides are measured alternately and the best
of several rounds counts, because other work on the machine only ever adds. The figure to look at is the
ratio; the bound beside it is what the project promises. Nothing fails here: a benchmark is read, not passed.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from marsys import Agent, Edge, ExecutionConfig, Invoke, Node, Orchestra, Registry, Topology, agent, tool
from marsys_core.messages import ToolCall, Usage
from marsys_core.models import Capabilities, ModelResponse

REPLY = ("ok " * 40)[:100]
PROMPT = "Do the next step."
LIMITS = ExecutionConfig(max_steps=1_000_000)
ROUNDS = 7
CONCURRENT = 1000
latency_seconds = 0.0


async def latency() -> None:
    """What a model or a function waits: one turn of the scheduler, or a while."""
    if latency_seconds:
        await trio.sleep(latency_seconds)
    else:
        await trio.lowlevel.checkpoint()


# -- plain Trio, by hand -------------------------------------------------------------------------


async def raw_reply(history: list[dict[str, str]]) -> dict[str, str]:
    await latency()
    return {"role": "assistant", "content": REPLY}


async def raw_chain(n: int) -> None:
    history = [{"role": "user", "content": PROMPT}]
    for _ in range(n):
        history.append(await raw_reply(history))


async def raw_fan_out(n: int) -> None:
    replies: list[dict[str, str]] = []

    async def one() -> None:
        replies.append(await raw_reply([{"role": "user", "content": PROMPT}]))

    async with trio.open_nursery() as nursery:
        for _ in range(n):
            nursery.start_soon(one)


async def raw_tools(n: int) -> None:
    import json

    history: list[dict[str, Any]] = [{"role": "user", "content": PROMPT}]
    for i in range(n):
        await latency()
        history.append(
            {"role": "assistant", "tool_calls": [{"id": f"c{i}", "arguments": '{"a": 1, "b": 2}'}]}
        )
        result = await add(**json.loads(history[-1]["tool_calls"][0]["arguments"]))
        history.append({"role": "tool", "id": f"c{i}", "content": str(result)})
    await raw_reply(history)


# -- MARSYS ----------------------------------------------------------------------------------------


class TextModel:
    """Answers with the same text."""

    name = "text"
    capabilities = Capabilities()
    usage = Usage(10, 10, model_calls=1)
    reply = ModelResponse(content=REPLY, usage=usage)

    async def generate(self, request: Any) -> ModelResponse:
        await latency()
        return self.reply


class HubModel(TextModel):
    """Invokes n workers, then answers."""

    def __init__(self, n: int) -> None:
        invocations = ",".join(f'{{"agent_name": "W", "request": "{PROMPT}"}}' for _ in range(n))
        call = ToolCall("c1", "invoke_agent", f'{{"invocations": [{invocations}]}}')
        self.first = ModelResponse(tool_calls=(call,), usage=self.usage)

    async def generate(self, request: Any) -> ModelResponse:
        await latency()
        return self.reply if len(request.messages) > 2 else self.first


class ToolModel(TextModel):
    """Calls a tool n times, one call a reply, then answers."""

    def __init__(self, n: int) -> None:
        self.n = n

    async def generate(self, request: Any) -> ModelResponse:
        await latency()
        i = (len(request.messages) + 1) // 2
        if i > self.n:
            return self.reply
        return ModelResponse(tool_calls=(ToolCall(f"c{i}", "add", '{"a": 1, "b": 2}'),), usage=self.usage)


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def step(prompt: Any) -> str:
    await latency()
    return REPLY


def ring(n: int) -> Topology:
    """Two nodes that hand over to each other until n steps are taken."""
    nodes = [Node(name, dispatch="next", rounds=max(1, n // 2)) for name in "AB"]
    return Topology(nodes=nodes, edges=["A -> B", "B -> A"], entry_point="A")


HUB = Topology(edges=["H <-> W"], entry_point="H")
CHAIN = Topology.of("A -> B -> C")

Side = Callable[[], Awaitable[Any]]


def executed(topology: Topology, agents: list[Any], orchestra: Orchestra, **settings: Any) -> Side:
    """A run of `topology` in an open engine."""
    config = ExecutionConfig(max_steps=1_000_000, **settings)
    return lambda: orchestra.execute(PROMPT, topology, agents=agents, execution_config=config)


def chain(orchestra: Orchestra, n: int, functions: bool) -> Side:
    model = TextModel()
    agents = [agent(name=name)(step) if functions else Agent(name, model=model) for name in "AB"]
    return executed(ring(n), agents, orchestra)


def fan_out(orchestra: Orchestra, n: int, functions: bool) -> Side:
    if functions:

        async def hub(prompt: Any) -> Any:
            return Invoke([("W", PROMPT)] * n) if isinstance(prompt, str) else "done"

        return executed(HUB, [agent(name="H")(hub), agent(name="W")(step)], orchestra)
    return executed(HUB, [Agent("H", model=HubModel(n)), Agent("W", model=TextModel())], orchestra)


def tools(orchestra: Orchestra, n: int) -> Side:
    return executed(
        Topology(["T"]), [Agent("T", model=ToolModel(n), tools=[tool(add)])], orchestra, max_tool_rounds=n + 2
    )


# -- measuring -------------------------------------------------------------------------------------


async def cpu(work: Side) -> float:
    gc.collect()
    start = time.process_time()
    await work()
    return time.process_time() - start


async def compare(raw: Side, ours: Side, units: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """Return microseconds per unit of both sides: the best of several rounds in turn."""
    await raw()
    await ours()
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for i, side in enumerate((raw, ours)):
            best[i] = min(best[i], await cpu(side))
    return best[0] / units * 1e6, best[1] / units * 1e6


def show(what: str, raw: float, ours: float, bound: float, unit: str = "µs") -> None:
    verdict = "" if ours / raw <= bound else "  (above it)"
    print(f"{what:<44} {raw:9.2f} {ours:9.2f} {unit:<3} {ours / raw:6.2f}x  bound {bound:g}x{verdict}")


def show_cost(what: str, microseconds: float, bound: float) -> None:
    """Show what something costs above the same run without it."""
    verdict = "" if microseconds <= bound else "  (above it)"
    print(f"{what:<44} {microseconds:19.2f} µs          bound {bound:g} µs{verdict}")


async def measure_chain(orchestra: Orchestra) -> None:
    per_step = {}
    for n in (100, 1000):
        raw, ours = await compare(lambda n=n: raw_chain(n), chain(orchestra, n, functions=False), n)
        show(f"chain of {n} agents' steps, each", raw, ours, 12)
        per_step[n] = ours
    print(f"{'':<44} flat: {per_step[1000] / per_step[100]:.2f}x from 100 to 1,000  bound 1.2x")
    for n in (100, 1000):
        raw, ours = await compare(lambda n=n: raw_chain(n), chain(orchestra, n, functions=True), n)
        show(f"chain of {n} functions' steps, each", raw, ours, 6)


async def measure_fan_out(orchestra: Orchestra) -> None:
    for functions, who in ((False, "agents"), (True, "functions")):
        for n in (100, 1000):
            raw, ours = await compare(lambda n=n: raw_fan_out(n), fan_out(orchestra, n, functions), n)
            show(f"fan-out to {n} {who} and join, each", raw, ours, 8)


async def measure_tools(orchestra: Orchestra) -> None:
    raw, ours = await compare(lambda: raw_tools(50), tools(orchestra, 50), 50)
    show("tool call in a loop of 50, each", raw, ours, 8)


async def at_once(work: Side) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(CONCURRENT):
            nursery.start_soon(work)


def three_steps(orchestra: Orchestra) -> tuple[Side, Side]:
    """Runs of three steps: in an open engine, and by the class method."""
    model = TextModel()
    agents = [Agent(name, model=model) for name in "ABC"]
    return (
        lambda: orchestra.execute(PROMPT, CHAIN, agents=agents),
        lambda: Orchestra.run(PROMPT, CHAIN, agents=agents),
    )


def ours_with(orchestra: Orchestra, functions: dict[str, Any], topology: Topology, **options: Any) -> Side:
    """A run of `topology` with plain functions as agents."""
    agents = [agent(name=name)(function) for name, function in functions.items()]
    return lambda: orchestra.execute(
        PROMPT, topology, agents=agents, execution_config=ExecutionConfig(max_steps=1_000_000), **options
    )


def uses_state(orchestra: Orchestra, use: Callable[[Any], None]) -> Side:
    """A chain of 20 steps, each of which uses the shared state, or a plain dict, 50 times."""

    async def one(prompt: Any, context: Any) -> str:
        use(context.state)
        return REPLY

    return ours_with(orchestra, {"A": one, "B": one}, ring(20), state={"k0": 1, "k1": "text", "k2": {"a": 1}})


def written(value: Any) -> Callable[[Any], None]:
    def use(state: Any) -> None:
        for key in KEYS:
            state[key] = value

    return use


def read(state: Any) -> None:
    for key in KEYS:
        state[key]


KEYS = [f"k{i % 3}" for i in range(50)]
VALUES = {
    "a number": 42,
    "a short text": "ready",
    "a small dict": {"name": "draft", "score": 0.7, "done": False},
}


async def measure_state(orchestra: Orchestra) -> None:
    plain: dict[str, Any] = {}

    def as_dict(use: Callable[[Any], None]) -> Side:
        return uses_state(orchestra, lambda state: use(plain))

    for what, value in VALUES.items():
        use = written(value)
        base, ours = await compare(as_dict(use), uses_state(orchestra, use), 20 * len(KEYS))
        show_cost(f"writing {what} to the shared state", ours - base, 5)
    base, ours = await compare(as_dict(read), uses_state(orchestra, read), 20 * len(KEYS))
    show_cost("reading from the shared state", ours - base, 5)


def beside(condition: Any, rules: Sequence[Any] = ()) -> Topology:
    """A ring of two, with an edge beside it that has `condition`, or none, and is never taken."""
    given = ring(STEPS)
    edges = [*given.edges, *(Edge(name, "C", condition=condition) for name in "AB")]
    return Topology(nodes=[*given.nodes.values(), Node("C")], edges=edges, entry_point="A", rules=rules)


STEPS = 500


class Quiet:
    """A rule that says nothing."""

    def before_step(self, facts: Any) -> None:
        return None

    def after_step(self, facts: Any) -> None:
        return None


async def measure_conditions(orchestra: Orchestra) -> None:
    def side(condition: Any) -> Side:
        three = dict.fromkeys("ABC", step)
        return ours_with(orchestra, three, beside(condition), state={"error_rate": 0.05})

    for what, condition in (
        ("an expression", "error_rate > 0.1"),
        ("a function", lambda facts: facts.state["error_rate"] > 0.1),
    ):
        base, ours = await compare(side(None), side(condition), STEPS)
        show_cost(f"judging a condition, {what}, each step", ours - base, 5)


async def measure_rules(orchestra: Orchestra) -> None:
    def side(rules: Sequence[Any]) -> Side:
        return ours_with(orchestra, dict.fromkeys("ABC", step), beside(None, rules))

    for count in (1, 3):
        base, ours = await compare(side(()), side([Quiet() for _ in range(count)]), STEPS)
        show_cost(f"asking {count} rule{'s' * (count > 1)} before and after, each step", ours - base, 2)


async def measure_conversation(orchestra: Orchestra) -> None:
    talk = Topology(edges=[f"A <~{STEPS}> B"], entry_point="A")
    for functions, who, bound in ((False, "agents", 12), (True, "functions", 6)):
        agents = [agent(name=n)(step) if functions else Agent(n, model=TextModel()) for n in "AB"]
        raw, ours = await compare(lambda: raw_chain(STEPS), executed(talk, agents, orchestra), STEPS)
        show(f"conversation of {STEPS} turns of {who}, each", raw, ours, bound)


async def measure_budget(orchestra: Orchestra) -> None:
    agents = [Agent(name, model=TextModel()) for name in "AB"]
    free = executed(ring(100), agents, orchestra)
    for limits in ({"max_tokens": 10**12}, {"max_tokens": 10**12, "max_cost": 1e9, "max_tool_calls": 10**9}):
        base, ours = await compare(free, executed(ring(100), agents, orchestra, **limits), 100)
        plural = "s" * (len(limits) > 1)
        show_cost(f"a model call under {len(limits)} limit{plural} of a budget", ours - base, 20)


async def measure_concurrent(orchestra: Orchestra) -> None:
    global latency_seconds
    latency_seconds = 0.05
    for work, how in zip(three_steps(orchestra), ("execute", "run"), strict=True):
        raw, ours = await compare(
            lambda: at_once(lambda: raw_chain(3)), lambda work=work: at_once(work), CONCURRENT, rounds=3
        )
        show(f"1,000 runs of 3 steps at once ({how}), each", raw, ours, 4)
    latency_seconds = 0.0


async def cancelled(work: Side) -> float:
    """CPU seconds to cancel a thousand that wait in their first call."""
    global latency_seconds
    latency_seconds = 60.0
    gc.collect()
    start = 0.0
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            for _ in range(CONCURRENT):
                nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked(0.05)
            gc.collect()
            start = time.process_time()
            scope.cancel()
    spent = time.process_time() - start
    latency_seconds = 0.0
    return spent


async def measure_cancel(orchestra: Orchestra) -> None:
    for work, how in zip(three_steps(orchestra), ("execute", "run"), strict=True):
        raw = ours = float("inf")
        for _ in range(3):
            raw = min(raw, await cancelled(lambda: raw_chain(3)))
            ours = min(ours, await cancelled(work))
        show(f"cancelling them ({how}), each", raw / CONCURRENT * 1e6, ours / CONCURRENT * 1e6, 3)


async def measure_overhead(orchestra: Orchestra) -> None:
    opened, by_class = three_steps(orchestra)

    async def many(work: Side) -> None:
        for _ in range(200):
            await work()

    inside, outside = await compare(lambda: many(opened), lambda: many(by_class), 200)
    print(f"{'Orchestra.run above execute':<44} {outside - inside:19.2f} µs          bound 200 µs")


async def measure_construct(_: Orchestra) -> None:
    model, counted = TextModel(), tool(add)
    gc.collect()
    start = time.process_time()
    kept = [Agent(f"a{i}", model=model, tools=[counted]) for i in range(10_000)]
    spent = (time.process_time() - start) / len(kept) * 1e6
    print(f"{'constructing an agent with a tool':<44} {spent:19.2f} µs          bound 15 µs")


def peak(statement: str) -> int:
    """Peak memory, in bytes, of a process of its own that runs a thousand at once."""
    code = f"import peak; peak.main({statement!r})"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_here()
    )
    return int(out.stdout)


def _here() -> str:
    from pathlib import Path

    return str(Path(__file__).parent)


async def measure_memory(_: Orchestra) -> None:
    raw, ours = peak("raw") / CONCURRENT / 1000, peak("execute") / CONCURRENT / 1000
    show("memory of a run of 3 steps, 1,000 at once", raw, ours, 5, "kB")


def import_seconds(statement: str) -> float:
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    best = float("inf")
    for _ in range(5):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        best = min(best, float(out.stdout))
    return best


async def measure_import(_: Orchestra) -> None:
    raw = import_seconds("import trio") * 1000
    ours = import_seconds("from marsys import Orchestra, Agent, Topology, tool") * 1000
    show("import, above an empty process", raw, ours, 1.6, "ms")


MEASURES = {
    "chain": measure_chain,
    "fan_out": measure_fan_out,
    "tools": measure_tools,
    "state": measure_state,
    "conditions": measure_conditions,
    "rules": measure_rules,
    "conversation": measure_conversation,
    "budget": measure_budget,
    "concurrent": measure_concurrent,
    "cancel": measure_cancel,
    "memory": measure_memory,
    "overhead": measure_overhead,
    "construct": measure_construct,
    "import": measure_import,
}


async def main() -> None:
    names = sys.argv[1:] or list(MEASURES)
    print(f"{'':<44} {'Trio':>9} {'MARSYS':>9}")
    with Registry():
        async with Orchestra(execution_config=LIMITS) as orchestra:
            for name in names:
                await MEASURES[name](orchestra)


if __name__ == "__main__":
    import trio.testing

    trio.run(main)
