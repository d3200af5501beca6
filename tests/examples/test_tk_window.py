"""The window on a display of its own, driven by what happens in it."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest

from tests.examples.programs import LONG, running

pytestmark = pytest.mark.slow

# The window drives itself: each step waits, tick by tick, for what the one before it has to bring about.
DRIVER = """
import json, sys, threading
import tk_window

LONG = sys.argv[1]
facts = {}


class Driven(tk_window.Window):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.ticks, self.steps, self.awaited = 0, self.script(), lambda: True
        self.tick()

    def tick(self):
        self.ticks += 1
        if self.awaited():
            self.awaited = next(self.steps)
        if self.awaited is not None:
            self.root.after(5, self.tick)

    def put(self, question):
        self.shown.delete(0, "end")
        self.question.delete(0, "end")
        self.question.insert(0, question)
        self.ask.invoke()

    def shows(self, item):
        return item in self.shown.get(0, "end")

    def script(self):
        self.put(LONG)
        yield lambda: self.shows("ModelCalled")
        facts["buttons in flight"] = [self.ask["state"], self.cancel["state"]]
        begun = self.ticks
        yield lambda: self.ticks == begun + 50
        facts["in flight after 50 ticks"] = not self.run.done()
        self.cancel.invoke()
        yield lambda: self.shows("cancelled")
        facts["buttons after"] = [self.ask["state"], self.cancel["state"]]
        self.put("why not")
        yield lambda: self.shows("WHY NOT")
        facts["events"] = self.shown.get(0, "end")
        self.put(LONG)
        yield lambda: self.shows("ModelCalled")
        facts["in flight at the end"] = not self.run.done()
        facts["last"] = self.run
        self.root.destroy()
        yield None


tk_window.Window = Driven
tk_window.main()
facts["ended with the window"] = facts.pop("last").done()
facts["threads"] = [thread.name for thread in threading.enumerate()]
print(json.dumps(facts))
"""


@pytest.fixture
def display():
    """A display of its own where the platform has such; what a program needs to find it."""
    if importlib.util.find_spec("_tkinter") is None:
        pytest.skip("this Python was built without tkinter")
    if sys.platform != "linux":
        yield {}
        return
    if (xvfb := shutil.which("Xvfb")) is None:
        pytest.skip("there is no Xvfb here; on Debian, apt-get install xvfb")
    # It chooses a free display, and says which when it is ready.
    with subprocess.Popen(
        [xvfb, "-displayfd", "1", "-nolisten", "tcp"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="ascii",
    ) as server:
        try:
            assert server.stdout is not None
            yield {"DISPLAY": f":{server.stdout.readline().strip()}"}
        finally:
            server.terminate()


def test_the_window_lives_while_a_run_works_and_takes_it_along_when_it_closes(display):
    with running("-W", "error", "-c", DRIVER, LONG, **display) as window:
        assert window.wait() == 0, window.text
        (line,) = window.lines
    facts = json.loads(line)
    events = facts.pop("events")

    assert facts == {
        "buttons in flight": ["disabled", "normal"],
        "in flight after 50 ticks": True,
        "buttons after": ["normal", "disabled"],
        "in flight at the end": True,
        "ended with the window": True,
        "threads": ["MainThread"],
    }
    assert events[0] == "RunStarted"
    assert events[-2:] == ["RunFinished", "WHY NOT"]
