"""Whatever models reply, every history that one is shown is one that a provider accepts.

The fake model refuses a conversation in which a tool call is not answered exactly once, right after it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.agents import Agent, Registry
from marsys_core.messages import ToolCall
from marsys_core.models import ModelRequest
from marsys_core.orchestrator import RunState
from marsys_core.tools import tool
from marsys_core.topology import Topology
from tests.core.engine.cancelling import assert_complete
from tests.core.fakes import FakeModel, Ran, Reply, call, invalid, invoking, run

TOPOLOGIES = [
    Topology.of(text)
    for text in (
        "A <-> [B, C]; B <-> C",
        "A -> [B, C] -> D; D -> A; D -> end",
        "A <-> B; B <-> C; C <-> D; A -> D",
        "A -> B -> C -> A; C <-> D; B <-> D",
        "A <-> [B, C, D]; B -> D; A -> end",
        "A <~4> B; B <-> C; A -> D; C -> A",
        "A -> [B, C]; B <~3> D; D <-> C; A <-> D",
    )
]
NAMES = [*"ABCD", "Nobody"]

targets = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)
reserved = st.one_of(
    st.builds(lambda names: invoking(*names), targets),
    st.just(call("return_result", result="back")),
    st.just(call("finish", answer="end")),
    st.just(call("finish")),
    st.just(call("end_conversation")),
    st.just(call("end_conversation", summary="bye")),
    st.just(ToolCall("x", "invoke_agent", "{")),
)
ordinary = st.sampled_from([call("look"), call("look", at=1), call("lok"), ToolCall("x", "look", "no")])
texts = st.sampled_from(
    [
        "text",
        "",
        '{"next_action": "invoke_agent", "action_input": "B"}',
        '{"next_action": "parallel_invoke", "agents": ["B", "C"], "agent_requests": "do"}',
        '{"next_action": "call_tool", "tool_calls": [{"name": "look"}]}',
        '{"next_action": "final_response", "content": "done"}',
        '{"next_action": "end_conversation", "summary": "so be it"}',
        '{"next_action": "dance"}',
        '{"next_action": ',
    ]
)
calls = st.lists(st.one_of(reserved, ordinary), min_size=1, max_size=4)
scripts = st.lists(st.one_of(calls, calls, texts), min_size=1, max_size=6)


def team(
    topology: Topology, script: dict[str, list[Any]], *, history: str = "own", **config: Any
) -> tuple[Ran, dict[str, FakeModel]]:
    """Run a team whose models reply by script, then with plain text; the ids of calls are made unique."""

    @tool
    async def look(at: str = "") -> str:
        """Look."""
        return f"seen {at}"

    def model(name: str) -> FakeModel:
        said = iter(script[name])
        count = 0

        def reply(request: ModelRequest) -> Reply:
            nonlocal count
            given = next(said, f"the end of {name}")
            if isinstance(given, str):
                return given
            count += 1
            return [ToolCall(f"{name}{count}.{i}", each.name, each.arguments) for i, each in enumerate(given)]

        return FakeModel(reply, name=name)

    models = {name: model(name) for name in "ABCD"}
    with Registry():
        agents = [Agent(name, model=each, tools=[look], history=history) for name, each in models.items()]
    return run("task", topology, agents, max_steps=30, **config), models


@pytest.mark.slow
@given(
    st.sampled_from(TOPOLOGIES),
    st.fixed_dictionaries(dict.fromkeys("ABCD", scripts)),
    st.sampled_from([1.0, 0.5, 0.0]),
    st.integers(0, 3),
    st.sampled_from(["own", "branch", "run"]),
)
def test_every_history_is_one_that_a_provider_accepts(
    topology: Topology, script: dict[str, Any], ratio: float, schedule: int, history: str
) -> None:
    ran, models = team(topology, script, convergence_policy=ratio, schedule=schedule, history=history)
    # A model that was shown an invalid history raises AssertionError, which is in its ModelFailed.
    refused = [failed.error for failed in ran.of(e.ModelFailed)]
    assert not refused
    for model in models.values():
        for request in model.requests:
            assert invalid(request.messages) is None
    assert_complete(ran.heard.events)
    event(f"steps: {min(ran.result.total_steps, 10)}")


@pytest.mark.slow
@given(st.sampled_from(TOPOLOGIES), st.fixed_dictionaries(dict.fromkeys("ABCD", scripts)))
def test_what_a_model_was_shown_is_a_fold_of_the_journal(topology: Topology, script: dict[str, Any]) -> None:
    """The last request of each agent, without notes, is what the finished steps before it said, and its own turn."""
    ran, _ = team(topology, script, convergence_policy=0.0, max_steering_retries=0)
    names: dict[str, str] = {}
    logs: dict[tuple[str, str], int] = {}
    state = RunState()
    for each in ran.heard.events:
        state.apply(each)
        if type(each) is e.BranchStarted:
            names[each.branch] = each.name
        elif type(each) is e.StepFinished:
            key = (names[each.branch], each.node)
            logs[key] = logs.get(key, 0) + len(each.messages)
        elif type(each) is e.ModelCalled:
            kept = logs.get((names[each.branch], each.node), 0)
            assert each.messages > kept


@pytest.mark.slow
@given(st.sampled_from(TOPOLOGIES), st.fixed_dictionaries(dict.fromkeys("ABCD", scripts)))
def test_the_schedule_makes_no_difference(topology: Topology, script: dict[str, Any]) -> None:
    """Each model has a script of its own, so agents that stand on several branches at once are left out."""
    first, _ = team(topology, script, schedule=1)
    second, _ = team(topology, script, schedule=2)
    stood = {(step.branch, step.node) for step in first.of(e.StepStarted)}
    if len(stood) > len({node for _, node in stood}):
        return
    if first.of(e.RunStopped) or second.of(e.RunStopped):
        return  # the limit on steps: which ones were taken by then depends on the schedule
    assert first.heard.journal == second.heard.journal
