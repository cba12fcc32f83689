"""What another program's file says, value by value, and in which words of ours."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lorakit.catalogue.options import Option, options
from lorakit.dataset.folder_names import parse_folder
from lorakit.families import FAMILIES

NOT_NAMED = "a folder of class images must be called N_class; nothing is moved."


@dataclass(frozen=True)
class Said:
    """One value. `key` is kohya's option, SECTION.KEY or a word of the top level; without one the
    value has no counterpart, and `why` says what becomes of it.
    """

    source: str  # what it is called there: network.linear, --network_dim
    value: Any
    key: str = ""
    meant: Any = None  # under `key`, where it is another value
    why: str = ""

    @property
    def ours(self) -> Any:
        return self.value if self.meant is None else self.meant


@dataclass(frozen=True)
class Theirs:
    kind: str  # in a sentence: "a kohya config"
    said: tuple[Said, ...]
    family: str = ""
    trainer: str = ""  # whose words these are, where not the family's first one's
    folder: Path = Path()  # that its relative paths may start from
    stem: str = "imported"


def number_in(text: object) -> float | None:
    try:
        number = float(str(text))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def folder_of_images(
    source: str, place: str, *, reg: bool = False, repeats: object = 1, tokens: str = ""
) -> Iterator[Said]:
    """A folder of images, as the dataset whose subset it is, or itself, where it lies flat; and the
    trigger in its name.
    """
    path, parsed = Path(place), parse_folder(Path(place).name)
    named = parsed is not None
    if reg and not named:
        yield Said(source, place, why=NOT_NAMED)
        return
    there = path.parent if named else path
    yield Said(source, place, f"dataset.{'reg_path' if reg else 'path'}", there.as_posix())
    if not named:
        stated = {path.name: {"num_repeats": repeats}}
        yield Said(source, place, "dataset.subset", stated, "its pictures stay where they lie")
    words = (tokens or getattr(parsed, "class_tokens", "")).split()
    if words and not reg:
        yield Said(f"{source.rpartition('.')[0]}: its folder", path.name, "trigger", words[0])


@cache
def options_of(family: str, trainer: str = "") -> Mapping[str, Option]:
    """Of that or its default trainer's script; all there are, for a family that we do not have."""
    if family in FAMILIES:
        name = trainer or FAMILIES[family].trainers[0]
        return options(name, FAMILIES[family].by(name).script)
    return {key: one for name in reversed(FAMILIES) for key, one in options_of(name).items()}
