"""Stores of the application's own: two methods that keep a state by its session, and what makes a store of them."""

from __future__ import annotations

from marsys_core.backend.backend import DatabaseBackend
from marsys_core.backend.store import BackendStore

__all__ = ["BackendStore", "DatabaseBackend"]
