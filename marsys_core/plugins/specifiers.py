"""Requirements such as ``marsys-postgres>=1.2,<2``, in the part of PEP 440 that people write.

Understood are ``== != <= >= < > ~=`` and ``== 1.2.*``, over releases with an optional epoch, ``a``, ``b``,
``rc``, ``.post`` and ``.dev``. Anything else (extras, markers, addresses, ``===``) is refused, never guessed.
"""

from __future__ import annotations

import re
from typing import TypeAlias

import attrs

from marsys_core.errors import ConfigError

__all__ = ["Clause", "Requirement", "Version", "normalized"]

_VERSION = re.compile(
    r"(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:(?P<stage>a|b|rc)(?P<number>\d+))?(?:\.post(?P<post>\d+))?(?:\.dev(?P<dev>\d+))?"
    r"(?P<local>\+[a-z0-9]+(?:[.][a-z0-9]+)*)?"
)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_CLAUSE = re.compile(r"\s*(?P<operator>~=|==|!=|<=|>=|<|>)\s*(?P<version>[^\s=<>!~][^\s=<>~]*)\s*")

_Key: TypeAlias = tuple[int, tuple[int, ...], tuple[int, str, int], int, tuple[int, int]]


def normalized(name: str) -> str:
    """Return a name as package indexes compare it: lower case, with runs of ``-_.`` as one hyphen."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


@attrs.frozen(kw_only=True, order=False)
class Version:
    """A version. A local part (``+abc``) does not take part in comparisons."""

    epoch: int
    release: tuple[int, ...]
    stage: tuple[str, int] | None
    post: int | None
    dev: int | None

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read a version in its normal form.

        Raises:
            ConfigError: It is not one.
        """
        match = _VERSION.fullmatch(text.strip())
        if match is None:
            msg = f"{text!r} is not a version such as '1.2' or '2.0rc1'"
            raise ConfigError(msg)
        post, dev = match["post"], match["dev"]
        return cls(
            epoch=int(match["epoch"] or 0),
            release=tuple(int(part) for part in match["release"].split(".")),
            stage=(match["stage"], int(match["number"])) if match["stage"] else None,
            post=None if post is None else int(post),
            dev=None if dev is None else int(dev),
        )

    @property
    def base(self) -> tuple[int, tuple[int, ...]]:
        """The epoch and the release, without the zeros at its end."""
        release = self.release
        while len(release) > 1 and release[-1] == 0:
            release = release[:-1]
        return self.epoch, release

    @property
    def is_early(self) -> bool:
        """Whether it comes before the release it names."""
        return self.stage is not None or self.dev is not None

    def key(self) -> _Key:
        """What versions are ordered by: ``.dev`` < ``a`` < ``b`` < ``rc`` < the release < ``.post``."""
        if self.stage is not None:
            stage = (0, *self.stage)
        elif self.post is None and self.dev is not None:
            stage = (-1, "", 0)
        else:
            stage = (1, "", 0)
        post = -1 if self.post is None else self.post
        dev = (1, 0) if self.dev is None else (0, self.dev)
        return (*self.base, stage, post, dev)

    def begins(self, epoch: int, prefix: tuple[int, ...]) -> bool:
        """Say whether the release begins with these numbers, counting missing ones as zero."""
        padded = self.release + (0,) * (len(prefix) - len(self.release))
        return self.epoch == epoch and padded[: len(prefix)] == prefix


@attrs.frozen
class Clause:
    """One comparison: ``>= 1.2``."""

    operator: str
    version: Version
    prefix: bool = False

    def allows(self, candidate: Version) -> bool:
        """Say whether an installed version satisfies the clause."""
        ours, theirs = self.version, candidate
        match self.operator:
            case "==" | "!=":
                same = theirs.begins(ours.epoch, ours.release) if self.prefix else theirs.key() == ours.key()
                return same == (self.operator == "==")
            case "~=":
                return theirs.key() >= ours.key() and theirs.begins(ours.epoch, ours.release[:-1])
            case ">=":
                return theirs.key() >= ours.key()
            case "<=":
                return theirs.key() <= ours.key()
            case "<":
                # `<2` does not let 2.0rc1 in: it is the release 2 that is not wanted.
                early = theirs.is_early and not ours.is_early and theirs.base == ours.base
                return theirs.key() < ours.key() and not early
            case _:
                late = theirs.post is not None and ours.post is None and theirs.base == ours.base
                return theirs.key() > ours.key() and not late


@attrs.frozen
class Requirement:
    """A plugin or a distribution by name, and which versions will do."""

    name: str
    clauses: tuple[Clause, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read ``name`` or ``name>=1.2,<2``.

        Raises:
            ConfigError: It is not of that form.
        """
        text = text.strip()
        name = _NAME.match(text)
        if name is None:
            msg = f"requirement {text!r} does not begin with a name; write for example 'marsys-postgres>=1.2,<2'"
            raise ConfigError(msg)
        rest = text[name.end() :].strip()
        parts = rest.split(",") if rest else []
        return cls(name.group(), tuple(_clause(part, text) for part in parts))

    def allows(self, version: str) -> bool:
        """Say whether an installed version satisfies every clause.

        Raises:
            ConfigError: There are clauses, and `version` cannot be compared.
        """
        if not self.clauses:
            return True
        candidate = Version.parse(version)
        return all(clause.allows(candidate) for clause in self.clauses)


def _clause(part: str, text: str) -> Clause:
    match = _CLAUSE.fullmatch(part)
    if match is None:
        msg = f"{part.strip()!r} in requirement {text!r} is not a comparison such as '>=1.2'"
        raise ConfigError(msg)
    operator, wanted = match["operator"], match["version"]
    prefix = wanted.endswith(".*")
    version = Version.parse(wanted.removesuffix(".*"))
    bare = version.stage is None and version.post is None and version.dev is None
    if "+" in wanted or (prefix and not (bare and operator in ("==", "!="))):
        msg = f"{part.strip()!r} in requirement {text!r} cannot be compared"
        raise ConfigError(msg)
    if operator == "~=" and len(version.release) < 2:
        msg = f"{part.strip()!r} in requirement {text!r} needs two numbers, as in '~=1.2'"
        raise ConfigError(msg)
    return Clause(operator, version, prefix)
