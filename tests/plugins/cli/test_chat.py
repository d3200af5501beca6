from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.plugins.cli.conftest import Call

Write = Callable[[str], str]
TEAM = """
[agents.A]
model = "scripted"
{scope}
[plugins.models]
replies = ["One.", "Two."]
"""


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def give(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return give


@pytest.mark.parametrize("scope", ["", 'memory_scope = "session"'])
def test_each_line_is_a_turn_and_each_answer_a_line(
    call: Call, team: Write, typed: Callable[[str], None], scope: str
) -> None:
    typed("first\n\n  second  \n")
    said = call("chat", team(TEAM.format(scope=scope)))
    assert (said.code, said.out, said.err) == (0, "One.\nTwo.\n", "")


def test_a_turn_sees_what_was_said_before_it(call: Call, team: Write, typed: Callable[[str], None]) -> None:
    typed("first\nsecond\n")
    path = team('[agents.A]\nclass = "seen:Seen"\nmodel = "scripted"\n[plugins.models]\nreplies = ["x"]\n')
    seen = os.path.join(os.path.dirname(path), "seen.py")
    with open(seen, "w", encoding="utf-8") as file:
        file.write(
            "from marsys import BaseAgent\n"
            "from marsys_core.messages import Message\n"
            "class Seen(BaseAgent):\n"
            "    async def _run(self, prompt, context, **kwargs):\n"
            "        context.memory.add(Message('user', prompt))\n"
            "        said = ' | '.join(m.text for m in context.memory.messages)\n"
            "        context.memory.add(Message('assistant', said))\n"
            "        return said\n"
        )
    assert call("chat", path).out == "first\nfirst | first | second\n"


def test_a_word_ends_it(call: Call, team: Write, typed: Callable[[str], None]) -> None:
    typed("first\n/exit\nsecond\n")
    assert call("chat", team(TEAM.format(scope=""))).out == "One.\n"


def test_a_turn_that_fails_is_told_and_the_next_goes_on(
    call: Call, team: Write, typed: Callable[[str], None]
) -> None:
    typed("a\nb\nc\n")
    said = call("chat", team(TEAM.format(scope="")))
    assert said.out == "One.\nTwo.\n"
    assert said.code == 1
    assert said.err.startswith("marsys: this turn failed: ")
    assert said.err.endswith("; what was said before still counts\n")


@pytest.mark.slow
def test_an_interruption_ends_it_while_it_waits_for_a_line(team: Write) -> None:
    path = team(TEAM.format(scope=""))
    with subprocess.Popen(
        [sys.executable, "-m", "marsys.cli", "chat", path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("first\n")
        process.stdin.flush()
        assert process.stdout.readline() == "One.\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_a_question_of_an_agent_is_answered_by_the_next_line(
    call: Call, team: Write, typed: Callable[[str], None]
) -> None:
    typed("breakfast\n2\nlunch\n1\n")
    path = team('[agents.A]\nfunction = "waiter:A"\n[topology]\nflows = ["A -> user"]\n')
    with open(os.path.join(os.path.dirname(path), "waiter.py"), "w", encoding="utf-8") as file:
        file.write(
            "from marsys import AskUser\n"
            "async def A(prompt, context):\n"
            "    if context.step == 1:\n"
            "        return AskUser('Which?', ['tea', 'coffee'])\n"
            "    return prompt\n"
        )
    said = call("chat", path)
    assert (said.out, said.code) == ("coffee\ntea\n", 0), said.err
