"""Docstrings of three styles say the same; what is mixed or broken gives what can be read of it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.tools import tool
from marsys_core.tools._docstring import describe

Told = Mapping[str, Sequence[str]]


def google(summary: Sequence[str], told: Told, types: Mapping[str, str]) -> str:
    lines = [*summary, "", "Args:"]
    for name, (first, *more) in told.items():
        lines += [f"    {name}{types[name] and f' ({types[name]})'}: {first}"]
        lines += [f"        {line}" for line in more]
    return "\n".join([*lines, "", "Returns:", "    name: no parameter."])


def numpy(summary: Sequence[str], told: Told, types: Mapping[str, str]) -> str:
    lines = [*summary, "", "Parameters", "----------"]
    for name, texts in told.items():
        lines += [f"{name}{types[name] and f' : {types[name]}'}"]
        lines += [f"    {line}" for line in texts]
    return "\n".join([*lines, "", "Returns", "-------", "name : str", "    No parameter."])


def sphinx(summary: Sequence[str], told: Told, types: Mapping[str, str]) -> str:
    lines = [*summary, ""]
    for name, (first, *more) in told.items():
        lines += [f":param {name}: {first}", *[f"    {line}" for line in more]]
        lines += [f":type {name}: {types[name]}"] if types[name] else []
    return "\n".join([*lines, ":returns: No parameter.", ":rtype: str"])


STYLES = [google, numpy, sphinx]
TEXT = (
    st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=20)
    .map(str.strip)
    .filter(bool)
)
SUMMARIES = st.lists(TEXT.map(lambda text: f"Do {text}"), min_size=1, max_size=3)
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
TOLD = st.dictionaries(NAMES, st.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=4)
TYPES = st.sampled_from(["", "int", "str, optional", "list[tuple(int, ...)]", "dict[str, int] or None"])


@pytest.mark.slow
@given(summary=SUMMARIES, told=TOLD, data=st.data(), indent=st.integers(0, 8))
def test_the_three_styles_say_the_same(
    summary: list[str], told: dict[str, list[str]], data: st.DataObject, indent: int
) -> None:
    types = {name: data.draw(TYPES) for name in told}
    expected = " ".join(summary), {name: " ".join(lines) for name, lines in told.items()}

    for style in STYLES:
        # The first line of a docstring stands beside its quotes, the others are as deep as the code.
        text = textwrap.indent(style(summary, told, types), " " * indent).lstrip()
        assert describe(text) == expected, style.__name__


PIECES = [
    *["Args:", "Parameters", "----------", "===", ":param x: text", ":type x: int", ":returns:", "Returns:"],
    *[
        "x : int",
        "x: text",
        "x (int: text",
        "x ((a)",
        "    ",
        "    x: text",
        "        more",
        ":",
        "::",
        ":param:",
    ],
    *["", "Do it.", ":param", ":param x", "x, y : int", "*args", "    **kwargs: text", "\t\u2028", "---"],
]


@pytest.mark.slow
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=12), max_size=12).map("\n".join) | st.text())
def test_no_docstring_raises(text: str) -> None:
    description, told = describe(text)

    assert "\n" not in description
    assert all(name and value for name, value in told.items())


def read(text: str) -> dict[str, str]:
    return describe(textwrap.dedent(text).strip())[1]


def test_each_style_reaches_the_schema() -> None:
    def in_numpy(text: str, limit: int = 3) -> None:
        """Search the library.

        Slowly.

        Parameters
        ----------
        text : str
            What to look for,
            in words.
        limit : int, optional
            How many.

        Returns
        -------
        text
            None of it.
        """

    def in_sphinx(text: str, limit: int = 3) -> None:
        """Search the library.

        Slowly.

        :param str text: What to look for,
            in words.
        :param limit: How many.
        :type limit: int
        :returns: None of it.
        :raises ValueError: Never.
        """

    for function in (in_numpy, in_sphinx):
        made = tool(function)
        described = {name: field["description"] for name, field in made.parameters["properties"].items()}
        assert made.description == "Search the library."
        assert described == {"text": "What to look for, in words.", "limit": "How many."}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x, y : int\n    Where.", {}),
        ("Parameters\n----------\nx, y : int\n    Where.", {"x": "Where.", "y": "Where."}),
        ("Parameters\n----------\n*args\n    All.\n**options : str\n    Some.", {"args": "All.", "options": "Some."}),
        ("Attributes\n==========\nx\n    One.\n\n    Two.\n\nNotes\n-----\ny\n    No.", {"x": "One. Two."}),
        ("Parameters\n----------\nNo name here: text\n    Lost.\nx\n    Kept.", {"x": "Kept."}),
        ("Keyword Args:\n    **x: One.\n\nParameters:\n    y: Two.", {"x": "One.", "y": "Two."}),
        ("Args:\n    x (dict(str, (int))): One.\n    y (int: Two.\n    z: Three.", {"x": "One. y (int: Two.", "z": "Three."}),
        (":param x:\n    One.\n\n    Two.\n\nThe end.\n:param y: Three.", {"x": "One. Two.", "y": "Three."}),
        (":param x: One\nand more.\n:custom thing: No.\n:kwarg y: Two.", {"x": "One and more.", "y": "Two."}),
        (":param x: One,\n    :class:`Two`.\n:arg list[int] y: :func:`three`.", {"x": "One, :class:`Two`.", "y": ":func:`three`."}),
        ("    :param x: One\n    :param y: Two", {"x": "One", "y": "Two"}),
        (":param x: One.\n:param x: Again.", {"x": "One."}),
        (":param x:\n\nArgs:\n    x: From here.", {"x": "From here."}),
    ],
)  # fmt: skip
def test_what_can_be_read_is_read(text: str, told: dict[str, str]) -> None:
    assert read("Do it.\n\n" + text) == told


def test_a_docstring_may_mix_the_styles() -> None:
    mixed = """
        Do it.

        Args:
            a: One.

        :param b: Two.

        Parameters
        ----------
        c : int
            Three.
        :param d: Four.

        Returns:
            e: no parameter.
        :param f: Six.
    """
    assert read(mixed) == {"a": "One.", "b": "Two.", "c": "Three.", "d": "Four.", "f": "Six."}


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("Search\n======\n\nFinds it.", "Search"),
        ("Find :class:`Book`\n:class:`Shelf`.", "Find :class:`Book` :class:`Shelf`."),
        ("Find it.\n:param x: What.", "Find it."),
        ("Parameters\n----------\nx\n    What.", ""),
        ("Find it.\nReturns\n-------\nint", "Find it."),
        ("", ""),
    ],
)
def test_the_description_is_the_first_paragraph(text: str, description: str) -> None:
    assert describe(text)[0] == description
