"""Fresh virtual environments, and programs that run in them."""

from __future__ import annotations

import importlib.util
import os
import site
import subprocess
import sys
import textwrap
from pathlib import Path

import attrs

__all__ = ["Environment", "Ran"]

_WINDOWS = os.name == "nt"
_OURS = ("MARSYS_", "PIP_", "PYTHON", "VIRTUAL_ENV", "COV_")


@attrs.frozen
class Ran:
    """What a program wrote, and its exit code."""

    code: int
    out: str
    err: str


@attrs.frozen
class Environment:
    """A virtual environment that sees what the running one has; what is put into it, only it has.

    Args:
        path: Where it lies.
    """

    path: Path

    @classmethod
    def create(cls, path: Path, *, pip: Environment | None = None) -> Environment:
        """Make one. Nothing is downloaded.

        Args:
            path: Where.
            pip: An environment that has pip, to borrow it; None where the running environment has it.
        """
        made = cls._made(path, "--without-pip")
        folders = [*site.getsitepackages(), *([str(pip.packages)] if pip else [])]
        # `addsitedir` and not a bare path, so that editable installations there are seen too.
        lines = [f"import site; site.addsitedir({folder!r})\n" for folder in folders]
        (made.packages / "running_environment.pth").write_text("".join(lines), encoding="utf-8")
        return made

    @classmethod
    def with_pip(cls, path: Path) -> Environment | None:
        """Make one that has the pip which comes with Python, unless the running environment has one anyway."""
        return None if importlib.util.find_spec("pip") else cls._made(path)

    @classmethod
    def _made(cls, path: Path, *options: str) -> Environment:
        subprocess.run([sys.executable, "-m", "venv", *options, str(path)], check=True, capture_output=True)
        return cls(path)

    @property
    def packages(self) -> Path:
        """Where its own packages lie."""
        if _WINDOWS:
            return self.path / "Lib" / "site-packages"
        return self.path / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def python(self, program: str) -> Ran:
        """Run a program."""
        return self._run("-c", textwrap.dedent(program))

    def marsys(self, *arguments: str | Path) -> Ran:
        """Run the command line."""
        return self._run("-m", "marsys.cli", *map(str, arguments))

    def pytest(self, folder: Path) -> Ran:
        """Run the tests of a distribution, with its own settings and without leaving anything beside them."""
        settings = str(folder / "pyproject.toml")
        return self._run("-m", "pytest", "-c", settings, "-p", "no:cacheprovider", str(folder / "tests"))

    def install(self, *wheels: Path) -> None:
        """Install wheels, and nothing that they need."""
        self._pip("install", "--no-index", "--no-deps", "--no-compile", *map(str, wheels))

    def uninstall(self, *names: str) -> None:
        """Take distributions out."""
        self._pip("uninstall", "--yes", *names)

    def files(self) -> set[str]:
        """Return the paths of all files in it."""
        return {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()}

    def _pip(self, *arguments: str) -> None:
        ran = self._run(
            "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir", *arguments
        )
        assert ran.code == 0, ran.err

    def _run(self, *arguments: str) -> Ran:
        program = self.path / ("Scripts/python.exe" if _WINDOWS else "bin/python")
        ran = subprocess.run(
            [str(program), *arguments],
            cwd=self.path,
            env=self._variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def _variables(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        return {**kept, "PYTHONUTF8": "1", "TERM": "dumb"}
