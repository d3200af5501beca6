"""What plugins offer the engine, one contract a file. Nothing here has to be inherited."""
