"""A Flask application: one engine thread for the process, a run for each request, and an end to its patience.

pip install marsys-core flask && flask --app flask_app run
curl "localhost:5000/answer?question=Why+is+the+sea+salt"
"""

import atexit
import concurrent.futures

import trio
from flask import Flask, abort, request

from marsys import Agent, Capabilities, EngineThread, ModelResponse

TEAM = "Researcher -> Writer"
PATIENCE = 30  # seconds


class Typist:
    """Stands in for a hosted model: it types the last message in capitals, ten words a second."""

    name = "typist"
    capabilities = Capabilities()

    async def generate(self, request):
        text = request.messages[-1].text
        await trio.sleep(len(text.split()) / 10)
        return ModelResponse(content=text.upper())


AGENTS = [Agent(name, model=Typist(), instruction="Help.") for name in ("Researcher", "Writer")]

app = Flask(__name__)
# A server that forks imports this in each worker. Where it preloads, start the engine in its hook after the fork.
engine = EngineThread(agents=AGENTS).start()
atexit.register(engine.close)


@app.get("/answer")
def answer():
    run = engine.submit(request.args["question"], TEAM)
    try:
        result = run.result(timeout=PATIENCE)
    except TimeoutError:  # WSGI does not tell when a client goes away, so this is what ends its run
        run.cancel()
        concurrent.futures.wait([run])  # nothing of it is left
        abort(504, f"no answer within {PATIENCE} s")
    return {"answer": result.unwrap()}


if __name__ == "__main__":
    app.run()
