"""The plugin: its provider and its settings."""

from __future__ import annotations

import pytest
import trio

import marsys.storage.plugin as plugin
from marsys.storage import SQLiteStore
from marsys_core.errors import PluginError, SettingsError
from marsys_core.plugins import EngineInfo, PluginSettings, compose, open_services
from marsys_core.protocols.store import RunInfo


def opened(section, directory=None):
    sections = {"storage": section} if section else {}
    composition = compose(PluginSettings(plugins={"storage": plugin}, sections=sections, discover=False))

    async def main():
        engine = EngineInfo(name="test", version="0", directory=directory)
        async with open_services(composition, engine=engine) as services:
            store = await services.get("journal", "sqlite")
            await store.create(RunInfo(run_id="r"))
            return store

    return trio.run(main)


def test_the_store_takes_its_settings(tmp_path):
    path = tmp_path / "mine.db"
    store = opened({"path": str(path), "synchronous": "FULL", "busy_seconds": 3})
    assert isinstance(store, SQLiteStore)
    assert (store.path, store.synchronous, store.busy_seconds) == (path, "FULL", 3.0)
    assert path.is_file()


def test_the_file_is_in_the_engines_directory_unless_it_is_named(tmp_path):
    assert opened({}, tmp_path).path == tmp_path / "runs.db"


def test_without_a_file_or_a_directory_nothing_is_written():
    with pytest.raises(
        (SettingsError, PluginError), match="the SQLite store has no file: set plugins.storage.path"
    ):
        opened({})


@pytest.mark.parametrize(("field", "value"), [("synchronous", "OFF"), ("busy_seconds", 0)])
def test_a_setting_out_of_bounds_is_refused(field, value):
    with pytest.raises(SettingsError, match=rf"'{field}' must be .* @ \$\.plugins\.storage"):
        opened({field: value})
