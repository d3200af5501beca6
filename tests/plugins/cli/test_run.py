from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marsys.cli.response import written
from marsys_core.values import JoinInput
from tests.plugins.cli.conftest import Call, Site

Write = Callable[[str], str]
ONE = '[agents.A]\nmodel = "scripted"\n[plugins.models]\nreplies = ["Forty-two."]\n'


def test_the_answer_goes_to_standard_output_and_progress_to_standard_error(call: Call, team: Write) -> None:
    said = call("run", team(ONE), "--task", "Think.")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    words = [re.split(r" {2,}", line.strip())[1:] for line in said.err.splitlines()]
    assert ["0", "A", "start"] in words
    assert said.err.splitlines()[-1].split()[2:4] == ["end", "succeeded,"]


def test_quiet_shows_only_the_end(call: Call, team: Write) -> None:
    said = call("run", team(ONE), "--task", "Think.", "-q")
    assert said.out == "Forty-two.\n"
    assert len(said.err.splitlines()) == 1


def test_verbose_shows_what_models_say(call: Call, team: Write) -> None:
    assert "Forty-two." in call("run", team(ONE), "--task", "Think.", "-v").err


def test_quiet_and_verbose_contradict_each_other(call: Call, team: Write) -> None:
    said = call("run", team(ONE), "--task", "Think.", "-qv")
    assert said.code == 2
    assert said.err.endswith("Error: -v and -q contradict each other; leave one out\n")


def test_the_file_says_how_much_is_shown_unless_the_command_line_does(call: Call, team: Write) -> None:
    path = team(ONE + "[limits.status]\nverbosity = 0")
    assert len(call("run", path, "--task", "Think.").err.splitlines()) == 1
    assert len(call("run", path, "--task", "Think.", "-v").err.splitlines()) > 3


def test_without_a_plugin_that_shows_runs_that_is_said_once(call: Call, team: Write) -> None:
    said = call("-p", "no:status", "run", team(ONE), "--task", "Think.")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert said.err == "marsys: progress is not shown: no plugin offers to show it\n"
    assert call("-p", "no:status", "run", team(ONE), "--task", "Think.", "-q").err == ""


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False


def test_the_task_may_come_from_standard_input(
    call: Call, team: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Stdin("  Was ist größer?\n".encode()))
    said = call("run", team('[agents.A]\nfunction = "json:dumps"'), "--task", "-")
    assert said.out == '"Was ist gr\\u00f6\\u00dfer?"\n'


@pytest.mark.parametrize(
    ("stdin", "problem"),
    [
        (None, "--task - reads standard input, and that is closed; give the task as --task TEXT"),
        (Stdin(b"ab\xff"), "the task on standard input is not UTF-8: byte 3"),
        (Stdin(b" \n"), "the task is empty; say what to do with --task TEXT"),
    ],
)
def test_a_task_that_cannot_be_read_is_a_mistake_in_the_call(
    call: Call, team: Write, monkeypatch: pytest.MonkeyPatch, stdin: Stdin | None, problem: str
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    said = call("run", team(ONE), "--task", "-")
    assert said.code == 2
    assert said.err.endswith(f"Error: {problem}\n")


def test_a_run_without_a_task_is_a_mistake_in_the_call(call: Call, team: Write) -> None:
    said = call("run", team(ONE))
    assert said.code == 2
    assert "Missing option '--task'" in said.err


def test_a_run_that_fails_says_why_and_what_was_done(call: Call, team: Write) -> None:
    said = call(
        "run",
        team(
            """
            [agents]
            First.function = "json:dumps"
            Second.model = "scripted"
            [topology]
            flows = ["First -> Second"]
            """
        ),
        "--task",
        "Think.",
        "-q",
    )
    assert (said.code, said.out) == (1, "")
    failed, taken, last = said.err.splitlines()[-3:]
    assert re.fullmatch(r"marsys: to go on with it: marsys resume [0-9a-f]{16}", last)
    assert failed.startswith(
        "marsys: the run failed: ModelError: the model 'scripted' has no reply left for call 1: its script has 0; "
    )
    assert failed.endswith(" (at branch 0, node 'Second', step 2)")
    assert re.fullmatch(r"marsys: 1 step was finished: First, in \d+\.\d s", taken)


OWN = """
def fails(prompt):
    raise ValueError("no such thing")

def lists(prompt):
    return ["a", "b"]

def dicts(prompt):
    return {"a": 1}
"""


@pytest.fixture
def own(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    name = f"own_functions_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return name


def test_a_traceback_of_an_own_agent_is_shown_where_more_is_asked_for(
    call: Call, team: Write, own: str
) -> None:
    path = team(f'[agents.A]\nfunction = "{own}:fails"')
    plain = call("run", path, "--task", "Think.")
    assert "AgentError: agent 'A' raised ValueError: no such thing" in plain.err
    assert "Traceback" not in plain.err
    verbose = call("run", path, "--task", "Think.", "-v")
    assert "Traceback (most recent call last):" in verbose.err
    assert 'raise ValueError("no such thing")' in verbose.err


def test_each_failed_branch_is_told_and_so_is_what_arrived(call: Call, team: Write, own: str) -> None:
    said = call(
        "run",
        team(
            f"""
            [agents]
            A.function = "json:dumps"
            B.function = "{own}:fails"
            C.function = "{own}:fails"
            D.function = "json:dumps"
            [topology]
            flows = ["A -> [B, C] -> D"]
            """
        ),
        "--task",
        "Think.",
        "-q",
    )
    assert said.code == 1
    assert said.err.count("  - AgentError: agent ") == 2
    assert "no such thing (at branch 0.1, node 'C', step 1)" in said.err


@pytest.mark.parametrize(("function", "out"), [("lists", "a\n\nb\n"), ("dicts", '{"a": 1}\n')])
def test_data_is_written_for_people(call: Call, team: Write, own: str, function: str, out: str) -> None:
    assert call("run", team(f'[agents.A]\nfunction = "{own}:{function}"'), "--task", "x").out == out


def test_a_join_is_written_with_its_labels() -> None:
    assert written(JoinInput([("B", "0.0", "one"), ("C", "0.1", [1])])) == (
        "[from B (branch 0.0)]\none\n\n[from C (branch 0.1)]\n[1]"
    )


def test_a_tool_that_its_box_lacks_is_found_before_the_first_step(
    call: Call, team: Write, tmp_path: Path
) -> None:
    (tmp_path / "one.txt").write_text("Words.")
    path = team('[agents.A]\nmodel = "extractive"\ntools = ["search", "search:search_9"]')
    said = call("run", path, "--task", "x", "--input", str(tmp_path))
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "marsys: the team cannot start:\n"
        "  - no tool of 'search' is called 'search_9'; there are: search. Did you mean 'search'? "
        "@ $.agents.A.tools[1]\n"
    )


def test_a_model_that_cannot_be_opened_is_found_before_the_first_step(
    call: Call, team: Write, site: Site
) -> None:
    site.add(
        "marsys-cloud",
        cloud="""
        from contextlib import asynccontextmanager
        from marsys_core import Provider, hookimpl
        from marsys_core.errors import PluginUnavailable

        @asynccontextmanager
        async def opened(context, settings):
            raise PluginUnavailable("pip install cloud")
            yield

        @hookimpl
        def marsys_models():
            return [Provider("cloud", opened)]
        """,
    )
    said = call("run", team('[agents.A]\nmodel = "cloud"'), "--task", "x")
    assert said.code == 2
    assert said.err == (
        "marsys: the team cannot start:\n"
        "  - model provider 'cloud' of plugin 'cloud' is unavailable: pip install cloud @ $.agents.A.model\n"
    )


def test_a_guard_that_refuses_fails_the_run(call: Call, team: Write, site: Site) -> None:
    site.add(
        "marsys-no",
        no="""
        from contextlib import asynccontextmanager
        from marsys_core import Provider, hookimpl
        from marsys_core.errors import GuardRefused

        class No:
            name = "no"

            async def check(self, subject):
                raise GuardRefused("not today")

        @asynccontextmanager
        async def opened(context, settings):
            yield No()

        @hookimpl
        def marsys_guards():
            return [Provider("no", opened)]
        """,
    )
    said = call("run", team(ONE), "--task", "x")
    assert (said.code, said.out) == (1, "")
    assert (
        "marsys: the run failed: GuardRefused: not today\nmarsys: no step was finished, in 0.0 s\n"
        in said.err
    )


def test_many_warnings_of_one_kind_are_counted_unless_more_is_asked_for(
    call: Call, team: Write, tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(8):
        (texts / f"{number}.txt").write_bytes(b"The caf\xe9 is open.")
    path = team('[agents.A]\nmodel = "extractive"\ntools = ["search"]')
    said = call("run", path, "--task", "Is the café open?", "--input", str(texts))
    assert said.code == 0
    assert said.err.count("not UTF-8; read as Windows-1252") == 5
    assert said.err.endswith("marsys.search: and 3 more like these; -v shows them\n")
    said = call("run", path, "--task", "Is the café open?", "--input", str(texts), "-v")
    assert said.err.count(".txt: not UTF-8; read as Windows-1252") == 8


def test_a_sink_that_breaks_is_told_in_one_line(call: Call, team: Write, site: Site) -> None:
    site.add(
        "marsys-bad",
        bad="""
        from contextlib import asynccontextmanager
        from marsys_core import Provider, hookimpl

        class Bad:
            def on_event(self, event):
                raise RuntimeError("no ink")

        @asynccontextmanager
        async def opened(context, settings):
            yield lambda status: Bad()

        @hookimpl
        def marsys_event_sinks():
            return [Provider("bad", opened, features={"status"})]
        """,
    )
    said = call("-p", "no:status", "run", team(ONE), "--task", "x")
    assert (said.code, said.out) == (0, "Forty-two.\n")
    assert said.err == (
        "marsys.plugins: event sink 'status' raised on RunStarted and is disabled: RuntimeError: no ink\n"
    )


def test_plain_leaves_the_environment_as_it_was(
    call: Call, team: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    for before in ("xterm", None):
        if before is None:
            monkeypatch.delenv("TERM")
        else:
            monkeypatch.setenv("TERM", before)
        assert call("run", team(ONE), "--task", "x", "--plain").code == 0
        assert os.environ.get("TERM") == before


def test_a_team_that_cannot_be_loaded_is_a_mistake(call: Call, team: Write) -> None:
    path = team("[agents.A]\nmodle = 1")
    said = call("run", path, "--task", "x")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"marsys: team file {path!r} cannot be used:\n  - unknown field 'modle'")


def test_another_model_is_taken_for_all_agents_or_for_one(call: Call, team: Write) -> None:
    path = team(
        '[agents]\nA.model = "nothing"\nB.model = "scripted"\n[topology]\nflows = ["A -> B"]\n'
        '[plugins.models]\nreplies = ["one", "two"]\n'
    )
    assert call("run", path, "--task", "x", "-q").code == 2
    assert call("run", path, "--task", "x", "-q", "--model", "scripted").out == "two\n"
    assert call("run", path, "--task", "x", "-q", "--model", "A=scripted").out == "two\n"


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (["C=scripted"], "no agent of the team is called 'C'; there are: A, F."),
        (["F=scripted"], "agent 'F' is a function and has no model"),
        (["A="], "--model takes NAME or AGENT=NAME, not 'A='"),
        (["x", "y"], "--model names two models for all agents: 'x' and 'y'"),
    ],
)
def test_a_model_that_cannot_be_taken_is_a_mistake_in_the_call(
    call: Call, team: Write, models: list[str], told: str
) -> None:
    path = team('[agents]\nA.model = "scripted"\nF.function = "json:dumps"\n[topology]\nflows = ["A -> F"]\n')
    given = [part for model in models for part in ("--model", model)]
    said = call("run", path, "--task", "x", *given)
    assert said.code == 2
    assert told in said.err


def test_json_is_all_that_is_known(call: Call, team: Write) -> None:
    import json

    said = call("run", team(ONE), "--task", "Think.", "--json", "-q")
    data = json.loads(said.out)
    assert (data["success"], data["response"], data["error"], data["steps"]) == (True, "Forty-two.", None, 1)
    assert data["branches"][0]["agent"] == "A"
    assert data["usage"]["model_calls"] == 1


def test_json_tells_of_a_failure_too(call: Call, team: Write) -> None:
    import json

    said = call("run", team(ONE.replace('"Forty-two."', "")), "--task", "Think.", "--json", "-q")
    assert said.code == 1
    data = json.loads(said.out)
    assert data["success"] is False
    assert data["error"]["type"]
    assert data["error"]["message"]


def test_what_is_written_is_saved_too(call: Call, team: Write, tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    file.write_text("old")
    said = call("run", team(ONE), "--task", "Think.", "-q", "--save", str(file))
    assert (said.code, said.out, file.read_text()) == (0, "Forty-two.\n", "Forty-two.\n")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_that_fails_leaves_an_older_answer(call: Call, team: Write, tmp_path: Path) -> None:
    file = tmp_path / "answer.txt"
    file.write_text("old")
    path = team(ONE.replace('"Forty-two."', ""))
    assert call("run", path, "--task", "Think.", "-q", "--save", str(file)).code == 1
    assert file.read_text() == "old"


def test_saving_into_a_folder_that_is_not_there_is_told_before_anything_runs(
    call: Call, team: Write, tmp_path: Path
) -> None:
    said = call("run", team(ONE), "--task", "Think.", "--save", str(tmp_path / "none" / "answer.txt"))
    assert (said.code, said.out) == (2, "")
    assert "there is no folder" in said.err


@pytest.mark.parametrize("file", ["", "."])
def test_saving_into_a_folder_is_told_before_anything_runs(call: Call, team: Write, file: str) -> None:
    said = call("run", team(ONE), "--task", "Think.", "--save", file)
    assert (said.code, said.out) == (2, "")
    assert "is a" in said.err


def test_variables_stand_in_instructions(call: Call, team: Write) -> None:
    path = team(ONE.replace("[plugins", 'instruction = "Write about {topic}."\n[plugins'))
    assert call("run", path, "--task", "x", "-q", "--var", "topic=canals").out == "Forty-two.\n"
    said = call("run", path, "--task", "x", "-q", "--var", "topik=canals")
    assert said.code == 2
    assert "--var topic=TEXT" in said.err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["topic"], "--var takes NAME=TEXT, with a name of letters, digits and '_', not 'topic'"),
        (["a b=c"], "--var takes NAME=TEXT, with a name of letters, digits and '_', not 'a b=c'"),
        (["a=1", "a=2"], "--var gives 'a' twice: '1' and '2'"),
    ],
)
def test_a_variable_that_cannot_be_read_is_a_mistake_in_the_call(
    call: Call, team: Write, given: list[str], told: str
) -> None:
    said = call("run", team(ONE), "--task", "x", *[part for each in given for part in ("--var", each)])
    assert said.code == 2
    assert told in said.err


ASKING = '[agents.A]\nfunction = "asking:A"\n[topology]\nflows = ["A -> user"]\n'


def test_nobody_is_asked_where_standard_input_is_no_terminal(
    call: Call, team: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = team(ASKING)
    Path(path).with_name("asking.py").write_text(
        "from marsys import AskUser\nasync def A(prompt, context):\n    return AskUser('Which?')\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("an answer\n"))
    said = call("run", path, "--task", "x", "-q", "--no-storage")
    assert said.code == 1
    assert "UserUnavailable" in said.err


def test_a_channel_that_is_not_there_is_a_mistake_in_the_call(call: Call, team: Write) -> None:
    said = call("run", team(ONE), "--task", "x", "--channel", "terminl")
    assert said.code == 2
    assert "Did you mean 'terminal'?" in said.err


def test_what_agents_print_does_not_get_into_the_json(call: Call, team: Write) -> None:
    import json

    path = team('[agents.A]\nfunction = "printing:A"\n')
    Path(path).with_name("printing.py").write_text(
        "async def A(prompt):\n    print('loud')\n    return prompt\n"
    )
    said = call("run", path, "--task", "x", "--json", "-q")
    assert json.loads(said.out)["response"] == "x"
    assert "loud" in said.err
