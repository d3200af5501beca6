"""The written form of a run's events: versioned JSON, both ways.

`encode` gives the text of an entry, `decode` the event; what is a column of its own in a journal (kind, run,
seq, time, branch, n, cause) is not in the text. `encode_value` and `decode_value` do the same for a value that the
journal keeps by its hash. `Texts` lets long texts stand once in a journal, and `in_full` puts them in their places
again for whoever reads entries without decoding them. Nothing that is read is trusted: a text is either an event or a
`FormatError`, and no class, function or attribute is ever looked up by a name that only the text gives.
"""

from __future__ import annotations

from marsys_core.format.entries import decode, decode_value, encode, encode_value
from marsys_core.format.texts import Texts, in_full, referred
from marsys_core.format.version import FORMAT, check_format

__all__ = [
    "FORMAT",
    "Texts",
    "check_format",
    "decode",
    "decode_value",
    "encode",
    "encode_value",
    "in_full",
    "referred",
]
