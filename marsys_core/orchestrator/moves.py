"""How a branch gets from node to node: arriving, calling, handing off, returning, delivering."""

from __future__ import annotations

from typing import Any

import attrs

from marsys_core import events as e
from marsys_core.actions import AskUser
from marsys_core.events import EventId
from marsys_core.orchestrator.branch import Branch, Join
from marsys_core.orchestrator.endings import Endings
from marsys_core.orchestrator.judging import OPEN
from marsys_core.orchestrator.ledger import END, USER
from marsys_core.orchestrator.phases import Settled
from marsys_core.topology import NodeKind

__all__ = ["Moves"]


_WITHOUT_STEP = frozenset({"gather", "over"})


@attrs.define(eq=False)
class Moves(Endings):
    """Where a branch comes to, and to whom its values go: the call stack, enclosing joins, the run."""

    def _arrive(
        self,
        branch: Branch,
        node: str,
        value: Any,
        inputs: tuple[EventId, ...],
        *,
        call: bool = False,
        fresh: bool = False,
        loop: bool = False,
    ) -> None:
        """The branch comes to `node` with `value`: it delivers there, ends, asks, or takes a step."""
        if self._ends_at(branch, node, value, inputs, branch):
            return
        if node in branch.stack:
            self._move(branch, node, "return", value, branch.stack[: branch.stack.index(node)], inputs, fresh)
        elif call:
            self._move(branch, node, "call", value, (*branch.stack, branch.node), inputs, fresh)
        else:
            self._move(branch, node, "handoff", value, (), inputs, fresh, loop=loop)

    def _ends_at(
        self, branch: Branch, node: str, value: Any, inputs: tuple[EventId, ...], source: Branch
    ) -> bool:
        """Whether arriving at `node` is not a step: a meeting node, innermost first, else `end` or `user`."""
        join = branch.join
        while join is not None:
            if join.meeting == node:
                self._deliver(branch, join, value, source)
                return True
            join = join.owner.join
        if node == END:
            self._settle(branch, Settled.FINISHED, value, contributes=True, inputs=inputs)
        elif node == USER:
            self._ask(branch, AskUser(value))
        else:
            return False
        return True

    def _move(
        self,
        branch: Branch,
        node: str,
        how: str,
        value: Any,
        stack: tuple[str, ...],
        inputs: tuple[EventId, ...],
        fresh: bool = False,
        asked: tuple[str, ...] = (),
        *,
        loop: bool = False,
    ) -> None:
        verdicts, error = OPEN
        if how != "again" and self.graph.nodes[node].kind is NodeKind.GATHER:
            asked = (*asked, node) if how == "call" else asked
            how = "gather"
        if how in _WITHOUT_STEP and node in self.graph.conditional:
            verdicts, error = self._judged_arrival(branch, node, value)
        failure = None if error is None else self._failure(error, branch)
        self._emit(
            e.BranchMoved(
                branch.id, branch.n, branch.last, node, how, value, stack, inputs, fresh, asked, loop,
                verdicts, failure,
            )
        )  # fmt: skip
        self._continue(branch)

    def _return(self, branch: Branch, value: Any, inputs: tuple[EventId, ...]) -> None:
        if branch.stack:
            self._move(branch, branch.stack[-1], "return", value, branch.stack[:-1], inputs)
        elif branch.join is not None:
            self._deliver(branch, branch.join, value, branch)
        else:
            contributes = not branch.detached
            self._settle(branch, Settled.RETURNED, value, contributes=contributes, inputs=inputs)

    def _answer(self, branch: Branch, value: Any, inputs: tuple[EventId, ...]) -> None:
        """Content that goes nowhere else: the open call, the run's end, or whoever is waiting."""
        ends = branch.node in self.graph.ends and END not in branch.closed
        if not branch.stack and branch.join is None and ends:
            self._settle(branch, Settled.FINISHED, value, contributes=True, inputs=inputs)
        else:
            self._return(branch, value, inputs)

    def _deliver(self, branch: Branch, join: Join, value: Any, source: Branch) -> None:
        """Give `value`, from the step of `source`, to `join`, which may be further out than the branch's own."""
        crossed: list[tuple[str, int]] = []
        inner, child = branch.join, branch
        while inner is not None and inner is not join:
            crossed.append(inner.id)
            child = inner.owner
            inner = child.join
        if crossed and not branch.left:
            self._emit(e.BranchLeft(branch.id, branch.n, branch.last, tuple(crossed)))
        self._emit(
            e.BranchDelivered(
                branch.id, branch.n, branch.last, join.id, child.call, source.node, source.id, value
            )
        )
        self._continue(branch)
