"""From what a run of the command line was begun, so that another process can go on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marsys.cli.knobs import Knobs
from marsys.cli.options import Work
from marsys_core.errors import ConfigError
from marsys_core.protocols.store import RunInfo

__all__ = ["origin_of", "team_of", "work_again"]

_BY = "marsys run"


def origin_of(work: Work) -> str:
    """Return what has to be known to load the team of `work` again, as JSON text."""
    folder = work.input_folder
    return json.dumps(
        {
            "by": _BY,
            "team": str(work.team.absolute()),
            "input": None if folder is None else str(folder.absolute()),
            "models": dict(work.models),
            "variables": dict(work.variables),
            "channel": work.channel,
            "plugins": {
                "names": work.knobs.names,
                "none": work.knobs.none,
                "strict": work.knobs.strict,
            },
        }
    )


def team_of(info: RunInfo) -> str:
    """Return the team file of a run; nothing where the command line did not begin it."""
    team = _read(info).get("team")
    return team if isinstance(team, str) else ""


def work_again(info: RunInfo, now: Work) -> Work:
    """Return the work that `info` is of, shown as `now` says.

    Args:
        info: The run.
        now: What the command line says this time. Its team, plugins and channel go before those of the run where
            it names any.

    Raises:
        ConfigError: The run was begun by a program of its own.
    """
    data = _read(info)
    if not data:
        msg = (
            f"run {info.run_id!r} was not begun by 'marsys run', and only the program that began it knows its agents; "
            "resume it there"
        )
        raise ConfigError(msg)
    try:
        folder = data["input"]
        knobs = Knobs(**data["plugins"]) if now.knobs == Knobs() else now.knobs
        return Work(
            knobs=knobs,
            team=Path(data["team"]) if now.team == Path() else now.team,
            input_folder=None if folder is None else Path(folder),
            models=_texts(data["models"]),
            variables=_texts(data["variables"]),
            channel=now.channel if now.channel is not None else data["channel"],
            verbose=now.verbose,
            quiet=now.quiet,
            plain=now.plain,
        )
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"what run {info.run_id!r} was begun from cannot be read: {type(error).__name__}: {error}"
        raise ConfigError(msg) from error


def _read(info: RunInfo) -> Mapping[str, Any]:
    try:
        data = json.loads(info.origin or "{}")
    except ValueError:  # it is another application's, which may write what it likes
        return {}
    return data if isinstance(data, dict) and data.get("by") == _BY else {}


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()}
