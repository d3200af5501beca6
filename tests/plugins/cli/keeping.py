"""Teams whose runs are kept, for the tests of the commands that look into them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.plugins.cli.conftest import Call

ONE = '[agents.A]\nmodel = "scripted"\n[plugins.models]\nreplies = ["Forty-two."]\n'
TWO = """
[agents]
First.function = "json:dumps"
Second.model = "scripted"
[topology]
flows = ["First -> Second"]
[plugins.models]
replies = ["x", "y"]
"""


def listed(call: Call, *arguments: str) -> list[dict[str, Any]]:
    """Return the runs that are kept."""
    said = call("runs", "--json", *arguments)
    assert (said.code, said.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(said.out)
    return found


def kept(call: Call, path: str, *arguments: str, task: str = "Think.") -> str:
    """Run a team and return the id of the run."""
    call("run", path, "--task", task, "-q", *arguments)
    run_id: str = listed(call)[0]["run_id"]
    return run_id


def write_agents(folder: Path, name: str, source: str) -> None:
    """Write the module of a team's own agents."""
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
