"""The reference pages say what the code says: settings, errors, hooks, patterns."""

import inspect
import re

import pytest

import marsys
from marsys import topologies
from marsys.rules.plugin import marsys_rules
from marsys_core import config, errors, hookspecs
from marsys_core.actions import _READERS
from marsys_core.config import describe_fields
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text("utf-8")


def settings_table(cls: type) -> str:
    """Return the table of a configuration class, as it should stand on the page."""
    rows = ["| field | default | unit | what it bounds or says |", "|---|---|---|---|"]
    rows += [
        f"| `{name}` | `{default}` | {unit} | {bounds} |"
        for name, unit, default, bounds in describe_fields(cls)
    ]
    return "\n".join(rows) + "\n"


def config_classes() -> list[type]:
    return [getattr(config, name) for name in config.__all__ if inspect.isclass(getattr(config, name))]


@pytest.mark.parametrize("cls", config_classes(), ids=lambda cls: cls.__name__)
def test_every_setting_stands_in_the_table_of_its_class(cls):
    section = page("config").split(f"\n## {cls.__name__}\n")[1].split("\n## ")[0]
    table = "".join(line for line in section.splitlines(keepends=True) if line.startswith("|"))

    assert table == settings_table(cls)


def test_the_tree_of_errors_is_the_one_in_the_code():
    drawing = (errors.__doc__ or "").split("\n\n")[1] + "\n"

    assert f"```text\n{drawing}```\n" in page("errors")


def test_every_error_is_in_the_tree():
    drawn = re.findall(r"^ *[*+\-.] (\w+)", errors.__doc__ or "", re.MULTILINE)
    raised = {
        name
        for name in errors.__all__
        if inspect.isclass(found := getattr(errors, name)) and issubclass(found, BaseException)
    }

    assert set(drawn) == raised
    assert len(drawn) == len(raised)


def signature(name: str) -> str:
    """Return a hook's signature as its heading should have it; annotations stand without quotes."""
    given = inspect.signature(getattr(hookspecs, name))
    parameters = ", ".join(f"{each.name}: {each.annotation}" for each in given.parameters.values())
    return f"{name}({parameters}) -> {given.return_annotation}"


def test_every_hook_has_a_heading_that_is_its_signature():
    headings = re.findall(r"^### `(marsys_.*)`$", page("plugins"), re.MULTILINE)

    assert sorted(headings) == sorted(signature(name) for name in hookspecs.__all__)
    assert len(headings) == 18


def test_every_pattern_stands_in_the_table_with_its_signature():
    section = page("topology").split("\n## Patterns\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+\(.*?\))` \|", section, re.MULTILINE)
    patterns = [name for name in topologies.__all__ if name != "PatternConfig"]

    assert sorted(rows) == sorted(shortened(name) for name in patterns)


def test_every_rule_stands_in_the_table_with_its_arguments_and_its_object():
    section = page("topology").split("\n## Rules\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+\(.*?\))` \| `(\w+)` \|", section, re.MULTILINE)

    assert rows == [(_with_arguments(each), each.make.__name__) for each in marsys_rules()]


def _with_arguments(declared) -> str:
    plain = [
        each.replace(annotation=each.empty) for each in inspect.signature(declared.make).parameters.values()
    ]
    return f"{declared.name}{inspect.Signature(plain)}"


def shortened(name: str) -> str:
    """Return a pattern's name and parameters with their defaults, without types."""
    given = inspect.signature(getattr(topologies, name))
    plain = [each.replace(annotation=each.empty) for each in given.parameters.values()]
    return f"{name}{inspect.Signature(plain)}"


def test_every_next_action_is_listed():
    section = page("topology").split("\n## Actions as text\n")[1]
    listed = re.findall(r"^\| `(\w+)` \| `\{", section, re.MULTILINE)

    assert sorted(listed) == sorted(_READERS)


def test_the_public_names_are_those_that_can_be_imported():
    for name in marsys.__all__:
        assert getattr(marsys, name) is not None
    assert dir(marsys) == marsys.__all__
