"""The shelf of presets: shipped ones, and a project's own `presets/`, which win."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.errors import Fault, RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.recipe.document import Document, read_document

REPEATS = "10"  # what most guides say
FIT = "bucket"  # no bars, which would be learned, and no more cropped than kohya would
HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Preset:
    """One page; its sections as written, unchecked, without those of its base."""

    name: str
    document: Document
    own: bool = False  # from the project's presets/, not shipped
    base: "Preset | None" = None
    faults: tuple[Fault, ...] = ()

    @cached_property
    def about(self) -> Mapping[str, str]:
        """What the page says about itself; the family may come from the page it extends."""
        said = self.document.data.get("about")
        own = {key: str(value) for key, value in said.items()} if isinstance(said, dict) else {}
        family = self.base.about.get("family") if self.base else None
        return MappingProxyType({"family": family, **own} if family else own)

    @property
    def family(self) -> str:
        return self.about.get("family", "")

    @property
    def trainer(self) -> str:
        """The page's own, its base's, or the first of the family's."""
        able = FAMILIES[self.family].trainers
        pages = (page.document.data.get("trainer") for page in (self, self.base) if page)
        return next((said for said in pages if said in able), able[0])

    @property
    def title(self) -> str:
        return self.about.get("title", "")

    @property
    def repeats(self) -> str:
        """How often an epoch shows each image, as the page's guide has it."""
        return self._proposed("repeats") or REPEATS

    @property
    def fit(self) -> str:
        return self._proposed("fit") or FIT

    def _proposed(self, key: str) -> str:
        return self.about.get(key, "") or (self.base.about.get(key, "") if self.base else "")

    def said(self, section: str) -> Mapping[str, Any]:
        """What the page and its base say in a section."""
        pages = (page.sections.get(section, {}) for page in (self.base, self) if page)
        return {key: value for page in pages for key, value in page.items()}

    @property
    def text(self) -> str:
        return self.document.text

    @property
    def sections(self) -> Mapping[str, Any]:
        return {
            key: value
            for key, value in self.document.data.items()
            if isinstance(value, dict) and key != "about"
        }


def shipped_dir() -> Path:
    """`lorakit/_presets` in an installed wheel, `presets/` in the repository."""
    inside = HERE / "_presets"
    return inside if inside.is_dir() else HERE.parent / "presets"


def find(name: str, root: Path | None = None) -> tuple[Path, bool] | None:
    """Where a preset's page is, and whether it is the project's own."""
    if not name or Path(name).name != name or len(name.encode()) > 200:
        return None  # a name, not a way to some other file
    own = root / "presets" / f"{name}.toml" if root else None
    if own and own.is_file() and own.parent.resolve() != shipped_dir().resolve():
        return own, True
    shipped = shipped_dir() / f"{name}.toml"
    return (shipped, False) if shipped.is_file() else None


def names(root: Path | None = None) -> tuple[str, ...]:
    """Every preset's name, the project's own included."""
    folders = [shipped_dir(), *([root / "presets"] if root else [])]
    pages = (path for folder in folders if folder.is_dir() for path in folder.glob("*.toml"))
    return tuple(sorted({page.stem for page in pages}))


def unknown(where: str, name: str, root: Path | None = None) -> Fault:
    hint = did_you_mean(name, names(root)) or "`lorakit presets` lists them."
    return Fault(where, f"no preset is called {name!r}.", hint, "preset")


def read(name: str, root: Path | None = None) -> Preset:
    """The preset and the one it extends; a RecipeError names the nearest when there is none."""
    preset = _read_one(name, root)
    base_name = preset.document.data.get("extends")
    if not isinstance(base_name, str):  # absent, or reported by its type check
        return preset
    where = f"{preset.document.source('extends')} extends"
    faults = [*preset.faults]
    if base_name == name:
        hint = "Give this one another name."
        faults.append(Fault(where, "a page cannot extend itself.", hint, "preset"))
        return replace(preset, faults=tuple(faults))
    if find(base_name, root) is None:
        faults.append(unknown(where, base_name, root))
        return replace(preset, faults=tuple(faults))
    base = _read_one(base_name, root)
    deeper = base.document.data.get("extends")
    if deeper is not None:
        limit = "one step is the most, so that it can be followed."
        what = f"{base_name} extends {deeper} itself; {limit}"
        hint = "" if deeper == name else f"Extend {deeper}."
        faults.append(Fault(where, what, hint, "preset"))
        if isinstance(deeper, str) and find(deeper, root):
            # so that the family is known, and the rest can be checked
            base = replace(base, base=_read_one(deeper, root))
    return replace(preset, base=base, faults=tuple(faults))


def _read_one(name: str, root: Path | None) -> Preset:
    found = find(name, root)
    if found is None:
        fault = unknown("", name, root)
        raise RecipeError(f"No preset is called {name!r}. {fault.hint}")
    path, own = found
    label = f"presets/{path.name}" if own else f"preset {name}"
    notes: tuple[Fault, ...] = ()
    if own and (shipped_dir() / path.name).is_file():
        what = "is used instead of the shipped preset of that name."
        notes = (Fault(label, what, "", "preset", "note"),)
    return Preset(name, read_document(path, label), own, faults=notes)
