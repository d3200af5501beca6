"""Every Python example on a page runs, in the order of the page, and prints what the page shows."""

import ast
import builtins
import io
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.docs.pages import ROOT, Block, blocks, pages

PRINTED = "text"
"""A block of this language right after a program is what it prints."""


def programs(page: Path) -> list[tuple[Block, str | None]]:
    """Return the programs of a page, each with what it should print, or None where nothing is shown."""
    found = list(blocks(page.read_text("utf-8")))
    following = [*found[1:], None]
    return [
        (block, after.text if after is not None and after.follows and after.language == PRINTED else None)
        for block, after in zip(found, following, strict=False)
        if block.language == "python"
    ]


def run(page: Path, block: Block, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    # Blank lines in front, so that a traceback shows the line of the page.
    program = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    with redirect_stdout(printed):
        exec(program, names)
    return printed.getvalue()


ON_DISK = {"durability.md", "sessions.md", "storage.md"}


@pytest.mark.parametrize(
    "page", [page for page in pages() if programs(page)], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_the_examples_of_a_page_run_and_print_what_it_shows(page, monkeypatch):
    def started(main, *args):
        # A jumping clock does not wait for what a store's thread has in hand.
        clock = None if page.name in ON_DISK else trio.testing.MockClock(autojump_threshold=0)
        return _run(main, *args, clock=clock)

    monkeypatch.setattr(trio, "run", started, raising=True)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block, expected in programs(page):
        printed = run(page, block, names)
        if expected is not None:
            assert printed == expected, f"{page.relative_to(ROOT)}:{block.line}"


_run = partial(trio.run)


def foreign_names(text: str) -> set[str]:
    """Return the names that a program reads and nothing in it makes."""
    read, made = set(), set(dir(builtins))
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                made.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                made.add(node.name)
            case ast.Import() | ast.ImportFrom():
                made |= {alias.asname or alias.name for alias in node.names}
    return read - made


def test_a_page_whose_examples_go_on_from_each_other_says_so_above_them():
    silent = []
    for page in pages():
        above, *_ = page.read_text("utf-8").split("```python", 1)
        goes_on = any(foreign_names(block.text) for block, _ in programs(page))
        if goes_on and "Each example goes on from those before it" not in " ".join(above.split()):
            silent.append(page.name)

    assert silent == []


def test_there_are_examples():
    assert sum(len(programs(page)) for page in pages()) > 15
