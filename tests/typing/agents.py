"""What agents, tools and their results look like to a type checker."""

from typing import Any, assert_type

from marsys import (
    Agent,
    AgentPool,
    BaseAgent,
    Context,
    FunctionAgent,
    GuardSubject,
    Invoke,
    Return,
    RunResult,
    Tool,
    ToolContext,
    Transaction,
    agent,
    tool,
)
from marsys.models import ScriptedModel


@agent
async def bare(prompt: Any) -> str:
    return str(prompt)


@agent(name="Named", description="Has arguments.")
def named(prompt: Any, context: Context) -> Invoke:
    return Invoke([("Other", prompt)])


assert_type(bare, FunctionAgent)
assert_type(named, FunctionAgent)
assert_type(bare.name, str)


class Own(BaseAgent):
    async def _run(self, prompt: Any, context: Context, **kwargs: Any) -> Return:
        response = await context.generate("a question")
        assert_type(response.text, str)
        assert_type(context.step, int)
        return Return(response.text)


async def alone() -> None:
    assert_type(await Own().run("a task"), RunResult)
    assert_type(await Own().run("a task", output_type=int), RunResult[int])
    assert_type((await named.run("a task", output_type=dict[str, int])).unwrap(), dict[str, int])


@tool
def double(number: int) -> int:
    return 2 * number


@tool(timeout=5)
async def signed(text: str, context: ToolContext) -> str:
    return f"{text} ({context.node})"


@tool(transactional=True)
async def stored(text: str, context: ToolContext) -> int:
    assert_type(context.transaction, Transaction)
    assert_type(await context.transaction.query("SELECT 1"), list[dict[str, Any]])
    return (await context.transaction.execute("INSERT INTO texts VALUES (?)", [text])).rowcount


assert_type(double, Tool)
assert_type(signed, Tool)
assert_type(double.name, str)


async def instruction(context: Context) -> str:
    return f"On {context.variables['topic']}, with {context.deps}."


def polite(subject: GuardSubject) -> str | None:
    return "be polite" if subject.kind == "output" and "!" in str(subject.value) else None


@agent(output_type=int, guards=[polite])
async def counted(prompt: str) -> int:
    return len(prompt)


assert_type(counted, FunctionAgent)
assert_type(Agent("Told", instruction=instruction, output_type=int, guards=[polite]).name, str)
assert_type(Agent("Solo", model=ScriptedModel(["yes"]), tools=[double, "search"]).system, str)


async def pooled() -> None:
    async with AgentPool(
        Agent, num_instances=2, warm_start=True, max_idle_time=300, model="extractive"
    ) as pool:
        async with pool.acquire() as leased:
            assert_type(leased, BaseAgent)
        assert_type(pool.statistics().longest_wait, float)
