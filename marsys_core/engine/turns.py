"""Taking a step: calling the agent, trying again, and handing what came of it to the orchestrator."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from marsys_core import events as e
from marsys_core.actions import Action, Content, Malformed, read_action
from marsys_core.engine.budget import Purse
from marsys_core.engine.calls import StepCall
from marsys_core.engine.deadlines import Deadlines
from marsys_core.engine.history import History
from marsys_core.engine.people import People
from marsys_core.engine.prepared import Prepared
from marsys_core.engine.recall import repeat
from marsys_core.engine.record import Recorder
from marsys_core.engine.sessions import Opening
from marsys_core.engine.slots import Slots
from marsys_core.engine.step import Step
from marsys_core.engine.threads import run_in_thread
from marsys_core.engine.undeclared import undeclared_in_agent
from marsys_core.errors import (
    ActionError,
    AgentError,
    ErrorClass,
    MarsysError,
    Place,
    RecoverableError,
    ValueRefused,
    placed,
    told,
)
from marsys_core.journal import pack_message
from marsys_core.memory import ConversationLog
from marsys_core.messages import Message, Usage
from marsys_core.models import ModelResponse
from marsys_core.orchestrator import Branch, Command, Phase, RunStep
from marsys_core.protocols.middleware import Layers
from marsys_core.shapes import Shape
from marsys_core.topology import Graph

if TYPE_CHECKING:
    from marsys_core.engine.nested import Nested
    from marsys_core.engine.opening import Request
    from marsys_core.engine.recorded import Recorded
    from marsys_core.orchestra import Orchestra

__all__ = ["Turns"]

_CHECKPOINT_EVERY = 8  # steps of one branch: agents that never wait must not keep everybody else waiting


@attrs.define(eq=False, kw_only=True, repr=False)
class Turns(Recorder, abc.ABC):
    """The steps of a run, one at a time."""

    graph: Graph
    agents: Mapping[str, Prepared]
    task: Any
    session_id: str
    data: Mapping[str, Any]
    variables: Mapping[str, Any] = attrs.field(factory=dict)
    deps: Any = None
    takes: Mapping[str, Shape] | None = None
    answer: Shape | None = None
    layers: Layers
    opening: Opening | None = None
    conversations: dict[tuple[str, str], ConversationLog] = attrs.field(factory=dict)
    usage: Usage | None = None
    people: People | None = None
    nested: Nested | None = None
    origin: tuple[Orchestra, Request] | None = None
    slots: Slots | None = None
    recorded: dict[tuple[str, int], Recorded] = attrs.field(factory=dict)
    _purse: Purse | None = None
    _deadlines: Deadlines | None = None
    _history: History | None = None

    @property
    def history(self) -> History:
        """What was said on all branches; made when an agent first asks for more than its own part."""
        if self._history is None:
            agents = {node: prepared.name for node, prepared in self.agents.items()}
            self._history = History(self.journal, agents)
        return self._history

    @property
    def purse(self) -> Purse:
        """What is set aside for calls that are under way; a nested run has the one of the run round it."""
        if self._purse is None:
            shared = self.nested is not None and self.nested.outer.branch.share is not None
            self._purse = self.nested.step.run.purse if shared and self.nested is not None else Purse()
        return self._purse

    @abc.abstractmethod
    def _accept(self, commands: list[Command]) -> None:
        """Carry out what the orchestrator asks for."""

    async def _step(self, branch: Branch, command: Command) -> None:
        """Take one step: as often as it is retried, and until the orchestrator has its outcome."""
        orchestrator = self.orchestrator
        if type(command) is RunStep:
            if not orchestrator.begin(branch):
                self._accept(orchestrator.take())
                return
            notes: tuple[str, ...] = ()
        else:
            notes = (command.note,) if command.note else ()  # type: ignore[attr-defined]
        if branch.steps % _CHECKPOINT_EVERY:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        prepared, attempt = self.agents[branch.node], 1
        recorded = self.recorded.pop((branch.id, branch.steps), None) if self.recorded else None
        replay = None if recorded is None else recorded.answering(branch)
        if replay is not None:
            self.count(replay.earlier)
            if (commands := repeat(self, branch, replay)) is not None:
                self._accept(commands)
                return
            attempt = replay.attempt
            notes = notes or ((replay.note,) if replay.note else ())
        while True:
            step = Step(self, branch, prepared, self.unpack(branch.value), notes)
            if replay is not None:
                step.replay, replay = replay, None
            if self.rest is not None:
                self.rest.steps[branch.id] = step
            started = trio.current_time()
            try:
                plain = self._deadlines is None and self.layers.agent_step is None and prepared.checks is None
                if plain and prepared.is_async:
                    value = await prepared.act(step.prompt, step)
                else:
                    value = await self._act(step)
                if value is not None:
                    await self._still_wanted(step, value)
                if type(value) is ModelResponse:
                    value = value.text
                if step.replay is not None:
                    step.replay.refuse_left(prepared.name)
                action = step.plain(read_action(value) if value is not None else self._nothing(step))
            except Exception as error:
                delay = self._failed(step, error, attempt, trio.current_time() - started)
            except BaseException as error:
                raise self._interrupted(step, error, trio.current_time() - started) from None
            else:
                self._finished(step, action, trio.current_time() - started)
                return
            finally:
                step.end()
            if delay is None:
                return
            attempt += 1
            await trio.sleep(delay)

    async def _still_wanted(self, step: Step, value: Any) -> None:
        """Let a cancellation through that the agent has swallowed: what it then returned no longer counts."""
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
        except trio.Cancelled:
            self.drop_late(step, value)
            raise

    async def _act(self, step: Step) -> Any:
        """Call the agent the long way: an instance of a pool, within its deadlines and contract, through the middleware, in a thread."""
        leases = step.prepared.leases
        if leases is not None:
            return await leases.take_step(step, self._act)
        act = self._through_middleware if step.prepared.checks is None else self._checked
        if self._deadlines is not None:
            return await self._deadlines.within(step, act)
        return await act(step)

    async def _checked(self, step: Step) -> Action:
        """Call the agent where its contract lets it be called, and hold what it gives to that."""
        checks = step.prepared.checks
        assert checks is not None  # the caller has looked
        await checks.admit(step)
        value = await self._through_middleware(step)
        if value is not None:
            await self._still_wanted(step, value)
        if type(value) is ModelResponse:
            value = value.text
        return await checks.release(step, self._nothing(step) if value is None else read_action(value))

    async def _through_middleware(self, step: Step) -> Any:
        layer = self.layers.agent_step
        if layer is None:
            return await _call_agent(step)
        call = StepCall(agent=step.prepared.agent, prompt=step.prompt, step=step)
        return await layer(call, _proceed_step)

    def _finished(self, step: Step, action: Action, duration: float) -> None:
        self._spend(step)
        if type(action) is Malformed:
            messages: tuple[Message, ...] = ()
            step.roll_back()
        else:
            messages = tuple([pack_message(self.journal, each) for each in step.commit(action)])
        events = self.journal.events
        at = len(events)
        writes = () if step.shared is None else step.shared.writes
        commands = self.orchestrator.on_step(
            step.branch, action, messages=messages, usage=step.usage, duration=duration, writes=writes
        )
        if self.orchestrator.rules is not None:
            while at < len(events) and type(events[at]) is e.RuleDecided:
                at += 1
        if at == len(events) or type(events[at]) is not e.StepFinished:
            step.roll_back()  # steered, failed, or too late: what is not in the journal was not said
        self._accept(commands)

    def _spend(self, step: Step) -> None:
        self.count(step.usage)

    def count(self, usage: Usage | None) -> None:
        """Count what was spent."""
        if usage is not None:
            self.usage = usage if self.usage is None else self.usage + usage

    def _nothing(self, step: Step) -> Any:
        if not step.prepared.none_is_empty:
            return read_action(None)
        if step.output_schema is not None:
            return Content(None)  # whether that is an answer, its shape says
        who = f"the function of agent {step.prepared.name!r}"
        if self.layers.agent_step is not None:
            who += ", or middleware round its step,"
        msg = f"{who} returned None; an empty text is handed on"
        self.record(e.Warned(step.branch.id, step.branch.n, step.cause, msg))
        return Content("")

    # -- errors --------------------------------------------------------------------------------

    def _failed(self, step: Step, error: Exception, attempt: int, duration: float) -> float | None:
        step.roll_back()
        self._spend(step)
        branch, retry = step.branch, self.config.retry
        failure = self._as_failure(step, error)
        if (
            self.config.auto_retry_on_error
            and attempt < retry.max_attempts
            and branch.phase is Phase.RUNNING
            and self._retries(step, error, failure)
            and (_asked_to_wait(error) or 0.0) <= retry.max_retry_after
        ):
            delay = retry.delay(attempt, self.random, _asked_to_wait(error))
            self.record(
                e.StepRetried(branch.id, branch.n, step.cause, step.node, attempt, delay, str(failure))
            )
            return delay
        self._accept(self.orchestrator.on_failure(branch, failure, duration=duration, usage=step.usage))
        return None

    @staticmethod
    def _retries(step: Step, error: Exception, failure: MarsysError) -> bool:
        """A step is taken again for a passing error that was raised outside a recorded call.

        A call has had its own retries. An agent that raises `RecoverableError` itself has decided that the
        caller of the run is to know.
        """
        chain: BaseException | None = error
        while chain is not None:
            if chain is step.call_error:
                return False
            chain = chain.__cause__ or chain.__context__
        return failure.error_class is ErrorClass.RECOVERABLE and not isinstance(error, RecoverableError)

    def _as_failure(self, step: Step, error: Exception) -> MarsysError:
        branch = step.branch
        if isinstance(error, MarsysError):
            failure = error
        elif (undeclared := undeclared_in_agent(error, step.prepared)) is not None:
            failure = undeclared
        else:
            failure = AgentError(f"agent {step.prepared.name!r} raised {type(error).__name__}: {told(error)}")
            failure.__cause__ = error
            failure.error_class = self.engine.classify(error)
        anew = isinstance(failure, ActionError | ValueRefused)
        return cast("MarsysError", placed(failure, Place(branch.id, branch.node, branch.steps), anew=anew))

    def _interrupted(self, step: Step, error: BaseException, duration: float) -> BaseException:
        """Keep what an agent raised beside a cancellation, cleaning up perhaps, and return the cancellation."""
        step.roll_back()
        self._spend(step)
        if isinstance(error, BaseExceptionGroup):
            cancelled, beside = error.split(trio.Cancelled)
            if cancelled is not None and isinstance(beside, ExceptionGroup):
                failure = self._as_failure(step, beside)
                self._accept(self.orchestrator.on_failure(step.branch, failure, duration=duration))
                return cancelled
        return error


def _asked_to_wait(error: Exception) -> float | None:
    """How many seconds an error asks to wait, where it says so in a number."""
    seconds = getattr(error, "retry_after", None)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds != seconds or seconds < 0:
        return None
    return float(seconds)


async def _call_agent(step: Step) -> Any:
    prepared = step.prepared
    if prepared.is_async:
        return await prepared.act(step.prompt, step)
    value = await run_in_thread(
        step,
        f"agent {prepared.name!r}",
        lambda: prepared.act(step.prompt, step),
        lambda value: step.run.drop_late(step, value),
    )
    return await value if hasattr(value, "__await__") else value


async def _proceed_step(call: StepCall) -> Any:
    call.step.prompt = call.prompt
    return await _call_agent(call.step)
