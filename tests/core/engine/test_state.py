"""`context.state` in real runs: reading, writing, retries, steering, large values, and the result."""

from __future__ import annotations

import pytest

from marsys_core import events as e
from marsys_core.actions import Invoke
from marsys_core.agents import Agent, BaseAgent, FunctionAgent, agent
from marsys_core.config import RetryConfig
from marsys_core.errors import ConfigError, LifecycleError, StateError, ValueRefused
from marsys_core.topology import Topology
from tests.core.fakes import FakeModel, run


def acting(name, act):
    async def step(prompt, context):
        return act(context.state) or name

    return FunctionAgent(step, name=name)


def one(act, topology="A", **options):
    return run("t", topology, {"A": acting("A", act)}, **options)


def test_what_one_step_writes_the_next_one_reads_and_the_result_has():
    def read(state):
        state["seen"] = [state["n"], dict(state), "n" in state, len(state), state.get("m", 0)]

    ran = run(
        "t",
        "A -> B",
        [acting("A", lambda state: state.__setitem__("n", 1)), acting("B", read)],
        state={"given": [1, {"a": 2}]},
    )
    assert ran.result.state == {
        "given": [1, {"a": 2}],
        "n": 1,
        "seen": [1, {"given": [1, {"a": 2}], "n": 1}, True, 2, 0],
    }
    assert type(ran.result.state["given"]) is list
    assert type(ran.result.state["given"][1]) is dict
    assert [event.writes for event in ran.of(e.StepFinished)][0] == (("n", "set", 1),)
    assert ran.of(e.RunStarted)[0].state == {"given": [1, {"a": 2}]}


def test_reducers_fold_each_write_into_what_is_there():
    def act(state):
        state["notes"] = "a"
        state["notes"] = "b"
        state["total"] = 2
        state["total"] = 3
        state["text"] = "x"
        state["text"] = "y"
        state["items"] = [1]
        state["items"] = [2]
        state["last"] = 1
        state["last"] = 2
        state["best"] = 5
        state["best"] = 4
        assert state["notes"] == ["a", "b"]

    topology = Topology(
        nodes=["A"],
        state={
            "notes": "append",
            "total": {"reducer": "add", "initial": 10},
            "text": "add",
            "items": "add",
            "last": "last",
            "best": max,
        },
    )
    assert one(act, topology).result.state == {
        "notes": ["a", "b"],
        "total": 15,
        "text": "xy",
        "items": [1, 2],
        "last": 2,
        "best": 5,
    }


def test_what_is_read_cannot_be_changed_in_place():
    caught = []

    def act(state):
        state["x"] = given = [1]
        given.append(2)
        for change in (
            lambda: state["x"].append(3),
            lambda: state["notes"].append(3),
            lambda: state["big"].clear(),
        ):
            try:
                change()
            except TypeError as error:
                caught.append(str(error))

    topology = Topology(nodes=["A"], state={"notes": "append"})
    ran = one(act, topology, state={"big": ["x" * 500] * 20})
    assert ran.result.state["x"] == [1]
    assert len(caught) == 3
    assert all('assign a new one: state["key"] = [*state["key"], item]' in text for text in caught)


def test_a_large_value_is_recorded_as_a_reference_and_read_as_itself():
    big = {"texts": ["x" * 900] * 10}

    def act(state):
        state["big"] = big
        state["log"] = big
        assert state["big"] == big
        assert state["big"] is state["big"]

    ran = one(act, Topology(nodes=["A"], state={"log": "append"}))
    assert ran.result.state == {"big": big, "log": [big]}
    assert {type(write[2]).__name__ for write in ran.of(e.StepFinished)[0].writes} == {"Ref"}


def test_a_key_can_be_deleted_unless_it_has_a_reducer():
    def act(state):
        state["x"] = 1
        del state["x"]
        assert "x" not in state
        del state["given"]
        with pytest.raises(
            KeyError, match="the shared state has no 'nots'; there are: notes. Did you mean 'notes'"
        ):
            del state["nots"]
        with pytest.raises(StateError, match="'notes' has the reducer 'append' and cannot be deleted"):
            del state["notes"]

    topology = Topology(nodes=["A"], state={"notes": "append"})
    assert one(act, topology, state={"given": 1}).result.state == {"notes": []}


def test_a_missing_key_is_told_with_the_nearest():
    def act(state):
        with pytest.raises(
            KeyError, match="the shared state has no 'scor'; there are: score. Did you mean 'score'"
        ):
            state["scor"]

    assert one(act, state={"score": 1}).result.success


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("x", object(), ValueRefused, "cannot be recorded"),
        ("x", float("nan"), ValueRefused, "has no place in JSON"),
        (1, 1, StateError, "a key of the shared state is a text, not 1"),
        ("", 1, StateError, "a key of the shared state is a text"),
        (
            "total",
            "x",
            StateError,
            "the reducer 'add' of state 'total' adds numbers, texts or lists, not int and str",
        ),
        ("total", {"a": 1}, StateError, "not int and dict"),
        ("total", 1.7e308, None, ""),
        ("huge", 1.7e308, StateError, "comes to no finite number"),
        (
            "worst",
            1,
            StateError,
            "the reducer 'tests.core.engine.test_state:raising' of state 'worst' raised RuntimeError: no",
        ),
    ],
)
def test_a_write_that_cannot_be_recorded_is_refused_at_once(key, value, error, text):
    def act(state):
        if error is None:
            state[key] = value
        else:
            with pytest.raises(error) as caught:
                state[key] = value
            assert text in str(caught.value)

    reducers = {"total": {"reducer": "add", "initial": 0}, "huge": {"reducer": "add", "initial": 1.7e308}}
    topology = Topology(nodes=["A"], state={**reducers, "worst": {"reducer": raising, "initial": 0}})
    ran = one(act, topology)
    assert ran.result.success, ran.result.error


def raising(old, new):
    raise RuntimeError("no")


def test_a_retried_attempt_leaves_no_trace():
    attempts = []

    def act(state):
        attempts.append(dict(state))
        state["notes"] = len(attempts)
        if len(attempts) < 3:
            raise ConnectionError("again")

    ran = one(
        act,
        Topology(nodes=["A"], state={"notes": "append"}),
        auto_retry_on_error=True,
        retry=RetryConfig(initial_delay=1, max_attempts=4),
    )
    assert attempts == [{"notes": []}] * 3
    assert ran.result.state == {"notes": [3]}


def test_a_steered_attempt_leaves_no_trace():
    class Noted(BaseAgent):
        accepts_notes = True
        count = 0

        async def _run(self, prompt, context, **kwargs):
            Noted.count += 1
            context.state["notes"] = Noted.count
            return Invoke([("Nobody", 1)]) if Noted.count == 1 else "done"

    ran = run("t", Topology(nodes=["A"], state={"notes": "append"}), {"A": Noted(name="A")})
    assert ran.result.state == {"notes": [2]}


def test_a_step_that_fails_leaves_no_trace():
    def act(state):
        state["x"] = 1
        raise ValueError("no")

    ran = run("t", "A -> B", [acting("A", lambda state: state.__setitem__("y", 1)), acting("B", act)])
    assert not ran.result.success
    assert ran.result.state == {"y": 1}


def test_the_view_refuses_use_after_its_step():
    kept = []
    run("t", "A", [acting("A", lambda state: kept.append(state))])
    (state,) = kept
    for use in (
        lambda: state["x"],
        lambda: state.__setitem__("x", 1),
        lambda: state.__delitem__("x"),
        lambda: "x" in state,
        lambda: list(state),
        lambda: len(state),
        lambda: state.update(x=1),
    ):
        with pytest.raises(LifecycleError, match="is used after its end"):
            use()


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"notes": "x"}, "with the reducer 'append' a key begins with a list, not 'x' @ state['notes']"),
        (
            {"total": {}},
            "with the reducer 'add' a key begins with a number, a text or a list, not {} @ state['total']",
        ),
        ({1: 2}, "a key of the shared state is a text, not 1"),
    ],
)
def test_a_run_that_cannot_begin_with_its_state_does_not_begin(state, text):
    ran = one(
        lambda state: None, Topology(nodes=["A"], state={"notes": "append", "total": "add"}), state=state
    )
    assert isinstance(ran.result.error, ConfigError)
    assert text in str(ran.result.error)
    assert ran.heard.events == []


def test_plain_functions_in_threads_write_too():
    @agent
    def Threaded(prompt: str, context) -> str:
        context.state["x"] = prompt
        return "done"

    assert run("t", "Threaded", [Threaded]).result.state == {"x": "t"}


def test_what_a_fork_writes_comes_together_in_the_engine():
    agents = [acting(name, lambda state, name=name: state.__setitem__("log", name)) for name in "ABCD"]
    for schedule in range(3):
        ran = run(
            "t", Topology(edges=["A -> [B, C] -> D"], state={"log": "append"}), agents, schedule=schedule
        )
        assert ran.result.state == {"log": ["A", "B", "C", "D"]}


def test_an_agent_with_a_model_is_not_offered_what_is_closed():
    topology = Topology(edges=["A <-> B", "C"])
    topology.add_edge("A", "C", condition=lambda facts: facts.state.get("ready", False))
    model = FakeModel(["a"])
    run("t", topology, [Agent("A", model=model), acting("B", lambda s: None), acting("C", lambda s: None)])
    (spec,) = [spec for spec in model.requests[0].tools if spec.name == "invoke_agent"]
    assert '"B"' in str(spec).replace("'", '"')
    assert '"C"' not in str(spec).replace("'", '"')
