"""The queue: questions that the application takes and answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio
import trio.testing

import marsys.people.plugin as plugin
from marsys.people import QueueChannel
from marsys_core.actions import AskUser
from marsys_core.agents import agent
from marsys_core.errors import AnswerRefused, ConfigError, LifecycleError, UnknownName
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings
from marsys_core.questions import Question
from tests.core.fakes import bare, virtually


@agent(name="A")
async def asks(prompt: Any, context: Any) -> Any:
    return AskUser(f"{prompt}?") if context.step == 1 else prompt


def question(id: str, **given: Any) -> Question:
    return Question(request_id=id, **given)


def test_an_application_takes_questions_and_answers_them_in_any_order() -> None:
    async def main() -> list[Any]:
        channel = QueueChannel()
        async with bare(channel=channel) as orchestra:
            runs = [orchestra.start(word, "A -> user", agents=[asks]) for word in ("one", "two", "three")]
            taken = []
            async for each in channel:
                taken.append(each)
                if len(taken) == len(runs):
                    break
            for each in reversed(taken):
                channel.answer(each.request_id, each.prompt.upper(), run_id=each.run_id)
            return [(await run.result()).unwrap() for run in runs]

    assert virtually(main) == ["ONE?", "TWO?", "THREE?"]


def test_a_run_that_names_the_queue_is_answered_through_the_run() -> None:
    async def main() -> Any:
        plugins = PluginSettings(plugins={"people": plugin}, discover=False)
        async with Orchestra(plugins=plugins) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asks], channel="queue")
            await trio.testing.wait_all_tasks_blocked()
            run.answer(run.questions[0].request_id, "by hand")
            return await run.result()

    assert virtually(main).unwrap() == "by hand"


def test_what_is_not_open_or_not_clear_or_not_allowed_is_refused() -> None:
    async def main() -> None:
        channel = QueueChannel()
        with pytest.raises(UnknownName, match=r"^no open question is called '0:1'; there are: none\.$"):
            channel.answer("0:1", "x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.ask, question("0:1", run_id="r", options=("a", "b")))
            nursery.start_soon(channel.ask, question("0:1", run_id="s"))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(
                ConfigError,
                match=r"^question '0:1' is open in the runs '[rs]', '[rs]'; give the Question, or say which with run_id=$",
            ):
                channel.answer("0:1", "x")
            with pytest.raises(
                AnswerRefused, match=r"^the answer is one of 'a', 'b', not 'x' \(question '0:1'\)$"
            ):
                channel.answer("0:1", "x", run_id="r")
            channel.answer(question("0:1", run_id="r"), "a")
            with pytest.raises(UnknownName):
                channel.answer("0:1", "b", run_id="r")
            channel.answer("0:1", "x")

    trio.run(main)


def test_a_question_nobody_wants_answered_any_more_is_not_given_out() -> None:
    async def main() -> None:
        channel = QueueChannel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.ask, question("0:1"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert channel.questions == ()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.ask, question("0:2"))
            async for each in channel:
                assert each.request_id == "0:2"
                break
            channel.answer("0:2", "x")

    trio.run(main)


def test_a_reader_that_waits_is_woken_and_a_cancelled_one_takes_nothing() -> None:
    async def main() -> None:
        channel = QueueChannel()
        with trio.move_on_after(1):
            await anext(aiter(channel))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.ask, question("0:1"))
            assert (await anext(aiter(channel))).request_id == "0:1"
            channel.answer("0:1", "x")

    virtually(main)


def test_a_queue_that_nobody_holds_is_refused_where_nobody_could_answer() -> None:
    @agent
    async def A(prompt: str) -> str:
        return prompt

    async def main() -> None:
        async with Orchestra(agents=[A]) as orchestra:
            with pytest.raises(ConfigError, match=r"^channel='queue' is answered by the application"):
                await orchestra.execute("go", "A", channel="queue")
            run = orchestra.start("go", "A", channel="queue")
            assert (await run.result()).success
        with pytest.raises(ConfigError, match=r"^channel='queue' is answered by the application"):
            await Orchestra.run("go", "A", agents=[A], channel="queue")

    trio.run(main)


def test_a_reader_that_is_cancelled_has_taken_no_question() -> None:
    async def main() -> Any:
        channel = QueueChannel()
        async with bare(channel=channel) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asks])
            await trio.testing.wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(channel)
            assert scope.cancelled_caught
            channel.answer((await anext(channel)).request_id, "still there")
            return (await run.result()).unwrap()

    assert virtually(main) == "still there"


def test_an_answer_from_another_thread_is_refused_and_the_question_stays_open() -> None:
    async def main() -> Any:
        channel = QueueChannel()
        async with bare(channel=channel) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asks])
            open_ = await anext(channel)
            with pytest.raises(
                LifecycleError, match=r"^QueueChannel\.answer is called in the thread of the run; "
            ):
                await trio.to_thread.run_sync(channel.answer, open_.request_id, "from afar")
            assert channel.questions == (open_,)
            await trio.to_thread.run_sync(
                trio.from_thread.run_sync, channel.answer, open_.request_id, "from near"
            )
            return (await run.result()).unwrap()

    assert trio.run(main) == "from near"


def test_an_asyncio_program_reads_the_queue() -> None:
    async def main() -> Any:
        channel = QueueChannel()
        async with bare(channel=channel) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asks])
            async for open_ in channel:
                channel.answer(open_, "from asyncio")
                break
            return (await run.result()).unwrap()

    assert asyncio.run(main()) == "from asyncio"


@pytest.mark.parametrize("turns", range(8))
def test_an_asyncio_reader_that_is_cancelled_at_any_moment_has_taken_none(turns) -> None:
    async def read(channel: QueueChannel) -> Question:
        return await anext(channel)

    async def main() -> Any:
        channel = QueueChannel()
        async with bare(channel=channel) as orchestra:
            reader = asyncio.create_task(read(channel))
            run = orchestra.start("x", "A -> user", agents=[asks])
            for _ in range(turns):
                await asyncio.sleep(0)
            reader.cancel()
            [taken] = await asyncio.gather(reader, return_exceptions=True)
            if isinstance(taken, asyncio.CancelledError):
                taken = await anext(channel)
            assert isinstance(taken, Question)
            channel.answer(taken, "still there")
            return (await run.result()).unwrap()

    assert asyncio.run(main()) == "still there"


def test_a_question_that_was_put_back_goes_to_the_reader_that_waits() -> None:
    async def main() -> Any:
        channel = QueueChannel()
        async with bare(channel=channel) as orchestra:
            run = orchestra.start("x", "A -> user", agents=[asks])
            taken = await anext(channel)
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def read() -> None:
                    assert await anext(channel) == taken
                    channel.answer(taken, "seen again")

                await trio.testing.wait_all_tasks_blocked()
                await channel._put_back(taken)
            return (await run.result()).unwrap()

    assert virtually(main) == "seen again"
