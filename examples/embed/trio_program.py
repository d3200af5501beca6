"""A Trio program with a nursery of its own: runs side by side in one engine, one of them with a deadline.

pip install marsys-core && python trio_program.py
"""

import trio

from marsys import Agent, Capabilities, ModelResponse, Orchestra

TEAM = "Researcher -> Writer"
DEADLINE = 1  # second


class Typist:
    """Stands in for a hosted model: it types the last message in capitals, ten words a second."""

    name = "typist"
    capabilities = Capabilities()

    async def generate(self, request):
        text = request.messages[-1].text
        await trio.sleep(len(text.split()) / 10)
        return ModelResponse(content=text.upper())


AGENTS = [
    Agent("Researcher", model=Typist(), instruction="Find out."),
    Agent("Writer", model=Typist(), instruction="Write it down."),
]


async def ask(orchestra, question):
    result = await orchestra.run(question, TEAM)
    print(result.unwrap())


async def ask_in_time(orchestra, question):
    with trio.move_on_after(DEADLINE) as deadline:
        await ask(orchestra, question)
    # The deadline cancelled the run, and nothing of it is left here.
    if deadline.cancelled_caught:
        print(f"no answer within {DEADLINE} s")


async def main():
    # The nursery is the inner one: its tasks have ended before the engine closes.
    async with Orchestra(agents=AGENTS) as orchestra, trio.open_nursery() as nursery:
        nursery.start_soon(ask, orchestra, "why")
        nursery.start_soon(ask, orchestra, "why is that")
        nursery.start_soon(ask_in_time, orchestra, "why is all of this so much longer than that")


if __name__ == "__main__":
    trio.run(main)
