"""Wheels made by hand: no build backend, no network, and exactly the files that a test wants."""

from __future__ import annotations

import base64
import hashlib
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["build_wheel", "folder_of_files"]

_WHEEL = "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(
    folder: Path, name: str, files: Mapping[str, str], plugins: Mapping[str, str], *, version: str = "1.0"
) -> Path:
    """Write a wheel that any installer takes, and return its path.

    Args:
        folder: Where it is put.
        name: The name of the distribution.
        files: The text of each module, by its path in the wheel.
        plugins: The entry points of the group ``marsys``.
        version: The version of the distribution.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    points = "".join(f"{point} = {target}\n" for point, target in plugins.items())
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: marsys-core>=0.1,<1\n",
        "WHEEL": _WHEEL,
        "entry_points.txt": f"[marsys]\n{points}",
    }
    content = {path: textwrap.dedent(text).encode() for path, text in files.items()}
    content |= {f"{stem}.dist-info/{path}": text.encode() for path, text in info.items()}
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in content.items()]
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in content.items():
            archive.writestr(path, data)
        archive.writestr(record, "".join([*lines, f"{record},,\n"]))
    return wheel


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def folder_of_files(top: Path) -> dict[str, str]:
    """Return the text of every module under `top`, by its path there."""
    return {
        path.relative_to(top).as_posix(): path.read_text("utf-8")
        for path in sorted(top.rglob("*"))
        if path.suffix == ".py" or path.name == "py.typed"
    }
