"""A FastAPI service: one engine for the process, a run for each request, and no run whose client has gone.

pip install marsys-core fastapi uvicorn && python fastapi_app.py
curl "localhost:8000/answer?question=Why+is+the+sea+salt"
curl -N "localhost:8000/events?question=Why+is+the+sea+salt"
"""

import asyncio
import json
from contextlib import aclosing, asynccontextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse

from marsys import Agent, Capabilities, ModelResponse, Orchestra

TEAM = "Researcher -> Writer"


class Typist:
    """Stands in for a hosted model: it types the last message in capitals, ten words a second."""

    name = "typist"
    async_library = "asyncio"  # what generate awaits
    capabilities = Capabilities()

    async def generate(self, request):
        text = request.messages[-1].text
        await asyncio.sleep(len(text.split()) / 10)
        return ModelResponse(content=text.upper())


AGENTS = [Agent(name, model=Typist(), instruction="Help.") for name in ("Researcher", "Writer")]


@asynccontextmanager
async def lifespan(app):
    async with Orchestra(agents=AGENTS) as app.state.orchestra:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/answer")
async def answer(question: str, request: Request):
    run = asyncio.create_task(app.state.orchestra.run(question, TEAM))
    watch = asyncio.create_task(cancel_when_gone(run, request))
    try:
        result = await run  # when the server cancels this handler, it cancels the run and waits for its end
    except asyncio.CancelledError:
        if asyncio.current_task().cancelling():
            raise
        raise HTTPException(499, "the client has gone") from None
    finally:
        watch.cancel()
    return {"answer": result.unwrap()}


async def cancel_when_gone(run, request):
    while (await request.receive())["type"] != "http.disconnect":
        pass  # what is left of the body
    run.cancel()


@app.get("/events")
async def events(question: str):
    return StreamingResponse(server_sent(question), media_type="text/event-stream")


async def server_sent(question):
    # It is cancelled when the client goes away, and with it the stream, which cancels the run.
    async with aclosing(app.state.orchestra.stream(question, TEAM)) as stream:
        async for event in stream:
            data = json.dumps({"seconds": round(event.time, 3)})
            yield f"event: {type(event).__name__}\ndata: {data}\n\n"


if __name__ == "__main__":
    # Without a limit a server that is told to stop waits for its runs, however long they take.
    uvicorn.run(app, timeout_graceful_shutdown=5)
