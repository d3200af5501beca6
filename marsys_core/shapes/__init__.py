"""Shapes: what a value has to be, as a JSON Schema for whoever makes it and a check for whoever takes it."""

from marsys_core.shapes.shape import Misfit, Shape

__all__ = ["Misfit", "Shape"]
