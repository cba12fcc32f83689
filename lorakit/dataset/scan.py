"""Look at a dataset as kohya will: names, headers, captions, caches. Decodes nothing, changes
nothing, and speaks about everything that kohya would drop silently, misread or choke on.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from lorakit.dataset.caches import cache_faults
from lorakit.dataset.captions.read import caption_leftovers, find_caption
from lorakit.dataset.facts import (
    FILMS,
    FOREIGN,
    IMAGE_SUFFIXES,
    OTHER_IMAGES,
    USED,
    DatasetFacts,
    ImageFacts,
    SubsetFacts,
    is_film_name,
    is_image_name,
    looks_like_image,
)
from lorakit.dataset.folder_names import FolderName, NotASubset, parse_folder
from lorakit.dataset.rules import fault, shown, without
from lorakit.dataset.stated import Stated, read_metadata
from lorakit.errors import Fault, counted, did_you_mean
from lorakit.pictures.film import read_film
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import CutError, read_header
from lorakit.user_files import Unreadable

OURS = "originals"  # lorakit's own folder beside the subsets; kohya ignores it, and so it should

Entries = dict[str, "os.DirEntry[str]"]


@dataclass
class _Notes:
    """What one scan has found so far."""

    suffix: str
    films: bool
    stated: Mapping[str, Stated] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    described: dict[str, Path] = field(default_factory=dict)  # by what metadata calls an image

    def takes(self, name: str) -> bool:
        return is_image_name(name) or (self.films and is_film_name(name))

    def add(self, rule: str, where: Path | str, what: str, hint: str = "") -> None:
        self.faults.append(fault(rule, where, what, hint))


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
    notes = _Notes(dot + caption_extension, films, stated)
    subsets = _subsets(Path(root), notes, is_reg=False)
    if reg is not None:
        subsets += _subsets(Path(reg), notes, is_reg=True)
    return DatasetFacts(Path(root), tuple(subsets), without(notes.faults, off))


def _list(folder: Path, notes: _Notes) -> Entries | None:
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry for entry in entries}
    except OSError as error:
        rule = "no-folder" if isinstance(error, FileNotFoundError) else "unreadable"
        notes.add(rule, folder, f"{error.strerror}.")
        return None


def _subsets(root: Path, notes: _Notes, *, is_reg: bool) -> list[SubsetFacts]:
    if not root.is_dir():
        there = os.path.lexists(root)
        what = "is not a folder." if there else "there is no such folder."
        notes.add("no-folder", root, what, "" if there else _nearest_folder(root))
        return []
    entries = _list(root, notes)
    if entries is None:
        return []
    subsets: list[SubsetFacts] = []
    named = False
    places = {name: root / name for name in _folders(entries)}
    lies_flat = root.name in notes.stated and root.name not in places and not is_reg
    if lies_flat:  # the folder itself is a subset: an album that somebody has taken over
        places = {root.name: root} | places
    for name, folder in places.items():
        parsed, said = parse_folder(name), notes.stated.get(name)
        if said and said.repeats and (folder == root or isinstance(parsed, NotASubset)):
            parsed = FolderName(said.repeats, said.class_tokens)
        if isinstance(parsed, NotASubset):
            if not lies_flat:  # else the folder above has said it
                _skipped(folder, parsed, notes)
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
    loose = sorted(n for n, entry in entries.items() if looks_like_image(n) and not _is_dir(entry))
    if loose and named and not lies_flat:
        some = ", ".join(map(shown, loose[:3]))
        what = f"{counted(len(loose), 'image')} beside the subset folders: {some}; not trained on."
        notes.add("image-outside", root, what, "Move them into a folder such as 10_trigger.")
    if not subsets and not is_reg:
        _nothing(root, entries, 0 if named else len(loose), notes)
    return subsets


def _folders(entries: Entries) -> list[str]:
    """Without lorakit's own."""
    names = (name for name in sorted(entries) if not name.startswith(".") and name != OURS)
    return [name for name in names if _is_dir(entries[name])]


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symlink that turns in circles
        return False


def _skipped(folder: Path, parsed: NotASubset, notes: _Notes) -> None:
    """A folder that kohya passes over: a fault only if there are images in it."""
    count = _count_images(folder)
    if not count:
        return
    images, why = counted(count, "image"), parsed.reason
    if not parsed.silent:
        digits = "".join(c for c in folder.name if c.isdigit())[:4]
        right = f"{int(digits or 0) or 10}_{folder.name.strip('0123456789.-_ xX') or 'trigger'}"
        what = f"{why}; its {images} would be left out."
        own = f'[dataset.subset."{folder.name}"] num_repeats = {int(digits or 0) or 10}'
        notes.add("folder-name", folder, what, f"Rename it like {right}, or say {own}.")
    elif "-" in folder.name.partition("_")[0]:
        what = f"{why}; its {images} would be silently left out."
        notes.add("folder-negative", folder, what, "Give a number from 1 on.")
    else:
        notes.add("folder-zero", folder, f"{why}; {images} left out.")


def _count_images(folder: Path) -> int:
    try:
        return sum(looks_like_image(name) for name in os.listdir(folder))
    except OSError:
        return 0


def _nothing(root: Path, entries: Entries, loose: int, notes: _Notes) -> None:
    """Nothing to train: find out which folder was meant."""
    rule, what, hint = "image-folder-given", "the subsets are one level deeper.", ""
    deeper = next((name for name in _folders(entries) if _holds_subsets(root / name)), None)
    if loose and isinstance(parse_folder(root.name), NotASubset):
        what = f"holds {counted(loose, 'image')} itself, but no folder named like 10_trigger."
        new = "lorakit new NAME --preset P --trigger T --album"
        hint = f"Put them into {root / '10_trigger'}, or take them over as they lie: {new} {root}"
    elif loose:
        what = "is the folder with the images; the dataset is its parent."
        hint = f"Write {shown(root.parent)}"
    elif deeper:
        hint = f"Write {shown(root / deeper)}"
    else:
        rule, what = "nothing-to-train", "no subset with images in it."
        hint = "Add images: lorakit dataset add RECIPE PATHS --repeats 10"
        if (root / OURS).is_dir():
            hint = "Make them of originals/: lorakit dataset prepare RECIPE"
    notes.add(rule, root, what, hint)


def _holds_subsets(folder: Path) -> bool:
    try:
        names = [entry.name for entry in os.scandir(folder) if _is_dir(entry)]
    except OSError:
        return False
    named = (name for name in names if not isinstance(parse_folder(name), NotASubset))
    return any(_count_images(folder / name) for name in named)


def _nearest_folder(root: Path) -> str:
    beside = os.scandir(root.parent) if root.parent.is_dir() else ()
    return did_you_mean(root.name, [entry.name for entry in beside if _is_dir(entry)])


def _images(
    folder: Path, class_tokens: str, notes: _Notes, *, is_reg: bool
) -> tuple[ImageFacts, ...]:
    entries = _list(folder, notes)
    if entries is None:
        return ()
    _unused(folder, entries, notes)
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


def _described(folder: Path, said: Stated, metadata: Path, notes: _Notes) -> tuple[ImageFacts, ...]:
    """What a metadata file names, which is all that the fine-tuning method reads."""
    try:
        entries = read_metadata(metadata, folder, said.separator)
    except Unreadable as error:
        notes.add("metadata", metadata, error.why, error.fault.hint)
        return ()
    images = []
    for entry in entries:
        first = notes.described.setdefault(entry.name, metadata)
        if first != metadata:
            what = f"{shown(first)} names {shown(entry.name)}, too; the script keeps one of them."
            notes.add("metadata", metadata, what, "Write whole paths.")
        elif not entry.path.exists():
            what = f"names {shown(entry.path)}, which is not there."
            notes.add("metadata", metadata, what, "Names have their extension, such as a.png.")
        elif image := _opened(entry.path, entry.path, notes):
            width, height = entry.size or (image.width, image.height)
            image = replace(image, width=width, height=height)
            images.append(replace(image, caption_path=metadata, caption=entry.caption))
    there = {name for name in _list(folder, notes) or () if is_image_name(name)}
    if left := there - {image.path.name for image in images}:
        some = ", ".join(map(shown, sorted(left)[:3]))
        what = f"{counted(len(left), 'image')} that the metadata does not name: {some}; left out."
        notes.add("metadata-others", folder, what)
    return tuple(images)


def _unused(folder: Path, entries: Entries, notes: _Notes) -> None:
    """Everything in a subset that looks like an image and is not one of kohya's."""
    for name in sorted(entries):
        path, (stem, extension) = folder / name, os.path.splitext(name)
        lower = extension.lower()
        if _is_dir(entries[name]):
            ours = name == OURS or name.startswith(".")
            count = 0 if ours else _count_images(path)
            if count and not is_image_name(name):
                what = f"holds {counted(count, 'image')}; kohya does not look inside."
                notes.add("nested", path, what, f"Move them up into {shown(folder)}.")
        elif name.startswith("."):
            if lower in IMAGE_SUFFIXES and not name.startswith("._"):
                what = "is silently left out because its name begins with a dot."
                notes.add("dot-file", path, what, "Rename it.")
        elif extension not in USED | FILMS and lower in {*IMAGE_SUFFIXES, *FILMS}:
            what = f"{extension} is neither all lower nor all upper case; silently left out."
            notes.add("extension-case", path, what, f"Rename it to {shown(stem + lower)}.")
        elif extension in FILMS and not notes.films:
            what = "is a film, and this model is trained on pictures; it would be left out."
            notes.add("film", path, what, "Take it out, or put frames of it there as pictures.")
        elif lower in OTHER_IMAGES:
            hint = "Convert it: lorakit dataset add takes it and prepare converts it."
            hint = "Export it as JPEG." if lower in FOREIGN else hint
            what = f"{extension} is not read; the image would be silently left out."
            notes.add("extension-unsupported", path, what, hint)


def _opened(path: Path, entry: os.DirEntry[str] | Path, notes: _Notes) -> ImageFacts | None:
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
    folder: Path, bare: list[Path], class_tokens: str, notes: _Notes, *, captioned: bool
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
