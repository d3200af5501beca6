"""What a crash may change, and what not: compares a run that was killed and gone on with to one that was not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs

from marsys_core.results import RunResult
from tests.core.engine.lives import meaning
from tests.plugins.storage.crashes import Life, Point
from tests.plugins.storage.journeys import JOURNEYS, Line

__all__ = ["meant", "wrong_with"]


def wrong_with(point: Point, folder: Path) -> list[str]:
    """Go on with a run that was killed at `point`, and return what is not as it should be."""
    life = Life(point.case, folder)
    before = _times(life)
    result = life.live()
    judge = Judge(point, life, before, _times(life) - before)
    judge.judge_life()
    if not judge.is_uncertain:
        judge.judge_end(result)
    else:
        judge.judge_report(result)
        again = Life(point.case, folder)
        judge.judge_mended(again.live(on_uncertain="retry"), _times(again))
    keys: dict[Line, set[str]] = {}
    for kind, name, key in life.world.lines():
        keys.setdefault((kind, name), set()).add(key)
    return judge.problems + [
        f"{line} under several keys: {each}" for line, each in keys.items() if len(each) > 1
    ]


def _times(life: Life) -> Counter[Line]:
    return Counter((kind, name) for kind, name, _ in life.world.lines())


def meant(result: RunResult) -> dict[str, str]:
    return {name: repr(value) for name, value in meaning(result).items()}


@attrs.define(eq=False)
class Judge:
    """Compares what happened before and after a crash with what happens without one."""

    point: Point
    life: Life
    before: Counter[Line]
    after: Counter[Line]
    problems: list[str] = attrs.field(factory=list)

    @property
    def is_uncertain(self) -> bool:
        """Whether a call was left open of which nobody can say what it came to."""
        return self.point.case.declared == "once" and bool(self.life.found.open)

    def judge_life(self) -> None:
        """Look at what holds in any case."""
        life, declared = self.life, self.point.case.declared
        self.problems += life.found.problems + life.left.problems
        if not life.sound or len(life.statuses) != 1:
            self.problems.append(f"the store has runs that are {life.statuses}, sound: {life.sound}")
        for line, times in self.before.items():
            if line[0] == "act" and declared != "idempotent":
                unrecorded = times - life.found.ended[line] - life.found.open[line]
                if unrecorded > 0:
                    self.problems.append(f"{line} took effect {unrecorded} times and is not recorded")

    def judge_end(self, result: RunResult) -> None:
        """The run came to its end: it is the same end, nothing is lost, and what had ended was not done again."""
        self._same(result)
        if self.life.left.uncertain:
            self.problems.append(f"uncertain without a reason: {dict(self.life.left.uncertain)}")
        for line, times in self.point.whole.times.items():
            wanted = times - self._done(line)
            if line[0] == "approval" or (line[0] == "step" and JOURNEYS[self.point.case.journey].mends):
                # Whoever has approved a call may be asked again; a step that is void and comes to the same is
                # recorded twice, and taken once.
                if self.before[line] + self.after[line] < times:
                    self.problems.append(f"{line} is lost")
            elif self.after[line] != wanted:
                self.problems.append(f"{line} {self.after[line]} times after the crash, not {wanted}")
        if unknown := self.after.keys() - self.point.whole.times.keys():
            self.problems.append(f"never without a crash: {sorted(unknown)}")

    def _done(self, line: Line) -> int:
        """How often something need not be done any more."""
        tells = line[0] == "act" and self.point.case.declared in ("once", "verified")
        return self.before[line] if tells else self.life.found.ended[line]

    def judge_report(self, result: RunResult) -> None:
        """The run could not go on: it says of which calls nobody knows what they came to, and made none of them."""
        found, left = self.life.found, self.life.left
        if left.uncertain != found.open:
            self.problems.append(f"open were {dict(found.open)}, and reported {dict(left.uncertain)}")
        if "nobody knows whether it took effect" not in str(result.error):
            self.problems.append(f"uncertain, and the run ended with {result.error!r}")
        for line, times in (self.before + self.after).items():
            if line[0] == "act" and times > self.point.whole.times.get(line, 0):
                self.problems.append(f"{line} was repeated")

    def judge_mended(self, result: RunResult, times: Counter[Line]) -> None:
        """Told to make the open calls again, the run came to its end, and repeated at most these."""
        self._same(result)
        for line, wanted in self.point.whole.times.items():
            if line[0] == "act" and not wanted <= times[line] <= wanted + self.life.found.open[line]:
                self.problems.append(f"{line} {times[line]} times in the end, not {wanted}")

    def _same(self, result: RunResult) -> None:
        found = meant(result)
        self.problems += [
            f"{name} is {found[name]:.1000} and not {wanted:.1000}"
            for name, wanted in self.point.whole.meaning.items()
            if found[name] != wanted
        ]
