"""JSON to frozen dataclasses and back, by their annotations: one class is reader, writer and
check in one.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class WrongValue(ValueError):  # noqa: N818  (reads as what was found)
    """A value that does not fit its annotation; `where` is its place, as in steps.total."""

    def __init__(self, where: str, value: object) -> None:
        super().__init__(f"{where} is {value!r}")
        self.where, self.value = where, value


@dataclass(frozen=True)
class Part:
    """One JSON object. Keys without a field are kept in `unknown` and written back."""

    unknown: Mapping[str, object] = field(default_factory=dict, kw_only=True, repr=False)

    @classmethod
    def from_json(cls, data: object, where: str = "") -> Self:
        """Missing keys get their defaults, and so does null where a field cannot be None."""
        if not isinstance(data, dict):
            raise WrongValue(where, data)
        kinds, found = _kinds(cls), {}
        for one in _known(cls):
            value, place = data.get(one.name), f"{where}.{one.name}".lstrip(".")
            if value is not None:
                found[one.name] = _read(kinds[one.name], value, place)
            elif one.default is MISSING and one.default_factory is MISSING:
                raise WrongValue(place, None)
        names = {one.name for one in _known(cls)}
        unknown = {key: value for key, value in data.items() if key not in names}
        return cls(**found, unknown=unknown)

    def to_json(self) -> dict[str, Any]:
        """As it is written; a part in which nothing is known yet is {}."""
        written = {} if self.blank else {key: _write(value) for key, value in self._values()}
        return written | dict(self.unknown)

    @property
    def blank(self) -> bool:
        """Nothing is known yet: every field is empty, zero or None."""
        return not any(value for _, value in self._values())

    def _values(self) -> Iterator[tuple[str, Any]]:
        for one in _known(type(self)):
            value = getattr(self, one.name)
            if value != one.default or not one.metadata.get("rare"):
                yield one.name, value


def rare(default: T) -> T:
    """A field that is written only once it differs from its default."""
    made: T = field(default=default, metadata={"rare": True})
    return made


_HINTS: dict[type, dict[str, Any]] = {}  # they take long to find out


def _kinds(kind: type[Part]) -> dict[str, Any]:
    if kind not in _HINTS:
        _HINTS[kind] = get_type_hints(kind)
    return _HINTS[kind]


def _known(kind: type[Part]) -> list[Field[Any]]:
    return [one for one in fields(kind) if one.name != "unknown"]


def _read(kind: Any, value: object, where: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:  # X | None
        return None if value is None else _read(inner[0], value, where)
    if isinstance(kind, type) and issubclass(kind, Part):
        return kind.from_json(value, where)
    if origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_read(*pair, where) for pair in zip(kinds, value, strict=True))
    elif origin is not None and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _read(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    elif kind is object or type(value) is kind or (kind is float and type(value) is int):
        return value
    raise WrongValue(where, value)


def _write(value: object) -> Any:
    if isinstance(value, Part):
        return value.to_json()
    if isinstance(value, tuple):
        return [_write(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _write(one) for key, one in value.items()}
    return value
