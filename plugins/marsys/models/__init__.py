"""Models that need no network: one that quotes the texts it is given, and one that follows a script."""

from marsys.models.extractive import ExtractiveModel
from marsys.models.scripted import ScriptedModel

__all__ = ["ExtractiveModel", "ScriptedModel"]
