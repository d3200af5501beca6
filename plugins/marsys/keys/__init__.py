"""Keys of providers, kept in files."""

from marsys.keys.files import KeyFiles, read_keys

__all__ = ["KeyFiles", "read_keys"]
