"""The notebook in a real kernel."""

import json

import pytest

from tests.examples.programs import EXAMPLES, run

NOTEBOOK = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))
SEA = "THE SEA IS SALT BECAUSE RIVERS CARRY MINERALS FROM THE ROCKS INTO IT. [1]"
TIDE = "THE TIDE FOLLOWS THE MOON, AND COMES AN HOUR LATER EACH DAY. [1]"

# Each in a process of its own: a kernel's client brings threads, sockets and an event loop along.
EXECUTE = """
import json, sys
import nbclient, nbformat

notebook = nbformat.read("notebook.ipynb", as_version=4)
nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
said = []
for cell in notebook.cells:
    if cell.cell_type == "code":
        said.append([output.get("text") or output.data["text/plain"] for output in cell.outputs])
json.dump(said, open(sys.argv[1], "w"))
"""

INTERRUPT = """
import json, sys
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(kernel_name="python3")

def said_by(cell):
    asked, said = client.execute(cell), []
    while True:
        message = client.get_iopub_msg(timeout=60)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != asked:
            continue
        if kind == "status" and content["execution_state"] == "idle":
            return said
        if kind in ("stream", "error"):
            said += content.get("text", content.get("ename", "")).split()
        if kind == "stream" and "begun" in content["text"]:
            manager.interrupt_kernel()
            client.kernel_info()  # the kernel's loop looks at an interrupt when something wakes it

try:
    json.dump([said_by(cell) for cell in json.loads(sys.argv[1])], open(sys.argv[2], "w"))
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
"""

DEFINE = '''
import trio
from marsys import Orchestra, agent

@agent
async def Patient(prompt):
    """Wait for ever."""
    print("begun", flush=True)
    try:
        await trio.sleep_forever()
    finally:
        print("ended", flush=True)

@agent
async def Quick(prompt):
    """Answer."""
    return prompt
'''


@pytest.fixture
def folders(tmp_path):
    """Where Jupyter may write."""
    return {
        name: str(tmp_path / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")
    }


@pytest.mark.slow
def test_every_cell_runs_and_answers(tmp_path, folders):
    run("-c", EXECUTE, str(tmp_path / "said.json"), **folders)
    definitions, one_run, events, plain = json.loads((tmp_path / "said.json").read_text("utf-8"))
    shown = "".join(events).splitlines()

    assert definitions == []
    assert one_run == [repr(SEA)]
    assert shown[0].split() == ["RunStarted"]
    assert "StepFinished Herald" in shown
    assert shown[-1].split() == ["RunFinished"]
    assert [eval(text) for text in plain] == [[SEA, TIDE]]


@pytest.mark.slow
def test_interrupting_a_cell_ends_its_run_and_the_next_cell_has_a_run_again(tmp_path, folders):
    cells = [
        DEFINE,
        "await Orchestra.run('sleep', 'Patient')",
        "print((await Orchestra.run('again', 'Quick')).unwrap())",
        "Orchestra.run_sync('sleep', 'Patient')",
        "print(Orchestra.run_sync('finally', 'Quick').unwrap())",
    ]
    run("-c", INTERRUPT, json.dumps(cells), str(tmp_path / "said"), **folders)

    assert json.loads((tmp_path / "said").read_text("utf-8")) == [
        [],
        ["begun", "ended", "CancelledError"],
        ["again"],
        ["begun", "ended", "KeyboardInterrupt"],
        ["finally"],
    ]


def test_it_is_kept_without_outputs():
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert [cell["execution_count"] for cell in code] == [None] * len(code)
