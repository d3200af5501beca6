"""MARSYS: the public names of the engine and its standard plugins."""
