"""Budgets hold for the whole tree of a run, also where its branches spend side by side."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Invoke, Return
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, Team
from marsys_core.context import Budget
from marsys_core.engine.budget import estimated_input
from marsys_core.errors import ConvergenceError, LimitError, ModelError, ModelErrorKind
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.models import Capabilities, ModelRequest, ModelResponse, Sampling, ToolSpec
from marsys_core.tools import tool
from tests.core.engine.cancelling import assert_complete
from tests.core.examples import examples
from tests.core.fakes import FakeModel, Ran, call, run


class Metered:
    """A model that says what a call may come to, and uses as much of it as it is told to."""

    name = "metered"

    def __init__(
        self,
        *,
        told: int = 10,
        most: int | None = 90,
        used: Any = 90,
        prices: tuple[float | None, float | None] = (None, None),
        seconds: float = 1,
        cost: float = 0.0,
    ) -> None:
        self.capabilities = Capabilities(
            max_output_tokens=most, input_price=prices[0], output_price=prices[1]
        )
        self.told, self.used, self.seconds, self.cost = told, used, seconds, cost
        self.calls = self.running = self.most_running = 0

    def count_tokens(self, request: ModelRequest) -> int:
        return self.told

    async def generate(self, request: ModelRequest) -> ModelResponse:
        self.calls += 1
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await trio.sleep(self.seconds)
        finally:
            self.running -= 1
        used = self.used(request) if callable(self.used) else self.used
        if isinstance(used, Exception):
            raise used
        return ModelResponse(content="said", usage=Usage(self.told, used, cost=self.cost))


def speakers(model: Any, *names: str) -> list[BaseAgent]:
    return [Agent(name, model=model) for name in names]


def fan(model: Any, **config: Any) -> Ran:
    """One agent without a model forks to four with one."""
    hub = FunctionAgent(_hub, name="H")
    return run("x", "H -> [A, B, C, D]", [hub, *speakers(model, *"ABCD")], **config)


async def _hub(prompt: Any) -> Any:
    return "go" if isinstance(prompt, str) else [item.value for item in prompt]


def spent(ran: Ran) -> tuple[int, float]:
    return ran.result.usage.total_tokens, ran.result.usage.cost


def test_a_call_that_does_not_fit_any_more_is_refused_and_says_what_there_was() -> None:
    model = Metered()
    ran = run("x", "A -> B -> C", speakers(model, *"ABC"), max_tokens=250)
    error = ran.result.error
    assert type(error) is LimitError
    assert error.limit == "max_tokens"
    assert str(error) == (
        "no room in the budget for a call of model 'metered', which may come to 100 tokens: 200 spent, "
        "0 set aside for others (max_tokens=250) (at branch 0, node 'C', step 3)"
    )
    assert (model.calls, spent(ran)) == (2, (200, 0))
    assert [(event.limit, event.value) for event in ran.of(e.LimitReached)] == [("max_tokens", 250)]
    assert_complete(ran.heard.events)


def test_calls_side_by_side_cannot_overshoot_together() -> None:
    model = Metered()
    ran = fan(model, max_tokens=250, convergence_policy="any")
    assert (model.calls, model.most_running, spent(ran)[0]) == (2, 2, 200)
    assert ran.result.success
    assert len(ran.of(e.LimitReached)) == 1  # it is said once, and fails two branches
    outcomes = [branch.outcome for branch in ran.result.branch_results[1:]]
    assert sorted(outcomes) == ["delivered", "delivered", "failed", "failed"]
    assert_complete(ran.heard.events)


def test_what_was_set_aside_and_not_used_is_given_back_to_those_who_wait() -> None:
    model = Metered(used=5)
    ran = fan(model, max_tokens=230)
    assert ran.result.success
    assert (model.calls, model.most_running, spent(ran)[0]) == (4, 2, 60)
    assert ran.result.total_duration == 2


def test_calls_that_wait_are_let_through_in_the_order_of_asking() -> None:
    models = [Metered(told=0, most=most, used=0) for most in (100, 60, 40, 30)]

    async def ask(prompt: Any, context: Any) -> str:
        index = "ABCD".index(context.node)
        await trio.sleep(index / 10)
        await context.generate("x", model=models[index])
        return "x"

    # B does not fit beside A; C does, and must not overtake B.
    agents = [FunctionAgent(_hub, name="H"), *(FunctionAgent(ask, name=name) for name in "ABCD")]
    ran = run("x", "H -> [A, B, C, D]", agents, max_tokens=150)
    assert ran.result.success
    assert {event.node: event.time for event in ran.of(e.ModelCalled)} == {"A": 0, "B": 1, "C": 1, "D": 1}


def test_a_call_that_asks_for_more_than_there_ever_was_does_not_wait_for_others() -> None:
    async def greedy(prompt: Any, context: Any) -> str:
        await trio.sleep(0.5)
        with pytest.raises(LimitError):
            await context.generate("x", model=Metered(most=500))
        return f"refused after {trio.current_time() - began:g} s"

    began = 0.0

    async def go(prompt: Any) -> str:
        nonlocal began
        began = trio.current_time()
        return "go"

    slow = Agent("S", model=Metered(seconds=9))
    agents = [FunctionAgent(go, name="H"), slow, FunctionAgent(greedy, name="G")]
    ran = run("x", "H -> [S, G]", agents, max_tokens=300)
    assert ran.result.final_response == ["said", "refused after 0.5 s"]


def test_cost_is_reckoned_by_the_prices_a_model_declares() -> None:
    model = Metered(told=1000, most=1000, used=500, prices=(2, 8))
    ran = run("x", "A -> B -> C", speakers(model, *"ABC"), max_cost=0.02)
    assert spent(ran) == (3000, pytest.approx(2 * (1000 * 2 + 500 * 8) / 1e6))
    error = ran.result.error
    assert type(error) is LimitError
    assert str(error).startswith(
        "no room in the budget for a call of model 'metered', which may come to 0.01 of cost: 0.012 spent, "
        "0 set aside for others (max_cost=0.02)"
    )


def test_input_that_comes_from_the_cache_or_goes_there_has_its_own_price() -> None:
    class Caches(FakeModel):
        capabilities = Capabilities(
            input_price=10, output_price=100, cached_price=1, cache_write_price=20, max_output_tokens=10
        )

    used = Usage(1_000_000, 10_000, cached_tokens=500_000, cache_write_tokens=100_000)
    ran = run("x", "A", [Agent("A", model=Caches([ModelResponse(content="said", usage=used)]))], max_cost=100)

    assert ran.result.usage is not None
    assert ran.result.usage.cost == pytest.approx(0.4 * 10 + 0.5 * 1 + 0.1 * 20 + 1)


def test_cost_that_a_model_reports_counts_as_it_is() -> None:
    model = Metered(cost=0.4, prices=(1, 1))
    ran = run("x", "A -> B -> C -> D", speakers(model, *"ABCD"), max_cost=1)
    assert (model.calls, spent(ran)[1]) == (3, pytest.approx(1.2))


def test_three_tenths_fit_three_times_one_tenth() -> None:
    model = Metered(told=0, most=100_000, used=100_000, prices=(0, 1))
    ran = run("x", "A -> B -> C", speakers(model, *"ABC"), max_cost=0.3)
    assert ran.result.success


def test_a_model_that_says_nothing_is_estimated_by_its_input_and_the_most_output_asked_for() -> None:
    class Silent:
        name = "silent"

        async def generate(self, request: ModelRequest) -> ModelResponse:
            await trio.lowlevel.checkpoint()
            return ModelResponse(content="x", usage=Usage(10, 100))

    async def ask(prompt: Any, context: Any) -> str:
        for most in (None, 40, 41):
            sampling = Sampling(max_output_tokens=most)
            await context.generate("a question of 32 characters, yes", model=Silent(), sampling=sampling)
        return "never"

    ran = run("x", "A", [FunctionAgent(ask, name="A")], max_tokens=268)
    assert spent(ran)[0] == 220
    assert "may come to 49 tokens: 220 spent" in str(ran.result.error)


def test_the_estimate_counts_what_a_provider_is_sent() -> None:
    request = ModelRequest(
        system="1234",
        messages=[Message("user", "12345678"), Message("assistant", "", (ToolCall("id", "look", "{}"),))],
        tools=[ToolSpec("look", "abcd", {})],
        output_schema={"a": 1},
    )
    assert estimated_input(request) == (4 + 8 + 4 + 2 + 4 + 4 + 2 + 8) / 4


class Miscounting(Metered):
    def __init__(self, count: Any) -> None:
        super().__init__()
        self.count = count

    def count_tokens(self, request: ModelRequest) -> Any:
        if isinstance(self.count, Exception):
            raise self.count
        return self.count


@pytest.mark.parametrize(
    ("count", "text"),
    [
        ("ten", "gave 'ten', and not a number of tokens"),
        (-1, "gave -1, and not a number of tokens"),
        (KeyError("x"), "raised KeyError: 'x'"),
    ],
)
def test_a_model_that_counts_wrongly_is_a_broken_model(count: Any, text: str) -> None:
    error = run("x", "A", speakers(Miscounting(count), "A"), max_tokens=9).result.error
    assert type(error) is ModelError
    assert str(error).startswith(f"count_tokens of model 'metered' {text}")


def test_an_attempt_that_failed_after_the_model_was_at_work_counts_its_input() -> None:
    kinds = [ModelErrorKind.TIMEOUT, ModelErrorKind.RATE_LIMIT, ModelErrorKind.NETWORK]
    left = iter(kinds)

    def use(request: ModelRequest) -> Any:
        kind = next(left, None)
        return ModelError("no", kind=kind) if kind is not None else 5

    async def ask(prompt: Any, context: Any) -> str:
        for _ in kinds:
            with pytest.raises(ModelError):
                await context.generate("x")
        return (await context.generate("x")).text

    asking = FunctionAgent(ask, name="A")
    asking.model = Metered(used=use)
    ran = run("x", "A", [asking], max_tokens=1000)
    assert ran.result.success
    assert spent(ran)[0] == 10 + 10 + 15
    assert [event.usage for event in ran.of(e.ModelFailed)] == [Usage(10), None, Usage(10)]


def test_each_attempt_of_a_call_that_is_repeated_counts() -> None:
    class Twice:
        name = "twice"

        async def model_call(self, call: Any, proceed: Any) -> Any:
            await proceed(call)
            return await proceed(call)

    ran = run("x", "A", speakers(Metered(), "A"), max_tokens=150, middleware=[Twice()])
    assert "100 spent" in str(ran.result.error)
    ran = run("x", "A", speakers(Metered(), "A"), max_tokens=200, middleware=[Twice()])
    assert spent(ran)[0] == 200


@tool
async def look(at: str) -> str:
    """Look."""
    await trio.sleep(1)
    return f"seen {at}"


def test_the_tool_call_that_is_one_too_many_does_not_run() -> None:
    model = FakeModel(lambda request: call("look", f"c{len(request.messages)}", at="it"))
    ran = run("x", "A", [Agent("A", model=model, tools=[look])], max_tool_calls=2)
    assert str(ran.result.error) == (
        "no room in the budget to call tool 'look': 2 calls made (max_tool_calls=2) (at branch 0, node 'A', step 1)"
    )
    assert len(ran.of(e.ToolStarted)) == len(ran.of(e.ToolFinished)) == 2
    assert [event.limit for event in ran.of(e.LimitReached)] == ["max_tool_calls"]


def test_of_the_tool_calls_of_one_reply_all_or_none_are_run() -> None:
    three = [call("look", str(index), at="it") for index in range(3)]
    ran = run("x", "A", [Agent("A", model=FakeModel([three]), tools=[look])], max_tool_calls=2)
    assert "no room in the budget to call 3 tools (look, look, look): 0 calls made" in str(ran.result.error)
    assert ran.of(e.ToolStarted) == []
    ran = run("x", "A", [Agent("A", model=FakeModel([three, "done"]), tools=[look])], max_tool_calls=3)
    assert ran.result.success


def test_branches_cannot_overshoot_in_tool_calls_together() -> None:
    two = [call("look", str(index), at="it") for index in range(2)]
    agents = [Agent(name, model=FakeModel([two, "done"]), tools=[look]) for name in "ABCD"]
    for schedule in range(5):
        agents = [Agent(name, model=FakeModel([two, "done"]), tools=[look]) for name in "ABCD"]
        ran = run(
            "x",
            "H -> [A, B, C, D]",
            [FunctionAgent(_hub, name="H"), *agents],
            max_tool_calls=5,
            convergence_policy="any",
            schedule=schedule,
        )
        assert 4 <= len(ran.of(e.ToolStarted)) <= 5
        assert_complete(ran.heard.events)


def test_no_tool_calls_at_all_may_be_the_limit() -> None:
    async def act(prompt: Any, context: Any) -> Any:
        return await context.call_tool("look", at="it")

    acting = FunctionAgent(act, name="A")
    acting.tools = (look,)
    ran = run("x", "A", [acting], max_tool_calls=0)
    assert type(ran.result.error) is LimitError


def test_an_agent_may_live_with_the_limit() -> None:
    async def act(prompt: Any, context: Any) -> Any:
        try:
            return (await context.generate("x", model=Metered(most=9999))).text
        except LimitError:
            return "did without"

    ran = run("x", "A -> B", [FunctionAgent(act, name=name) for name in "AB"], max_tokens=100)
    assert ran.result.final_response == "did without"
    assert len(ran.of(e.LimitReached)) == 1


def test_a_run_without_a_budget_counts_nothing() -> None:
    model = Metered()
    ran = fan(model)
    assert (model.calls, model.most_running) == (4, 4)
    assert ran.of(e.RunStarted)[0].budget is None


# -- what is left ---------------------------------------------------------------------------------


def test_an_agent_sees_what_is_left() -> None:
    seen: list[Budget] = []

    async def act(prompt: Any, context: Any) -> Any:
        seen.append(context.budget)
        await context.generate("x", model=Metered(used=5, prices=(100_000, 0)))
        await context.call_tool("look", at="it")
        seen.append(context.budget)
        return "x"

    acting = FunctionAgent(act, name="A")
    acting.tools = (look,)
    ran = run("x", "A", [acting], max_tokens=300, max_cost=5, max_tool_calls=3, max_steps=7, timeout=60)
    assert ran.result.success
    assert seen == [
        Budget(steps=6, tokens=300, cost=5, tool_calls=3, seconds=60),
        Budget(steps=6, tokens=285, cost=pytest.approx(4), tool_calls=2, seconds=58),
    ]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        seen[0].steps = 3  # type: ignore[misc]


def test_what_is_set_aside_for_calls_under_way_is_not_left() -> None:
    seen: list[Budget] = []

    async def look_on(prompt: Any, context: Any) -> str:
        await trio.sleep(0.5)
        seen.append(context.budget)
        return "x"

    agents = [FunctionAgent(_hub, name="H"), *speakers(Metered(), "A"), FunctionAgent(look_on, name="B")]
    run("x", "H -> [A, B]", agents, max_tokens=1000)
    assert seen == [Budget(steps=97, tokens=900)]


def test_without_limits_only_steps_are_limited() -> None:
    seen: list[Budget] = []

    async def act(prompt: Any, context: Any) -> str:
        seen.append(context.budget)
        return "x"

    run("x", "A", [FunctionAgent(act, name="A")])
    assert seen == [Budget(steps=99)]


# -- shares ---------------------------------------------------------------------------------------


def sharing(budget: Any, model: Any, *, wait: bool = True, **config: Any) -> Ran:
    """A hub gives its two spokes a share, then asks a model itself."""

    async def hub(prompt: Any, context: Any) -> Any:
        if prompt == "x":
            return Invoke([("A", 1), ("B", 2)], wait=wait, budget=budget)
        await context.generate("x", model=model)
        return Return("hub")

    agents = [FunctionAgent(hub, name="H"), *speakers(model, "A", "B")]
    return run("x", "H <-> [A, B]", agents, **{"convergence_policy": "any", **config})


def test_children_of_a_fork_spend_from_their_share_together() -> None:
    model = Metered()
    ran = sharing({"max_tokens": 150}, model)
    assert model.calls == 2  # one of the children, and the hub, which the share does not bind
    assert ran.result.final_response == "hub"
    assert sorted(branch.outcome for branch in ran.result.branch_results) == [
        "delivered",
        "failed",
        "returned",
    ]
    assert ran.of(e.BranchForked)[0].budget == {"max_tokens": 150}


def test_a_share_spends_from_what_it_was_taken_from() -> None:
    ran = sharing({"max_tokens": 200}, Metered(), max_tokens=250)
    assert "200 spent" in str(ran.result.error)
    assert spent(ran)[0] == 200


def test_a_share_may_be_a_fraction_of_what_is_left() -> None:
    ran = sharing(0.5, Metered(), max_tokens=400, max_cost=3, max_steps=21)
    assert ran.of(e.BranchForked)[0].budget == {"max_tokens": 200, "max_cost": 1.5, "max_steps": 10}
    assert ran.result.success


def test_detached_children_have_a_share_too() -> None:
    model = Metered()
    ran = sharing({"max_tokens": 100}, model, wait=False)
    assert ran.result.success
    outcomes = {branch.branch_id: branch.outcome for branch in ran.result.branch_results}
    assert sorted([outcomes.pop("0.0"), outcomes.pop("0.1")]) == ["failed", "returned"]


def test_shares_nest() -> None:
    async def hub(prompt: Any) -> Any:
        if prompt == "x":
            return Invoke([("M", 1), ("A", 2)], budget={"max_tokens": 300})
        return Return("hub")

    async def middle(prompt: Any) -> Any:
        if prompt == 1:
            return Invoke([("B", 1), ("C", 2)], budget={"max_tokens": 999, "max_steps": 1})
        return Return("middle")

    model = Metered()
    agents = [
        FunctionAgent(hub, name="H"),
        FunctionAgent(middle, name="M"),
        *speakers(model, *"ABC"),
    ]
    ran = run("x", "H <-> [M, A]; M <-> [B, C]", agents, convergence_policy="any", max_tokens=1000)
    assert ran.result.final_response == "hub"
    assert model.calls == 2  # A and one of B and C: the other has no step
    assert [event.limit for event in ran.of(e.LimitReached)] == ["max_steps"]


def test_a_share_is_for_children_and_one_call_has_none() -> None:
    async def hub(prompt: Any) -> Any:
        return Invoke([("A", 1)], budget=0.5)

    ran = run("x", "H <-> A", [FunctionAgent(hub, name="H"), *speakers(Metered(), "A")])
    assert str(ran.result.error) == (
        "a budget is for the children of a fork, and one call to 'A' makes none; leave budget out, or start it "
        "with wait=False (at branch 0, node 'H', step 1)"
    )


# -- everything at once -----------------------------------------------------------------------------


@attrs.frozen
class Plan:
    """What each agent does: how often it asks the model, with which most and which use, and whom it forks to."""

    asks: list[tuple[int, int, int]]
    tools: int
    budget: Any


plans = st.builds(
    Plan,
    asks=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 60), st.integers(0, 60)).map(
            lambda drawn: (drawn[0], max(drawn[1:]), min(drawn[1:]))
        ),
        max_size=3,
    ),
    tools=st.integers(0, 3),
    budget=st.none()
    | st.floats(0.1, 1)
    | st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(0, 200),
            "max_cost": st.floats(0, 200),
            "max_tool_calls": st.integers(0, 5),
            "max_steps": st.integers(0, 6),
        },
    ),
)
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 400),
        "max_cost": st.floats(1, 400),
        "max_tool_calls": st.integers(0, 6),
        "max_parallel_branches": st.integers(1, 3),
        "max_steps": st.integers(1, 20),
    },
)
CHILDREN = {"A": ("B", "C"), "B": ("D", "E"), "C": ("F", "G")}


def tree(plans: dict[str, Plan], detached: set[str], nested: set[str]) -> list[BaseAgent]:
    def agent_of(name: str, plan: Plan) -> BaseAgent:
        async def act(prompt: Any, context: Any) -> Any:
            for told, most, used in plan.asks:
                model = Metered(
                    told=told, most=most, used=used, prices=(1e6, 1e6), seconds=(told + used) / 10
                )
                await context.generate("x", model=model)
            for _ in range(plan.tools):
                await context.call_tool("look", at="it")
            if prompt == "go" and name in CHILDREN:
                calls = [(child, "go") for child in CHILDREN[name]]
                return Invoke(calls, wait=name not in detached, budget=plan.budget)
            return Return(name)

        made = FunctionAgent(act, name=name)
        made.tools = (look,)
        return made

    agents = [agent_of(name, plan) for name, plan in plans.items()]
    return [
        Team("N -> N2", {"N": each, "N2": each}, name="N").as_node(each.name) if each.name in nested else each
        for each in agents
    ]


@pytest.mark.slow
@examples(150)
@given(
    st.fixed_dictionaries(dict.fromkeys("ABCDEFG", plans)),
    st.sets(st.sampled_from("ABC")),
    st.sets(st.sampled_from("DEFG")),
    limits,
    st.integers(0, 99),
)
def test_whatever_a_tree_of_branches_asks_for_the_budget_holds_and_nothing_hangs(
    plans: dict[str, Plan], detached: set[str], nested: set[str], config: dict[str, Any], schedule: int
) -> None:
    ran = run(
        "go",
        "A <-> [B, C]; B <-> [D, E]; C <-> [F, G]",
        tree(plans, detached, nested),
        schedule=schedule,
        convergence_policy="any",
        timeout=10_000,
        **config,
    )
    assert_complete(ran.heard.events)
    assert ran.result.total_duration < 10_000
    usage = ran.result.usage
    assert usage.total_tokens == sum(event.usage.total_tokens for event in ran.of(e.ModelReplied))
    assert ran.result.total_steps == len(ran.of(e.StepStarted)) <= config.get("max_steps", 100)
    assert usage.total_tokens <= config.get("max_tokens", 1e9)
    assert usage.cost <= config.get("max_cost", 1e9) * (1 + 1e-6)
    assert len(ran.of(e.ToolStarted)) <= config.get("max_tool_calls", 1e9)
    for fork in ran.of(e.BranchForked):
        if fork.budget is not None:
            below = _below(ran, fork)
            assert sum(u.total_tokens for u in below[0]) <= fork.budget.get("max_tokens", 1e9)
            assert sum(u.cost for u in below[0]) <= fork.budget.get("max_cost", 1e9) * (1 + 1e-6)
            assert below[1] <= fork.budget.get("max_tool_calls", 1e9)
            assert below[2] <= fork.budget.get("max_steps", 1e9)


def _below(ran: Ran, fork: Any) -> tuple[list[Usage], int, int]:
    """What was spent below a fork: usages, tool calls and steps."""
    count = len(fork.calls)
    ids = [f"{fork.branch}.{fork.first + index}" for index in range(count)]

    def inside(event: Any) -> bool:
        below = any(event.branch == id or event.branch.startswith(f"{id}.") for id in ids)
        return below and event.run_id == fork.run_id

    teams = [event for event in ran.of(e.TeamFinished, e.TeamFailed) if inside(event)]
    return (
        [event.usage for event in [*ran.of(e.ModelReplied), *teams] if inside(event)],
        sum(inside(event) for event in ran.of(e.ToolStarted)) + sum(event.tool_calls for event in teams),
        sum(inside(event) for event in ran.of(e.StepStarted)) + sum(event.steps for event in teams),
    )


def test_the_sums_of_a_share_are_a_fold_of_the_journal() -> None:
    from marsys_core.orchestrator import RunState

    ran = sharing({"max_tokens": 150}, Metered(prices=(1, 1)), max_tokens=1000, max_cost=9)
    state = RunState()
    for event in ran.heard.events:
        state.apply(event)
    assert state.share is not None
    assert (state.share.tokens, state.share.cost) == spent(ran)
    assert state.branches["0.0"].share is state.branches["0.1"].share
    share = state.branches["0.0"].share
    assert share is not None
    assert (share.tokens, share.steps, share.parent) == (100, 2, state.share)


def test_a_failed_fork_tells_of_the_limit() -> None:
    ran = fan(Metered(), max_tokens=250)
    error = ran.result.error
    assert isinstance(error, ConvergenceError)
    assert {type(each) for each in error.failures} == {LimitError}
