"""What musubi-tuner's two cachers leave for its training, which never looks at the pictures again:
whether it is all there, and whether it is of these pictures and these captions.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.dataset.facts import FILMS
from lorakit.dataset.films import FilmRules
from lorakit.files import write_atomic
from lorakit.memo import stamp_of
from lorakit.pictures.film import read_film
from lorakit.trainers.base import Command, Work

LATENTS, TEXTS = "latents", "texts"
# What the scripts look for, in these spellings and in capitals.
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"))
TEXT_END = "_te.safetensors"


def folder(run_dir: Path) -> Path:
    """One a run: two recipes that share a folder would each remove what is not theirs."""
    return run_dir / "cache"


def needless(command: Command, work: Work) -> str:
    """The same pictures, captions and settings as when these caches were made."""
    now, mark = _inputs(command, work), _mark(command, work)
    if json_text.table(mark) == now and not any(_differences(command, work)):
        return "made from the same pictures and captions"
    mark.unlink(missing_ok=True)
    write_atomic(_begun(mark), json.dumps(now, indent=1) + "\n")
    return ""


def fault_after(command: Command, work: Work) -> str:
    """The cachers say Done! over an empty folder, too."""
    lacking, surplus = _differences(command, work)
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        return f"it left no {command.name} of {lacking[0]}{more}"
    if surplus:
        return f"{surplus[0].name} is not of these pictures; remove {surplus[0]}"
    mark = _mark(command, work)
    if json_text.table(_begun(mark)) != _inputs(command, work):
        return "a picture or a caption has changed while it was read; start again"
    _begun(mark).replace(mark)
    return ""


def _begun(mark: Path) -> Path:
    """What a cacher that is at work began with: an edit in the meantime must not pass for read."""
    return mark.with_suffix(".begun")


def _differences(command: Command, work: Work) -> tuple[list[Path], list[Path]]:
    """Pictures without their cache, and caches that are of no picture: the training reads all."""
    lacking, surplus = [], []
    for table in _tables(work):
        cache, texts = Path(table["cache_directory"]), command.name == TEXTS
        found: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(cache.glob("*.safetensors")):  # none where there is no folder
            if path.name.endswith(TEXT_END) == texts:  # STEM_ARCH_te, STEM_0512x0768_ARCH
                found[path.name.rsplit("_", 2)[0]].append(path)
        for name, source in _items(table, texts=texts):
            own = found.pop(name, [])
            lacking += [] if own else [source]
            surplus += own[1:]  # an old one, of another size
        surplus += [path for paths in found.values() for path in paths]
    return lacking, surplus


def _pictures(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)


def _sources(table: Mapping[str, Any]) -> list[Path]:
    """What the cachers read of a dataset."""
    if "video_directory" not in table:
        return _pictures(Path(table["image_directory"]))
    films = Path(table["video_directory"]).iterdir()
    return sorted(path for path in films if path.suffix in FILMS)


def _items(table: Mapping[str, Any], *, texts: bool) -> Iterator[tuple[str, Path]]:
    """How each cache begins, and what it is of: latents are of a piece of a film."""
    rules = FilmRules.said(table)
    for source in _sources(table):
        if texts or "video_directory" not in table:
            yield source.stem, source
        else:
            for start, length in rules.pieces(read_film(source).frames):
                yield f"{source.stem}_{start:05d}-{length:03d}", source


def _inputs(command: Command, work: Work) -> Mapping[str, Any]:
    """Pictures by size and time, captions by their words, and the command line."""
    found: dict[str, Any] = {"command": list(command.argv)}
    for table in _tables(work):
        for picture in _sources(table):
            caption = picture.with_suffix(str(table.get("caption_extension", ".txt")))
            seen = stamp_of(picture)[:2] if command.name == LATENTS else ()
            words = caption.read_bytes().hex() if caption.is_file() else ""
            found[str(picture)] = [*seen] or words
        if place := table.get("control_directory"):
            found |= {str(one): [*stamp_of(one)] for one in _pictures(Path(place))}
        read = {key: table[key] for key in sorted(table) if key != "num_repeats"}
        found[table["cache_directory"]] = read
    return found


def _mark(command: Command, work: Work) -> Path:
    return folder(work.run_dir) / f"{command.name}.json"


def _tables(work: Work) -> Iterator[Mapping[str, Any]]:
    data = tomllib.read(work.run_dir / "dataset.toml")
    general = data.get("general", {})
    for table in data.get("datasets", []):
        yield {**general, **table}
