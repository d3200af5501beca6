"""What agents, tools and their results look like to a type checker."""

from typing import Any, assert_type

from marsys import (
    Agent,
    AgentPool,
    BaseAgent,
    Context,
    FunctionAgent,
    Invoke,
    Return,
    RunResult,
    Tool,
    ToolContext,
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


@tool
def double(number: int) -> int:
    return 2 * number


@tool(timeout=5)
async def signed(text: str, context: ToolContext) -> str:
    return f"{text} ({context.node})"


assert_type(double, Tool)
assert_type(signed, Tool)
assert_type(double.name, str)

assert_type(Agent("Solo", model=ScriptedModel(["yes"]), tools=[double, "search"]).system, str)


async def pooled() -> None:
    async with AgentPool(
        Agent, num_instances=2, warm_start=True, max_idle_time=300, model="extractive"
    ) as pool:
        async with pool.acquire() as leased:
            assert_type(leased, BaseAgent)
        assert_type(pool.statistics().longest_wait, float)
