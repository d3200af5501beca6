"""The Trio engine: carries out what the orchestrator decides."""
