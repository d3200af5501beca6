import logging

import pytest
import trio

from marsys.search import plugin, reading
from marsys.search.index import FolderIndex
from marsys.search.passages import NO_PASSAGES, read_message
from marsys.search.plugin import SearchSettings
from marsys.search.toolbox import SearchToolbox
from marsys_core.errors import LifecycleError, SettingsError, ToolError
from marsys_core.plugins.providers import EngineInfo, OpenContext


@pytest.fixture
def folder(tmp_path):
    for name, text in {"a.txt": "The canal is long.", "b.txt": "The canal is deep."}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def context():
    return OpenContext(EngineInfo(name="test", version="0"), logging.getLogger("marsys.search"))


@pytest.fixture
def index(folder):
    with FolderIndex.open(folder) as index:
        yield index


def test_a_model_is_told_what_search_takes(index):
    (search,) = SearchToolbox(index).tools()
    assert search.name == "search"
    assert search.spec.parameters["required"] == ["query"]
    assert search.spec.parameters["properties"]["query"]["type"] == "string"
    assert search.spec.parameters["properties"]["limit"]["type"] == "integer"


def test_search_returns_passages_with_their_sources(index):
    (search,) = SearchToolbox(index).tools()
    found = read_message(search(**search.bind('{"query": "canal"}'))).passages
    assert sorted(each.place for each in found) == ["a.txt, line 1", "b.txt, line 1"]
    assert len(read_message(search(query="canal", limit=1)).passages) == 1


def test_search_says_when_it_finds_nothing(index):
    (search,) = SearchToolbox(index).tools()
    assert search(query="pancake") == NO_PASSAGES


@pytest.mark.parametrize("limit", [0, 51])
def test_a_limit_out_of_bounds_is_told_to_the_model(index, limit):
    (search,) = SearchToolbox(index).tools()
    with pytest.raises(ToolError, match=rf"^'limit' should be from 1 to 50, not {limit}$"):
        search(query="canal", limit=limit)


def test_each_part_has_a_tool_of_its_own(index):
    whole, one, two = SearchToolbox(index, parts=2).tools()
    assert [tool.name for tool in (whole, one, two)] == ["search", "search_1", "search_2"]
    sources = [[each.source for each in read_message(tool(query="canal")).passages] for tool in (one, two)]
    assert sorted(sources) == [["a.txt"], ["b.txt"]]


def test_a_toolbox_returns_the_same_tools_every_time(index):
    box = SearchToolbox(index, parts=2)
    assert list(box.tools()) == list(box.tools())


def test_the_plugin_opens_and_closes_the_index(folder, context, caplog):
    (folder / "bad.txt").write_bytes(b"\0")
    (provider,) = plugin.marsys_tools()

    async def main():
        async with provider.open(context, SearchSettings(folder=str(folder), parts=2)) as box:
            tools = box.tools()
            assert [tool.name for tool in tools] == ["search", "search_1", "search_2"]
        with pytest.raises(LifecycleError):
            tools[0](query="canal")

    trio.run(main)
    assert provider.name == "search"
    assert caplog.messages == ["bad.txt: left out of the search: it is binary"]


def test_a_folder_that_is_not_there_stops_the_opening(tmp_path, context):
    (provider,) = plugin.marsys_tools()

    async def main():
        with pytest.raises(SettingsError, match="^no folder to search at"):
            async with provider.open(context, SearchSettings(folder=str(tmp_path / "nowhere"))):
                pass

    trio.run(main)


def test_opening_ends_soon_when_it_is_cancelled(folder, context, monkeypatch):
    (provider,) = plugin.marsys_tools()
    read = []

    async def main():
        with trio.CancelScope() as scope:

            def cancel_at_the_first(name, path, problems):
                read.append(name)
                trio.from_thread.run_sync(scope.cancel)

            monkeypatch.setattr(reading, "_read", cancel_at_the_first)
            async with provider.open(context, SearchSettings(folder=str(folder))):
                read.append("opened")
        return scope.cancelled_caught

    assert trio.run(main)
    assert read == ["a.txt"]
