"""The program round the engine: which event loop is in charge, and how calls cross from one to another."""
