"""A dataset's subsets: the N_trigger folders, and what `.lorakit` remembers about them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.dataset.build.manifest import FOLDER
from lorakit.dataset.folder_names import format_folder, parse_folder
from lorakit.files import write_atomic


@dataclass(frozen=True)
class SubsetPlan:
    """One folder of originals, which is named by its class tokens alone: repeats may change."""

    repeats: int
    trigger: str
    tag: str = ""

    @property
    def tokens(self) -> str:
        return f"{self.trigger}_{self.tag}" if self.tag else self.trigger


@dataclass(frozen=True)
class Arrangement:
    subsets: Mapping[str, SubsetPlan] = field(default_factory=dict)  # by class tokens
    # originals that `dataset layout` has put into another subset than their folder's: its tokens
    assigned: Mapping[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, dict[str, Any]]:
        subsets = {name: asdict(subset) for name, subset in self.subsets.items()}
        return {"subsets": subsets, "assigned": dict(self.assigned)}


def arrangement_of(data: Mapping[str, Any]) -> Arrangement:
    try:
        subsets = {name: SubsetPlan(**one) for name, one in data.get("subsets", {}).items()}
    except (TypeError, AttributeError):
        subsets = {}
    assigned = data.get("assigned")
    pairs = assigned.items() if isinstance(assigned, dict) else ()
    return Arrangement(subsets, {str(name): str(tokens) for name, tokens in pairs})


def read_arrangement(root: Path) -> Arrangement:
    files = {name: root / FOLDER / f"{name}.json" for name in Arrangement().as_data()}
    return arrangement_of({name: json_text.read_or(path, {}) for name, path in files.items()})


def arrange(root: Path, wanted: Arrangement) -> None:
    """Written only where it says something else than what is there."""
    before = read_arrangement(root).as_data()
    for name, data in wanted.as_data().items():
        if data != before[name]:
            text = json.dumps(dict(sorted(data.items())), indent=1) + "\n"
            write_atomic(root / FOLDER / f"{name}.json", text)


def subset_folders(root: Path) -> dict[str, tuple[int, str]]:
    """Subset folders with what their names say, in the order of all tables."""
    found = {}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        parsed = parse_folder(path.name)
        if path.is_dir() and parsed:
            found[path.name] = (parsed.repeats, parsed.class_tokens)
    return found


def folder_for(root: Path, tokens: str, repeats: int) -> Path:
    """The folder with these class tokens, whatever its number; a new name where there is none."""
    named = (name for name, (_, known) in subset_folders(root).items() if known == tokens)
    return root / next(named, format_folder(repeats, tokens))
