"""Look at a dataset as kohya will: names, headers, captions, caches. Decodes nothing, changes
nothing, and speaks about everything that kohya would drop silently, misread or choke on.
"""

import os
import re
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit import json_text
from lorakit.dataset.captions.read import caption_leftovers, find_caption
from lorakit.dataset.facts import (
    DatasetFacts,
    FolderName,
    ImageFacts,
    Stated,
    SubsetFacts,
    is_film_name,
    is_image_name,
    looks_like_image,
    parse_folder,
)
from lorakit.dataset.left_out import (
    Notes,
    folders_of,
    is_dir,
    list_entries,
    nearest_folder,
    nothing_there,
    skipped,
    unused,
)
from lorakit.dataset.rules import fault, shown, without
from lorakit.errors import Fault, counted
from lorakit.pictures.film import read_film
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import CutError, read_header
from lorakit.user_files import Unreadable, read_text

# as metadata has it: name, picture, caption, size (None: the picture's own)
Described = tuple[str, Path, str, tuple[int, int] | None]
LATENT_CACHE = re.compile(r"^(?P<stem>.+)_(?P<w>\d{4,})x(?P<h>\d{4,})(?P<suffix>_[a-z0-9]+\.npz)$")
TEXT_CACHE = re.compile(r"(?:_te_outputs|(?:_[a-z0-9]+)?_te)\.npz$")
REMOVE = "Remove it: it will be made again."


def scan(
    root: Path,
    *,
    reg: Path | None = None,
    caption_extension: str = ".txt",
    off: Collection[str] = (),
    films: bool = True,  # they are trained, too
    stated: Mapping[str, Stated] = MappingProxyType({}),
) -> DatasetFacts:
    """What is wrong is in the faults; `stated` is what the recipe says of folders, by name."""
    dot = "" if caption_extension.startswith(".") else "."
    notes = Notes(dot + caption_extension, films, stated)
    subsets = _subsets(Path(root), notes, is_reg=False)
    if reg is not None:
        subsets += _subsets(Path(reg), notes, is_reg=True)
    return DatasetFacts(Path(root), tuple(subsets), without(notes.faults, off))


def _subsets(root: Path, notes: Notes, *, is_reg: bool) -> list[SubsetFacts]:
    if not root.is_dir():
        there = os.path.lexists(root)
        what = "is not a folder." if there else "there is no such folder."
        notes.add("no-folder", root, what, "" if there else nearest_folder(root))
        return []
    entries = list_entries(root, notes)
    if entries is None:
        return []
    subsets: list[SubsetFacts] = []
    named = False
    places = {name: root / name for name in folders_of(entries)}
    lies_flat = root.name in notes.stated and root.name not in places and not is_reg
    if lies_flat:  # the folder itself is a subset: an album that somebody has taken over
        places = {root.name: root} | places
    for name, folder in places.items():
        parsed, said = parse_folder(name), notes.stated.get(name)
        if said and said.repeats and (folder == root or not parsed):
            parsed = FolderName(said.repeats, said.class_tokens)
        if parsed is None:
            if not lies_flat:  # else the folder above has said it
                skipped(folder, notes)
            continue
        named = True
        if parsed.oddity:
            notes.add("folder-odd", folder, f"{parsed.oddity}.", "Rename it, unless that is meant.")
        repeats, tokens, metadata = parsed.repeats, parsed.class_tokens, None
        if said and said.metadata:
            repeats, metadata = said.repeats, said.metadata
            images = _described(folder, said, metadata, notes)
        else:
            images = _images(folder, tokens, notes, is_reg=is_reg)
        if images:
            subsets.append(SubsetFacts(folder, repeats, tokens, images, is_reg, metadata))
        else:
            rule = "reg-empty" if is_reg else "folder-empty"
            notes.add(rule, folder, "no image that kohya would use.")
    loose = sorted(n for n, entry in entries.items() if looks_like_image(n) and not is_dir(entry))
    if loose and named and not lies_flat:
        some = ", ".join(map(shown, loose[:3]))
        what = f"{counted(len(loose), 'image')} beside the subset folders: {some}; not trained on."
        notes.add("image-outside", root, what, "Move them into a folder such as 10_trigger.")
    if not subsets and not is_reg:
        nothing_there(root, entries, 0 if named else len(loose), notes)
    return subsets


def _images(
    folder: Path, class_tokens: str, notes: Notes, *, is_reg: bool
) -> tuple[ImageFacts, ...]:
    entries = list_entries(folder, notes)
    if entries is None:
        return ()
    unused(folder, entries, notes)
    images: list[ImageFacts] = []
    bare: list[Path] = []
    stems: dict[str, list[str]] = defaultdict(list)
    for name in filter(notes.takes, sorted(entries)):
        stem = os.path.splitext(name)[0]
        stems[stem].append(name)
        image = _opened(folder / name, entries[name], notes)
        if image is not None:
            caption = find_caption(folder, stem, notes.suffix, entries)
            notes.faults += caption.faults
            text = class_tokens if caption.text is None else caption.text
            images.append(replace(image, caption_path=caption.path, caption=text))
            if caption.path is None and not caption.faults:
                bare.append(image.path)
    if not is_reg:  # reg images are described by their class alone, as a rule
        captioned = any(image.caption_path for image in images)
        _missing(folder, bare, class_tokens, notes, captioned=captioned)
    notes.faults += caption_leftovers(folder, notes.suffix, stems, entries)
    notes.faults += cache_faults(folder, images, entries)
    return tuple(images)


def _described(folder: Path, said: Stated, metadata: Path, notes: Notes) -> tuple[ImageFacts, ...]:
    """What a metadata file names, which is all that the fine-tuning method reads."""
    try:
        entries = _read_metadata(metadata, folder, said.separator)
    except Unreadable as error:
        notes.add("metadata", metadata, error.why, error.fault.hint)
        return ()
    images = []
    for name, path, caption, size in entries:
        first = notes.described.setdefault(name, metadata)
        if first != metadata:
            what = f"{shown(first)} names {shown(name)}, too; the script keeps one of them."
            notes.add("metadata", metadata, what, "Write whole paths.")
        elif not path.exists():
            what = f"names {shown(path)}, which is not there."
            notes.add("metadata", metadata, what, "Names have their extension, such as a.png.")
        elif image := _opened(path, path, notes):
            width, height = size or (image.width, image.height)
            image = replace(image, width=width, height=height)
            images.append(replace(image, caption_path=metadata, caption=caption))
    there = {name for name in list_entries(folder, notes) or () if is_image_name(name)}
    if left := there - {image.path.name for image in images}:
        some = ", ".join(map(shown, sorted(left)[:3]))
        what = f"{counted(len(left), 'image')} that the metadata does not name: {some}; left out."
        notes.add("metadata-others", folder, what)
    return tuple(images)


def _read_metadata(file: Path, folder: Path, separator: str) -> list[Described]:
    """JSON, a table by image, or JSONL, a line for each. Raises Unreadable where it is neither."""
    try:
        if file.suffix == ".jsonl":
            lines = read_text(file, most=json_text.MOST).splitlines()
            entries = [(entry["image_path"], entry) for entry in map(json_text.loads, lines)]
        else:
            entries = list(json_text.read(file).items())
        return [_entry(name, folder / name, entry, separator) for name, entry in entries]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"is no metadata of images ({type(error).__name__}: {error})."
        hint = 'Such as {"a.png": {"caption": "...", "tags": "..."}}.'
        raise Unreadable(file, what, hint) from error


def _entry(name: str, path: Path, entry: Any, separator: str) -> Described:
    caption, tags = entry.get("caption") or "", entry.get("tags") or ""
    if not isinstance(caption, str) or not isinstance(tags, str):
        raise TypeError(f"{path.name}: caption and tags are texts")
    size = entry.get("image_size")
    if size is not None:
        width, height = map(int, size)
        size = (width, height)
    return name, path, separator.join(filter(None, (caption, tags))), size


def _opened(path: Path, entry: os.DirEntry[str] | Path, notes: Notes) -> ImageFacts | None:
    """The image, still without its caption."""
    try:
        status = entry.stat()
        if not stat.S_ISREG(status.st_mode):
            what = "has an image's name but is not a file."
            notes.add("not-a-file", path, what, "Move it out of the subset.")
            return None
        if is_film_name(path.name):
            film = read_film(path)
            if film.turned:
                what = "is turned by a mark that is ignored: it would be trained lying on its side."
                notes.add("film-turned", path, what, "Save it upright.")
            stamp = (status.st_size, status.st_mtime_ns)
            return ImageFacts(path, *film[:2], None, *stamp, frames=film.frames, fps=film.fps)
        header = read_header(path)
    except CutError as error:
        notes.add("undecodable", path, f"cannot be decoded: {error}.", "Replace or remove it.")
    except RefusedError as error:
        notes.add("header", path, f"its size cannot be read: {error}.", "Replace or remove it.")
    except OSError as error:
        if path.is_symlink() and not os.path.exists(path):
            what = f"points to {shown(os.readlink(path))}, which cannot be reached."
            notes.add("broken-link", path, what, "Fix or remove the link.")
        else:
            what = f"cannot be opened: {error.strerror}."
            notes.add("unreadable", path, what, "Check its permissions.")
    else:
        width, height = header.as_kohya_reads
        if header.extended:
            what = f"is {header.width}x{header.height}, but kohya reads {width}x{height}."
            notes.add("webp-size", path, what, "Convert it: lorakit dataset prepare.")
        return ImageFacts(path, width, height, None, status.st_size, status.st_mtime_ns)
    return None


def _missing(
    folder: Path, bare: list[Path], class_tokens: str, notes: Notes, *, captioned: bool
) -> None:
    instead = f'"{class_tokens}"' if class_tokens else "an empty caption"
    if bare and not captioned:
        every = f"no image has a {notes.suffix} caption; all {len(bare)}"
        what = f"{every} would be trained as {instead}."
        notes.add("caption-none", folder, what, "Write captions: lorakit dataset caption.")
        return
    for path in bare:
        what = f"has no {notes.suffix} caption; it would be trained as {instead}."
        notes.add("caption-missing", path, what, "Write one: lorakit dataset review RECIPE")


def cache_faults(
    folder: Path, images: Sequence[ImageFacts], names: Mapping[str, os.DirEntry[str]]
) -> Iterator[Fault]:
    """Older than what they were made from, or taken for another image's. `images` are sorted."""
    by_stem = {image.path.stem: image for image in images}
    sized: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for name in names if name.endswith(".npz")):
        path, made = folder / name, names[name].stat().st_mtime_ns
        latent, text = LATENT_CACHE.match(name), TEXT_CACHE.sub("", name)
        if latent:
            sized[latent["suffix"]].append(name)
            if latent["stem"] in by_stem and by_stem[latent["stem"]].mtime_ns > made:
                yield fault("cache-stale", path, "is older than its image.", REMOVE)
        elif text in by_stem:
            if max(by_stem[text].mtime_ns, _changed(by_stem[text].caption_path)) > made:
                yield fault("cache-stale", path, "is older than its caption or image.", REMOVE)
        elif name[:-4] in by_stem:
            what = "wins over every newer cache of this image."
            yield fault("cache-old-style", path, what, "Remove it.")
    for suffix, group in sized.items():
        yield from _size_traps(images, group, suffix)


def _changed(caption: Path | None) -> int:
    with suppress(OSError):  # gone since it was read
        return caption.stat().st_mtime_ns if caption else 0
    return 0


def _size_traps(images: Sequence[ImageFacts], caches: list[str], suffix: str) -> Iterator[Fault]:
    """As kohya walks both lists: a name that merely begins with the image's is its own."""
    caches = sorted(caches, key=lambda name: name.rsplit("_", 2)[0])
    at = 0
    for image in images:
        stem, size = image.path.stem, (image.width, image.height)
        while at < len(caches) and caches[at][: len(stem)] < stem:
            at += 1
        if at == len(caches) or caches[at][: len(stem)] != stem:
            continue
        match = LATENT_CACHE.match(caches[at])
        believed = (int(match["w"]), int(match["h"])) if match else size
        if believed != size:
            belief = f"kohya will believe {believed[0]}x{believed[1]}"
            what = f"is {size[0]}x{size[1]}; {belief}, from the name of {caches[at]}."
            hint = f"Remove that file, or every *{suffix} in this folder."
            yield fault("cache-size", image.path, what, hint)
