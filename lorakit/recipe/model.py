"""The nouns of this room. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakit.files import at_home
from lorakit.typed_json import Part, rare


@dataclass(frozen=True)
class Setting(Part):
    """A value and where it came from: 'preset sdxl', 'recipes/maya.toml:14', '--set'."""

    value: Any = None
    source: str = ""


Section = Mapping[str, Setting]


@dataclass(frozen=True)
class Consent(Part):
    """Whose likeness may be used: who agreed, when (ISO 8601), and to what."""

    by: str = ""
    date: str = ""
    scope: str = ""


@dataclass(frozen=True)
class Subject(Part):
    """What the recipe says of who or what is shown, and of the pictures; the record keeps it."""

    kind: str = rare("")
    source: str = rare("")
    licence: str = rare("")
    real_person: bool = rare(default=False)
    consent: Consent | None = None
    more: Mapping[str, str] = field(default_factory=dict)  # whatever else is said, as text

    @property
    def sentence(self) -> str:
        """Where the pictures come from and how they are licensed; empty where neither is said."""
        return ", ".join(filter(None, (self.source, self.licence)))


@dataclass(frozen=True)
class Stage:
    """What differs from the recipe itself in one stage, already layered over it."""

    name: str
    dataset: Section
    train: Section
    model: Section
    # True: it names a base of its own, so its LoRA does not go on from the last stage's.
    anew: bool = False


@dataclass(frozen=True)
class Resolved:
    """A recipe with every layer applied. Keys of `train` are kohya's option names; other sections
    are lorakit's own words.

    `root` is the project folder that relative paths start from: the parent of a `recipes/` folder,
    else the recipe's own folder. Paths in sections are still as they were written; `path_of`
    makes them absolute.
    """

    file: Path  # the recipe, absolute
    root: Path
    name: str
    trigger: str
    preset: str
    family: str  # key of lorakit.families.FAMILIES
    trainer: str  # a name of trainers/table.py
    # The keys of each section: recipe/words.toml.
    model: Section = field(default_factory=dict)
    dataset: Section = field(default_factory=dict)
    train: Section = field(default_factory=dict)
    sample: Section = field(default_factory=dict)
    launch: Section = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    # kept for the record, unread by training
    notes: str = ""
    subject: Subject = field(default_factory=Subject)
    # as typed after --set and --unset: what it takes to resolve the same again
    sets: tuple[str, ...] = ()
    unsets: tuple[str, ...] = ()

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a training option, or `default` where no layer sets it."""
        setting = self.train.get(key)
        return default if setting is None else setting.value

    def path_of(self, text: str) -> Path:
        """Absolute: `~` is the home folder, relative starts at `root`."""
        path = at_home(Path(text))
        return path if path.is_absolute() else self.root / path
