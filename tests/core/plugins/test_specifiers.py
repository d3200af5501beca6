from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version as Reference

from marsys_core.errors import ConfigError
from marsys_core.plugins.specifiers import Requirement, Version, normalized

numbers = st.integers(0, 3)
releases = st.lists(numbers, min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
stages = st.one_of(st.just(""), st.builds("{}{}".format, st.sampled_from(["a", "b", "rc"]), numbers))
posts = st.one_of(st.just(""), st.builds(".post{}".format, numbers))
devs = st.one_of(st.just(""), st.builds(".dev{}".format, numbers))
epochs = st.sampled_from(["", "", "", "1!"])
versions = st.builds("{}{}{}{}{}".format, epochs, releases, stages, posts, devs)
operators = st.sampled_from(["==", "!=", "<=", ">=", "<", ">"])
clauses = st.one_of(
    st.builds("{}{}".format, operators, versions),
    st.builds("{}{}{}.*".format, st.sampled_from(["==", "!="]), epochs, releases),
    st.builds("~={}{}.{}{}".format, epochs, numbers, releases, stages),
)


@given(versions, versions)
def test_versions_are_ordered_as_everybody_else_orders_them(one: str, other: str) -> None:
    assert (Version.parse(one).key() < Version.parse(other).key()) == (Reference(one) < Reference(other))
    assert (Version.parse(one).key() == Version.parse(other).key()) == (Reference(one) == Reference(other))


@given(st.lists(clauses, min_size=1, max_size=2), versions)
def test_requirements_allow_what_everybody_else_allows(wanted: list[str], version: str) -> None:
    text = ",".join(wanted)
    assert Requirement.parse(f"x{text}").allows(version) == SpecifierSet(text).contains(
        version, prereleases=True
    )


def test_a_local_part_of_an_installed_version_is_not_compared() -> None:
    assert Requirement.parse("x==1.2").allows("1.2+local.1")
    assert not Requirement.parse("x>1.2").allows("1.2+local.1")


def test_a_name_alone_allows_every_version_even_one_that_cannot_be_compared() -> None:
    assert Requirement.parse(" marsys-x ").allows("who knows")
    with pytest.raises(ConfigError, match=r"^'who knows' is not a version such as '1.2' or '2.0rc1'$"):
        Requirement.parse("marsys-x>1").allows("who knows")


def test_spaces_do_not_matter() -> None:
    assert Requirement.parse("x >= 1.2 , < 2") == Requirement.parse("x>=1.2,<2")


@pytest.mark.parametrize(
    "text",
    ["", ">=1", "x[extra]>=1", "x>=1; python_version>'3'", "x @ file", "x===1", "x>=1,", "x=1", "x 1", "x>=", "x>=1.*",
     "x~=1", "x==1+local", "x==1rc1.*", "x>=v1", "x>=1-1", "x~=1.2.*"],
)  # fmt: skip
def test_what_cannot_be_parsed_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^(requirement|'|\")"):
        Requirement.parse(text)


def test_names_compare_as_on_package_indexes() -> None:
    assert normalized(" Marsys__Postgres.x ") == "marsys-postgres-x"
