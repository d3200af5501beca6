"""Where the command line keeps runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from marsys_core.errors import ConfigError

__all__ = ["Place", "place_of", "storage_option"]

F = TypeVar("F", bound=Callable[..., Any])
_FILE = "runs.db"


@attrs.frozen(kw_only=True)
class Place:
    """Where runs are kept.

    Args:
        storage: A file, or the name of a store that a plugin provides.
        directory: The folder of the command line's own files, where the file is in it.
        asked: Whether somebody has asked for it: then it has to work.
        option: What names it again after a command; nothing for the place that is taken by itself.
    """

    storage: Path | str
    directory: Path | None = None
    asked: bool = True
    option: str = ""

    @classmethod
    def ordinary(cls) -> Place:
        """Return the place that is taken by itself: under `MARSYS_HOME`, or in ``.marsys`` of the working directory."""
        home = os.environ.get("MARSYS_HOME", "")
        folder = Path(home or ".marsys")
        return cls(storage=folder / _FILE, directory=folder, asked=bool(home))

    @classmethod
    def named(cls, text: str) -> Place:
        """Return the place that ``--storage`` names.

        Raises:
            ConfigError: It is empty, or a file in a folder that is not there.
        """
        if not text:
            msg = "--storage takes a file, or the name of a store, and not an empty text"
            raise ConfigError(msg)
        option = f" --storage {shlex.quote(text)}"
        if not {".", "/", os.sep} & set(text):  # as `Orchestra(storage=...)` tells them apart
            return cls(storage=text, option=option)
        path = Path(text)
        if path.is_dir():
            msg = f"--storage {text!r} is a folder; name a file"
            raise ConfigError(msg)
        if not path.absolute().parent.is_dir():
            msg = f"--storage {text!r}: there is no folder {str(path.absolute().parent)!r}"
            raise ConfigError(msg)
        return cls(storage=path, option=option)

    def __str__(self) -> str:
        return repr(str(self.storage))

    def make_folder(self) -> None:
        """Make the command line's own folder, where the file is to be in it.

        Raises:
            OSError: It cannot be made.
        """
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)


def place_of(given: str | None, sections: Mapping[str, Mapping[str, Any]]) -> Place:
    """Return where a run of a team is kept: as the command line says, else as the team's file does.

    Args:
        given: What ``--storage`` names.
        sections: The plugins' sections of the team's file.
    """
    if given is not None:
        return Place.named(given)
    path = sections.get("storage", {}).get("path")
    if isinstance(path, str | Path) and str(path):
        return Place(storage=Path(path), option=f" --storage {shlex.quote(str(path))}")
    return Place.ordinary()


def storage_option(command: F) -> F:
    """Give `command` the option ``--storage``, for a store that is there; it takes it as a `Place`."""

    def placed(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Place:
        return attrs.evolve(Place.ordinary(), asked=True) if value is None else Place.named(value)

    return click.option(
        "--storage", "place", metavar="FILE", callback=placed,
        help="Where the runs are: a file, or the name of a store; .marsys/runs.db by default.",
    )(command)  # fmt: skip
