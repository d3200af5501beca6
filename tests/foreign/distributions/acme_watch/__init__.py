"""Watching by a third party: a memory, a guard, an event sink and middleware."""
