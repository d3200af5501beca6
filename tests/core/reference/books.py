"""The books of a run: what was said, where it went, and the outcome."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs

from tests.core.reference.branch import Branch, Fork
from tests.core.reference.data import BranchId, Call, Failure, Join, Outcome, Value, dotted, leaves, rendered

__all__ = ["Books"]


@attrs.define(eq=False)
class Books:
    """Both sides of the conservation law: what turns emitted, and where each of it ended."""

    log: list[tuple[str, int, str, Any]] = attrs.Factory(list)
    emitted: Counter[str] = attrs.Factory(Counter)
    consumed: Counter[str] = attrs.Factory(Counter)  # by later turns
    contributions: list[tuple[BranchId, list[Value]]] = attrs.Factory(list)
    branch_results: dict[str, Value] = attrs.Factory(dict)
    dropped: list[tuple[Value, str]] = attrs.Factory(list)

    def emit(self, calls: Iterable[Call]) -> None:
        for _, payload in calls:
            self.emitted.update(leaves(payload))

    def consume(self, value: Value) -> None:
        self.consumed.update(leaves(value))

    def contribute(self, branch: Branch, value: Value) -> None:
        values = value.values() if isinstance(value, Join) else [value]
        self.contributions.append((branch.id, values))

    def drop(self, fork: Fork, why: str) -> None:
        self.dropped.extend((entry.value, why) for entry in fork.contributions)

    def results(self) -> list[Value]:
        in_order = sorted(self.contributions, key=lambda contribution: contribution[0])
        return [value for _, values in in_order for value in values]

    def accounted(self) -> Counter[str]:
        ends = [*self.results(), *self.branch_results.values(), *(value for value, _ in self.dropped)]
        return self.consumed + Counter(leaf for value in ends for leaf in leaves(value))

    def outcome(self, branches: list[Branch], detached: set[str], error: Failure | None) -> Outcome:
        """The run's result; `branches[0]` is branch 0."""
        error = error or branches[0].failure
        results = self.results()
        return Outcome(
            success=bool(results) and error is None,
            values=[rendered(value) for value in results],
            steps=len(self.log),
            log=frozenset(self.log),
            settled={dotted(b.id): b.end or "open" for b in branches},
            names={dotted(b.id): b.name for b in branches},
            errors={dotted(b.id): b.failure for b in branches if b.failure is not None},
            error=error,
            branch_results={key: rendered(value) for key, value in self.branch_results.items()},
            detached=frozenset(detached),
            emitted=self.emitted,
            consumed=self.accounted(),
            dropped=[(rendered(value), why) for value, why in self.dropped],
        )
