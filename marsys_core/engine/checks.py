"""What an agent's contract asks of its steps: that input and output have their shape, and that its guards agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from marsys_core import events as e
from marsys_core.actions import Action, AskUser, Content, EndConversation, Finish, Invoke, Malformed, Return
from marsys_core.errors import GuardRefused, PluginError, ToolError, UnknownName, ValueRefused
from marsys_core.hosts.declared import crossing, written_for
from marsys_core.protocols.guard import GuardSubject
from marsys_core.shapes import Misfit, Shape
from marsys_core.values import JoinInput

if TYPE_CHECKING:
    from marsys_core.agents.contract import Contract
    from marsys_core.engine.engine import Engine
    from marsys_core.engine.step import Step

__all__ = ["Checks", "prepare_checks"]

_ANSWERS = frozenset({Content, Return, Finish})
_OPENING = frozenset({"start", "call", "handoff", "join"})


@attrs.define(eq=False, kw_only=True)
class Checks:
    """A contract, ready to be asked.

    Args:
        input: What the agent may be handed.
        output: What its answers have to be.
        guards: Its own guards.
        as_instance: Whether the agent is handed an instance of its input type, and not plain data.
    """

    input: Shape | None = None
    output: Shape | None = None
    guards: tuple[Callable[..., Any], ...] = ()
    as_instance: bool = False

    async def admit(self, step: Step) -> None:
        """Look at what the step was handed, before the agent sees it.

        Raises:
            GuardRefused: A guard refused it.
            ValueRefused: It has another shape than the agent takes.
        """
        if self.input is not None and _opens(step):
            try:
                step.prompt = self.input.fit(step.prompt, step.run.plain)
            except Misfit as misfit:
                raise ValueRefused(
                    f"{step.node!r} takes {self.input.called}, and not what {_source(step)} handed it: {misfit}"
                ) from None
        # Where the step is taken again with a note, they have let its input pass already.
        for guard in () if step.notes else self.guards:
            said = await _ask(guard, _subject(step, "input", step.prompt))
            if said is not None:
                raise _refused(step, guard, "input", said)
        if self.as_instance and self.input is not None and _opens(step):
            step.prompt = self.input.instance(step.prompt)

    async def release(self, step: Step, action: Action) -> Action:
        """Return `action` with its answer as plain data of its shape, or what steers the agent to mend it.

        Raises:
            GuardRefused: A guard refused what the agent gives, for good.
        """
        if self.output is not None and type(action) in _ANSWERS:
            value = action.value  # type: ignore[attr-defined]
            try:
                action = type(action)(self.output.fit(value, step.run.plain))  # type: ignore[call-arg]
            except Misfit as misfit:
                return _misfit(self.output, misfit, value)
        for guard in self.guards:
            for name, value in _outputs(action):
                subject = _subject(step, "output", step.run.plain(value), name)
                said = await _ask(guard, subject)
                if said is None:
                    continue
                refusal = _refused(step, guard, "output", said)
                branch = step.branch
                may_mend = (
                    step.prepared.traits.notes and branch.attempts < step.run.config.max_steering_retries
                )
                if said.mendable and may_mend:
                    note = (
                        f"Your last reply was refused by {_name_of(guard)!r}: {said.text}. Give another one."
                    )
                    return Malformed(str(refusal), value, note=note)
                raise refusal
        return action

    async def allow(self, step: Step, name: str, arguments: Mapping[str, Any]) -> None:
        """Ask about a tool call; a refusal is a result that says so, unless a guard ends the run itself.

        Raises:
            ToolError: A guard refused the call.
            GuardRefused: A guard raised this.
        """
        for guard in self.guards:
            said = await _ask(guard, _subject(step, "tool", arguments, name))
            if said is not None:
                refusal = _refused(step, guard, "tool", said)
                raise refusal if said.final else ToolError(str(refusal))

    def misfit(self, node: str, value: Any, plain: Callable[[Any], Any]) -> str:
        """Say what is wrong with handing `value` to the agent at `node`, or nothing."""
        assert self.input is not None  # it is asked of agents that have one
        try:
            self.input.fit(value, plain)
        except Misfit as misfit:
            return f"{node!r} takes {self.input.called}, and not this: {misfit}"
        return ""


async def prepare_checks(contract: Contract, agent: str, engine: Engine, *, as_instance: bool) -> Checks:
    """Return the checks of a contract; its JSON Schemas are made shapes by the plugin that checks them.

    Raises:
        PluginError: No plugin checks values against JSON Schemas.
        ConfigError: A schema that is none.
    """
    sides: dict[str, Shape | None] = {}
    for side in ("input", "output"):
        given = getattr(contract, side)
        made = given if given is None or isinstance(given, Shape) else None
        if given is not None and made is None:
            made = Shape.of_schema(
                given, await _checker(given, f"the {side} schema of agent {agent!r}", engine)
            )
        sides[side] = made
    typed = isinstance(contract.input, Shape)
    guards = tuple(
        guard if written_for(guard, f"a guard of agent {agent!r}") == "trio" else crossing(guard)
        for guard in contract.guards
    )
    return Checks(**sides, guards=guards, as_instance=as_instance and typed)


async def _checker(schema: Mapping[str, Any], whose: str, engine: Engine) -> Callable[[Any], list[str]]:
    try:
        name = engine.composition.choose("schema checker")
    except (PluginError, UnknownName) as error:
        msg = f"{whose} cannot be checked: {error} It takes a plugin: pip install 'marsys-core[schema]'"
        raise PluginError(msg) from error
    checker = await engine.get("schema checker", name)
    found: Callable[[Any], list[str]] = checker.prepare(schema, whose)
    return found


def _misfit(shape: Shape, misfit: Misfit, value: Any) -> Malformed:
    problems = "\n".join(f"- {problem}" for problem in misfit.problems)
    note = (
        f"Your last reply is not the answer that was asked for, {shape.called}:\n{problems}\n"
        "Give the whole answer again, as JSON alone."
    )
    return Malformed(f"the answer is not {shape.called}: {misfit}", value, note=note)


def _opens(step: Step) -> bool:
    """Whether the step was handed work, and not the answers to what its node itself has asked."""
    branch = step.branch
    if branch.how not in _OPENING:
        return False
    return branch.how != "join" or branch.node not in (branch.asked or ())


def _source(step: Step) -> str:
    """Say in words who handed the step its input; for messages only, as it reads the journal."""
    branch = step.branch
    if isinstance(step.prompt, JoinInput):
        return ", ".join(dict.fromkeys(repr(item.node) for item in step.prompt.flat())) or "nobody"
    if branch.how == "start":
        parent = step.run.orchestrator.state.branches.get(branch.id.rpartition(".")[0])
        return "the run" if parent is None or parent.node == "start" else repr(parent.node)
    wanted = set(branch.inputs)
    handed = [
        event.node
        for event in step.run.journal.events
        if type(event) is e.StepFinished and event.id in wanted
    ]
    return ", ".join(map(repr, handed)) or "the run"


def _outputs(action: Action) -> Iterator[tuple[str, Any]]:
    """Yield what an action gives out, and to which node, where it names one."""
    if type(action) in _ANSWERS or (type(action) is EndConversation and action.value is not None):
        yield "", action.value  # type: ignore[attr-defined]
    elif type(action) is Invoke:
        yield from action.calls
    elif type(action) is AskUser:
        yield "user", action.prompt


# -- guards --------------------------------------------------------------------------------------


@attrs.frozen
class _Said:
    """How a guard refused: in what words, and whether the agent may try to mend it or the run ends."""

    text: str
    mendable: bool = False
    final: bool = False
    cause: Exception | None = None


async def _ask(guard: Callable[..., Any], subject: GuardSubject) -> _Said | None:
    try:
        verdict = guard(subject)
        if hasattr(verdict, "__await__"):
            verdict = await verdict
    except GuardRefused as error:
        return _Said(str(error), final=True, cause=error)
    except Exception as error:
        return _Said(f"it broke: {type(error).__name__}: {error}", cause=error)
    if verdict is None or verdict is True:
        return None
    if isinstance(verdict, str):
        return _Said(verdict or "it does not say why", mendable=True)
    return _Said("it does not say why" if verdict is False else f"it returned {verdict!r:.200}")


def _subject(step: Step, kind: Any, value: Any, name: str = "") -> GuardSubject:
    return GuardSubject(kind=kind, value=value, name=name, run_id=step.run.run_id, node=step.node)


def _name_of(guard: Callable[..., Any]) -> str:
    return getattr(guard, "__name__", type(guard).__name__)


def _refused(step: Step, guard: Callable[..., Any], kind: str, said: _Said) -> GuardRefused:
    """Record the refusal, and return the error that says it."""
    name, branch = _name_of(guard), step.branch
    what = "a tool call" if kind == "tool" else f"the {kind}"
    error = GuardRefused(f"guard {name!r} of agent {step.prepared.name!r} refused {what}: {said.text}")
    error.__cause__ = said.cause
    step.run.record(e.GuardRefusedInput(branch.id, branch.n, step.cause, name, kind, str(error)))
    return error
