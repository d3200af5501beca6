"""Reads the conditions of edges: small expressions that cannot reach anything but the names they are given."""

from __future__ import annotations

from marsys.expressions.language import SimpleExpressions

__all__ = ["SimpleExpressions"]
