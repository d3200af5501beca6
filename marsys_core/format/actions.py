"""How the actions in which steps end are written, and the policies of forks."""

from __future__ import annotations

from typing import Any

from marsys_core.actions import (
    Action,
    AskUser,
    CallTools,
    Content,
    EndConversation,
    Fail,
    Finish,
    Invoke,
    Malformed,
    Return,
)
from marsys_core.format.data import OBJECT, VALUE, lenient, read_value, write_value
from marsys_core.format.failures import ERROR
from marsys_core.format.fields import FLAG, NUMBER, TEXT, WHOLE, Codec, optional, read_text, row, several
from marsys_core.format.records import Record
from marsys_core.format.text import TAG
from marsys_core.format.wrong import Wrong
from marsys_core.topology import ConvergencePolicy
from marsys_core.values import Converter

__all__ = ["ACTION", "CALLS", "POLICY"]

_POLICY = Record(
    ConvergencePolicy,
    {
        "min_ratio": NUMBER,
        "quorum": optional(WHOLE),
        "early": FLAG,
        "timeout": optional(NUMBER),
        "on_insufficient": TEXT,
    },
    "ConvergencePolicy",
)


def _write_policy(value: Any, converter: Converter, room: int) -> Any:
    if type(value) is ConvergencePolicy:
        return _POLICY.write(value, converter, room)
    return lenient(value, converter, room)


def _read_policy(data: Any, converter: Converter, room: int) -> Any:
    if type(data) is dict and data.get(TAG) == "ConvergencePolicy":
        return _POLICY.read(data, converter, room)
    return read_value(data, converter, room)


def _write_reason(value: Any, converter: Converter, room: int) -> Any:
    return value if isinstance(value, str) else ERROR.write(value, converter, room)  # type: ignore[misc]


def _read_reason(data: Any, converter: Converter, room: int) -> Any:
    return read_text(data) if type(data) is str else ERROR.read(data, converter, room)


POLICY = Codec(_write_policy, _read_policy)
CALLS = several(row(TEXT, VALUE))
_REPLIES = several(row(TEXT, WHOLE, WHOLE))
_ACTIONS: dict[type[Action], Record] = {
    Content: Record(Content, {"value": VALUE}, "Content"),
    Return: Record(Return, {"value": VALUE}, "Return"),
    Finish: Record(Finish, {"value": VALUE}, "Finish"),
    EndConversation: Record(EndConversation, {"value": VALUE}, "EndConversation"),
    Invoke: Record(
        Invoke,
        {"calls": CALLS, "wait": FLAG, "policy": POLICY, "replies": _REPLIES, "budget": VALUE},
        "Invoke",
    ),
    AskUser: Record(
        AskUser,
        {
            "prompt": VALUE,
            "options": several(TEXT),
            "schema": optional(OBJECT),
            "timeout": optional(NUMBER),
            "default": VALUE,
            "replies": _REPLIES,
        },
        "AskUser",
    ),
    Fail: Record(Fail, {"error": Codec(_write_reason, _read_reason)}, "Fail"),
    CallTools: Record(CallTools, {"calls": CALLS}, "CallTools"),
    Malformed: Record(
        Malformed, {"reason": TEXT, "reply": Codec(lenient, read_value), "note": TEXT}, "Malformed"
    ),
}
_BY_TAG = {record.tag: record for record in _ACTIONS.values()}


def _write_action(value: Any, converter: Converter, room: int) -> Any:
    record = _ACTIONS.get(type(value))
    return write_value(value, converter, room) if record is None else record.write(value, converter, room)


def _read_action(data: Any, converter: Converter, room: int) -> Any:
    tag = data.get(TAG) if type(data) is dict else None
    record = _BY_TAG.get(tag) if type(tag) is str else None
    if record is None:
        raise Wrong(f"an action: {', '.join(_BY_TAG)}", data)
    return record.read(data, converter, room)


ACTION = Codec(_write_action, _read_action)
