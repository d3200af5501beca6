"""Configurations: what is accepted, what is refused and how, retry delays, the table of fields."""

import inspect
import subprocess
import sys
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys_core.config import ExecutionConfig, RetryConfig, StatusConfig, describe_fields
from marsys_core.errors import ConfigError
from marsys_core.topology import ConvergencePolicy

CLASSES = [ExecutionConfig, RetryConfig, StatusConfig]
PATHS = ["$.execution_config", "$.execution_config.retry", "$.execution_config.status"]


def problems(cls: Any, **given: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        cls(**given)
    assert str(caught.value).startswith(f"{cls.__name__} is not valid:\n  - ")
    return caught.value.problems


def test_the_defaults() -> None:
    config = ExecutionConfig()

    assert (config.max_steps, config.max_branch_depth, config.max_value_bytes) == (100, 16, 4 * 1024 * 1024)
    assert config.convergence_policy == "all"
    assert config.retry == RetryConfig()
    assert config.raise_errors


def test_all_problems_come_at_once_each_with_its_path() -> None:
    assert problems(ExecutionConfig, max_stpes=3, zzz=1, max_steps=True, timeout=-1, status=2) == (
        "unknown field 'max_stpes'. Did you mean 'max_steps' or 'max_tokens'? @ $.execution_config",
        "unknown field 'zzz' @ $.execution_config",
        "max_steps should be a whole number, at least 1, not True @ $.execution_config.max_steps",
        "timeout should be a number of seconds above 0, at most 1e9, or None, not -1 @ $.execution_config.timeout",
        "status should be a StatusConfig, or None, not 2 @ $.execution_config.status",
    )


@pytest.mark.parametrize(("cls", "path"), list(zip(CLASSES, PATHS, strict=True)))
def test_every_configuration_names_its_path(cls: Any, path: str) -> None:
    assert problems(cls, nothing_like_it=1) == (f"unknown field 'nothing_like_it' @ {path}",)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_refuses_an_object_and_accepts_its_default(cls: Any) -> None:
    for field in attrs.fields(cls):
        (problem,) = problems(cls, **{field.name: object()})
        assert problem.startswith(f"{field.name} ")
        assert getattr(cls(**{field.name: field.default}), field.name) == field.default


TIMEOUTS = [field.name for field in attrs.fields(ExecutionConfig) if field.name.endswith("timeout")]


@pytest.mark.parametrize("name", TIMEOUTS)
@pytest.mark.parametrize("value", [0, -1, True, "3", float("nan"), float("inf"), 10**400])
def test_a_timeout_is_a_finite_number_above_zero(name: str, value: Any) -> None:
    (problem,) = problems(ExecutionConfig, **{name: value})
    assert problem.startswith(f"{name} should be a number of seconds above 0, at most 1e9, or None, not ")
    good: dict[str, Any] = {name: 0.5}
    assert getattr(ExecutionConfig(**good), name) == 0.5


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("max_steps", [0, 1.0, None, "1"], [1]),
        ("max_steps_per_branch", [0, 1.5], [1, None]),
        ("max_branch_depth", [-1, None], [0]),
        ("max_steering_retries", [-1, 0.5], [0]),
        ("max_tool_rounds", [0], [1]),
        ("max_parallel_branches", [0, True], [1, None]),
        ("allow_parallel", [0, "yes", None], [False]),
        ("max_value_bytes", [0], [1]),
        ("seed", [1.0, True, "x"], [-1, 0, None]),
        ("detached_failures", ["fial", None, []], ["fail"]),
        ("retry", [None, {"max_attempts": 3}], [RetryConfig(max_attempts=1)]),
        ("status", [{"verbosity": 1}], [StatusConfig(verbosity=2), None]),
        ("convergence_policy", [1, True, 1.5, -0.1, "al", None, float("nan")], [0.0, 1.0, "any", "majority"]),
    ],
)
def test_what_a_field_takes(name: str, bad: list[Any], good: list[Any]) -> None:
    for value in bad:
        (problem,) = problems(ExecutionConfig, **{name: value})
        assert problem.endswith(f" @ $.execution_config.{name}")
    for value in good:
        assert getattr(ExecutionConfig(**{name: value}), name) == value


def test_a_policy_is_kept_as_it_is_given() -> None:
    policy = ConvergencePolicy(quorum=2)

    assert ExecutionConfig(convergence_policy=policy).convergence_policy is policy


def test_a_word_that_is_nearly_right_is_suggested() -> None:
    assert problems(ExecutionConfig, detached_failures="fial", convergence_policy="majorty") == (
        "detached_failures should be 'record' or 'fail', not 'fial'. Did you mean 'fail'? "
        "@ $.execution_config.detached_failures",
        "convergence_policy cannot be used: no convergence policy is called 'majorty'; "
        "there are: all, any, majority. Did you mean 'majority'? @ $.execution_config.convergence_policy",
    )
    assert problems(RetryConfig, jitter="ful") == (
        "jitter should be 'full' or 'none', not 'ful'. Did you mean 'full'? @ $.execution_config.retry.jitter",
    )


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("max_attempts", [0, 1.5, True]),
        ("initial_delay", [-1, float("inf"), "1", True, 10**400]),
        ("multiplier", [0.5, float("nan")]),
        ("max_delay", [-0.1]),
        ("max_retry_after", [None]),
    ],
)
def test_what_retries_refuse(name: str, bad: list[Any]) -> None:
    for value in bad:
        assert problems(RetryConfig, **{name: value})[0].startswith(f"{name} should be ")


@pytest.mark.parametrize("verbosity", [-1, 3, True, "1", 1.0])
def test_verbosity_is_zero_one_or_two(verbosity: Any) -> None:
    assert problems(StatusConfig, verbosity=verbosity) == (
        f"verbosity should be 0, 1 or 2, not {verbosity!r} @ $.execution_config.status.verbosity",
    )


def test_a_configuration_is_frozen_and_evolves_with_the_same_checks() -> None:
    config = ExecutionConfig()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.max_steps = 3  # type: ignore[misc]
    assert attrs.evolve(config, max_steps=3).max_steps == 3
    with pytest.raises(ConfigError, match="max_steps should be a whole number"):
        attrs.evolve(config, max_steps=0)


def test_fields_are_given_by_name_and_shown_in_the_signature() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        StatusConfig(1)  # type: ignore[call-arg]
    assert list(inspect.signature(StatusConfig).parameters) == [
        "verbosity",
        "show_agent_thoughts",
        "show_tool_calls",
        "show_timings",
    ]


def test_the_longest_wait_grows_up_to_its_limit() -> None:
    retry = RetryConfig(jitter="none")

    assert [retry.delay(attempt, lambda: 0.5) for attempt in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert retry.delay(10_000, lambda: 0.5) == 30
    assert RetryConfig(initial_delay=0, jitter="none").delay(10_000, lambda: 0.5) == 0


def test_full_jitter_draws_a_part_of_the_longest_wait() -> None:
    assert RetryConfig().delay(3, lambda: 0.25) == 0.5
    assert RetryConfig().delay(3, lambda: 0.0) == 0


def test_a_server_is_never_asked_again_before_it_said() -> None:
    assert RetryConfig().delay(1, lambda: 0.5, retry_after=20) == 20
    assert RetryConfig(jitter="none").delay(3, lambda: 0.5, retry_after=1) == 2


@given(
    attempt=st.integers(1, 10_000),
    drawn=st.floats(0, 1, exclude_max=True),
    initial=st.floats(0, 1e9),
    multiplier=st.floats(1, 1e9),
    most=st.floats(0, 1e9),
    after=st.none() | st.floats(0, 1e6),
    jitter=st.sampled_from(["full", "none"]),
)
def test_a_wait_is_between_what_the_server_said_and_the_limit(
    attempt: int,
    drawn: float,
    initial: float,
    multiplier: float,
    most: float,
    after: float | None,
    jitter: Any,
) -> None:
    retry = RetryConfig(initial_delay=initial, multiplier=multiplier, max_delay=most, jitter=jitter)

    wait = retry.delay(attempt, lambda: drawn, after)
    assert (after or 0) <= wait <= max(most, after or 0)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_described(cls: type) -> None:
    rows = describe_fields(cls)

    assert [row[0] for row in rows] == [field.name for field in attrs.fields(cls)]
    assert all(bounds for _, _, _, bounds in rows)


def test_what_the_table_says() -> None:
    rows = {name: rest for name, *rest in describe_fields(ExecutionConfig)}

    assert rows["timeout"] == ["s", "None", "the run"]
    assert rows["max_value_bytes"] == ["bytes", "4194304", "one value that is handed on or kept"]
    assert rows["retry"] == ["", "RetryConfig()", "attempts, and the waits between them"]
    assert all(rows[name][0] == "s" for name in TIMEOUTS)


def imported_by(statement: str) -> set[str]:
    code = f"import sys, trio; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


@pytest.mark.slow
def test_configurations_and_tools_are_light_to_import_and_make() -> None:
    loaded = imported_by(
        "from marsys_core.config import ExecutionConfig; ExecutionConfig(convergence_policy=0.5, max_steps=3);"
        "from marsys_core.tools import as_tool; as_tool(trio.sleep)"
    )

    assert {name for name in loaded if name.startswith("marsys_core.")} <= {
        "marsys_core.config",
        "marsys_core.errors",
        "marsys_core.hosts",
        "marsys_core.hosts.declared",
        "marsys_core.messages",
        "marsys_core.models",
        "marsys_core.tools",
        "marsys_core.tools._tool",
    }
    assert not loaded & {"json", "difflib", "datetime", "uuid", "dataclasses", "cattrs"}


class Silent:
    def __repr__(self) -> str:
        msg = "no words"
        raise KeyError(msg)


@pytest.mark.parametrize("value", [10**5000, [10**5000], Silent()], ids=["number", "list", "object"])
def test_a_value_that_cannot_be_shown_is_refused_as_any_other(value: Any) -> None:
    (problem,) = problems(ExecutionConfig, timeout=value)
    kind, raised = type(value).__name__, "KeyError" if isinstance(value, Silent) else "ValueError"
    assert problem.endswith(f"or None, not <{kind} whose repr raised {raised}> @ $.execution_config.timeout")
    for name in ("convergence_policy", "status", "raise_errors", "detached_failures", "retry"):
        assert len(problems(ExecutionConfig, **{name: value})) == 1
    assert len(problems(ExecutionConfig, convergence_policy={"timeout": value})) == 1


def test_a_long_value_is_cut_short() -> None:
    (problem,) = problems(ExecutionConfig, timeout="x" * 100_000)
    assert len(problem) < 400
