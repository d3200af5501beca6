"""Classes whose fields are known: written as objects, without what is at its default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from marsys_core.errors import nearest
from marsys_core.format.fields import Codec
from marsys_core.format.text import TAG
from marsys_core.format.wrong import Wrong
from marsys_core.values import Converter

__all__ = ["Record"]

_MISSING: Any = object()


class Record:
    """The fields of a class, in order, each with how it is written and read.

    Args:
        cls: An attrs class.
        codecs: How each of its fields is written; those that are left out are not written.
        tag: What it is called where its type has to be said, or nothing.
        always: Fields that are written at their default too.
    """

    def __init__(
        self, cls: type, codecs: Mapping[str, Codec], tag: str = "", always: tuple[str, ...] = ()
    ) -> None:
        self.cls, self.tag = cls, tag
        fields = [field for field in attrs.fields(cls) if field.name in codecs]
        defaults = [_MISSING if field.name in always else _default(field) for field in fields]
        self._writers = [
            (field.name, codecs[field.name].write, default, type(default))
            for field, default in zip(fields, defaults, strict=True)
        ]
        self._readers: dict[str, Callable[[Any, Converter, int], Any]] = {
            field.name: codecs[field.name].read for field in fields
        }
        self._required = [
            field.name for field in fields if field.default is attrs.NOTHING or field.name in always
        ]

    def write(self, value: Any, converter: Converter, room: int) -> dict[str, Any]:
        """Return the fields of `value` as JSON data."""
        data: dict[str, Any] = {TAG: self.tag} if self.tag else {}
        for name, write, default, kind in self._writers:
            field = getattr(value, name)
            # Equal to its default; -0.0 is not 0.0.
            if field is default or (
                type(field) is kind and field == default and (field or repr(field) == repr(default))
            ):
                continue
            if write is None:
                data[name] = field
                continue
            try:
                data[name] = write(field, converter, room)
            except Wrong as wrong:
                raise wrong.inside(f".{name}")  # noqa: B904 - the same error, with its place
        return data

    def fields(self, data: Any, converter: Converter, room: int) -> dict[str, Any]:
        """Return the fields in `data` by name."""
        if type(data) is not dict:
            raise Wrong("an object", data)
        readers, tag, found = self._readers, self.tag, {}
        for name, field in data.items():
            if name in readers:
                try:
                    found[name] = readers[name](field, converter, room)
                except Wrong as wrong:
                    raise wrong.inside(f".{name}")  # noqa: B904 - the same error, with its place
            elif name != TAG or field != tag:
                raise self._unknown(name)
        for name in self._required:
            if name not in found:
                raise Wrong(f"the field {name!r}", sorted(data))
        return found

    def read(self, data: Any, converter: Converter, room: int) -> Any:
        """Return the instance that `data` stands for."""
        found = self.fields(data, converter, room)
        try:
            return self.cls(**found)
        except Exception as error:  # the class itself refuses a combination or a range
            raise Wrong(f"fields of {self.cls.__name__}", error) from error

    @property
    def codec(self) -> Codec:
        """Both ways, for a field of this type."""
        return Codec(self.write, self.read)

    def _unknown(self, name: str) -> Wrong:
        hint = nearest(name[:40], self._readers)
        return Wrong(f"one of the fields {', '.join(self._readers) or '(none)'}{hint and ';' + hint}", name)


def _default(field: Any) -> Any:
    default = field.default
    if default is attrs.NOTHING:
        return _MISSING
    return default.factory() if hasattr(default, "factory") else default
