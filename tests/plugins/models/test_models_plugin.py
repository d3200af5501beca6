import subprocess
import sys

import pytest
import trio

from marsys.models import ExtractiveModel, ScriptedModel, plugin
from marsys.models.plugin import ExtractiveSettings, ScriptedSettings


def opened(name, settings):
    (provider,) = [each for each in plugin.marsys_models() if each.name == name]
    assert provider.settings is type(settings)

    async def main():
        async with provider.open(None, settings) as model:
            return model

    return trio.run(main)


def test_the_extractive_model_takes_its_setting():
    assert opened("extractive", ExtractiveSettings(sentences=2)) == ExtractiveModel(sentences=2)


def test_the_scripted_model_takes_its_settings():
    model = opened("scripted", ScriptedSettings(replies=("one", "two"), delay=1.5))
    assert isinstance(model, ScriptedModel)
    assert (model.remaining, model.delay) == (2, 1.5)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["marsys.models.plugin", "marsys.search.plugin"])
def test_a_plugin_module_is_light(module):
    heavy = "{'sqlite3', 'sqlite_utils', 'json', 'html.parser', 'click'}"
    code = f"import sys, trio, pluggy; before = set(sys.modules); import {module}; print({heavy} & (set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
