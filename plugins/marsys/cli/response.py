"""What a run came to, for people and for programs."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marsys_core.results import RunResult

__all__ = ["save", "written", "written_json"]


def written(answer: Any) -> str:
    """Return an answer for a person: text as it is, several one after another, data as JSON."""
    from marsys_core.values import render

    if isinstance(answer, list) and all(isinstance(each, str) for each in answer):
        return "\n\n".join(answer)
    return render(answer)


def written_json(result: RunResult) -> str:
    """Return all that is known of a run as one JSON object, for a program to read."""
    import attrs

    from marsys_core.values import Converter

    encode = Converter().encode
    error = result.error
    data = {
        "success": result.success,
        "status": result.status,
        "response": encode(result.final_response),
        "state": encode(dict(result.state)),
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "run_id": result.run_id,
        "session_id": result.session_id,
        "steps": result.total_steps,
        "seconds": result.total_duration,
        "usage": {**attrs.asdict(result.usage), "total_tokens": result.usage.total_tokens},
        "branches": [
            {
                "id": branch.branch_id,
                "agent": branch.agent,
                "outcome": branch.outcome,
                "steps": branch.steps,
                "seconds": branch.duration,
                "response": encode(branch.response),
                "error": None if branch.error is None else str(branch.error),
            }
            for branch in result.branch_results
        ],
        "questions": [
            {
                "request_id": asked.request_id,
                "run_id": asked.run_id,
                "node": asked.node,
                "kind": asked.kind,
                "prompt": encode(asked.prompt),
                "options": list(asked.options),
                "schema": encode(asked.schema),
                "default": encode(asked.default),
                "timeout": asked.timeout,
            }
            for asked in result.questions
        ],
        "warnings": list(result.metadata.get("warnings", ())),
    }
    return json.dumps(data, ensure_ascii=False, indent=2)


def save(text: str, path: Path) -> None:
    """Write `text` to `path`, whole or not at all; what stood there is replaced.

    Raises:
        OSError: The file cannot be written.
    """
    if path.exists() and not path.is_file():  # a terminal, a pipe: there is nothing to replace
        path.write_text(text, encoding="utf-8")
        return
    handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            os.chmod(name, path.stat().st_mode & 0o7777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
