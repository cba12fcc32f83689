"""One zip of a dataset: the same content gives the same bytes, and the other side can prove that
all of it arrived.

Entries are stored, not deflated: photos do not shrink, and compressed bytes would differ between
versions of zlib.
"""

import hashlib
import io
import json
import re
import shutil
import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, Any

from lorakit import json_text
from lorakit.dataset.build.originals import ORIGINALS
from lorakit.dataset.build.sources import files_below
from lorakit.dataset.facts import looks_like_image
from lorakit.errors import Fault, RecipeError, raise_on_errors
from lorakit.files import into_place, new_folder, sha256
from lorakit.portable import folded, leads_out, path_problem

MANIFEST = "manifest.json"
VERSION = 1
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold: no clock in the bytes
CHUNK = 1 << 20
# What the zip library raises for one that is broken; NotImplementedError is a RuntimeError.
BROKEN = (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OverflowError, struct.error)
DERIVED = {".npz", ".tmp"}  # caches are made again where they are needed


@dataclass(frozen=True)
class PackedFile:
    name: str  # posix path inside the bundle
    size: int
    sha256: str


@dataclass(frozen=True)
class BundleManifest:
    dataset: str
    entries: tuple[PackedFile, ...]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Per folder and kind, as people compare: {'40_maya': {'.png': 70, '.txt': 70}}."""
        found: dict[str, Counter[str]] = {}
        for entry in self.entries:
            path = PurePosixPath(entry.name)
            found.setdefault(str(path.parent), Counter())[path.suffix.lower()] += 1
        return {folder: dict(sorted(kinds.items())) for folder, kinds in sorted(found.items())}

    def text(self) -> str:
        files = {one.name: {"size": one.size, "sha256": one.sha256} for one in self.entries}
        data = {"version": VERSION, "dataset": self.dataset, "counts": self.counts, "files": files}
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def contents(root: Path, without: Collection[str] = ()) -> Iterator[tuple[str, Path]]:
    """Every visible file of the folder and what links lead to; no caches, dot-files, originals.
    `without`: pictures that stay here, and the captions beside them.
    """
    stay = {PurePosixPath(name).with_suffix("") for name in without}
    files = files_below(root, skip=(root / ORIGINALS).resolve(), links=True)
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        ours = path.name.startswith(".") or path.suffix.lower() in DERIVED
        if path.is_file() and not ours and PurePosixPath(name).with_suffix("") not in stay:
            yield name, path


def make_bundle(
    root: Path,
    out: Path,
    beside_it: Mapping[str, bytes] = MappingProxyType({}),
    *,
    without: Collection[str] = (),
) -> BundleManifest:
    """Write `out` beside and move it into place. A file that changes while it is read is a fault,
    not a wrong hash. `beside_it`: more files by name, which take the place of the folder's own.
    """
    files: list[tuple[str, Path | bytes]] = [
        (name, path)
        for name, path in contents(root, without)
        if path.resolve() != out.resolve() and name not in beside_it
    ]
    if not any(looks_like_image(name) for name, _ in files):
        hint = "Give the folder that holds the N_trigger folders."
        if (root / ORIGINALS).is_dir():
            make = "make the N_trigger folders of them: lorakit dataset prepare"
            hint = f"originals/ stays here; {make}"
        raise RecipeError(f"{root}: nothing to bundle.", hint=hint)
    with into_place(out) as beside:
        with beside.open("wb") as stream:
            inside = {**dict(files), **dict(sorted(beside_it.items()))}
            manifest = write_bundle(stream, root.name, inside)
        beside.chmod(0o644)
    return manifest


def write_bundle(
    stream: IO[bytes], name: str, sources: Mapping[str, Path | bytes]
) -> BundleManifest:
    """Also into a pipe. The same sources in the same order give the same bytes."""
    raise_on_errors([*_bad_names([MANIFEST, *sources])])
    manifest = BundleManifest(name, tuple(_packed(*source) for source in sources.items()))
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr(_info(MANIFEST), manifest.text())
        for entry in manifest.entries:
            _store(bundle, entry, sources[entry.name])
    return manifest


def verify(bundle_path: Path) -> tuple[BundleManifest, list[Fault]]:
    """Every byte against the manifest; nothing larger than declared is read."""
    with _open(bundle_path) as bundle:
        manifest = _manifest(bundle, bundle_path)
        where = f"{bundle_path}: "
        unsafe = [*_unsafe(bundle, where)]
        return manifest, unsafe or [*_differences(bundle, where, manifest)]


def _fault(where: str, name: str, rule: str, what: str, hint: str = "") -> Fault:
    return Fault(f"{where}{name!r}", what, hint, f"bundle-{rule}")


def _bad_names(names: Iterable[str], where: str = "") -> Iterator[Fault]:
    """That would leave the folder, that a zip cannot hold, or that two would share."""
    seen: set[str] = set()
    folders: set[str] = set()
    for name in names:
        place = folded(name)
        above = {str(one) for one in PurePosixPath(place).parents} - {"."}
        if leads_out(name):
            what = "this name would leave the folder it is unpacked into."
            yield _fault(where, name, "escape", what)
            continue
        if name.encode(errors="replace").decode() != name:
            what = "a zip cannot hold this name: it is not UTF-8."
            yield _fault(where, name, "name", what, "Rename it.")
        elif problem := path_problem(name):
            yield _fault(where, name, "name", f"this name {problem}", "Rename it.")
        elif place in seen or place in folders or above & seen:
            what = "this name is in the bundle twice, as other systems read it."
            yield _fault(where, name, "twice", what)
        seen.add(place)
        folders |= above


def unpack(bundle_path: Path, target: Path) -> BundleManifest:
    """Verify, then unpack into a folder that does not exist yet."""
    manifest, faults = verify(bundle_path)
    if faults:
        what = f"{bundle_path} is not what it says it is; nothing was unpacked."
        raise RecipeError(what, faults=faults)
    with new_folder(target) as beside, _open(bundle_path) as bundle:
        for entry in manifest.entries:
            path = beside / entry.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with bundle.open(entry.name) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, CHUNK)
    return manifest


def _packed(name: str, source: Path | bytes) -> PackedFile:
    if isinstance(source, bytes):
        return PackedFile(name, len(source), hashlib.sha256(source).hexdigest())
    return PackedFile(name, source.stat().st_size, sha256(source))


def _store(bundle: zipfile.ZipFile, entry: PackedFile, source: Path | bytes) -> None:
    info, digest = _info(entry.name, entry.size), hashlib.sha256()
    opened = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with opened as file, bundle.open(info, "w") as packed:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            packed.write(chunk)
    if digest.hexdigest() != entry.sha256:
        what = f"{entry.name} changed while it was being bundled; nothing was written."
        raise RecipeError(what, hint="Run the same command again.")


def _info(name: str, size: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, EPOCH)
    info.create_system = 3  # the same bytes on every system
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.file_size = size
    return info


def _open(path: Path) -> zipfile.ZipFile:
    if path.exists() and not path.is_file():
        raise RecipeError(f"{path}: not a regular file.")
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file.") from error
    except (*BROKEN, OSError) as error:
        hint = "Copy it again; the transfer was probably cut."
        raise RecipeError(f"{path}: not a complete zip file ({error}).", hint=hint) from error


def _manifest(bundle: zipfile.ZipFile, path: Path) -> BundleManifest:
    try:
        info = bundle.getinfo(MANIFEST)
        if info.file_size > 64 << 20 or info.compress_type != zipfile.ZIP_STORED:
            raise ValueError("the manifest is larger than any dataset needs, or compressed")
        data = json_text.loads(bundle.read(MANIFEST))
        if data["version"] != VERSION:
            theirs = f"format {data['version']}, this one reads {VERSION}"
            raise ValueError(f"made by another version of lorakit ({theirs})")
        files = data["files"].items()
        entries = tuple(_entry(name, file["size"], file["sha256"]) for name, file in files)
        return BundleManifest(str(data["dataset"]), entries)
    except (*BROKEN, OSError, KeyError, TypeError, AttributeError) as error:
        hint = "Make it with `lorakit dataset bundle`."
        raise RecipeError(f"{path}: no usable {MANIFEST} inside ({error}).", hint=hint) from error


def _entry(name: str, count: Any, digest: Any) -> PackedFile:
    if type(count) is not int or not 0 <= count < 1 << 63:
        raise ValueError(f"the size of {name!r:.99} is no number of bytes")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"the sha256 of {name!r:.99} is none")
    return PackedFile(name, count, digest)


def _unsafe(bundle: zipfile.ZipFile, where: str) -> Iterator[Fault]:
    """Bad names, links, and entries that unpack to more than they declare."""
    files = (name for name in bundle.namelist() if not name.endswith("/"))
    yield from _bad_names(files, where)
    for info in bundle.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            yield _fault(where, info.filename, "link", "a link or a device, not a file.")
        if info.compress_type != zipfile.ZIP_STORED:
            what = "compressed, which ours never are: its size cannot be trusted."
            yield _fault(where, info.filename, "bomb", what)


def _differences(bundle: zipfile.ZipFile, where: str, manifest: BundleManifest) -> Iterator[Fault]:
    inside = {info.filename: info for info in bundle.infolist() if not info.is_dir()}
    expected = {entry.name: entry for entry in manifest.entries}
    for name in sorted(inside.keys() - expected.keys() - {MANIFEST}):
        yield _fault(where, name, "extra", "in the zip but not in its manifest.")
    for name, entry in expected.items():
        info = inside.get(name)
        if info is None:
            yield _fault(where, name, "missing", "in the manifest but not in the zip.")
        elif info.file_size != entry.size or _hash(bundle, info) != entry.sha256:
            what = "its bytes are not those that were bundled."
            yield _fault(where, name, "changed", what, "Copy the bundle again.")


def _hash(bundle: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    """Of what is inside the zip, which is never more than it declares; empty where it is broken."""
    digest = hashlib.sha256()
    try:
        with bundle.open(info) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except (*BROKEN, OSError):
        return ""
    return digest.hexdigest()
