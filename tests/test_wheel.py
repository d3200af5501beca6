"""What is tested is what is installed; nox says so by two variables of the environment."""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

import pytest

import marsys_core

if "MARSYS_TEST_WHEEL" in os.environ:

    def test_the_tests_import_the_installed_wheel_and_not_the_tree():
        installed = Path(sysconfig.get_path("purelib")).resolve()
        tree = Path(__file__).resolve().parents[1]

        assert Path(marsys_core.__file__).resolve().is_relative_to(installed)
        assert tree not in [Path(entry).resolve() for entry in sys.path]


if "MARSYS_BARE" in os.environ:

    def test_without_plugins_marsys_cannot_be_imported():
        with pytest.raises(ImportError, match=r"^'marsys' was imported, and with MARSYS_BARE=1 "):
            importlib.util.find_spec("marsys")
