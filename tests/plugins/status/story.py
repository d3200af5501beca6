"""A run told by hand: two workers side by side, one retry, one failure, and the events between them."""

from __future__ import annotations

from typing import Any

from marsys_core import events as e
from marsys_core.actions import Content, Invoke
from marsys_core.messages import ToolCall, Usage
from marsys_core.values import Failure

USAGE = Usage(1200, 30, model_calls=1)


def event(cls: type[e.Event], time: float, branch: str, **fields: Any) -> e.Event:
    made = cls(branch=branch, n=0, cause=("", -1), **fields)
    made.time = time
    return made


def began(run_id: str = "run-00abcdef", task: Any = "Compare\nthe two") -> e.Event:
    return event(
        e.RunStarted, 0, "", run_id=run_id, session_id="", task=task, fingerprint="", entries=("Lead",),
        exits=("Lead",), dispatch={}, rules_version=1, wall_time=0.0,
    )  # fmt: skip


def ended(time: float = 12.5, success: bool = True, error: str = "") -> e.Event:
    return event(e.RunFinished, time, "", success=success, contributions=(), steps=4, error=error)


def story(run_id: str = "run-00abcdef") -> list[e.Event]:
    lost = Failure("ModelError", "connection lost (at branch 0.1, node 'Critic', step 1)")
    two = Invoke([("Researcher", "left"), ("Critic", "right")])
    asked = (ToolCall("1", "search", '{"query": "left"}'),)
    reply = {"node": "Researcher", "model": "gpt", "finish_reason": "stop", "usage": USAGE}
    call = {"node": "Researcher", "tool": "search", "call_id": "1"}
    fork = {"fork": 0, "meeting": "Lead", "calls": two.calls, "first": 0, "policy": None}
    return [
        began(run_id),
        event(e.BranchStarted, 0, "0", node="Lead", name="0", value="Compare"),
        event(e.StepStarted, 0, "0", node="Lead", step=1, inputs=()),
        event(e.StepFinished, 0.8, "0", node="Lead", action=two, duration=0.8),
        event(e.BranchForked, 0.8, "0", **fork),
        event(e.BranchStarted, 0.8, "0.0", node="Researcher", name="0/R", value="left", join=("0", 0)),
        event(e.BranchStarted, 0.8, "0.1", node="Critic", name="0/C", value="right", join=("0", 0)),
        event(e.StepStarted, 0.8, "0.0", node="Researcher", step=1, inputs=()),
        event(e.StepStarted, 0.8, "0.1", node="Critic", step=1, inputs=()),
        event(e.ModelCalled, 0.9, "0.0", node="Researcher", model="gpt", messages=1, tools=2),
        event(
            e.ModelFailed, 1.9, "0.0", node="Researcher", model="gpt", error="try later", kind="rate_limit",
            retryable=True, duration=1.0,
        ),
        event(e.ModelCalled, 2.4, "0.0", node="Researcher", model="gpt", messages=1, tools=2, attempt=2),
        event(e.ModelReplied, 3.9, "0.0", content="I will look.", tool_calls=asked, duration=1.5, **reply),
        event(e.ToolStarted, 3.9, "0.0", arguments='{"query": "left"}', **call),
        event(e.ToolFinished, 4.1, "0.0", result=["a", "b"], duration=0.2, **call),
        event(e.StepRetried, 4.5, "0.1", node="Critic", attempt=1, delay=0.5, error="failed: X: no"),
        event(e.ModelReplied, 5.0, "0.0", content="Left is old.", tool_calls=(), duration=0.9, **reply),
        event(e.StepFinished, 5.0, "0.0", node="Researcher", action=Content("Left is old."), duration=4.2),
        event(e.BranchSettled, 5.0, "0.0", outcome="delivered", node="Researcher"),
        event(e.StepFailed, 9.0, "0.1", node="Critic", error=lost, duration=4.0),
        event(e.BranchSettled, 9.0, "0.1", outcome="failed", node="Critic", error=lost),
        event(e.JoinCompleted, 9.0, "0", fork=0, collected=(("0.0", 1),), met=True),
        event(e.BranchMoved, 9.0, "0", node="Lead", how="join", value=None),
        event(e.Warned, 9.0, "", message="something to know"),
        event(e.StepStarted, 9.0, "0", node="Lead", step=2, inputs=()),
        event(e.StepFinished, 12.5, "0", node="Lead", action=Content("Right is new."), duration=3.5),
        event(e.BranchSettled, 12.5, "0", outcome="finished", node="Lead", contributes=True),
        ended(),
    ]  # fmt: skip
