"""What musubi-tuner's two cachers leave for its training, which never looks at the pictures again:
whether it is all there, and whether it is of these pictures and these captions.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.files import write_atomic
from lorakit.trainers.base import Command, Work
from lorakit.user_files import Unreadable

LATENTS, TEXTS = "latents", "texts"
# What the scripts look for, in these spellings and in capitals.
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))
TEXT_END = "_te.safetensors"


def folder(run_dir: Path) -> Path:
    """One a run: two recipes that share a folder would each remove what is not theirs."""
    return run_dir / "cache"


def needless(command: Command, work: Work) -> str:
    """The same pictures, captions and settings as when these caches were made."""
    try:
        made = json_text.read(_mark(command, work))
    except Unreadable:
        return ""
    same = made == _inputs(command, work) and not lacking(command, work)
    return "made from the same pictures and captions" if same else ""


def fault_after(command: Command, work: Work) -> str:
    """The cachers say Done! over an empty folder, too."""
    if left_out := lacking(command, work):
        more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        return f"it left no {command.name} of {left_out[0]}{more}"
    write_atomic(_mark(command, work), json.dumps(_inputs(command, work), indent=1) + "\n")
    return ""


def lacking(command: Command, work: Work) -> list[Path]:
    """Pictures without their cache."""
    found = []
    for table in _tables(work):
        cache = Path(str(table["cache_directory"]))
        names = [path.name for path in cache.glob("*.safetensors")] if cache.is_dir() else []
        texts = {name for name in names if name.endswith(TEXT_END)}
        names = sorted(texts if command.name == TEXTS else set(names) - texts)
        found += [
            picture
            for picture in pictures(Path(str(table["image_directory"])))
            if not any(_is_of(name, picture.stem, command.name) for name in names)
        ]
    return found


def pictures(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)


def _is_of(name: str, stem: str, kind: str) -> bool:
    """STEM_ARCH_te.safetensors, STEM_0512x0768_ARCH.safetensors."""
    rest = name.removeprefix(f"{stem}_")
    return rest != name and rest.count("_") == 1 and (kind == TEXTS or "x" in rest)


def _inputs(command: Command, work: Work) -> Mapping[str, Any]:
    """Pictures by size and time, captions by their words, and the command line."""
    found: dict[str, Any] = {"command": list(command.argv)}
    for table in _tables(work):
        for picture in pictures(Path(str(table["image_directory"]))):
            caption = picture.with_suffix(str(table.get("caption_extension", ".txt")))
            stat = picture.stat()
            seen = [stat.st_size, stat.st_mtime_ns] if command.name == LATENTS else []
            words = caption.read_bytes().hex() if caption.is_file() else ""
            found[str(picture)] = seen or words
        found[str(table["cache_directory"])] = {
            key: table[key] for key in sorted(table) if key != "num_repeats"
        }
    return found


def _mark(command: Command, work: Work) -> Path:
    return folder(work.run_dir) / f"{command.name}.json"


def _tables(work: Work) -> Iterator[Mapping[str, Any]]:
    data = tomllib.read(work.run_dir / "dataset.toml")
    general = data.get("general", {})
    for table in data.get("datasets", []):
        yield {**general, **table}


def is_awkward(path: Path) -> bool:
    """Brackets in a cache folder's name: the scripts' own search finds nothing in it."""
    return glob.escape(str(path)) != str(path)
