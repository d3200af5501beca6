"""Conditions that are expressions: read once, before a run begins, by the language that a plugin provides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from marsys_core.errors import ConfigError, PluginError, nearest
from marsys_core.orchestrator import FACTS, Facts, Judge, judged

if TYPE_CHECKING:
    from marsys_core.plugins import Composition
    from marsys_core.topology import Edge

__all__ = ["Names", "condition_problems", "judge_of"]

Evaluate = Callable[[Mapping[str, Any]], Any]
_KEPT = 1024  # expressions that an engine keeps read


class Names(Mapping[str, Any]):
    """What an expression may name: the five facts, and the keys of the state that are not called like one."""

    __slots__ = ("_facts", "_state")

    def __init__(self, facts: Facts) -> None:
        self._facts, self._state = facts, facts.state

    def __getitem__(self, name: str) -> Any:
        if name in FACTS:
            return self._state if name == "state" else getattr(self._facts, name)
        try:
            return self._state[name]
        except KeyError:
            known = sorted(self)
            msg = f"nothing is called {name!r}; there are: {', '.join(known)}.{nearest(name, known)}"
            raise KeyError(msg) from None

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*FACTS, *self._state]))

    def __len__(self) -> int:
        return len(list(iter(self)))


def judge_of(edges: Iterable[Edge], composition: Composition, read: dict[str, Evaluate]) -> Judge:
    """Return what judges the conditions of `edges`.

    Args:
        edges: In the order of the definition.
        composition: What plugins declare; one of them reads expressions.
        read: Expressions that were read before; takes what is read here.

    Raises:
        ConfigError: Expressions that cannot be read, all at once, each with the path of its edge; or there is
            no plugin that reads them, or several and nothing chooses.
    """
    texts = _texts(edges)
    if not texts:
        return judged
    if any(text not in read for _, _, text in texts):
        problems = list(_read(texts, composition, read))
        if problems:
            msg = "these conditions cannot be read:"
            raise ConfigError(msg, problems)
    evaluate = {text: read[text] for _, _, text in texts}

    def judge(edge: Edge, facts: Facts) -> Any:
        condition = edge.condition
        if type(condition) is str:
            return evaluate[condition](Names(facts))
        return judged(edge, facts)

    return judge


def condition_problems(edges: Iterable[Edge], composition: Composition) -> list[str]:
    """Return what is wrong with the expressions of `edges`, each with the path of its edge."""
    texts = _texts(edges)
    return list(_read(texts, composition, {})) if texts else []


def _texts(edges: Iterable[Edge]) -> list[tuple[int, Edge, str]]:
    return [
        (index, edge, edge.condition) for index, edge in enumerate(edges) if isinstance(edge.condition, str)
    ]


def _read(
    texts: Iterable[tuple[int, Edge, str]], composition: Composition, read: dict[str, Evaluate]
) -> Iterator[str]:
    """Read the expressions that were not read before; yield a problem for each that cannot be."""
    try:
        language = composition.item("expression", composition.choose("expression"))
    except PluginError as error:
        edges = ", ".join(f"'{edge}'" for _, edge, _ in texts)
        yield f"the conditions of {edges} are expressions, and {error}"
        return
    if len(read) >= _KEPT:
        read.clear()
    for index, edge, text in texts:
        try:
            if text not in read:
                read[text] = language.compile(text)
        except ConfigError as error:
            yield f"edge {edge}: the condition {text!r} cannot be read: {error} @ $.edges[{index}].condition"
        except Exception as error:
            yield (
                f"edge {edge}: {language.name!r} failed to read the condition {text!r}: "
                f"{type(error).__name__}: {error} @ $.edges[{index}].condition"
            )
