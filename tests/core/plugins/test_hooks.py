from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import marsys_core
from marsys_core import hookspecs
from marsys_core.plugins.kinds import KINDS
from marsys_core.plugins.loader import Manager

ROOT = Path(marsys_core.__file__).parent


def test_all_hooks_are_there_and_only_two_stop_at_the_first_answer() -> None:
    manager = Manager()
    manager.add_hookspecs(hookspecs)
    hooks = {name: caller for name, caller in vars(manager.hook).items() if name.startswith("marsys_")}
    assert sorted(hooks) == hookspecs.__all__ == sorted(hookspecs.__all__)
    assert len(hooks) == 18
    assert [name for name in sorted(hooks) if hooks[name].spec.opts["firstresult"]] == [
        "marsys_choose",
        "marsys_classify_error",
    ]
    assert not any(caller.is_historic() for caller in hooks.values())


@pytest.mark.parametrize("name", hookspecs.__all__)
def test_every_hook_states_its_contract(name: str) -> None:
    hook = getattr(hookspecs, name)
    text = inspect.getdoc(hook) or ""
    parts = [
        "\nCalled ",
        "\nIf an implementation raises",
        "\nExample:",
        f"def {name}(",
        "\n.. versionadded:: ",
    ]
    positions = [text.find(part) for part in parts]
    assert -1 not in positions
    assert positions == sorted(positions)
    arguments = list(inspect.signature(hook).parameters)
    assert all(f"    {argument}: " in text for argument in arguments)


def test_every_kind_has_a_hook_and_every_list_hook_a_kind() -> None:
    asked_otherwise = {"marsys_choose", "marsys_classify_error"}
    assert {kind.hook for kind in KINDS.values()} == set(hookspecs.__all__) - asked_otherwise


def test_nothing_outside_the_plugin_system_calls_a_hook() -> None:
    files = [path for path in ROOT.rglob("*.py") if ROOT / "plugins" not in path.parents]
    assert len(files) > 5
    calls = re.compile(r"\.hook\.|hook\.marsys_|\.implementations\(")
    assert [str(path) for path in files if calls.search(path.read_text(encoding="utf-8"))] == []


def test_hookimpl_and_provider_are_exported_and_other_names_are_not() -> None:
    from marsys_core.plugins import Provider

    assert marsys_core.Provider is Provider
    assert marsys_core.hookimpl.project_name == "marsys"
    assert marsys_core.hookimpl is marsys_core.hookimpl
    with pytest.raises(AttributeError, match=r"^module 'marsys_core' has no attribute 'hookimp'$"):
        marsys_core.hookimp  # noqa: B018


@pytest.mark.slow
def test_importing_is_light() -> None:
    heavy = "{'pluggy', 'cattrs', 'importlib.metadata', 'difflib', 'json', 'asyncio', 'dataclasses'}"
    script = (
        f"import sys, marsys_core; assert not {heavy} & set(sys.modules); assert 'trio' not in sys.modules; "
        f"import marsys_core.plugins; print(sorted({heavy} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
