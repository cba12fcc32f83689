"""JSON to frozen dataclasses and back by their annotations: reader, writer, check in one."""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from lorakit import json_text
from lorakit.user_files import Unreadable

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")
Reader = Callable[[object], Any]


class WrongValue(ValueError):  # noqa: N818  (reads as what was found)
    """A value that does not fit its annotation; `where` is its place, as in steps.total."""

    def __init__(self, where: str, value: object) -> None:
        super().__init__(f"{where} is {value!r}".lstrip())
        self.where, self.value = where, value


@dataclass(frozen=True)
class Part:
    """One JSON object. Keys without a field are kept in `unknown` and written back."""

    unknown: Mapping[str, object] = field(default_factory=dict, kw_only=True, repr=False)

    @classmethod
    def like(cls, noun: object, **more: Any) -> "Self":
        """With what another noun calls by the same names."""
        names = (one.name for one in _known(cls) if hasattr(noun, one.name))
        return cls(**{name: getattr(noun, name) for name in names} | more)

    @classmethod
    def from_json(cls, data: object) -> "Self":
        """Missing keys get their defaults, and so does null where a field cannot be None."""
        if not isinstance(data, dict):
            raise WrongValue("", data)
        found = {}
        for name, (read, required) in (known := _readers(cls)).items():  # type: ignore[arg-type]  # a class is hashable
            value = data.get(name)
            if value is not None:
                found[name] = _inside(name, read, value)
            elif required:
                raise WrongValue(name, None)
        if len(found) < len(data):
            found["unknown"] = {key: value for key, value in data.items() if key not in known}
        return cls(**found)

    @classmethod
    def read(cls, path: Path) -> "Self":
        """From a file; one that holds something else is Unreadable."""
        data = json_text.read(path)
        try:
            return cls.from_json(data)
        except WrongValue as error:
            what = f"makes no sense any more ({error})."
            raise Unreadable(path, what, "Was it edited by hand?") from error

    def as_text(self) -> str:
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False, default=str) + "\n"

    def to_json(self) -> dict[str, Any]:
        """As it is written; a part in which nothing is known yet is {}."""
        values = {} if self.blank else self._values()
        return {key: _write(value) for key, value in values.items()} | dict(self.unknown)

    @property
    def blank(self) -> bool:
        """Nothing is known yet: every field is empty, zero or None."""
        return not any(self._values().values())

    def _values(self) -> dict[str, Any]:
        values = {one: getattr(self, one.name) for one in _known(type(self))}
        return {
            one.name: value
            for one, value in values.items()
            if value != one.default or not one.metadata.get("rare")
        }


def rare(default: T) -> T:
    """A field that is written only once it differs from its default."""
    made: T = field(default=default, metadata={"rare": True})
    return made


def _known(kind: type[Part]) -> list[Field[Any]]:
    return [one for one in fields(kind) if one.name != "unknown"]


# Built once for each annotation: looking at one again for every value would take most of the time
# that `lorakit runs` has.


@cache
def _readers(kind: type[Part]) -> Mapping[str, tuple[Reader, bool]]:
    """Of each field: what reads it, and whether it must be there."""
    hints = get_type_hints(kind)
    return {
        one.name: (
            _reader(hints[one.name]),
            one.default is MISSING and one.default_factory is MISSING,
        )
        for one in _known(kind)
    }


@cache
def _reader(kind: Any) -> Reader:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:  # X | None
        read = _reader(inner[0])
        return lambda value: None if value is None else read(value)
    if kind in {Any, object}:
        return lambda value: value
    if isinstance(kind, type) and issubclass(kind, Part):
        return kind.from_json
    if origin is tuple:
        return partial(_read_list, _reader(inner[0]))
    if origin is not None:
        return partial(_read_table, _reader(inner[1]))
    return partial(_read_plain, kind)


def _read_plain(kind: type, value: object) -> Any:
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise WrongValue("", value)


def _read_list(read: Reader, value: object) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise WrongValue("", value)
    return tuple(map(read, value))


def _read_table(read: Reader, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongValue("", value)
    return {key: _inside(key, read, part) for key, part in value.items()}


def _inside(name: str, read: Reader, value: object) -> Any:
    try:
        return read(value)
    except WrongValue as error:  # seen from one storey higher
        raise WrongValue(f"{name}.{error.where}".rstrip("."), error.value) from None


def _write(value: object) -> Any:
    if isinstance(value, Part):
        return value.to_json()
    if isinstance(value, tuple):
        return [_write(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _write(one) for key, one in value.items()}
    return value
