from __future__ import annotations

import io
import sys

import pytest
import trio
import trio.testing

from marsys.status import Console
from marsys_core import events as e
from marsys_core.actions import AskUser, EndConversation, Finish, Invoke, Return
from marsys_core.config import StatusConfig
from marsys_core.messages import DataPart, TextPart, Usage
from marsys_core.models import ReasoningDelta, TextDelta
from marsys_core.protocols.event_sink import bind_sinks
from marsys_core.values import Failure, Ref
from tests.plugins.status.story import began, ended, event, story

KINDS, STREAMED = tuple(e.KINDS.values()), tuple(e.STREAMED.values())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def tell(stream, *runs, **status):
    """Show runs, each a list of events, by turns; on a clock that jumps."""

    async def main():
        async with trio.open_nursery() as nursery:
            console = Console(nursery=nursery, stream=stream)
            sinks = [bind_sinks({"console": console(StatusConfig(**status))}, KINDS, STREAMED) for _ in runs]
            for step in range(max(map(len, runs))):
                for told, run in zip(sinks, runs, strict=True):
                    if step < len(run):
                        told.emit(run[step])
                await trio.sleep(0.3)
            console.close()
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def lines(*runs, **status):
    stream = io.StringIO()
    tell(stream, *(runs or [story()]), **status)
    return stream.getvalue().splitlines()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LINES", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def test_verbosity_0_shows_errors_and_the_end():
    assert lines(verbosity=0) == [
        "   9.0 s  0.1   Critic      failed   after 4.0 s: ModelError: connection lost",
        "  12.5 s                    end      succeeded, 4 steps, 2,400 tokens in, 60 out, 12.5 s",
    ]


def test_verbosity_1_shows_the_steps():
    assert lines(verbosity=1) == [
        "   0.0 s                    run      abcdef: Compare the two",
        "   0.0 s  0     Lead        start",
        "   0.8 s  0     Lead        done     0.8 s",
        "   0.8 s  0                 fork     0.0 to 0.1: Researcher, Critic, meeting at Lead",
        "   0.8 s  0.0   Researcher  start",
        "   0.8 s  0.1   Critic      start",
        "   1.9 s  0.0   Researcher  trouble  after 1.0 s: model gpt (rate_limit): try later",
        "   2.4 s  0.0   Researcher  retry    model gpt, attempt 2",
        "   4.5 s  0.1   Critic      retry    step, attempt 2 in 0.5 s: X: no",
        "   5.0 s  0.0   Researcher  done     4.2 s",
        "   9.0 s  0.1   Critic      failed   after 4.0 s: ModelError: connection lost",
        "   9.0 s  0                 join     1 of 2 arrived",
        "   9.0 s                    warn     something to know",
        "   9.0 s  0     Lead        start    step 2",
        "  12.5 s  0     Lead        done     3.5 s",
        "  12.5 s                    end      succeeded, 4 steps, 2,400 tokens in, 60 out, 12.5 s",
    ]


def test_verbosity_2_shows_all():
    assert lines(verbosity=2) == [
        "   0.0 s                    run      abcdef: Compare the two",
        "   0.0 s  0     Lead        start",
        "   0.8 s  0     Lead        asks     Researcher: left",
        "   0.8 s  0     Lead        asks     Critic: right",
        "   0.8 s  0     Lead        done     0.8 s",
        "   0.8 s  0                 fork     0.0 to 0.1: Researcher, Critic, meeting at Lead",
        "   0.8 s  0.0   Researcher  start",
        "   0.8 s  0.1   Critic      start",
        "   0.9 s  0.0   Researcher  model    gpt < 1 message, 2 tools",
        "   1.9 s  0.0   Researcher  trouble  after 1.0 s: model gpt (rate_limit): try later",
        "   2.4 s  0.0   Researcher  model    gpt < 1 message, 2 tools, attempt 2",
        "   3.9 s  0.0   Researcher  model    gpt > 1,200 tokens in, 30 out, 1.5 s, calls search",
        '   3.9 s  0.0   Researcher  tool     search < {"query": "left"}',
        '   4.1 s  0.0   Researcher  tool     search > 0.2 s, ["a", "b"]',
        "   4.5 s  0.1   Critic      retry    step, attempt 2 in 0.5 s: X: no",
        "   5.0 s  0.0   Researcher  model    gpt > 1,200 tokens in, 30 out, 0.9 s",
        "   5.0 s  0.0   Researcher  says     Left is old.",
        "   5.0 s  0.0   Researcher  done     4.2 s",
        "   9.0 s  0.1   Critic      failed   after 4.0 s: ModelError: connection lost",
        "   9.0 s  0                 join     1 of 2 arrived",
        "   9.0 s                    warn     something to know",
        "   9.0 s  0     Lead        start    step 2",
        "  12.5 s  0     Lead        says     Right is new.",
        "  12.5 s  0     Lead        done     3.5 s",
        "  12.5 s                    end      succeeded, 4 steps, 2,400 tokens in, 60 out, 12.5 s",
    ]


def test_without_timings_two_runs_that_do_the_same_look_the_same():
    shown = lines(verbosity=2, show_timings=False)
    assert shown[1] == "0     Lead        start"
    assert shown[4] == "0     Lead        done"
    assert shown[-1] == "                  end      succeeded, 4 steps, 2,400 tokens in, 60 out"
    later = story()
    for each in later:
        each.time += 1
    assert lines(later, verbosity=2, show_timings=False) == shown


@pytest.mark.parametrize("verbosity", [1, 2])
def test_thoughts_are_what_models_say_and_are_not_said_twice(verbosity):
    said = [
        line.split("says")[1].strip()
        for line in lines(verbosity=verbosity, show_agent_thoughts=True)
        if "says" in line
    ]
    assert said == ["I will look.", "Left is old.", "Right is new."]


def test_what_a_model_says_in_parts_is_put_together_and_what_is_large_is_measured():
    reply = {
        "node": "A",
        "model": "m",
        "tool_calls": (),
        "finish_reason": "stop",
        "usage": Usage(),
        "duration": 0,
    }
    run = [
        some(e.ModelReplied, content=[TextPart("one "), DataPart("image/png"), TextPart("two")], **reply),
        some(e.ModelReplied, content=Ref("0" * 64, 8192), **reply),
        some(e.ModelReplied, content="", **reply),
    ]
    said = [line[24:].split(maxsplit=1) for line in lines(run, verbosity=1, show_agent_thoughts=True)]
    assert said == [["says", "one two"], ["says", "(8 kB)"]]


def test_tool_calls_can_be_left_out():
    assert not [line for line in lines(verbosity=2, show_tool_calls=False) if " tool  " in line]


def test_runs_that_go_on_together_are_told_apart():
    shown = lines(story("first-aaaaaa"), [*story("second-bbbbbb")[:-1], ended(13.0)], verbosity=0)
    assert [line.split()[0] for line in shown] == ["aaaaaa", "bbbbbb", "aaaaaa", "13.0"]


def some(kind, branch="0.3", **fields):
    return event(kind, 1.0, branch, **fields)


@pytest.mark.parametrize(
    ("told", "word", "text"),
    [
        (some(e.GuardRefusedInput, "", guard="g", subject="tool", reason="too\nlarge"), "refused", "tool: too large"),
        (some(e.LimitReached, "", limit="max_steps", value=5, message="the run took 5 steps"), "limit",
         "the run took 5 steps (max_steps=5)"),
        (some(e.Stuck, node="A", what="tool 'x'"), "stuck", "tool 'x' is past its limit"),
        (some(e.BranchSettled, outcome="failed", node="A", error=Failure("JoinTimeout", "slow")), "failed",
         "JoinTimeout: slow"),
        (some(e.StepSteered, node="A", attempt=1, note="no such edge"), "steer", "no such edge"),
        (some(e.ToolFailed, node="A", tool="t", call_id="1", error="E: no", duration=1), "tool", "t failed: E: no"),
        (some(e.JoinCancelled, fork=0, reason="the policy is decided"), "cancel",
         "what is still open below: the policy is decided"),
        (some(e.RunStopped, "", reason="first_result"), "stop", "first result"),
        (some(e.BranchSettled, outcome="cancelled", node="A"), "cancel", ""),
        (some(e.Dropped, value="v", source=("0", 1), reason="nobody wants it"), "drop", "nobody wants it: v"),
        (some(e.StepFinished, node="A", action=AskUser("Which?")), "asks", "Which?"),
        (some(e.StepFinished, node="A", action=Return(Ref("0" * 64, 5000))), "says", "(5 kB)"),
        (some(e.StepFinished, node="A", action=Finish("x")), "done", "0 ms, finishes"),
        (some(e.StepFinished, node="A", action=EndConversation("x")), "done", "0 ms, ends the conversation"),
        (some(e.StepFinished, node="A", action=Invoke([("B", 1)])), "done", "0 ms, calls B"),
        (some(e.StepFinished, node="A", action=Invoke([("B", n) for n in range(9)])), "asks", "and 3 more"),
        (some(e.BranchForked, fork=0, meeting=None, calls=tuple((f"N{n}", 1) for n in range(9)), first=2, policy=None,
              detached=True), "fork", "0.3.2 to 0.3.10: N0, N1, N2, N3, N4, N5 and 3 more, nobody waits for them"),
        (some(e.BranchForked, fork=0, meeting="B", calls=(("N", 1),) * 3, first=0, policy=None), "fork",
         "0.3.0 to 0.3.2: N x3, meeting at B"),
        (some(e.JoinCompleted, fork=0, collected=(), met=False), "join", "0 of 0 arrived, too few"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, e.Event) else "",
)  # fmt: skip
def test_what_else_may_happen_has_a_line(told, word, text):
    shown = [line[24:].split(maxsplit=1) for line in lines([told], verbosity=2) if line[24:].strip()]
    assert [word, *([text] if text else [])] in [[part.strip() for part in line] for line in shown]


def test_a_tool_call_that_was_interrupted_is_shown_only_where_all_is():
    run = [some(e.ToolFailed, node="A", tool="t", call_id="1", error="interrupted", duration=1)]
    assert lines(run, verbosity=1) == []
    assert lines(run, verbosity=2) == ["   1.0 s  0.3   A           tool     t failed: interrupted"]
    failed = [some(e.ToolFailed, node="A", tool="t", call_id="1", error="E: no", duration=1)]
    assert lines(failed, verbosity=1) == ["   1.0 s  0.3   A           tool     t failed: E: no"]


def test_an_error_that_was_told_is_not_told_again_at_the_end():
    lost = Failure("AgentError", "no")
    run = [
        began(),
        event(e.StepFailed, 1, "0", node="A", error=lost),
        event(e.BranchSettled, 1, "0", outcome="failed", node="A", error=lost),
        ended(1.0, False, str(lost)),
    ]
    assert lines(run, verbosity=0)[-1].endswith("failed, 4 steps, 1.0 s")
    assert lines([began(), ended(1.0, False, str(lost))], verbosity=0)[-1].endswith("1.0 s: AgentError: no")


def test_a_step_that_was_interrupted_is_not_counted():
    run = [each for each in story() if each.time < 9] + [ended(success=False)]
    for verbosity in (0, 1, 2):
        assert ", 3 steps, " in lines(run, verbosity=verbosity)[-1]


def test_a_limit_that_was_told_is_not_told_again():
    error = Failure("LimitError", "branch 0.1 took 3 steps (max=3) (at branch 0.1)")
    run = [
        began(),
        event(e.LimitReached, 1, "0.1", limit="max", value=3, message="branch 0.1 took 3 steps"),
        event(e.BranchSettled, 1, "0.1", outcome="failed", node="A", error=error),
        ended(1.0, False, str(error)),
    ]
    assert [line[24:].split()[0] for line in lines(run, verbosity=0)] == ["limit", "end"]


def test_an_event_that_is_not_shown_is_not_heard():
    async def main():
        async with trio.open_nursery() as nursery:
            console = Console(nursery=nursery, stream=io.StringIO())
            bound = [bind_sinks({"c": console(StatusConfig(verbosity=v))}, KINDS) for v in (0, 1, 2)]
            return [
                [kind.hears(each) for kind in bound] for each in (e.StepRetried, e.ToolStarted, e.RunFinished)
            ]

    assert trio.run(main) == [[False, True, True], [False, False, True], [True, True, True]]


class Closed(io.StringIO):
    def write(self, text):
        raise BrokenPipeError

    def isatty(self):
        raise ValueError("I/O operation on closed file")


def test_a_stream_that_nobody_reads_breaks_nothing(caplog):
    tell(Closed(), story(), verbosity=2)
    shut = io.StringIO()
    shut.close()
    tell(shut, story(), verbosity=2)
    assert not caplog.records


def test_a_program_without_standard_error_is_shown_nothing(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stderr", None)
    tell(None, story(), verbosity=2)
    assert not caplog.records


def test_what_an_encoding_lacks_is_written_as_an_escape():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    tell(stream, [began(task="\u4f60 \u00e4"), ended()], verbosity=1)
    stream.flush()
    assert rb"abcdef: \u4f60 \xe4" in raw.getvalue()


def test_standard_error_is_looked_up_when_a_run_starts(capsys):
    tell(None, story(), verbosity=0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2


def without_codes(text):
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_gets_a_tree_that_stays_when_the_run_has_ended(terminal):
    tell(terminal, story(), verbosity=1)
    written = terminal.getvalue()
    shown = without_codes(written)
    assert "run abcdef  running  " in shown
    assert "0.0 Researcher   running   runs search, " in shown
    *_, tree = shown.split("run abcdef  succeeded  12.5 s  Compare the two")
    assert [line.rstrip() for line in tree.splitlines()[1:4]] == [
        "\u2514\u2500\u2500 0 Lead         done      2 steps",
        "    \u251c\u2500\u2500 0.0 Researcher   done      1 step",
        "    \u2514\u2500\u2500 0.1 Critic       failed    1 step",
    ]
    assert tree.rstrip().endswith("end      succeeded, 4 steps, 2,400 tokens in, 60 out, 12.5 s")
    # The cursor, hidden while the tree was drawn, is there again.
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert " start " not in shown


def test_no_outdated_tree_is_drawn_after_the_last_one(terminal):
    tell(terminal, story(), verbosity=1)
    shown = without_codes(terminal.getvalue())
    assert shown.count("run abcdef  succeeded") == 1
    assert shown.rindex("run abcdef  running") < shown.index("run abcdef  succeeded")


def test_what_is_drawn_beside_an_ended_run_is_up_to_date(terminal):
    other = [*story("second-bbbbbb")[:-1]] + [ended(13.0)]
    tell(terminal, story("first-aaaaaa"), [began("second-bbbbbb"), *other], verbosity=1)
    _, rest = without_codes(terminal.getvalue()).split("run aaaaaa  succeeded")
    assert "run aaaaaa  running" not in rest


def test_the_tree_counts_the_steps_that_were_ended(terminal):
    run = [each for each in story() if each.time < 4.2]
    stopped = [event(e.BranchSettled, 6, each, outcome="cancelled", node="X") for each in ("0.0", "0.1", "0")]
    tell(terminal, [*run, *stopped, ended(6.0, False)], verbosity=1)
    _, tree = without_codes(terminal.getvalue()).split("run abcdef  failed")
    assert [line.split("cancelled")[1].strip() for line in tree.splitlines()[1:4]] == [
        "1 step",
        "0 steps",
        "0 steps",
    ]


def test_a_terminal_gets_no_tree_at_verbosity_0(terminal):
    tell(terminal, story(), verbosity=0)
    assert len(without_codes(terminal.getvalue()).splitlines()) == 2


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    tell(terminal, story(), verbosity=1)
    assert terminal.getvalue().splitlines() == lines(verbosity=1)


@pytest.mark.slow
def test_a_fork_of_a_hundred_is_summed_up(terminal):
    children = [event(e.BranchStarted, 0, f"0.{n}", node="W", name="", value=n) for n in range(100)]
    done = [event(e.BranchSettled, 1, f"0.{n}", outcome="delivered", node="W") for n in range(60)]
    failed = [event(e.BranchSettled, 1, "0.70", outcome="failed", node="W", error=None)]
    root = event(e.BranchStarted, 0, "0", node="Lead", name="0", value="x")
    tell(terminal, [began(), root, *children, *done, *failed, ended(1.0)], verbosity=1)
    tree = without_codes(terminal.getvalue()).split("succeeded")[1]
    assert "and 92 more: " in tree
    assert "60 done" in tree


def test_two_runs_are_drawn_together(terminal):
    tell(terminal, story("first-aaaaaa"), story("second-bbbbbb"), verbosity=1)
    shown = without_codes(terminal.getvalue())
    assert shown.count("run aaaaaa  succeeded") == 1
    assert shown.count("run bbbbbb  succeeded") == 1


def test_a_view_that_fails_is_closed_and_the_run_goes_on(terminal, monkeypatch, caplog):
    monkeypatch.setattr("rich.live.Live.refresh", lambda live: 1 / 0)
    monkeypatch.setattr("rich.live.Live.stop", lambda live: None)
    tell(terminal, story(), verbosity=1)
    assert [record.getMessage() for record in caplog.records] == [
        "the live view of runs failed and is closed"
    ]


def test_the_terminal_is_left_as_it_was_when_a_run_never_ends(terminal):
    tell(terminal, story()[:-1], verbosity=1)
    written = terminal.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def speaking(*deltas):
    """A run whose model says something in pieces."""
    events = story()
    asked = next(index for index, each in enumerate(events) if isinstance(each, e.ModelCalled))
    called = events[asked]
    pieces = [
        event(e.ModelDelta, called.time, called.branch, node=called.node, model="gpt", delta=delta)
        for delta in deltas
    ]
    return [*events[: asked + 1], *pieces, *events[asked + 1 :]]


def test_a_tree_shows_the_end_of_an_answer_that_is_on_its_way(terminal):
    words = [TextDelta(f"word{number} ") for number in range(20)]
    tell(terminal, speaking(ReasoningDelta("hm"), *words), show_agent_thoughts=True)

    assert "says word0" in terminal.getvalue()
    assert "says …" in terminal.getvalue()
    assert "word19" in terminal.getvalue()
    assert "hm" not in terminal.getvalue()


def test_models_are_asked_for_pieces_only_where_somebody_sees_them(terminal):
    def hears(stream, **status):
        async def main():
            async with trio.open_nursery() as nursery:
                console = Console(nursery=nursery, stream=stream)
                told = bind_sinks({"c": console(StatusConfig(**status))}, KINDS, STREAMED)
                return told.hears(e.ModelDelta)

        return trio.run(main)

    assert hears(terminal, show_agent_thoughts=True)
    assert not hears(terminal, show_agent_thoughts=False)
    assert not hears(io.StringIO(), show_agent_thoughts=True)
