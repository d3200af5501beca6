"""What the golden file of format 1 holds, as events: one of every kind, and the interesting variants.

``python -m tests.core.format.golden`` prints the lines of events that the file lacks. Lines that are in a release are
never changed, and neither are their events here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marsys_core import errors
from marsys_core import events as e
from marsys_core.actions import AskUser, Content, EndConversation, Fail, Finish, Invoke, Malformed, Return
from marsys_core.errors import (
    AgentError,
    ConvergenceError,
    LimitError,
    ModelError,
    ModelErrorKind,
    Place,
    RecoverableError,
    StepTimeout,
)
from marsys_core.events import Event
from marsys_core.format import encode
from marsys_core.messages import DataPart, Message, TextPart, ToolCall, Usage
from marsys_core.topology import ConvergencePolicy
from marsys_core.values import Detached, Failure, JoinInput, Ref, failure_of
from tests.core.format.strategies import CONVERTER, Point

__all__ = ["EVENTS", "GOLDEN", "columns"]

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "journals" / "format-1.jsonl"
BRANCH: Any = ("0", 3, ("0", 2))
RUN: Any = ("", 1, ("", 0))
REF = Ref("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 5000)
USAGE = Usage(12, 3, 4, 1, 1, 0.25)


def _limit() -> LimitError:
    error = LimitError("the run took 9 steps (max_steps=9)", "max_steps")
    error.place = Place("0.1", "B", 4)
    error.add_note("beside it: ValueError: no")
    return error


def _caused() -> AgentError:
    error = AgentError("agent 'A' raised KeyError: 'x'")
    error.place, error.__cause__ = Place("0", "A", 1), KeyError("x")
    return error


def _odd() -> BaseException:
    return type("OwnError", (RecoverableError,), {"__str__": lambda self: "in my own words"})(1, 2)


BUSY = ModelError("busy", kind=ModelErrorKind.RATE_LIMIT, retry_after=2.5)
GROUP = ExceptionGroup("several", [ValueError("a"), OSError(2, "gone")])
DATA = {"text": "gö 😀", "empty": [], "numbers": [1, -2.5, 1e100, 10**30], "none": None, "yes": True}
ODD = {
    "$type": "dict",
    "nul": "\0",
    "lone": "\ud800",
    "pair": "\ud83d\ude00",
    "tuple": (1, (2,)),
    "map": {1: "one"},
}
JOIN = JoinInput(
    [
        ("B", "0.0", "text"),
        ("C", "0.1", Failure("StepTimeout", "too late", errors.ErrorClass.RECOVERABLE)),
        ("D", "0.2", JoinInput([("E", "0.2.0", DATA)])),
    ]
)
PARTS = Message(
    "user", (TextPart("look"), DataPart("image/png", "aGk="), DataPart("text/html", url="http://x"))
)
SAID = (
    PARTS,
    Message("assistant", "", (ToolCall("1", "f", '{"a": 1'), ToolCall("2", "g", REF)), name="A"),  # type: ignore[arg-type]
    Message("tool", REF, tool_call_id="1", is_error=True),  # type: ignore[arg-type]
)

EVENTS: list[Event] = [
    e.RunStarted("", 0, ("", -1), "r", "s", "task", "f00", ("A",), ("B", "C"), {"A": "all"}, 1, 1.75e9),
    e.RunStarted(
        "", 0, ("", -1), "r", "", DATA, "f00", ("A",), (), {}, 1, 0.0, {"A": SAID}, 1, {"k": [1]},
        ("outer", "0.1", 2, "c1"), {"max_tokens": 100, "max_cost": 0.5},
    ),
    e.RunStopped(*RUN, "max_steps", failure_of(_limit())),
    e.RunStopped(*RUN, "first_result"),
    e.RunFinished(*RUN, True, (("0", 9), ("0.1", 3)), 4),
    e.RunFinished(*RUN, False, (), 4, "it failed"),
    e.BranchStarted("0", 0, ("", 0), "A", "0", REF),
    e.BranchStarted("0.1", 0, ("0", 3), "B", "0/B#0", 1, ("0", 0), 1, True),
    e.BranchMoved(*BRANCH, "B", "handoff", "for B", ("A",), (("0", 3),), asked=("C",)),
    e.BranchMoved(*BRANCH, "B", "gather", JOIN, fresh=True, loop=True, conditions=(("C", False), ("D", True)),
                  error=failure_of(errors.ConditionError("raised", "B -> C", "f"))),
    e.BranchMoved(*BRANCH, "A", "again", Detached(("0.0", "0.1"))),
    e.BranchForked(*BRANCH, 0, "D", (("B", "b"), ("C", ODD)), 0, ConvergencePolicy(), ("0/B#0", "0/C#0")),
    e.BranchForked(*BRANCH, 1, None, (("B", "b"),), 2, None, ("x",), 3, True, True, True, ("C",), {"max_steps": 3}),
    e.BranchDelivered(*BRANCH, ("0", 0), 1, "B", "0.1", ["a", {"b": None}]),
    e.BranchLeft(*BRANCH, (("0", 0), ("0.1", 2))),
    e.BranchSettled(*BRANCH, "returned", "A", "done", True, None, (("0", 2),)),
    e.BranchSettled(*BRANCH, "failed", "A", error=failure_of(ConvergenceError("1 of 2", [_caused(), BUSY]))),
    e.BranchSettled(*BRANCH, "failed", "A", error=failure_of(_odd())),
    e.JoinCompleted(*BRANCH, 0, (("0.0", 3),), True, {"k": "v", "$type": [1]}),
    e.JoinCompleted(*BRANCH, 0, (), False, None, failure_of(errors.StateConflict("both wrote it", "k"))),
    e.JoinCancelled(*BRANCH, 0, "the policy is decided"),
    e.JoinCancelled(*BRANCH, 0, failure_of(errors.JoinTimeout("late", "convergence_timeout", 2))),
    e.JoinReopened(*BRANCH, 0, (0, 2), 3),
    e.StepStarted(*BRANCH, "A", 1, (("0", 0),), 2),
    e.StepFinished(*BRANCH, "A", Content("done"), True, SAID, USAGE, 0.5, ("B",), True,
                   (("k", "set", {"a": [1]}), ("k", "del", None), ("f", "call", 1, [1])), (("B", True),)),
    e.StepFinished(*BRANCH, "A", Invoke([("B", 1), ("C", JOIN)], policy=ConvergencePolicy(quorum=1, early=True),
                                        replies=(("c1", 0, 2),), budget={"max_cost": 0.5})),
    e.StepFinished(*BRANCH, "A", Invoke([("B", 1)], wait=False, policy="any", budget=0.5)),
    e.StepFinished(*BRANCH, "A", Return(Point(1, 2.5, ("a",)))),
    e.StepFinished(*BRANCH, "A", Finish(float("-inf"))),
    e.StepFinished(*BRANCH, "A", EndConversation(PARTS)),
    e.StepFinished(*BRANCH, "A", AskUser("may I?", ["yes", "no"], {"type": "string"}, 4, "no", replies=(("c", 0, 1),))),
    e.StepFinished(*BRANCH, "A", Fail("no")),
    e.StepFinished(*BRANCH, "A", Malformed("what?", {"next": 1}, note="again")),
    e.StepFailed(*BRANCH, "A", failure_of(_caused()), 0.5, USAGE),
    e.StepFailed(*BRANCH, "A", failure_of(StepTimeout("late", "step_timeout", 2.0))),
    e.StepFailed(*BRANCH, "A", failure_of(GROUP)),
    e.StepFailed(*BRANCH, "A", Failure("Gone", "read from a journal")),
    e.StepRetried(*BRANCH, "A", 1, 0.5, "failed: busy"),
    e.StepSteered(*BRANCH, "A", 1, "say it again"),
    e.RuleDecided(*BRANCH, "A", "R", "before_fork", 0, "modify", "", [["B", 1]], (("C", 1),)),
    e.UserAsked(*BRANCH, "0:3", "A", "approval", {"tool": "rm"}, ("approve", "reject"), {"a": 1}, float("inf"), "reject"),
    e.UserAnswered(*BRANCH, "0:3", "approve", "person"),
    e.UserAnswered(*BRANCH, "0:3", None, "timeout", failure_of(errors.UserTimeout("nobody", "timeout", 4.0))),
    e.ModelCalled(*BRANCH, "A", "m", 3, 1, 2),
    e.ModelReplied(*BRANCH, "A", "m", "hi", (ToolCall("1", "f", "{}"),), "stop", USAGE, 0.5),
    e.ModelReplied(*BRANCH, "A", "m", [TextPart("hi")], (), "stop", Usage(), 0.5),
    e.ModelFailed(*BRANCH, "A", "m", "busy", "rate_limit", True, 0.5, USAGE),
    e.ToolStarted(*BRANCH, "A", "f", "c1", {"a": 1}, True),
    e.ToolFinished(*BRANCH, "A", "f", "c1", REF, 0.5),
    e.ToolFailed(*BRANCH, "A", "f", "c1", "ValueError: no", 0.5),
    e.TeamStarted(*BRANCH, "A", "crew", "c1", "r-0", "task"),
    e.TeamFinished(*BRANCH, "A", "crew", "c1", "r-0", "result", 3, USAGE, 1, 0.5),
    e.TeamFailed(*BRANCH, "A", "crew", "c1", "r-0", "no", 3, USAGE, 1, 0.5),
    e.LimitReached(*RUN, "max_steps", 9, "the run took 9 steps"),
    e.LimitReached(*RUN, "max_cost", 0.5, "spent"),
    e.GuardRefusedInput(*RUN, "guard", "task", "rude"),
    e.Stuck(*BRANCH, "A", "tool 'f'"),
    e.Warned(*RUN, "careful"),
    e.Dropped(*BRANCH, {"k": [1, None]}, ("0", 2), "its join was cancelled", "join"),
    e.StateMerged(*BRANCH, {}, 1),
    e.StateMerged(*BRANCH, None, None, failure_of(errors.StateError("no", "k"))),
    e.ToolUncertain(*BRANCH, "A", "f", "c1", "nobody knows"),
    e.RunResumed("", 3, ("", 0), 7),
    e.BranchEdited(*BRANCH, "A", {"a": [1, "x"]}),
    e.RunResumed("", 4, ("", 0), 9, 1700000000.25),
    e.RunPaused("", 5, ("", 0)),
    e.RunWaiting("", 5, ("", 0), ("0:3", "0.1:7")),
    e.TimerSet(*BRANCH, "A", 60.5, 1700000060.75),
    e.TimerFired(*BRANCH, "A", 3),
    e.UserAsked(*BRANCH, "0:3", "A", "uncertain", {"tool": "pay"}, ("retry", "done", "fail")),
    e.ToolFailed(*BRANCH, "A", "f", "c1", "Odd: no", 0.5, (), "shop:Odd"),
    e.RunResumed("", 4, ("", 0), 9, 1700000000.25, "q"),
]  # fmt: skip


def columns(event: Event) -> dict[str, Any]:
    return {
        "branch": event.branch,
        "n": event.n,
        "cause": list(event.cause),
        "seq": 3,
        "time": 1.5,
        "run_id": "r",
    }


if __name__ == "__main__":
    held = len(GOLDEN.read_text("utf-8").splitlines()) if GOLDEN.exists() else 0
    for each in EVENTS[held:]:
        front = json.dumps({"kind": type(each).__name__, **columns(each)})
        print(f'{front[:-1]}, "entry": {encode(each, CONVERTER)}}}')
