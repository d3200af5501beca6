"""One step: what the agent sees of its run, and what becomes of what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core.actions import Action, AskUser, Content, EndConversation, Finish, Invoke, Return
from marsys_core.agents.parts import as_content
from marsys_core.agents.reserved import reserved_specs
from marsys_core.agents.shaping import shaped_specs
from marsys_core.engine.budget import count_tools
from marsys_core.engine.calls import ToolRun, attempt_model, call_model, call_tool, call_tools
from marsys_core.engine.requests import other_model, request_of
from marsys_core.engine.state import CallState, SharedState
from marsys_core.engine.structured import answered_by_tool, held_by_other_means, holds_natively
from marsys_core.errors import ConfigError, LifecycleError, UnknownName
from marsys_core.events import EventId
from marsys_core.memory import ConversationLog, ConversationMemory
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.models import Caching, ModelResponse, Reasoning, Sampling, ToolChoice, ToolSpec
from marsys_core.orchestrator import Branch, Offer, offer, tally
from marsys_core.tools import Tool
from marsys_core.values import JoinInput, render

if TYPE_CHECKING:
    from marsys_core.agents import Team
    from marsys_core.context import Budget
    from marsys_core.engine.history import Transcript
    from marsys_core.engine.prepared import Prepared
    from marsys_core.engine.replay import Replay
    from marsys_core.engine.resting import Rest
    from marsys_core.engine.sessions import Opening
    from marsys_core.engine.slots import Leave
    from marsys_core.engine.transactions import Transaction
    from marsys_core.engine.turns import Turns
    from marsys_core.hosts.bridge import Call

__all__ = ["Step", "ToolPlace"]


@attrs.define(eq=False, repr=False)
class Step:
    """The `context` of one step; see `marsys_core.context.Context` for what each member is."""

    run: Turns
    branch: Branch
    prepared: Prepared
    prompt: Any
    notes: Sequence[str] = ()
    usage: Usage | None = None
    call_error: BaseException | None = None
    over: bool = False
    scope: trio.CancelScope | None = None
    _asking: int = 0
    _left: float = 0.0
    leave: Leave | None = None
    team_places: dict[str, int] | None = None
    _log: ConversationLog | None = None
    _memory: ConversationMemory | None = None
    _base: int = 0
    _was_open: tuple[str, ...] = ()
    shared: SharedState | None = None
    replay: Replay | None = None
    made: dict[tuple[str, str], int] | None = None
    busy: int = 0
    sleeping: int = 0
    teams: dict[Rest, str] | None = None

    @property
    def task(self) -> Any:
        return self.run.unpack(self.run.task)

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def session_id(self) -> str:
        return self.run.session_id

    @property
    def branch_id(self) -> str:
        return self.branch.id

    @property
    def node(self) -> str:
        return self.branch.node

    @property
    def step(self) -> int:
        return self.branch.steps

    @property
    def answered(self) -> bool:
        return self.branch.how == "answer"

    @property
    def data(self) -> Mapping[str, Any]:
        return self.run.data

    @property
    def variables(self) -> Mapping[str, Any]:
        return self.run.variables

    @property
    def deps(self) -> Any:
        return self.run.deps

    @property
    def system(self) -> str:
        filled = self.prepared.system
        return getattr(self.prepared.agent, "system", "") if filled is None else filled

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        checks = self.prepared.checks
        return None if checks is None or checks.output is None else checks.output.schema

    @property
    def max_tool_rounds(self) -> int:
        return self.run.config.max_tool_rounds

    @property
    def cause(self) -> EventId:
        return self.branch.last

    def __repr__(self) -> str:
        return f"<context of step {self.step} at {self.node!r}, branch {self.branch_id}, run {self.run_id}>"

    def __getitem__(self, key: str) -> Any:
        if key not in self.run.data:
            raise UnknownName("context value", key, self.run.data, "Give it with context={...}.")
        return self.run.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        return self.run.data.get(key, default)

    @property
    def offered(self) -> Offer:
        graph, branch = self.run.graph, self.branch
        if branch.node in graph.conditional:
            return offer(graph, branch, self.run.orchestrator.closed_so_far(branch))
        return offer(graph, branch)

    @property
    def state(self) -> SharedState:
        if self.shared is None:
            self._check_open()
            self.shared = SharedState(self)
        return self.shared

    def comes_back(self, action: Invoke) -> bool:
        link, node = self.run.graph.link, self.branch.node
        if any(link(node, target) is None for target, _ in action.calls):
            return True  # it is refused, and taken back with its calls: there is nothing to answer
        return self.run.orchestrator.comes_back(self.branch, action)

    def handed_over(self, action: Action) -> str:
        if not isinstance(action, Invoke):
            return "done"
        names = [node for node, _ in action.calls]
        if len(names) > 1:
            names = [self.run.graph.meeting(self.branch.node, names)]
        return f"handed over to {names[0]}"

    # -- the conversation ----------------------------------------------------------------------

    @property
    def memory(self) -> ConversationMemory:
        if self._memory is None:
            self._check_open()
            self._open_memory()
            assert self._memory is not None
        return self._memory

    def _open_memory(self) -> None:
        logs, key = self.run.conversations, (self.branch.name, self.prepared.name)
        log = logs.get(key)
        if log is None:
            log = logs[key] = (
                ConversationLog() if self.run.opening is None else self._new_log(self.run.opening)
            )
        self._log, self._base, self._was_open = log, len(log.messages), log.open_calls
        if log.open_calls:
            if not self._answers():
                log.messages.extend(log.closings())
            log.open_calls = ()
        shared = None if self.prepared.history == "own" else self._history()
        self._memory = ConversationMemory(log, self._base, self.prepared.memory, shared)

    def _new_log(self, opening: Opening) -> ConversationLog:
        return ConversationLog(list(opening.before(self.branch, self.prepared.name)))

    def _history(self) -> Transcript:
        run, branch, prepared = self.run, self.branch, self.prepared
        before = () if run.opening is None else run.opening.before(branch, prepared.name)
        return run.history.transcript(branch.name, prepared.name, prepared.history, before)

    def _answers(self) -> bool:
        """Whether this step was given the answers to the agent's own calls."""
        branch = self.branch
        replies = (branch.replies or {}).get(branch.node)
        return bool(replies) and branch.how in ("join", "return", "again", "answer")

    def incoming(self) -> Sequence[Message]:
        branch = self.branch
        if not self._answers() or not self._opened_with_calls():
            return [Message("user", self._content())]
        replies = (branch.replies or {})[branch.node]
        return [
            Message("tool", self._answer_to(start, stop), tool_call_id=call) for call, start, stop in replies
        ]

    def _opened_with_calls(self) -> bool:
        _ = self.memory
        return bool(self._was_open)

    def _content(self) -> Any:
        prompt = self.prompt
        if isinstance(prompt, Message):
            return prompt.content
        if type(prompt) is str:
            return prompt
        checks = self.prepared.checks
        if checks is not None and checks.as_instance:
            from marsys_core.shapes.plain import plain_form

            prompt = plain_form(prompt)
        return as_content(prompt, render)

    def _answer_to(self, start: int, stop: int) -> str:
        """What came back for the calls from `start` to `stop`."""
        join = self.branch.joined
        if join is None:
            return render(self.prompt)
        items = [(c.call, c.key, (c.node, c.source, c.value)) for c in join.contributions]
        items += [
            (call, child.key, (child.node, child.id, child.error)) for call, child in tally(join).failures
        ]
        own = sorted((item for item in items if start <= item[0] < stop), key=lambda item: item[:2])
        if not own:
            return "no answer: the work went on elsewhere"
        values = [(node, source, self.run.unpack(value)) for _, _, (node, source, value) in own]
        return render(values[0][2] if len(values) == 1 and stop - start == 1 else JoinInput(values))

    def stands(self, pausing: bool) -> bool:
        """Whether this step only waits for people, or for nested runs that do; where it is to pause, or for a time."""
        teams = self.teams or ()
        if not (self._asking or teams):
            return False
        moving = self.busy - self._asking
        return moving == 0 and (pausing or not self.sleeping) and all(team.still(pausing) for team in teams)

    def settle(self) -> None:
        """A call of this step has ended."""
        self.busy -= 1
        self.look()

    def look(self) -> None:
        """Let the run rest, if this step was the last that did more than wait."""
        if (self._asking or self.teams) and self.run.rest is not None:
            self.run.rest.look()

    def stop_clock(self) -> None:
        """A person is asked about a call of this step, or it waits for a time: its deadline stands still."""
        self._asking += 1
        if self._asking == 1 and self.scope is not None:
            self._left = self.scope.deadline - trio.current_time()
            self.scope.deadline = float("inf")

    def start_clock(self) -> None:
        """One call has its answer; with the last one the deadline goes on."""
        self._asking -= 1
        if self._asking == 0 and self.scope is not None:
            self.scope.deadline = trio.current_time() + self._left

    def end(self) -> None:
        """The step is over, and so is what it was handed."""
        self.over = True
        if self._memory is not None:
            self._memory.close()
        if self.shared is not None:
            self.shared.close()

    def _check_open(self) -> None:
        if self.over:
            msg = f"{self!r} is over: a context lives as long as its step"
            raise LifecycleError(msg)

    def commit(self, action: Action) -> tuple[Message, ...]:
        """The step has ended in `action`: return what it added to the conversation."""
        if self._log is None:
            return ()
        if type(action) is Invoke and action.replies and self.comes_back(action):
            self._log.open_calls = tuple(call for call, _, _ in action.replies)
            self._log.handed_to = ", ".join(node for node, _ in action.calls)
        elif type(action) is AskUser and action.replies:
            self._log.open_calls, self._log.handed_to = tuple(call for call, _, _ in action.replies), "user"
        return tuple(self._log.messages[self._base :])

    def roll_back(self) -> None:
        """The step failed, or is taken again: it leaves no trace in the conversation."""
        if self._log is not None:
            del self._log.messages[self._base :]
            self._log.open_calls = self._was_open
            if self._memory is not None:
                self._memory.close()
            self._log = self._memory = None

    # -- calls ---------------------------------------------------------------------------------

    async def generate(
        self,
        messages: str | Sequence[Message] | None = None,
        *,
        model: Any = None,
        system: str = "",
        tools: Sequence[Tool | ToolSpec] = (),
        output_schema: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
        tool_choice: ToolChoice | None = None,
        parallel_tool_calls: bool | None = None,
        reasoning: Reasoning | str | None = None,
        caching: Caching | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ModelResponse:
        if self.over:
            self._check_open()
        if messages is None:
            messages = self.memory.messages
        target = self.prepared.model
        if model is not None or target is None:
            target = await other_model(self, model)
        request = request_of(
            target, messages, system, tools, output_schema, sampling,
            tool_choice, parallel_tool_calls, reasoning, caching, options,
        )  # fmt: skip
        own = output_schema is not None and output_schema is self.output_schema
        if own and not holds_natively(target):
            request = held_by_other_means(target, request)
        layer = self.run.layers.model_call
        self.busy += 1
        try:
            if layer is None:
                response = await attempt_model(self, target, request)
            else:
                response = await call_model(self, target, request, layer)
        finally:
            self.settle()
        if own and response.tool_calls:
            return answered_by_tool(response, request.tools, output_schema)  # type: ignore[arg-type]  # it is its own
        return response

    def tool_specs(self) -> Sequence[ToolSpec]:
        return self.prepared.specs

    def reserved_specs(self) -> Sequence[ToolSpec]:
        if not self.prepared.calls_tools:
            return ()
        specs = reserved_specs(self.offered)
        if self.run.takes is None and self.prepared.checks is None:
            return specs
        return shaped_specs(specs, self.output_schema, self.run.takes or {})

    def tool(self, name: str) -> Tool:
        """Return the agent's tool of that name."""
        found = self.prepared.tools.get(name)
        if found is None:
            raise UnknownName("tool", name, self.prepared.tools, f"(agent {self.prepared.name!r})")
        return found

    async def call_tool(self, name: str, /, **arguments: Any) -> Any:
        self._check_open()
        if self.branch.share is not None:
            count_tools(self, (self.tool(name).name,))
        return await call_tool(
            self, self.tool(name), arguments, f"{self.branch.id}:{self.step}:{self.branch.n}"
        )

    async def call_tools(self, calls: Sequence[ToolCall]) -> list[Message]:
        self._check_open()
        return await call_tools(self, tuple(calls))

    def tool_context(self, call: ToolRun) -> Any:
        """Return what the tool of `call` is told of where it runs."""
        return ToolPlace(
            self.run_id, self.branch.id, self.branch.node, self.branch.steps, call.call_id,
            call.idempotency_key, self.task,
            self.run.deps, self, call,
        )  # fmt: skip

    # -- nested runs ---------------------------------------------------------------------------

    @property
    def budget(self) -> Budget:
        from marsys_core.engine.nested import budget_of

        return budget_of(self)

    async def run_team(self, team: Team, task: Any) -> Any:
        from marsys_core.engine.nested import run_team

        self._check_open()
        return await run_team(self, team, task)

    async def sleep(self, seconds: float) -> None:
        from marsys_core.engine.timers import sleep

        self._check_open()
        await sleep(self, seconds)

    def _for_asyncio(self, call: Call) -> Any:
        from marsys_core.engine.abroad import StepAbroad

        return StepAbroad(self, call)

    def reserve_teams(self, calls: Sequence[ToolCall]) -> None:
        """Give the nested runs of the calls of one reply their places in the journal, in the order of the calls."""
        self.team_places = {}
        for call in calls:
            if call.name in self.prepared.team_tools:
                self.team_places[call.id] = self.branch.n
                self.branch.n += 2

    # -- values --------------------------------------------------------------------------------

    def plain(self, action: Action) -> Action:
        """Return `action` with its values made plain, and large ones put into the journal."""
        run = self.run
        if type(action) is Content:
            value = run.keep(action.value)
            return action if value is action.value else Content(value)
        if type(action) is Return or type(action) is Finish or type(action) is EndConversation:
            value = run.keep(action.value)
            return action if value is action.value else type(action)(value)
        if type(action) is Invoke:
            return attrs.evolve(action, calls=[(node, run.keep(value)) for node, value in action.calls])
        if type(action) is AskUser:
            default, schema = run.plain(action.default), run.plain(action.schema)
            return attrs.evolve(action, prompt=run.keep(action.prompt), default=default, schema=schema)
        return action


@attrs.frozen
class ToolPlace:
    """Where a tool call comes from."""

    run_id: str
    branch_id: str
    node: str
    step: int
    call_id: str
    idempotency_key: str
    task: Any
    deps: Any
    _caller: Step = attrs.field(repr=False, eq=False)
    _call: ToolRun = attrs.field(repr=False, eq=False)

    @property
    def state(self) -> CallState:
        """What the agents of the run share; a write counts once the step of the call has ended well."""
        if self._call.state is None:
            self._call.state = CallState(self._caller.state)
        return self._call.state

    async def run_team(self, team: Team, task: Any) -> Any:
        """Let `team` work on `task` in a run of its own, as part of this call."""
        from marsys_core.engine.nested import run_team

        return await run_team(self._caller, team, task, self.call_id)

    @property
    def transaction(self) -> Transaction:
        """What a tool that is ``transactional=True`` writes through."""
        from marsys_core.engine.transactions import Transaction

        if self._call.transaction is None:
            msg = f"tool {self._call.tool.name!r} is not transactional; declare it with @tool(transactional=True)"
            raise ConfigError(msg)
        return Transaction(self._call.transaction)

    def _for_asyncio(self, call: Call) -> Any:
        from marsys_core.engine.transactions import PlaceAbroad

        return PlaceAbroad(self, call)
