"""``python -m marsys.cli`` is `marsys`."""

from __future__ import annotations

from marsys.cli import main

main()
