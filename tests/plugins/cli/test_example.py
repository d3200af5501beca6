"""The example team does what the first page promises."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.plugins.cli.conftest import Call

EXAMPLES = Path(__file__).parents[3] / "examples"
TEAM = str(EXAMPLES / "research.toml")
QUESTION = "Why should the United States build and defend a canal across the Isthmus of Panama?"


def test_the_example_answers_with_sources_that_stand_where_it_says(call: Call) -> None:
    said = call("run", TEAM, "--input", str(EXAMPLES / "library"), "--task", QUESTION)
    assert said.code == 0
    assert said.out.startswith(f"Question: {QUESTION}\n\n")
    quotes = re.findall(r"^(.+) \[(\d+)\]$", said.out, re.MULTILINE)
    places = {
        n: (name, int(first), int(last or first))
        for n, name, first, last in re.findall(
            r"^\[(\d+)\] (.+), lines? (\d+)(?:-(\d+))?$", said.out, re.MULTILINE
        )
    }
    assert len(quotes) >= 4
    assert len({name for name, _, _ in places.values()}) >= 3
    for quote, number in quotes:
        name, first, last = places[number]
        lines = (EXAMPLES / "library" / name).read_text(encoding="utf-8").splitlines()[first - 1 : last]
        assert quote in " ".join(" ".join(lines).split())
    assert "We are charged with an international duty of defending the Panama Canal." in said.out


def test_the_progress_shows_the_team_at_work(call: Call) -> None:
    said = call("run", TEAM, "--input", str(EXAMPLES / "library"), "--task", QUESTION)
    done = [line.split()[3] for line in said.err.splitlines() if re.search(r"  done  ", line)]
    assert done[0] == "Coordinator"
    assert sorted(done[1:4]) == ["Reader1", "Reader2", "Reader3"]
    assert done[4:] == ["Writer"]
    assert "Reader1, Reader2, Reader3, meeting at Writer" in said.err
    assert "3 of 3 arrived" in said.err


def test_a_question_that_the_texts_do_not_answer_says_so(call: Call) -> None:
    said = call("run", TEAM, "--input", str(EXAMPLES / "library"), "--task", "zyxw qqqq", "-q")
    assert (said.code, said.out) == (
        0,
        "Question: zyxw qqqq\n\nNothing in the texts at hand answers this question.\n",
    )


def test_a_question_without_words_fails_and_says_why(call: Call) -> None:
    said = call("run", TEAM, "--input", str(EXAMPLES / "library"), "--task", "?!", "-q")
    assert (said.code, said.out) == (1, "")
    assert "ModelError: the question '?!' has no words" in said.err


def test_one_text_is_enough_for_three_readers(call: Call, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "library" / "1880-hayes.txt", tmp_path)
    said = call("run", TEAM, "--input", str(tmp_path), "--task", QUESTION, "-q")
    assert said.code == 0
    assert set(re.findall(r"^\[\d+\] ([^,]+),", said.out, re.MULTILINE)) == {"1880-hayes.txt"}


def test_a_folder_without_texts_is_refused(call: Call, tmp_path: Path) -> None:
    said = call("run", TEAM, "--input", str(tmp_path), "--task", QUESTION)
    assert (said.code, said.out) == (2, "")
    assert "has no file that can be read (.htm, .html, .md, .txt) @ --input\n" in said.err


@pytest.mark.slow
def test_two_thousand_texts_are_read_by_three(call: Call, tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:04}.txt").write_text(f"The canal number {number} crosses the isthmus.\n")
    said = call("run", TEAM, "--input", str(tmp_path), "--task", "Which canal has the number 1234?", "-q")
    assert said.code == 0
    assert "The canal number 1234 crosses the isthmus." in said.out
