"""What a run looks like to a type checker."""

from concurrent.futures import Future
from typing import Any, assert_type

import attrs

from marsys import (
    BranchResult,
    ConvergencePolicy,
    CriticalError,
    EngineThread,
    ExecutionConfig,
    Orchestra,
    Question,
    RecoverableError,
    RetryConfig,
    Run,
    RunFuture,
    RunResult,
    StatusConfig,
    Topology,
    Usage,
)
from marsys_core.events import Event


@attrs.frozen
class Answer:
    text: str
    score: int


config = ExecutionConfig(
    timeout=60,
    max_steps=10,
    convergence_policy=ConvergencePolicy(quorum=2, early=True),
    retry=RetryConfig(max_attempts=5, jitter="none"),
    status=StatusConfig(verbosity=2),
)
assert_type(config.timeout, float | None)
assert_type(config.retry, RetryConfig)

topology = Topology.of("A -> [B, C] -> D").add_node("E").add_edge("D", "E", bidirectional=True)
assert_type(topology, Topology)
assert_type(topology.to_dict(), dict[str, Any])


async def main() -> None:
    result = await Orchestra.run("a task", topology, execution_config=config)
    assert_type(result, RunResult)
    assert_type(result.success, bool)
    assert_type(result.branch_results, tuple[BranchResult, ...])
    assert_type(result.usage, Usage)

    typed = await Orchestra.run("a task", topology, output_type=Answer, variables={"a": 1}, deps=object())
    assert_type(typed, RunResult[Answer])
    assert_type(typed.final_response, Answer)
    assert_type(typed.unwrap().score, int)
    assert_type(typed.response, Answer)
    assert_type(await Orchestra.run("a task", "A", output_type=list[Answer]), RunResult[list[Answer]])
    assert_type(await Orchestra.run("a task", "A", output_type=None), RunResult[Any])
    either: Any = Answer | None
    assert_type(await Orchestra.run("a task", "A", output_type=either), RunResult[Any])
    anything: RunResult = typed
    assert_type(anything.final_response, Any)

    async with Orchestra(execution_config=config) as orchestra:
        assert_type(orchestra, Orchestra)
        assert_type(await orchestra.execute("a task", "A"), RunResult)
        assert_type(await orchestra.execute("a task", "A", output_type=Answer), RunResult[Answer])
        run = orchestra.start("a task", ["A -> B"])
        assert_type(run, Run)
        assert_type(await run.result(), RunResult)
        async for event in orchestra.stream("a task", {"nodes": ["A"]}):
            assert_type(event, Event)
            assert_type(event.branch, str)


def caught(error: CriticalError | RecoverableError) -> None:
    assert_type(error.result, RunResult | None)


def hear(future: RunFuture[Answer]) -> None:
    assert_type(future.questions, tuple[Question, ...])


def hear_any(future: Future[RunResult[Answer]]) -> None:
    assert_type(future.result(), RunResult[Answer])


def plainly() -> None:
    assert_type(Orchestra.run_sync("a task", topology), RunResult)
    assert_type(Orchestra.run_sync("a task", "A", output_type=Answer).final_response, Answer)
    with Orchestra() as orchestra:
        assert_type(orchestra.run_sync("a task", "A", output_type=list[int]), RunResult[list[int]])
        for event in orchestra.stream_sync("a task", "A"):
            assert_type(event, Event)
    with EngineThread(max_threads=4) as engine:
        future = engine.submit("a task", topology, Answer, context={"a": 1})
        assert_type(future, RunFuture[Answer])
        assert_type(future.result(timeout=3), RunResult[Answer])
        future.add_done_callback(hear)
        future.add_done_callback(hear_any)
        assert_type(engine.submit("a task", "A"), RunFuture[Any])
        assert_type(engine.run("a task", "A"), RunResult)
        assert_type(engine.run("a task", "A", Answer).unwrap().score, int)
        for event in engine.stream("a task", "A"):
            assert_type(event, Event)
