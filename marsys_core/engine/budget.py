"""Budgets: what a call may come to is set aside before it is made, so that calls side by side cannot overshoot."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from marsys_core import events as e
from marsys_core.errors import LimitError, MarsysError, ModelError, ModelErrorKind
from marsys_core.messages import Usage
from marsys_core.models import Capabilities, ModelRequest, ModelResponse, ToolSpec
from marsys_core.orchestrator import Share

if TYPE_CHECKING:
    from marsys_core.engine.step import Step

__all__ = ["Hold", "Purse", "count_tools", "estimated_input", "within_budget"]

_CHARACTERS = 4  # of English, to a token, as most providers count
_MILLION = 1_000_000
_UNTOUCHED = frozenset(
    {
        ModelErrorKind.AUTHENTICATION,
        ModelErrorKind.PERMISSION,
        ModelErrorKind.NOT_FOUND,
        ModelErrorKind.BAD_REQUEST,
        ModelErrorKind.CONTEXT_TOO_LONG,
        ModelErrorKind.RATE_LIMIT,
        ModelErrorKind.QUOTA,
        ModelErrorKind.OVERLOADED,
    }
)
"""Errors of calls that a provider turned away before it did any work."""
_DECLARED_NOTHING = Capabilities()


def estimated_input(request: ModelRequest) -> int:
    """Return about how many tokens the input of `request` has: its characters, by four.

    The instruction, the texts, the tool calls and the tools with their schemas count; images and files do not.
    """
    count = len(request.system)
    for message in request.messages:  # all of the conversation, at every call
        content = message.content
        count += len(content) if type(content) is str else len(message.text)
        if message.tool_calls:
            count += sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    for spec in request.tools:
        count += _characters_of(spec)
    if request.output_schema is not None:
        import json

        count += len(json.dumps(request.output_schema, default=str))
    return math.ceil(count / _CHARACTERS)


@functools.lru_cache(maxsize=256)
def _characters_of(spec: ToolSpec) -> int:
    import json

    return len(spec.name) + len(spec.description) + len(json.dumps(spec.parameters, default=str))


def _counted_input(model: Any, request: ModelRequest) -> int:
    count = getattr(model, "count_tokens", None)
    if count is None:
        return estimated_input(request)
    try:
        counted = count(request)
    except Exception as error:
        msg = f"count_tokens of model {model.name!r} raised {type(error).__name__}: {error}"
        raise ModelError(msg) from error
    if isinstance(counted, bool) or not isinstance(counted, int) or counted < 0:
        msg = f"count_tokens of model {model.name!r} gave {counted!r:.200}, and not a number of tokens"
        raise ModelError(msg)
    return counted


def _most_output(able: Capabilities, request: ModelRequest) -> int:
    """The longest answer there can be, as far as anybody says; 0 where nobody does."""
    given = [
        most for most in (request.sampling.max_output_tokens, able.max_output_tokens) if most is not None
    ]
    return min(given, default=0)


@attrs.define(eq=False, kw_only=True)
class Hold:
    """What is set aside for one model call, in a share and in all round it."""

    purse: Purse
    shares: tuple[Share, ...]
    able: Capabilities
    name: str
    input: int
    tokens: int
    cost: float
    refused: tuple[Share, str] | None = None
    turn: trio.Event | None = None
    open: bool = False

    @classmethod
    def of(cls, purse: Purse, share: Share, model: Any, request: ModelRequest) -> Hold:
        """Work out what a call may come to."""
        able = getattr(model, "capabilities", None) or _DECLARED_NOTHING
        told, said, shares = 0, 0, tuple(share.chain())
        if any(each.max_tokens is not None or each.max_cost is not None for each in shares):
            told, said = _counted_input(model, request), _most_output(able, request)
        cost = _price(able, told, said)
        return cls(
            purse=purse, shares=shares, able=able, name=model.name, input=told, tokens=told + said, cost=cost
        )

    def spent(self, usage: Usage) -> Usage:
        """Return `usage` with its cost by the model's prices, where the model did not report one."""
        if usage.cost:
            return usage
        cost = _price(
            self.able, usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.cache_write_tokens
        )
        return attrs.evolve(usage, cost=cost) if cost else usage

    def lost(self, error: MarsysError) -> Usage | None:
        """Return what a failed call counts for: its input, unless it was turned away before any work was done."""
        if isinstance(error, ModelError) and error.kind in _UNTOUCHED:
            return None
        return self.spent(Usage(input_tokens=self.input))

    def obstacles(self) -> Iterator[tuple[Share, str, bool]]:
        """Yield each share in which there is no room, with the limit, and whether there never will be."""
        for share in self.shares:
            held = self.purse.held(share)
            for limit, most, spent, open_, asked in (
                ("max_tokens", share.max_tokens, share.tokens, held.tokens, self.tokens),
                ("max_cost", share.max_cost, share.cost, held.cost, self.cost),
            ):
                if most is None:
                    continue
                most *= 1 + 1e-9  # three times 0.1 is a little more than 0.3
                if spent + asked > most or (not asked and spent >= most / (1 + 2e-9)):
                    yield share, limit, True
                elif asked and spent + open_ + asked > most:
                    yield share, limit, False


def _price(able: Capabilities, told: int, said: int, cached: int = 0, written: int = 0) -> float:
    """What so many tokens cost; of the input, some were read from the provider's cache, and some put there."""
    each = able.input_price or 0.0
    total = told * each + said * (able.output_price or 0.0)
    if cached and able.cached_price is not None:
        total += cached * (able.cached_price - each)
    if written and able.cache_write_price is not None:
        total += written * (able.cache_write_price - each)
    return max(total, 0.0) / _MILLION


@attrs.define(eq=False)
class _Held:
    """What is set aside in a share, for so many calls."""

    tokens: int = 0
    cost: float = 0.0
    calls: int = 0


_NOTHING = _Held()


@attrs.define(eq=False)
class Purse:
    """What is set aside for the model calls of a run and of its nested ones, and the calls that wait for room.

    Invariant: a call waits only for room that is set aside for others, which is given back when they end; and
    what is spent only grows. So every call that waits is let through or refused at last.
    """

    _held: dict[Share, _Held] = attrs.field(factory=dict)
    _waiting: list[Hold] = attrs.field(factory=list)
    _told: set[tuple[Share, str]] = attrs.field(factory=set)

    def held(self, share: Share) -> _Held:
        """Return what is set aside in `share`."""
        return self._held.get(share, _NOTHING)

    async def hold(self, step: Step, model: Any, request: ModelRequest) -> Hold:
        """Set aside what a call of `model` may come to, as soon as there is room for it.

        Raises:
            LimitError: There is none, and there will be none.
        """
        share = step.branch.share
        assert share is not None  # only then is there anything to hold to
        hold = Hold.of(self, share, model, request)
        obstacles = list(hold.obstacles())
        if not obstacles and not self._waiting:
            self._set_aside(hold)
            return hold
        hold.refused = next(((each, limit) for each, limit, ever in obstacles if ever), None)
        if hold.refused is None:
            await self._wait(hold)
        if hold.refused is not None:
            raise self._refusal(step, hold)
        return hold

    async def _wait(self, hold: Hold) -> None:
        hold.turn = turn = trio.Event()
        self._waiting.append(hold)
        self._look()
        if not turn.is_set():
            try:
                await turn.wait()
            except BaseException:
                self._abandon(hold)
                raise

    def close(self, hold: Hold) -> None:
        """Give back what `hold` set aside: what it was needed for has been counted."""
        hold.open = False
        for share in hold.shares:
            held = self._held[share]
            held.calls -= 1
            held.tokens -= hold.tokens
            held.cost -= hold.cost
            if not held.calls:
                del self._held[share]
        if self._waiting:
            self._look()

    def _abandon(self, hold: Hold) -> None:
        if hold.open:
            self.close(hold)
        elif hold in self._waiting:
            self._waiting.remove(hold)
            self._look()

    def _look(self) -> None:
        """Let through, in the order of asking, what there is room for; refuse what there will never be room for.

        Calls that wait for room in different shares do not wait for each other.
        """
        taken: set[Share] = set()  # where somebody waits already: nobody overtakes
        for hold in list(self._waiting):
            if hold.shares[-1] in taken:
                continue
            obstacles = list(hold.obstacles())
            final = next(((share, limit) for share, limit, ever in obstacles if ever), None)
            if final is not None:
                hold.refused = final
            elif obstacles:
                taken.update(share for share, _, _ in obstacles)
                continue
            elif not taken.isdisjoint(hold.shares):
                continue
            else:
                self._set_aside(hold)
            self._waiting.remove(hold)
            assert hold.turn is not None  # it waits
            hold.turn.set()

    def _set_aside(self, hold: Hold) -> None:
        hold.open = True
        for share in hold.shares:
            held = self._held.setdefault(share, _Held())
            held.calls += 1
            held.tokens += hold.tokens
            held.cost += hold.cost

    def _refusal(self, step: Step, hold: Hold) -> LimitError:
        assert hold.refused is not None  # the caller has looked
        share, limit = hold.refused
        held = self.held(share)
        if limit == "max_tokens":
            spent, open_, asked, most = share.tokens, held.tokens, hold.tokens, share.max_tokens
            unit = "tokens"
        else:
            spent, open_, asked, most = share.cost, held.cost, hold.cost, share.max_cost  # type: ignore[assignment]
            unit = "of cost"
        msg = (
            f"no room in the budget for a call of model {hold.name!r}, which may come to {asked:.10g} {unit}: "
            f"{spent:.10g} spent, {open_:.10g} set aside for others"
        )
        return self.refuse(step, share, limit, most, msg)

    def refuse(self, step: Step, share: Share, limit: str, most: float | None, message: str) -> LimitError:
        """Return the error of a call that there is no room for; that the limit is reached is recorded once."""
        if (share, limit) not in self._told:
            self._told.add((share, limit))
            branch = step.branch
            step.run.record(e.LimitReached(branch.id, branch.n, step.cause, limit, most or 0, message))
        return LimitError(f"{message} ({limit}={most:.10g})", limit)


async def within_budget(step: Step, model: Any, request: ModelRequest, attempt: int) -> ModelResponse:
    """Ask `model` once, as soon as the budget has room for what the call may come to.

    Raises:
        LimitError: It has none.
    """
    from marsys_core.engine.calls import attempt_model

    purse = step.run.purse
    hold = await purse.hold(step, model, request)
    try:
        return await attempt_model(step, model, request, attempt, hold)
    finally:
        purse.close(hold)


def count_tools(step: Step, names: Sequence[str]) -> None:
    """Refuse tool calls that are more than the budget has left: of the calls of one reply, all or none are run.

    Raises:
        LimitError: Together they are too many.
    """
    assert step.branch.share is not None  # only then is there anything to hold to
    for share in step.branch.share.chain():
        most = share.max_tool_calls
        if most is None or share.tool_calls + len(names) <= most:
            continue
        asked = f"tool {names[0]!r}" if len(names) == 1 else f"{len(names)} tools ({', '.join(names)})"
        msg = f"no room in the budget to call {asked}: {share.tool_calls} calls made"
        raise step.run.purse.refuse(step, share, "max_tool_calls", most, msg)
