"""Patterns round one agent: it asks the others, all at once or one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from marsys.topologies._checks import several, team, whole
from marsys_core.topology import Dispatch, Edge, Node, Topology

__all__ = ["broadcast", "debate", "hub_and_spoke", "star"]


def hub_and_spoke(hub: str, spokes: Iterable[str], parallel_spokes: bool = False) -> Topology:
    """Return a topology in which a hub calls its spokes and gets their answers back.

    Args:
        hub: The agent in the middle, where a run begins and ends.
        spokes: The agents it calls.
        parallel_spokes: True: all at once, and the hub runs again with all answers (n + 2 steps);
            False: one by one, and the hub runs again with each answer (2n + 1 steps).

    Raises:
        TopologyError: No spokes, a name that is none, or one that stands twice.
    """
    names = several("hub_and_spoke", "spokes", spokes)
    team("hub_and_spoke", hub=hub, spokes=names)
    return _wheel(Node(hub, dispatch=Dispatch.ALL if parallel_spokes else Dispatch.EACH), names)


def star(center: str, points: Iterable[str], bidirectional: bool = True) -> Topology:
    """Return a topology in which a center deals with its points one by one, or hands over to all.

    Args:
        center: The agent in the middle, where a run begins.
        points: The agents round it.
        bidirectional: True: it calls one after another and runs again with each answer (2n + 1 steps);
            False: it hands over to all at once, and what they make is the result (n + 1 steps).

    Raises:
        TopologyError: No points, a name that is none, or one that stands twice.
    """
    names = several("star", "points", points)
    team("star", center=center, points=names)
    dispatch = Dispatch.EACH if bidirectional else Dispatch.ALL
    return _wheel(Node(center, dispatch=dispatch), names, bidirectional=bidirectional)


def broadcast(broadcaster: str, receivers: Iterable[str], allow_replies: bool = False) -> Topology:
    """Return a topology in which one agent's content goes to all receivers at once.

    Args:
        broadcaster: Where a run begins.
        receivers: The agents that get its content.
        allow_replies: True: the broadcaster runs again with all replies (n + 2 steps); False: what the
            receivers make is the result (n + 1 steps).

    Raises:
        TopologyError: No receivers, a name that is none, or one that stands twice.
    """
    names = several("broadcast", "receivers", receivers)
    team("broadcast", broadcaster=broadcaster, receivers=names)
    return _wheel(Node(broadcaster, dispatch=Dispatch.ALL), names, bidirectional=allow_replies)


def debate(debaters: Iterable[str], judge: str, rounds: int = 2) -> Topology:
    """Return a topology in which a judge hears all debaters in each round, and then decides.

    Args:
        debaters: The agents that are heard, all at once.
        judge: Where a run begins; it opens each round and answers after the last: with n debaters,
            rounds x (n + 1) + 1 steps.
        rounds: How many, from 1.

    Raises:
        TopologyError: No debaters, a name that is none or stands twice, or `rounds` below 1.
    """
    names = several("debate", "debaters", debaters)
    team("debate", judge=judge, debaters=names)
    return _wheel(Node(judge, dispatch=Dispatch.ALL, rounds=whole("debate", "rounds", rounds)), names)


def _wheel(middle: Node, others: Sequence[str], *, bidirectional: bool = True) -> Topology:
    edges = [Edge(middle.name, other, bidirectional=bidirectional) for other in others]
    return Topology([middle, *others], edges, entry_point=middle.name)
