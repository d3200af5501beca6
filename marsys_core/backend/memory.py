"""What is remembered of a session, as it lies in its state."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from marsys_core.protocols.store import Recalled, Said

__all__ = ["Memory", "Piece"]


@attrs.define(eq=False)
class Piece:
    """What one run has added for one agent.

    Args:
        said: What it is.
        added: The version of the session that has it first.
        dropped: The version that has it no more, because the run has added something else in its place; or None.
    """

    said: Said
    added: int
    dropped: int | None = None


@attrs.define(eq=False)
class Memory:
    """All that runs have added to a session, so that it can be told how it was at any version."""

    version: int = 0
    pieces: list[Piece] = attrs.field(factory=list)

    def copy(self) -> Memory:
        """Return one that changes apart from this one."""
        return Memory(self.version, [attrs.evolve(piece) for piece in self.pieces])

    def remember(self, run_id: str, said: Mapping[str, str]) -> bool:
        """Add what a run says, in place of what it had added; return whether that changes anything."""
        own = [piece for piece in self.pieces if piece.dropped is None and piece.said.run_id == run_id]
        if {piece.said.agent: piece.said.data for piece in own} == dict(said):
            return False
        self.version += 1
        for piece in own:
            piece.dropped = self.version
        self.pieces += [Piece(Said(agent, run_id, data), self.version) for agent, data in said.items()]
        return True

    def recall(self, after: int = 0, version: int | None = None) -> Recalled:
        """Return what is remembered at a version, of what was added after another."""
        at = self.version if version is None else min(version, self.version)
        found = [
            piece.said
            for piece in self.pieces
            if after < piece.added <= at and (piece.dropped is None or piece.dropped > at)
        ]
        return Recalled(at, found)
