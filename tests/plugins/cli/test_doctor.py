from __future__ import annotations

import io
import json
import platform
import sqlite3

import pytest
import trio
import trio.testing

import marsys_core
from tests.plugins.cli.conftest import Call, Site

CHECKS = """
    import trio
    from marsys_core import hookimpl
    from marsys_core.protocols.health import HealthCheck

    async def well():
        pass

    async def ill():
        raise RuntimeError("no pulse")

    async def asleep():
        await trio.sleep_forever()

    @hookimpl
    def marsys_health_checks():
        return [HealthCheck(check.__name__, check) for check in (well, ill, asleep)]
"""


def findings(call: Call, *arguments: str) -> dict[str, tuple[str, str]]:
    data = json.loads(call(*arguments, "doctor", "--json").out)
    return {each["what"]: (each["state"], each["text"]) for each in data["findings"]}


@pytest.fixture
def utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    import locale

    monkeypatch.setattr(locale, "getpreferredencoding", lambda do_setlocale=True: "UTF-8")


@pytest.mark.usefixtures("utf8")
def test_a_sound_installation_has_nothing_wrong(call: Call) -> None:
    said = call("doctor")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith("\nnothing is wrong\n")
    found = findings(call)
    assert found["Python"][1].startswith(platform.python_version())
    assert found["trio"] == ("ok", trio.__version__)
    assert found["sqlite"] == ("ok", sqlite3.sqlite_version)
    assert found["marsys"][1].startswith(marsys_core.__version__)
    assert found["marsys-core"][0] == "ok"
    assert found["encodings"] == ("ok", "UTF-8 everywhere")
    assert found["runs"][1].startswith("kept in memory")
    assert found["health sqlite-fts5"] == ("ok", "healthy")


def test_each_plugin_that_is_not_loaded_has_its_remedy(call: Call, site: Site) -> None:
    site.add("marsys-broken", broken="import not_there_xyz")
    site.add(
        "marsys-poor",
        poor="from marsys_core.errors import PluginUnavailable\nraise PluginUnavailable('pip install it')",
    )
    site.add("marsys-second", models="x = 1")
    found = findings(call, "-p", "no:memory")
    assert found["plugin broken"] == (
        "wrong",
        "broken: ModuleNotFoundError: No module named 'not_there_xyz'; "
        "mend or update marsys-broken 1.0, or block it with -p no:broken",
    )
    assert found["plugin poor"] == ("note", "unavailable: pip install it")
    assert found["plugin memory"] == ("note", "blocked: by -p no:memory")
    assert found["plugin models"][0] == "wrong"
    assert found["plugin models"][1].endswith("has the name; uninstall one of the two")
    assert call("doctor").code == 1


def test_health_checks_that_fail_or_do_not_answer_are_wrong(
    call: Call, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("marsys-ward", ward=CHECKS)
    real = trio.run

    def fast(ask: object) -> object:
        return real(ask, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]

    monkeypatch.setattr(trio, "run", fast)
    found = findings(call, "-p", "ward")
    assert found["health well"] == ("ok", "healthy")
    assert found["health ill"] == ("wrong", "RuntimeError: no pulse")
    assert found["health asleep"] == ("wrong", "no answer within 5 s")
    assert call("-p", "ward", "doctor").out.endswith(" wrong\n")


def test_encodings_other_than_utf8_are_wrong(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import locale

    monkeypatch.setattr(locale, "getpreferredencoding", lambda do_setlocale=True: "ISO-8859-1")
    assert findings(call)["encodings"] == ("wrong", "not UTF-8: ISO-8859-1 for files; set PYTHONUTF8=1")


@pytest.mark.usefixtures("utf8")
def test_a_closed_stream_has_no_encoding_to_be_wrong(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert findings(call)["encodings"] == ("ok", "UTF-8 everywhere")
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert findings(call)["encodings"][1] == "not UTF-8: latin-1 for standard error; set PYTHONUTF8=1"


def test_nowhere_to_write_is_wrong(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    def nowhere() -> str:
        raise FileNotFoundError("no usable folder")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert findings(call)["temporary files"] == (
        "wrong",
        "no folder for them can be written to: no usable folder; set TMPDIR",
    )


def test_plugins_that_cannot_be_used_as_asked_are_wrong(call: Call) -> None:
    assert findings(call, "-p", "modles")["plugins"] == (
        "wrong",
        "PluginError: plugins cannot be chosen as asked:\n"
        "  - -p names 'modles', and no plugin or distribution is called that. Did you mean 'models'?",
    )


def test_what_has_several_lines_goes_on_under_its_first(call: Call) -> None:
    lines = call("-p", "modles", "doctor").out.splitlines()
    at = next(
        i for i, line in enumerate(lines) if line.endswith("PluginError: plugins cannot be chosen as asked:")
    )
    assert lines[at + 1] == (
        "        - -p names 'modles', and no plugin or distribution is called that. Did you mean 'models'?"
    )
