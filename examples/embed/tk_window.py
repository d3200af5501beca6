"""A Tk window that stays responsive while a run works: the engine has a thread, and the window polls its news.

pip install marsys-core && python tk_window.py
"""

import queue
import tkinter as tk

import trio

from marsys import Agent, Capabilities, EngineThread, ModelResponse

TEAM = "Researcher -> Writer"
POLL = 50  # milliseconds


class Typist:
    """Stands in for a hosted model: it types the last message in capitals, ten words a second."""

    name = "typist"
    capabilities = Capabilities()

    async def generate(self, request):
        text = request.messages[-1].text
        await trio.sleep(len(text.split()) / 10)
        return ModelResponse(content=text.upper())


AGENTS = [Agent(name, model=Typist(), instruction="Help.") for name in ("Researcher", "Writer")]


class Window:
    def __init__(self, root, engine, news):
        self.root, self.engine, self.news, self.run = root, engine, news, None
        self.question = tk.Entry(root, width=60)
        self.ask = tk.Button(root, text="Ask", command=self.start)
        self.cancel = tk.Button(root, text="Cancel", command=self.stop, state="disabled")
        self.shown = tk.Listbox(root, width=60)
        for widget in (self.question, self.ask, self.cancel, self.shown):
            widget.pack()
        self.poll()

    def start(self):
        self.switch(running=True)
        self.run = self.engine.submit(self.question.get(), TEAM)
        self.run.add_done_callback(self.news.put)  # called in the engine's thread

    def stop(self):
        self.run.cancel()

    def poll(self):
        while not self.news.empty():
            item = self.news.get()
            if item is self.run:
                self.switch(running=False)
                self.shown.insert("end", "cancelled" if item.cancelled() else item.result().final_response)
            else:
                self.shown.insert("end", type(item).__name__)
        self.root.after(POLL, self.poll)

    def switch(self, *, running):
        self.ask["state"] = "disabled" if running else "normal"
        self.cancel["state"] = "normal" if running else "disabled"


class News(queue.SimpleQueue):
    on_event = queue.SimpleQueue.put  # a sink: the engine's thread puts, the window's takes


def main():
    root, news = tk.Tk(), News()
    # The window closed, the block ends, and with it every run.
    with EngineThread(agents=AGENTS, sinks=[news]) as engine:
        Window(root, engine, news)
        root.mainloop()


if __name__ == "__main__":
    main()
