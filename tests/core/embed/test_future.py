"""The future of a run: cancelling, waiting, callbacks, questions."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import re
import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest
import trio

from marsys_core.actions import AskUser
from marsys_core.agents import agent
from marsys_core.errors import AnswerRefused, LifecycleError, UnknownName
from tests.core.embed.plain import LONG, Waits, echo, engine
from tests.core.stores import MemoryStore


def test_cancelling_ends_a_running_run_and_the_future_when_all_under_it_has_ended() -> None:
    waits, may_end, states = Waits(), threading.Event(), []
    waits.clean_up = lambda: (states.append(future.cancelled()), may_end.wait(LONG))

    with engine(agents=[waits.agent]) as open_:
        future = open_.submit("x", "Waits")
        waits.wait()
        assert future.running()
        assert future.cancel()
        assert not future.done()
        with pytest.raises(TimeoutError):
            future.result(timeout=0)
        may_end.set()
        with pytest.raises(CancelledError):
            future.result(timeout=LONG)
        assert waits.ended == 1

    assert states == [False]
    assert (future.cancelled(), future.done(), future.running(), future.cancel()) == (True, True, False, True)


def test_what_has_ended_is_not_cancelled() -> None:
    with engine(agents=[echo()]) as open_:
        future = open_.submit("x", "Echo")
        assert future.result(timeout=LONG).run_id == future.run_id
        assert not future.cancel()
        assert not future.cancelled()


def test_a_run_that_was_cancelled_before_it_began_never_begins() -> None:
    waits, hold, began = Waits(), threading.Event(), threading.Event()

    @agent
    async def Blocks(prompt: Any) -> None:
        began.set()
        hold.wait(LONG)  # the engine's thread stands still

    with engine(agents=[waits.agent, Blocks]) as open_:
        open_.submit("x", "Blocks")
        assert began.wait(LONG)
        future = open_.submit("x", "Waits")
        assert future.cancel()
        hold.set()
        with pytest.raises(CancelledError):
            future.result(timeout=LONG)
    assert not waits.started.acquire(blocking=False)


def test_waiting_for_several_works_as_with_any_future() -> None:
    waits = Waits()
    with engine(agents=[waits.agent, echo()]) as open_:
        slow, quick = open_.submit("x", "Waits"), open_.submit("y", "Echo")
        done, left = concurrent.futures.wait(
            [slow, quick], return_when=concurrent.futures.FIRST_COMPLETED, timeout=LONG
        )
        assert (done, left) == ({quick}, {slow})
        waits.wait()
        slow.cancel()
        assert set(concurrent.futures.as_completed([slow, quick], timeout=LONG)) == {slow, quick}


def test_callbacks_are_called_in_the_engines_thread_and_one_that_raises_is_logged(caplog: Any) -> None:
    heard, called, go = list[Any](), threading.Semaphore(0), threading.Event()

    @agent
    def Gate(prompt: Any) -> Any:
        go.wait(LONG)
        return prompt

    def broken(_: Any) -> None:
        raise ValueError

    def last(done: Any) -> None:
        with pytest.raises(
            LifecycleError, match=r"^RunFuture\.result waits, and this is the thread of the engine"
        ):
            open_.submit("z", "Gate").result()
        heard.append((done.result().final_response, threading.current_thread().name))
        called.release()

    def leaving(_: Any) -> None:
        called.release()
        raise SystemExit

    with engine(agents=[Gate]) as open_, caplog.at_level(logging.ERROR):
        futures = [open_.submit("x", "Gate") for _ in range(3)]
        for future, callbacks in zip(futures, ([broken, last], [leaving], [leaving]), strict=True):
            for callback in callbacks:
                future.add_done_callback(callback)
        futures[2].cancel()
        go.set()
        for _ in range(3):
            assert called.acquire(timeout=LONG)
        assert concurrent.futures.wait(futures, timeout=LONG).done == set(futures)
        assert open_.run("y", "Gate").success

    assert heard == [("x", "marsys EngineThread")]
    assert sorted(record.name for record in caplog.records) == [
        "concurrent.futures",
        "marsys.embed",
        "marsys.embed",
    ]


def test_asyncio_waits_for_a_future_and_cancels_it() -> None:
    waits = Waits()

    async def main(open_: Any) -> Any:
        result = await asyncio.wrap_future(open_.submit("x", "Echo"))
        waiting = open_.submit("y", "Waits")
        task = asyncio.ensure_future(asyncio.wrap_future(waiting))
        await asyncio.to_thread(waits.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(
            LifecycleError,
            match=(
                r"^RunFuture\.result waits, and would stop asyncio, which runs in this thread; "
                r"write 'await asyncio\.wrap_future\(future\)'$"
            ),
        ):
            open_.submit("z", "Waits").result()
        return result, waiting

    with engine(agents=[waits.agent, echo()]) as open_:
        result, waiting = asyncio.run(main(open_))
        with pytest.raises(CancelledError):
            waiting.result(timeout=LONG)
    assert result.final_response == "x"


# -- questions -------------------------------------------------------------------------------------


class Counter:
    """A channel that leaves its questions to others; `asked` counts them."""

    name = "counter"

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)

    async def ask(self, question: Any) -> Any:
        self.asked.release()
        await trio.sleep_forever()


@agent
def Asks(prompt: Any) -> Any:
    return AskUser("Which?", options=("tea", "coffee")) if prompt == "x" else prompt


def test_a_view_in_another_thread_sees_the_questions_and_answers_them() -> None:
    counter = Counter()
    with engine(agents=[Asks], channel=counter) as open_:
        future = open_.submit("x", "Asks -> user")
        assert counter.asked.acquire(timeout=LONG)
        (question,) = future.questions
        assert question.prompt == "Which?"
        with pytest.raises(AnswerRefused):
            future.answer(question, "water")
        with pytest.raises(UnknownName, match=r"^no open question is called 'q9'; there are: "):
            future.answer("q9", "tea")
        assert future.questions == (question,)
        future.answer(question.request_id, "tea", run_id=future.run_id)
        assert future.result(timeout=LONG).final_response == "tea"
        assert future.questions == ()
        with pytest.raises(UnknownName):
            future.answer(question, "tea")
    assert future.questions == ()
    with pytest.raises(UnknownName, match=r"^no open question is called "):
        future.answer(question, "tea")


def test_a_run_is_paused_from_another_thread() -> None:
    begun, may_end = threading.Event(), threading.Event()

    @agent
    async def First(prompt: Any) -> str:
        begun.set()
        await trio.to_thread.run_sync(may_end.wait, LONG)
        return f"{prompt} first"

    @agent
    async def Second(prompt: Any) -> str:
        return f"{prompt} second"

    store = MemoryStore()
    with engine(agents=[First, Second], storage=store) as open_:
        future = open_.submit("x", "First -> Second")
        assert begun.wait(LONG)
        future.pause()
        may_end.set()
        result = future.result(timeout=LONG)

        assert result.status == "paused"
        assert [entry.kind for entry in store.kept[future.run_id].entries][-1] == "RunPaused"
        future.pause()  # it has ended here, and nothing is left to pause


def test_a_run_that_is_kept_nowhere_is_not_paused() -> None:
    waits = Waits()
    with engine(agents=[waits.agent]) as open_:
        future = open_.submit("x", "Waits")
        waits.wait()
        with pytest.raises(LifecycleError, match="only a run that is kept can be paused"):
            future.pause()
        future.cancel()


def test_engines_whose_agents_look_at_each_others_runs_are_told_and_do_not_stand_still_for_ever() -> None:
    both, futures, told = threading.Barrier(2), [], []
    ready = threading.Event()

    def looking(other: int) -> Any:
        @agent(name="Looks")
        async def work(prompt: Any) -> str:
            assert ready.wait(LONG)
            both.wait(LONG)  # both engines' threads stand still
            try:
                return str(futures[other].questions)
            except LifecycleError as error:
                told.append(str(error))
                return str(await trio.to_thread.run_sync(lambda: futures[other].questions))

        return work

    for _ in range(5):
        futures.clear()
        told.clear()
        ready.clear()
        with engine(agents=[looking(1)]) as one, engine(agents=[looking(0)]) as other:
            futures += [one.submit("x", "Looks"), other.submit("x", "Looks")]
            ready.set()
            assert [future.result(timeout=LONG).unwrap() for future in futures] == ["()", "()"]
        assert 1 <= len(told) <= 2
        assert all(
            re.search("^the threads of two engines .* would wait for each other", text) for text in told
        )


def test_an_engine_that_waits_for_another_is_not_waited_for_by_that_one() -> None:
    asking, futures, told = threading.Event(), [], []

    @agent
    async def First(prompt: Any) -> str:
        return str(futures[1].questions)

    @agent
    async def Second(prompt: Any) -> str:
        assert asking.wait(LONG)
        gate = futures[0]._gate
        while gate.waits_for is None:  # it is about to stand still
            threading.Event().wait(0.001)
        with pytest.raises(LifecycleError) as caught:
            futures[0].answer("nothing", 1)
        told.append(str(caught.value))
        return "told"

    with engine(agents=[First]) as one, engine(agents=[Second]) as other:
        futures += [None, other.submit("x", "Second")]
        futures[0] = one.submit("x", "First")
        asking.set()
        assert futures[1].result(timeout=LONG).unwrap() == "told"
        assert futures[0].result(timeout=LONG).unwrap() == "()"
    assert "await trio.to_thread.run_sync(lambda: future.questions)" in told[0]
