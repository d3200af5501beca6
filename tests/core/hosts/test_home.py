import asyncio
import re
import threading

import pytest
import trio

from marsys_core.errors import LifecycleError
from marsys_core.hosts.crossing import hosted
from marsys_core.hosts.home import Home


@hosted
async def here():
    return Home.here()


def test_at_home_nothing_is_said():
    async def main():
        Home.here().check("it")

    trio.run(main)
    asyncio.run(hosted(main)())


def test_asyncio_code_beside_its_guest_is_at_home():
    async def main():
        home = await here()
        home.check("it")
        return home

    assert asyncio.run(main()).loop is not None


@pytest.mark.trio_alone("it compares what is said of a Trio run and of a loop")
def test_elsewhere_both_places_are_named():
    home = trio.run(here)

    async def main():
        home.check("the thing")

    text = (
        "the thing belongs to the Trio run of thread 'MainThread', which opened it, and was used from the Trio run "
        "of thread 'MainThread'; open one there, or use an EngineThread, which takes work from any thread"
    )
    with pytest.raises(LifecycleError, match=f"^{re.escape(text)}$"):
        trio.run(main)


def test_another_loop_and_a_thread_without_one_are_named_too():
    home, caught = asyncio.run(here()), []

    def elsewhere():
        try:
            home.check("the thing")
        except LifecycleError as error:
            caught.append(str(error))

    async def main():
        elsewhere()

    asyncio.run(hosted(main)())
    thread = threading.Thread(target=elsewhere, name="worker")
    thread.start()
    thread.join()

    assert re.match(
        r"the thing belongs to the asyncio loop <.*> of thread 'MainThread', .* from the asyncio loop <",
        caught[0],
    )
    assert "was used from thread 'worker', where no loop of it runs" in caught[1]
