"""Albums as other programs leave them: which folder becomes which subset. Reads names only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.build.jobs import subset_folders
from lorakit.dataset.folder_names import FolderName, parse_folder
from lorakit.dataset.scan import looks_like_image

MOST_REPEATS = 999  # 2024_italy is a year
IMG = "img"  # where kohya's GUI puts the folders, beside log/ and model/


@dataclass(frozen=True)
class Part:
    """What is added as one subset; without tokens, whichever the user names."""

    path: Path
    repeats: int | None = None
    tokens: str = ""


def parts_of(path: Path, trigger: str) -> list[Part]:
    """The N_trigger folders of an album, if it has such of this trigger (empty: of any); else all
    of it.
    """
    own = parse_folder(path.name)
    if (
        path.is_dir()
        and isinstance(own, FolderName)
        and _means(own.repeats, own.class_tokens, trigger)
    ):
        return [Part(path, own.repeats, own.class_tokens)]
    for home in (path, path / IMG):
        found = [
            Part(home / name, repeats, tokens)
            for name, (repeats, tokens) in subset_folders(home).items()
            if _means(repeats, tokens, trigger)
            and any(looks_like_image(file) for file in os.listdir(home / name))
        ]
        if found:
            return found
    return [Part(path)]


def _means(repeats: int, tokens: str, trigger: str) -> bool:
    ours = tokens == trigger or tokens.startswith((f"{trigger}_", f"{trigger} "))
    return repeats <= MOST_REPEATS and bool(tokens) and (ours or not trigger)
