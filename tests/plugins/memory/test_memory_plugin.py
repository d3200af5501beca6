import pytest
import trio

import marsys.memory.plugin as plugin
from marsys.memory import FullMemory, WindowMemory
from marsys_core.actions import Finish, Invoke
from marsys_core.agents import Agent, FunctionAgent
from marsys_core.errors import SettingsError
from marsys_core.models import Capabilities, ModelResponse
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import EngineInfo, PluginSettings, compose, open_services


def opened(name, **section):
    sections = {"memory": section} if section else {}
    composition = compose(PluginSettings(plugins={"memory": plugin}, sections=sections, discover=False))

    async def main():
        async with open_services(composition, engine=EngineInfo(name="test", version="0")) as services:
            return await services.get("memory", name)

    return trio.run(main)


def test_there_are_a_whole_memory_and_a_window():
    assert [each.name for each in plugin.marsys_memory()] == ["conversation", "window"]


def test_the_conversation_is_recalled_whole():
    assert opened("conversation") == FullMemory()


def test_the_window_has_twenty_turns_unless_told_otherwise():
    assert opened("window") == WindowMemory(20)
    assert opened("window", turns=3) == WindowMemory(3)


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(SettingsError, match=r"'turns' must be >= 1: 0 @ \$\.plugins\.memory"):
        opened("window", turns=0)


def test_an_agent_that_names_the_window_is_shown_the_newest_turns_only():
    seen = []

    class Watching:
        name = "watching"
        capabilities = Capabilities()

        async def generate(self, request):
            seen.append([message.text for message in request.messages if message.role == "user"])
            return ModelResponse(content=f"answer {len(seen)}")

    questions = iter(["one?", "two?", "three?", "four?"])

    def ask(_answer):
        question = next(questions, None)
        return Finish("enough") if question is None else Invoke([("Talker", question)])

    agents = [FunctionAgent(ask, name="Asker"), Agent("Talker", model=Watching(), memory="window")]
    topology = {"nodes": ["Asker", "Talker"], "edges": ["Asker <-> Talker"], "entry_point": "Asker"}
    plugins = PluginSettings(plugins={"memory": plugin}, sections={"memory": {"turns": 2}}, discover=False)

    async def main():
        async with Orchestra(agents=agents, plugins=plugins) as orchestra:
            await orchestra.execute("Begin", topology)

    trio.run(main)
    assert seen == [["one?"], ["one?", "two?"], ["two?", "three?"], ["three?", "four?"]]


def test_an_unknown_name_of_the_package_is_refused():
    import marsys.memory

    with pytest.raises(AttributeError, match=r"^module 'marsys\.memory' has no attribute 'Elephant'$"):
        _ = marsys.memory.Elephant
