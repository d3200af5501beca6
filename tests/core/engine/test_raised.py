"""Errors of tools that are raised again from a record."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core import errors
from marsys_core import events as e
from marsys_core.agents import agent
from marsys_core.engine.raised import class_name, raised_again, text_of
from marsys_core.errors import ToolError
from marsys_core.tools import tool
from tests.core.engine.test_resuming import Kept


class OutOfStock(Exception):
    """As applications have them."""


class NoUser(ToolError):
    def __init__(self, user: str) -> None:
        super().__init__(f"there is no user {user}")
        self.user = user


class Coded(Exception):
    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(code)
        self.code, self.text = code, text

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Missing(KeyError):
    pass


class Shop:
    class Closed(Exception):
        pass


def again(error: Exception, function: Any = None) -> Exception:
    return raised_again(text_of(error), class_name(error), function)


@pytest.mark.parametrize(
    "error",
    [
        OutOfStock("no lamps"),
        OutOfStock(""),
        OutOfStock("a: b\nc"),
        OutOfStock(1, 2),
        NoUser("Ann"),
        Missing("k"),
        Shop.Closed("at six"),
        json.JSONDecodeError("Expecting value", "x", 0),
        ValueError("no"),
        KeyError("k"),
        KeyError(("a", 1)),
        FileNotFoundError(2, "gone"),
        ZeroDivisionError("division by zero"),
        errors.ToolError("not now"),
        errors.CriticalError("closed"),
    ],
    ids=repr,
)
def test_an_error_of_a_class_that_is_there_is_raised_again(error: Exception) -> None:
    found = again(error)

    assert type(found) is type(error)
    assert text_of(found) == text_of(error)


def test_one_that_is_made_of_something_else_is_a_tool_error_with_its_name() -> None:
    found = again(Coded(4, text="no"))

    assert type(found) is ToolError
    assert str(found) == "Coded: 4: no"


def test_a_class_is_looked_for_where_the_tool_was_written_too() -> None:
    def function() -> None: ...

    assert type(raised_again("OutOfStock: x", "gone_since:OutOfStock", function)) is OutOfStock
    assert type(raised_again("OutOfStock: x", "", function)) is OutOfStock
    assert str(raised_again("Odd: x", "gone_since:Odd", function)) == "Odd: x"
    assert type(raised_again("OutOfStock: x", "gone_since:OutOfStock", None)) is ToolError


def test_a_local_class_is_not_found() -> None:
    class Odd(Exception):
        pass

    assert type(again(Odd("x"))) is ToolError


@pytest.mark.parametrize(
    "recorded",
    [
        "os:system", "builtins:exec", "builtins:SystemExit", "builtins:KeyboardInterrupt", "builtins:StopIteration",
        "sys:modules", "trap:Trap", "trap:Trap.Trap", "lazy:Trap", ":", "", "a", "x:y:z", "sys:", ":Trap",
    ],
)  # fmt: skip
def test_nothing_is_imported_or_run_for_what_a_record_says(
    recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text("import sys\nsys.sprung = True\nclass Trap(Exception): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    lazy = ModuleType("lazy")

    def imports(name: str) -> Any:
        __import__("trap")

    lazy.__getattr__ = imports  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    name = recorded.rpartition(":")[2].rpartition(".")[2] or "Trap"
    found = raised_again(f"{name}: x", recorded, None)

    assert type(found) is ToolError
    assert str(found) == f"{name}: x"
    assert "trap" not in sys.modules


@given(st.text(), st.text())
def test_any_record_gives_an_error_that_says_what_it_does(text: str, recorded: str) -> None:
    found = raised_again(text, recorded, test_a_local_class_is_not_found)

    assert isinstance(found, Exception)
    assert text_of(found).removeprefix("ToolError: ") == text or text_of(found) == text


@given(st.sampled_from(sorted(vars(builtins))), st.text())
def test_no_class_of_python_ends_a_generator_or_the_process(name: str, said: str) -> None:
    found = raised_again(f"{name}: {said}", "", None)

    assert isinstance(found, Exception)
    assert not isinstance(found, StopIteration | StopAsyncIteration)


@pytest.mark.parametrize(
    ("error", "way"), [(OutOfStock("no"), "sold out"), (KeyError("k"), "missing"), (NoUser("x"), "user")]
)
def test_an_agent_that_catches_its_own_error_takes_the_same_way_again(error: Exception, way: str) -> None:
    @tool
    async def broken() -> str:
        """Fail."""
        raise error

    def agents() -> list[Any]:
        @agent
        async def A(prompt: Any, context: Any) -> Any:
            try:
                await context.call_tool("broken")
            except OutOfStock:
                return "sold out"
            except KeyError:
                return "missing"
            except NoUser:
                return "user"

        A.tools = (broken,)
        return [A]

    kept = Kept("A", agents)
    assert kept.begin().unwrap() == way
    result, events = kept.go_on(kept.after(e.ToolFailed))

    assert result.unwrap() == way
    (failed,) = [event for event in events if isinstance(event, e.ToolFailed)]
    assert failed.raised == class_name(error)
