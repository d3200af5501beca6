"""From events to lines: one class for each verbosity, each of which says more than the one before.

A sink's methods are looked up by name, so an event that a verbosity does not show costs nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import attrs

from marsys.status._words import ERROR, counted, one_line, reason, seconds, shown, tokens
from marsys_core import events as e
from marsys_core.actions import AskUser, Content, EndConversation, Finish, Invoke, Return
from marsys_core.messages import Usage, text_of

if TYPE_CHECKING:
    from marsys_core.config import StatusConfig

__all__ = ["Ending", "Everything", "Line", "Notes", "Steps"]

_NAMES = 6  # so many names are listed before they are only counted


@attrs.define(eq=False)
class Line:
    """One line: of which run, when (None where times are not shown), which branch, who, what, and the rest."""

    run: str
    time: float | None
    branch: str
    agent: str
    word: str
    text: str


@attrs.define(eq=False, kw_only=True, slots=False)
class Ending:
    """Says how one run ended, and what went wrong in it.

    Args:
        status: What to show.
        say: Takes each line.
        began: Called when the run has started; from then on `run_id` is known.
        ended: Called after the last line.
        on_event: Hears every event before the lines are made, or None.
        on_model_delta: Hears the pieces of answers, or None.
    """

    status: StatusConfig
    say: Callable[[Line], None]
    began: Callable[[Ending], None]
    ended: Callable[[Ending], None]
    on_event: Callable[[e.Event], None] | None = None
    on_model_delta: Callable[[e.ModelDelta], None] | None = None
    run_id: str = attrs.field(default="", init=False)
    _usage: Usage = attrs.field(factory=Usage, init=False)
    _running: set[str] = attrs.field(factory=set, init=False)
    _told: set[str] = attrs.field(factory=set, init=False)
    _limit: str = attrs.field(default="", init=False)
    _calls: dict[tuple[str, int], int] = attrs.field(factory=dict, init=False)
    _said: dict[str, str] = attrs.field(factory=dict, init=False)

    def on_run_started(self, event: e.RunStarted) -> None:
        self.run_id = event.run_id
        self.began(self)

    def on_run_resumed(self, event: e.RunResumed) -> None:
        if not self.run_id:  # another process has begun it
            self.run_id = event.run_id
            self.began(self)

    def on_run_paused(self, event: e.RunPaused) -> None:
        self._line(event, "end", "paused")
        self.ended(self)

    def on_run_waiting(self, event: e.RunWaiting) -> None:
        self._line(event, "end", f"waits for people: {counted(max(1, len(event.requests)), 'question')}")
        self.ended(self)

    def on_model_replied(self, event: e.ModelReplied) -> None:
        self._usage += event.usage

    def on_step_started(self, event: e.StepStarted) -> None:
        self._running.add(event.branch)

    def on_step_finished(self, event: e.StepFinished) -> None:
        self._running.discard(event.branch)

    def on_step_failed(self, event: e.StepFailed) -> None:
        self._running.discard(event.branch)
        self._told.add(str(event.error))
        text = reason(event.error)
        self._line(event, "failed", self._after(event.duration, text), event.node)

    def on_branch_settled(self, event: e.BranchSettled) -> None:
        # The end of the first branch is the end of the run, which says the same.
        told = str(event.error)
        if event.outcome == "failed" and event.branch != "0" and not self._is_told(told):
            self._told.add(told)
            self._line(event, "failed", reason(told), event.node)

    def on_guard_refused_input(self, event: e.GuardRefusedInput) -> None:
        self._line(event, "refused", f"{event.subject}: {one_line(event.reason, ERROR)}")

    def on_limit_reached(self, event: e.LimitReached) -> None:
        self._limit = f"{event.message} ({event.limit}={event.value:g})"
        self._line(event, "limit", one_line(self._limit, ERROR))

    def on_stuck(self, event: e.Stuck) -> None:
        self._line(event, "stuck", f"{one_line(event.what, ERROR)} is past its limit", event.node)

    def on_run_finished(self, event: e.RunFinished) -> None:
        # The run counts the steps that were begun; those that were interrupted came to nothing.
        steps = counted(event.steps - len(self._running), "step")
        parts = ["succeeded" if event.success else "failed", steps]
        if self._usage.total_tokens:
            parts.append(tokens(self._usage))
        if self.status.show_timings:
            parts.append(seconds(event.time))
        text = ", ".join(parts)
        if event.error and not self._is_told(event.error):
            text += f": {reason(event.error, place=True)}"
        self._line(event, "end", text)
        self.ended(self)

    def _line(self, event: e.Event, word: str, text: str, agent: str = "") -> None:
        time = event.time if self.status.show_timings else None
        self.say(Line(self.run_id, time, event.branch, agent, word, text))

    def _is_told(self, error: str) -> bool:
        # The error that follows from a limit says it again, with the place.
        return error in self._told or bool(self._limit and self._limit in error)

    def _after(self, duration: float, text: str) -> str:
        return f"after {seconds(duration)}: {text}" if self.status.show_timings else text


_SAID_BY_RULES = {
    "block": "blocks",
    "modify": "changes what it sees",
    "stop": "stops the run",
    "raised": "failed",
}


class Notes(Ending):
    """Says also what is out of the ordinary, and what agents say where that is asked for."""

    says_all = False

    def on_model_called(self, event: e.ModelCalled) -> None:
        if event.attempt > 1:
            self._line(event, "retry", f"model {event.model}, attempt {event.attempt}", event.node)

    def on_model_replied(self, event: e.ModelReplied) -> None:
        super().on_model_replied(event)
        if self.status.show_agent_thoughts:
            content = event.content
            said = text_of(content) if isinstance(content, str | tuple | list) else content
            if text := shown(said):
                self._said[event.branch] = text
                self._line(event, "says", text, event.node)

    def on_model_failed(self, event: e.ModelFailed) -> None:
        if event.retryable:
            text = f"model {event.model} ({event.kind}): {one_line(event.error, ERROR)}"
            self._line(event, "trouble", self._after(event.duration, text), event.node)

    def on_step_finished(self, event: e.StepFinished) -> None:
        super().on_step_finished(event)
        said = self._said.pop(event.branch, None)
        if not (self.says_all or self.status.show_agent_thoughts):
            return
        action = event.action
        if isinstance(action, Content | Return | Finish | EndConversation):
            text = shown(action.value)
            if text != said:
                self._line(event, "says", text, event.node)
        elif isinstance(action, AskUser):
            self._line(event, "asks", shown(action.prompt), event.node)

    def on_step_retried(self, event: e.StepRetried) -> None:
        wait = f" in {seconds(event.delay)}" if self.status.show_timings else ""
        error = reason(event.error)
        self._line(event, "retry", f"step, attempt {event.attempt + 1}{wait}: {error}", event.node)

    def on_step_steered(self, event: e.StepSteered) -> None:
        self._line(event, "steer", one_line(event.note, ERROR), event.node)

    def on_tool_failed(self, event: e.ToolFailed) -> None:
        # Where a join is decided early, a hundred calls may be interrupted, and all is well.
        told = self.says_all or event.error != "interrupted"
        if self.status.show_tool_calls and told:
            text = f"{event.tool} failed: {one_line(event.error, ERROR)}"
            self._line(event, "tool", text, event.node)

    def on_join_cancelled(self, event: e.JoinCancelled) -> None:
        self._line(event, "cancel", f"what is still open below: {reason(event.reason)}")

    def on_run_stopped(self, event: e.RunStopped) -> None:
        # With an error, a line of its own has said what it was, or the last line will.
        if event.error is None:
            self._line(event, "stop", event.reason.replace("_", " "))

    def on_user_asked(self, event: e.UserAsked) -> None:
        self._line(event, "person", f"{event.kind} {event.request_id}: {shown(event.prompt)}", event.node)

    def on_user_answered(self, event: e.UserAnswered) -> None:
        if event.error is not None:
            text = f"{event.request_id} has no answer: {reason(event.error)}"
        else:
            by = f" ({event.source})" if event.source else ""
            text = f"{event.request_id} is answered{by}: {shown(event.value)}"
        self._line(event, "person", text)

    def on_rule_decided(self, event: e.RuleDecided) -> None:
        text = f"{event.rule} {_SAID_BY_RULES[event.verdict]} {event.point.replace('_', ' ')}"
        why = f": {one_line(event.reason, ERROR)}" if event.reason else ""
        self._line(event, "rule", text + why, event.node)

    def on_warned(self, event: e.Warned) -> None:
        self._line(event, "warn", one_line(event.message, ERROR))


class Steps(Notes):
    """Says also which agent starts and ends a step, and where branches part and meet."""

    def on_run_started(self, event: e.RunStarted) -> None:
        super().on_run_started(event)
        self._line(event, "run", f"{event.run_id[-6:]}: {shown(event.task)}")

    def on_step_started(self, event: e.StepStarted) -> None:
        super().on_step_started(event)
        self._line(event, "start", f"step {event.step}" if event.step > 1 else "", event.node)

    def on_step_finished(self, event: e.StepFinished) -> None:
        super().on_step_finished(event)
        parts = [seconds(event.duration)] if self.status.show_timings else []
        parts += _ends_in(event.action)
        self._line(event, "done", ", ".join(parts), event.node)

    def on_branch_forked(self, event: e.BranchForked) -> None:
        self._calls[event.branch, event.fork] = len(event.calls)
        first, last = event.first, event.first + len(event.calls) - 1
        ids = f"{event.branch}.{first}" + (f" to {event.branch}.{last}" if last > first else "")
        then = f", meeting at {event.meeting}" if event.meeting is not None else ""
        detached = ", nobody waits for them" if event.detached else then
        self._line(event, "fork", f"{ids}: {_names(node for node, _ in event.calls)}{detached}")

    def on_join_completed(self, event: e.JoinCompleted) -> None:
        calls = self._calls.pop((event.branch, event.fork), 0)
        text = f"{len(event.collected)} of {calls} arrived"
        self._line(event, "join", text if event.met else f"{text}, too few")


class Everything(Steps):
    """Says also what agents hand on, what models are asked, and what tools do."""

    says_all = True

    def on_step_finished(self, event: e.StepFinished) -> None:
        calls = event.action.calls if isinstance(event.action, Invoke) else ()
        for node, value in calls[:_NAMES]:
            self._line(event, "asks", f"{node}: {shown(value)}", event.node)
        if len(calls) > _NAMES:
            self._line(event, "asks", f"and {len(calls) - _NAMES} more", event.node)
        super().on_step_finished(event)

    def on_model_called(self, event: e.ModelCalled) -> None:
        parts = [counted(event.messages, "message"), counted(event.tools, "tool")]
        attempt = [f"attempt {event.attempt}"] if event.attempt > 1 else []
        self._line(event, "model", f"{event.model} < {', '.join(parts + attempt)}", event.node)

    def on_model_replied(self, event: e.ModelReplied) -> None:
        asked = [f"calls {_names(call.name for call in event.tool_calls)}"] if event.tool_calls else []
        took = [seconds(event.duration)] if self.status.show_timings else []
        text = ", ".join([tokens(event.usage), *took, *asked])
        self._line(event, "model", f"{event.model} > {text}", event.node)
        super().on_model_replied(event)

    def on_tool_started(self, event: e.ToolStarted) -> None:
        if self.status.show_tool_calls:
            self._line(event, "tool", f"{event.tool} < {shown(event.arguments)}", event.node)

    def on_tool_finished(self, event: e.ToolFinished) -> None:
        if self.status.show_tool_calls:
            took = f"{seconds(event.duration)}, " if self.status.show_timings else ""
            self._line(event, "tool", f"{event.tool} > {took}{shown(event.result)}", event.node)

    def on_branch_settled(self, event: e.BranchSettled) -> None:
        super().on_branch_settled(event)
        if event.outcome == "cancelled":
            self._line(event, "cancel", "", event.node)

    def on_dropped(self, event: e.Dropped) -> None:
        self._line(event, "drop", f"{one_line(event.reason, ERROR)}: {shown(event.value)}")


def _ends_in(action: Any) -> list[str]:
    if isinstance(action, Invoke):
        # A fork says itself whom it calls.
        return [f"calls {action.calls[0][0]}"] if action.wait and len(action.calls) == 1 else []
    words = {
        Return: "returns",
        Finish: "finishes",
        AskUser: "asks a person",
        EndConversation: "ends the conversation",
    }
    return [words[type(action)]] if type(action) in words else []


def _names(names: Iterable[str]) -> str:
    """Return names in the order of their first mention, with how often each is mentioned."""
    count: dict[str, int] = {}
    for name in names:
        count[name] = count.get(name, 0) + 1
    listed = [f"{name} x{number}" if number > 1 else name for name, number in list(count.items())[:_NAMES]]
    rest = len(count) - len(listed)
    return ", ".join(listed) + (f" and {rest} more" if rest else "")
