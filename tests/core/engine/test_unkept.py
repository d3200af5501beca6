"""Runs whose store cannot keep them any more."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from marsys_core import events as e
from marsys_core.agents import Agent, FunctionAgent
from marsys_core.config import ExecutionConfig
from marsys_core.errors import StoreError
from marsys_core.tools import tool
from tests.core.fakes import FakeModel, Heard, bare, call, virtually
from tests.core.stores import MemoryLog, MemoryStore


class FullLog(MemoryLog):
    """A log that can be written while there is room."""

    async def commit(self) -> None:
        assert isinstance(self.store, FullStore)
        await self.store.write()
        await super().commit()

    async def release(self) -> None:
        assert isinstance(self.store, FullStore)
        await self.store.write()
        await super().release()


@attrs.define(eq=False)
class FullStore(MemoryStore):
    """A store that is full, or that takes its time, where a test says so."""

    full: bool = False
    slow: trio.Event | None = None

    async def write(self) -> None:
        if self.slow is not None:
            self.slow.set()
            await trio.sleep_forever()
        if self.full:
            await trio.lowlevel.checkpoint()
            msg = "it is full"
            raise StoreError(msg)

    def _held(self, run_id: str, holder: str) -> MemoryLog:
        self.holders[run_id] = holder
        return FullLog(self, self.kept[run_id])


def stepping(name: str, *, act: Any = None) -> FunctionAgent:
    async def step(prompt: Any, context: Any) -> Any:
        if act is not None:
            await act(context)
        return f"{prompt}{name}" if isinstance(prompt, str) else [entry.value for entry in prompt]

    return FunctionAgent(step, name=name)


@pytest.mark.parametrize("raises", [True, False])
def test_a_run_that_cannot_be_kept_ends_with_the_stores_error_and_all_of_it_is_over(raises: bool) -> None:
    store, heard, ended = FullStore(), Heard(), []

    async def fill(context: Any) -> None:
        store.full = True

    async def wait(context: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    agents = [stepping("A"), stepping("B", act=fill), stepping("C", act=wait), stepping("D")]

    async def main() -> Any:
        async with bare(storage=store, sinks=[heard]) as orchestra:
            config = ExecutionConfig(raise_errors=raises)
            run = orchestra.start("", "A -> [B, C] -> D", agents=agents, execution_config=config)
            with pytest.raises(StoreError, match="^it is full"):
                await run.result()
            assert ended
            store.full = False
            result = await orchestra.resume(run.id, agents=[*agents[:1], stepping("B"), stepping("C"), agents[3]], accept_changes=True)  # fmt: skip
            return run.status, result.final_response, await orchestra.runs(status="succeeded")

    status, answer, succeeded = virtually(main)

    assert status == "failed"
    assert answer == ["AB", "AC"]
    assert len(succeeded) == 1
    (stopped,) = heard.of(e.RunStopped)
    assert (stopped.reason, str(stopped.error.message)) == ("storage", "it is full")
    begun = [event.node for event in heard.of(e.StepStarted)]
    assert sorted(begun) == ["A", "B", "C", "D"]  # B had ended, and that was recorded when there was room


def paying(paid: list[int]) -> Any:
    @tool
    async def pay(amount: int) -> str:
        """Pay."""
        paid.append(amount)
        return f"paid {amount}"

    return pay


def test_a_call_that_cannot_be_recorded_is_not_made_and_shielded_code_has_the_error() -> None:
    store, paid, told = FullStore(), [], []

    async def act(context: Any) -> None:
        store.full = True
        with trio.CancelScope(shield=True):
            for amount in (1, 2):
                with pytest.raises(StoreError, match="^it is full"):
                    await context.call_tool("pay", amount=amount)
                told.append(amount)
                store.full = False  # room that comes in between does not help: the first call is missing

    shy = stepping("A", act=act)
    shy.tools = (paying(paid),)

    async def main() -> Any:
        async with bare(storage=store) as orchestra:
            with pytest.raises(StoreError):
                await orchestra.execute("", "A", agents=[shy])
            return await orchestra.runs()

    (info,) = virtually(main)

    assert (told, paid) == ([1, 2], [])
    assert (info.status, info.error) == ("failed", "StoreError: it is full")


@pytest.mark.parametrize("when", ["full", "cancelled"])
def test_a_call_that_was_interrupted_before_it_was_made_is_made_when_the_run_goes_on(when: str) -> None:
    store, paid = FullStore(), []

    def reply(request: Any) -> Any:
        last = request.messages[-1]
        if last.role == "tool":
            return "done"
        if not paid and store.slow is None and not store.kept[RUN].entries:
            store.full = when == "full"
            store.slow = trio.Event() if when == "cancelled" else None
        return call("pay", amount=3)

    agents = [Agent("Payer", model=FakeModel(reply), tools=[paying(paid)])]

    async def main() -> Any:
        async with bare(storage=store, new_id=lambda: RUN) as orchestra:
            run = orchestra.start("", "Payer", agents=agents)
            if when == "full":
                with pytest.raises(StoreError):
                    await run.result()
                store.full = False
            else:
                while store.slow is None:
                    await trio.lowlevel.checkpoint()
                await store.slow.wait()
                store.slow = None
                run.cancel()
                assert not (await run.result()).success
            assert paid == []
            return await orchestra.resume(RUN, agents=agents), await orchestra.history(RUN)

    result, history = virtually(main)

    assert result.final_response == "done"
    assert paid == [3]
    assert [type(each) for each in history if isinstance(each, e.ToolUncertain)] == []
    (failed,) = [each for each in history if isinstance(each, e.ToolFailed)]
    assert failed.error == "interrupted before it was made"


RUN = "r"


def test_a_run_that_cannot_be_given_back_is_held_until_it_is_gone_on_with() -> None:
    store = FullStore()

    async def fill(context: Any) -> None:
        store.full = True

    agents = [stepping("A", act=fill), stepping("B")]

    async def main() -> Any:
        async with bare(storage=store, new_id=lambda: RUN) as orchestra:
            config = ExecutionConfig(durability="run")
            with pytest.raises(StoreError):
                await orchestra.execute("", "A -> B", agents=agents, execution_config=config)
            (held,) = await orchestra.runs()
            with pytest.raises(StoreError):
                await orchestra.resume(RUN, agents=agents, execution_config=config)
            store.full = False
            result = await orchestra.resume(RUN, agents=agents, execution_config=config)
            return held, result.final_response, await orchestra.runs()

    held, answer, (info,) = virtually(main)

    assert (held.status, held.holder != "") == ("running", True)
    assert answer == "AB"
    assert (info.status, info.holder) == ("succeeded", "")
