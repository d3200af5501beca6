"""The engine of MARSYS: a sans-I/O orchestrator, a Trio shell, a journal, and hook specifications."""

__version__ = "0.1.0"
