from __future__ import annotations

import enum
from pathlib import Path

import attrs

from marsys_core.plugins.sections import Problem, fields_of, structured, unknown_fields


class Level(enum.IntEnum):
    LOW = 1


@attrs.frozen
class Pool:
    size: int
    names: list[str] = attrs.field(factory=list)


@attrs.frozen
class Settings:
    url: str
    pool: Pool = attrs.field(factory=lambda: Pool(1))
    seconds: float = 1.0
    loud: bool = False
    directory: Path | None = None
    level: Level = Level.LOW
    made: int = attrs.field(init=False, default=0)


def texts(section: dict[str, object]) -> list[str]:
    return [problem.text for problem in structured(Settings, section, "$.plugins.x")[1]]


def test_a_section_becomes_an_instance() -> None:
    section = {"url": "u", "pool": {"size": 2, "names": ["a"]}, "seconds": 3, "directory": "d", "level": 1}
    instance, problems = structured(Settings, section, "$")
    assert problems == []
    assert instance == Settings("u", Pool(2, ["a"]), 3.0, directory=Path("d"))
    assert type(instance.seconds) is float


def test_all_problems_are_told_at_once_each_with_its_path() -> None:
    assert sorted(
        texts({"pool": {"sizes": 1, "names": [1, "b", 2]}, "loud": "no", "seconds": True, "directory": 1})
    ) == [
        "expected a path, got 1 @ $.plugins.x.directory",
        "expected bool, got 'no' @ $.plugins.x.loud",
        "expected float, got True @ $.plugins.x.seconds",
        "expected str, got 1 @ $.plugins.x.pool.names[0]",
        "expected str, got 2 @ $.plugins.x.pool.names[2]",
        "required field missing @ $.plugins.x.pool.size",
        "required field missing @ $.plugins.x.url",
        "unknown field 'sizes' @ $.plugins.x.pool; did you mean 'size'?",
    ]


def test_numbers_are_never_cut_and_strings_never_parsed() -> None:
    assert texts({"url": "u", "pool": {"size": 1.5}}) == ["expected int, got 1.5 @ $.plugins.x.pool.size"]
    assert texts({"url": "u", "pool": {"size": "5"}}) == ["expected int, got '5' @ $.plugins.x.pool.size"]


def test_what_a_validator_says_is_kept() -> None:
    @attrs.frozen
    class Positive:
        size: int = attrs.field(validator=attrs.validators.gt(0))

    problems = structured(Positive, {"size": 0}, "$.plugins.x")[1]
    assert problems == [Problem("'size' must be > 0: 0 @ $.plugins.x")]


def test_only_what_is_not_there_is_missing() -> None:
    assert structured(Settings, {}, "$")[1] == [Problem("required field missing @ $.url", missing=True)]


def test_unknown_fields_name_the_nearest() -> None:
    assert unknown_fields(["capacty", "zzz", "capacity"], ["capacity"], "$.plugins.memory") == [
        Problem("unknown field 'capacty' @ $.plugins.memory; did you mean 'capacity'?"),
        Problem("unknown field 'zzz' @ $.plugins.memory"),
    ]


def test_fields_that_cannot_be_given_are_not_offered() -> None:
    assert "made" not in fields_of(Settings)
