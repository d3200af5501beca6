"""Models of OpenAI, and of everybody who speaks its ways."""
