from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import events as e
from marsys_core.actions import Content, Invoke
from marsys_core.errors import FormatError
from marsys_core.events import KINDS, Event, identity
from marsys_core.format import FORMAT, encode
from marsys_core.messages import Message, ToolCall, Usage
from marsys_core.values import Converter
from tests.core.engine.corpus import CORPUS, Books
from tests.core.examples import examples
from tests.core.fakes import Heard, bare, virtually
from tests.core.format.reading import again, entry, read, rewritten
from tests.core.format.strategies import CONVERTER, events
from tests.core.orchestrator.driver import fold
from tests.core.orchestrator.journals import journal, snapshot
from tests.core.orchestrator.test_invariants import configs, seeds, short_cases

CARRIED = {
    "BranchDelivered": "join call node source value",
    "BranchForked": "fork meeting calls first policy names limit detached plain fresh asked budget",
    "BranchLeft": "joins",
    "BranchMoved": "node how value stack inputs fresh asked loop conditions error",
    "BranchSettled": "outcome node value contributes error inputs",
    "BranchStarted": "node name value join call detached",
    "Dropped": "value source reason state",
    "GuardRefusedInput": "guard subject reason",
    "JoinCancelled": "fork reason",
    "JoinCompleted": "fork collected met state error",
    "JoinReopened": "fork calls first",
    "LimitReached": "limit value message",
    "ModelCalled": "node model messages tools attempt",
    "ModelFailed": "node model error kind retryable duration usage status code request_id",
    "ModelReplied": "node model content tool_calls finish_reason usage duration asked"
    " raw_finish_reason answered_by provider response_id metadata",
    "RuleDecided": "node rule point index verdict reason given value",
    "RunFinished": "success contributions steps error",
    "RunStarted": "session_id task fingerprint entries exits dispatch rules_version wall_time given format "
    "state parent budget session_version",
    "RunStopped": "reason error",
    "StateMerged": "state fork error",
    "StepFailed": "node error duration usage",
    "StepFinished": "node action offered messages usage duration unasked turn writes conditions",
    "StepRetried": "node attempt delay error",
    "StepStarted": "node step inputs turn",
    "StepSteered": "node attempt note",
    "Stuck": "node what",
    "TeamFailed": "node team call_id inner error steps usage tool_calls duration",
    "TeamFinished": "node team call_id inner result steps usage tool_calls duration",
    "TeamStarted": "node team call_id inner task",
    "RunResumed": "at wall_time source",
    "RunPaused": "",
    "RunWaiting": "requests",
    "TimerSet": "node seconds wall_time",
    "TimerFired": "node timer",
    "BranchEdited": "node value",
    "ToolUncertain": "node tool call_id error",
    "ToolFailed": "node tool call_id error duration writes raised",
    "ToolFinished": "node tool call_id result duration writes",
    "ToolStarted": "node tool call_id arguments idempotent transactional",
    "UserAnswered": "request_id value source error",
    "UserAsked": "request_id node kind prompt options schema timeout default",
    "Warned": "message",
}
"""The fields that entries of format 1 carry. Who adds one adds it here and to the golden file."""

COLUMNS = {"branch", "n", "cause", "seq", "time", "run_id"}


def test_every_field_of_every_kind_is_carried():
    fields = {
        name: " ".join(field.name for field in attrs.fields(kind) if field.name not in COLUMNS)
        for name, kind in KINDS.items()
    }

    assert fields == CARRIED


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@examples(30)
@given(st.data())
def test_an_event_of_any_kind_comes_back_equal(kind: type[Event], data: Any):
    event = data.draw(events(kind))
    back = again(event, CONVERTER)

    assert type(back) is kind
    assert identity(back) == identity(event)
    assert (back.id, back.cause, back.seq, back.run_id) == (event.id, event.cause, event.seq, event.run_id)
    for field in attrs.fields(kind):
        assert repr(getattr(back, field.name)) == repr(getattr(event, field.name))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@examples(10)
@given(st.data())
def test_equal_events_have_equal_texts(kind: type[Event], data: Any):
    event = data.draw(events(kind))
    text = encode(event, CONVERTER)

    assert encode(again(event, CONVERTER), CONVERTER) == text
    assert "\n" not in text
    assert text.encode("utf-8").decode("utf-8") == text


def test_an_entry_is_short_and_says_what_it_means():
    event = e.StepFinished(
        "0", 4, ("0", 2), "A", Content("done"), messages=(Message("user", "gö"), Message("assistant", "done"))
    )

    assert encode(event, Converter()) == (
        '{"node":"A","action":{"$type":"Content","value":"done"},'
        '"messages":[{"role":"user","content":"gö"},{"role":"assistant","content":"done"}]}'
    )


def test_a_float_that_is_no_default_is_written():
    assert entry(e.StepFailed("0", 1, ("0", 0), "A", None, -0.0)) == {
        "node": "A",
        "error": None,
        "duration": -0.0,
    }
    assert entry(e.StepFailed("0", 1, ("0", 0), "A", None, 0.0)) == {"node": "A", "error": None}


def test_what_equals_its_default_is_left_out_however_it_was_made():
    made = "".join(["{", "}"])
    replied = e.ModelReplied(
        "0", 1, ("0", 0), "A", "m", "", (ToolCall("1", "f", made),), "stop", Usage(cost=0.0), 1.0
    )

    assert entry(replied)["tool_calls"] == [{"id": "1", "name": "f"}]
    assert entry(replied)["usage"] == {}


def test_a_run_names_its_format():
    event = e.RunStarted("", 0, ("", -1), "r", "s", "task", "f", ("A",), ("A",), {}, 1, 2.0)

    assert entry(event)["format"] == FORMAT == event.format
    assert again(event).run_id == "r"


@pytest.mark.parametrize(
    ("kind", "text", "path", "expected", "found"),
    [
        ("Warned", "", "$", "JSON", "JSONDecodeError('Expecting value: line 1 column 1 (char 0)')"),
        ("Warned", "[]", "$", "an object", "[]"),
        ("Warned", "{}", "$", "the field 'message'", "[]"),
        ("Warned", '{"message":1}', "$.message", "text", "1"),
        ("Warned", '{"message":"a","mesage":"b"}', "$", "one of the fields message; Did you mean 'message'?", "'mesage'"),
        ("Warmed", "{}", "$", "a kind of event; Did you mean 'Warned'?", "'Warmed'"),
        ("Stuck", '{"node":"A","what":NaN}', "$", "JSON", "ValueError('NaN is no number of JSON')"),
        ("JoinReopened", '{"fork":0,"calls":[0,1.5],"first":2}', "$.calls[1]", "a whole number", "1.5"),
        ("StepFinished", '{"node":"A","action":{"$type":"Dance"}}', "$.action",
         "an action: Content, Return, Finish, EndConversation, Invoke, AskUser, Fail, CallTools, Malformed",
         "{'$type': 'Dance'}"),
        ("StepFinished", '{"node":"A","action":{"$type":"Content","value":[{"a":{"$type":"os.system"}}]}}',
         "$.action.value[0].a", "a value of a type that is registered", None),
        ("StepFinished", '{"node":"A","action":{"$type":"Content"},"messages":[{"role":"robot"}]}',
         "$.messages[0].role", "system, user, assistant or tool", "'robot'"),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_refused_with_its_place(
    kind: str, text: str, path: str, expected: str, found: str | None
):
    with pytest.raises(FormatError) as caught:
        read(kind, text)

    error = caught.value
    assert (error.run_id, error.seq, error.kind, error.path, error.expected) == ("r", 3, kind, path, expected)
    assert found is None or error.found == found
    assert str(error) == (
        f"entry 3 of run 'r' ({kind}) cannot be read @ {path}: expected {expected}, found {error.found}"
    )


@pytest.mark.parametrize("text", [None, 1, b"{}", {"message": "x"}])
def test_an_entry_is_text(text: Any):
    with pytest.raises(FormatError, match="expected text, found"):
        read("Warned", text)


@pytest.mark.parametrize("depth", [199, 5_000, 200_000])
def test_what_is_nested_without_end_is_refused(depth: int):
    deep = "[" * (depth + 1) + "]" * (depth + 1)

    if depth < 200:
        assert read("BranchDelivered", f'{{"join":["0",0],"call":0,"node":"","source":"","value":{deep}}}')
        return
    with pytest.raises(FormatError):
        read("BranchDelivered", f'{{"join":["0",0],"call":0,"node":"","source":"","value":{deep}}}')


def test_what_cannot_be_written_is_refused_with_its_place():
    event = e.UserAnswered("0", 1, ("0", 0), "0:0", {"a": [object]})
    event.run_id = "r"

    with pytest.raises(
        FormatError, match=r"^entry -1 of run 'r' \(UserAnswered\) cannot be written @ \$\.value\.a\[0\]: "
    ):
        encode(event, Converter())


def test_values_that_are_nested_too_deep_are_not_written():
    value: list[Any] = []
    for _ in range(300):
        value = [value]

    with pytest.raises(FormatError, match="expected values that are nested less deep"):
        encode(e.UserAnswered("0", 1, ("0", 0), "0:0", value), Converter())


def test_a_policy_that_makes_no_sense_is_written_as_far_as_it_can_be():
    event = e.StepFinished("0", 1, ("0", 0), "A", Invoke([("B", 1)], policy={"quorum": {1, 2}}))

    assert again(event).action.policy == {"quorum": "{1, 2}"}


# -- whole journals ------------------------------------------------------------------------------


def heard_of(name: str) -> list[Event]:
    workflow, heard, books = CORPUS[name], Heard(), Books()

    async def main() -> None:
        async with bare(sinks=[heard]) as orchestra:
            person = None if workflow.person is None else workflow.person(books)
            await orchestra.execute(
                "task", workflow.topology, agents=workflow.agents(books), execution_config=workflow.config,
                channel=person,
            )  # fmt: skip

    virtually(main)
    return list(heard.events)


@pytest.mark.parametrize("name", CORPUS)
def test_the_journal_of_a_workflow_comes_back_equal_and_folds_to_the_same_state(name: str):
    events = heard_of(name)
    for run_id in dict.fromkeys(event.run_id for event in events):
        own = [event for event in events if event.run_id == run_id]
        read_again = rewritten(own)
        assert [identity(event) for event in read_again] == [identity(event) for event in own]
        one, other = fold([]), fold([])
        for event, written in zip(own, read_again, strict=True):
            one.apply(event)
            other.apply(written)
        assert repr(snapshot(other)) == repr(snapshot(one))


@pytest.mark.slow
@examples(30)
@given(short_cases, configs, seeds)
def test_a_run_rebuilt_from_a_journal_that_was_written_makes_the_same_decisions_from_any_prefix(
    play: Any, config: Any, seed: int | None
):
    original = play.simulation(seed, config).start()
    original.run()
    whole = journal(original.events)
    written = rewritten(original.events)
    assert journal(written) == whole
    for cut in range(1, len(written) + 1):
        rest = [move for move in original.moves if move[0] >= cut]
        again = play.simulation(config=config).resume(rewritten(written[:cut])).follow(rest)
        again.run()
        assert journal([*written[:cut], *again.events]) == whole


def test_json_tools_read_every_entry():
    event = e.UserAnswered("0", 1, ("0", 0), "0:0", {"a": [1, 2.5, None, True, "\0"]})

    assert json.loads(encode(event, Converter())) == {
        "request_id": "0:0",
        "value": {"a": [1, 2.5, None, True, "\0"]},
    }
