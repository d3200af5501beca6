"""Keys in files: what is read, what is not, and that nothing of it is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from marsys.keys import KeyFiles, read_keys
from marsys_core.errors import ConfigError
from marsys_core.orchestra import Orchestra
from marsys_core.plugins import PluginSettings

TEXT = """
# keys
ONE=first
export TWO = "second # no comment"   # a comment
THREE='third' # one
FOUR=four#th  # another
FIVE=
"""


def test_lines_are_names_and_values() -> None:
    assert read_keys(TEXT) == {
        "ONE": "first",
        "TWO": "second # no comment",
        "THREE": "third",
        "FOUR": "four#th",
        "FIVE": "",
    }


plain = st.text(
    st.characters(codec="ascii", exclude_categories=["C", "Z"], exclude_characters="#'\""), min_size=1
)


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), plain, max_size=4))
def test_what_is_written_is_read(keys: dict[str, str]) -> None:
    assert read_keys("\n".join(f"{name}={value}" for name, value in keys.items())) == keys
    assert read_keys("\n".join(f'{name}="{value}"' for name, value in keys.items())) == keys


def test_a_line_of_another_form_is_named_by_its_number_alone() -> None:
    with pytest.raises(ConfigError, match=r"^line 2 of keys\.env is not of the form NAME=value$"):
        read_keys("A=b\nsk-very-secret", "keys.env")


def test_the_first_file_that_has_a_name_counts(tmp_path: Path) -> None:
    for name, text in (("a", "ONE=a"), ("b", "ONE=b\nTWO=b")):
        (tmp_path / name).write_text(text)
    source = KeyFiles([tmp_path / "a", tmp_path / "b"])

    async def main() -> list[str | None]:
        return [await source.secret(name) for name in ("ONE", "TWO", "THREE")]

    assert trio.run(main) == ["a", "b", None]


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^the keys in '.*none' cannot be read: No such file or directory; mend it, or"
    ):
        trio.run(KeyFiles([tmp_path / "none"]).secret, "ONE")


def test_the_engine_asks_it_after_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text("OWN_TEST_KEY=from the file\nOTHER_TEST_KEY=other")
    settings = PluginSettings(only=["keys"], sections={"keys": {"files": [str(tmp_path / "keys")]}})

    async def main() -> list[str]:
        async with Orchestra(plugins=settings) as orchestra:
            secrets = orchestra.engine.services.secrets
            found = [await secrets.find("NOT_THERE", name) for name in ("OWN_TEST_KEY", "OTHER_TEST_KEY")]
            assert await secrets.find("NOT_THERE") is None
            return [each.reveal() for each in found if each is not None]

    monkeypatch.setenv("OWN_TEST_KEY", " from the environment ")
    assert trio.run(main) == ["from the environment", "other"]
