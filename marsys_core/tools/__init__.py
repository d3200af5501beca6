"""Tools: functions that a model may call.

`tool` makes a `Tool` of a function: its JSON Schema comes from the type hints and the
docstring (Google, NumPy or Sphinx style), and `Tool.bind` turns what a model sent into arguments, or into an error that tells the model
what to mend. Running a tool, with its threads, limits and journal, is the engine's.
"""

from typing import Any

from marsys_core.tools._tool import (
    Tool,
    Toolbox,
    ToolContext,
    ToolLike,
    Transaction,
    as_tool,
    render_result,
    tool,
)

__all__ = [
    "Tool",
    "ToolContext",
    "ToolLike",
    "Toolbox",
    "Transaction",
    "as_tool",
    "parse_object",
    "render_result",
    "tool",
]


def parse_object(text: str) -> dict[str, Any]:
    """Read the JSON object that a model sent as arguments, strictly.

    Raises:
        ToolError: It is not JSON, not an object, has a key twice, or a number that JSON does not know.
    """
    from marsys_core.tools._arguments import parse_object as parse

    return parse(text)
