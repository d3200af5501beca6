"""A model for MARSYS that says what it was told."""
