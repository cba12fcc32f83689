"""Archives: names that lead out, entries that lie, bombs, cuts; as photos for `add` and as bundles."""

from __future__ import annotations

import hashlib
import io
import json
import random
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drawings import drawing

from attacks.calling import call, tree
from attacks.table import Case

NAMES = (
    *(
        "../evil.png",
        "2_zwx/../../evil.png",
        "/evil.png",
        "C:\\evil.png",
        "C:evil.png",
        "..\\evil.png",
    ),
    *(
        "2_zwx/./a.png",
        "2_zwx//a.png",
        "./2_zwx/a.png",
        "2_zwx/a.png",
        "2_ZWX/A.PNG",
        "2_zwx/a.png/",
    ),
    *(
        "",
        ".",
        "..",
        "/",
        "a.png",
        "2_zwx",
        "2_zwx/a.png/b.png",
        "manifest.json",
        "./manifest.json",
    ),
    *(
        "2_zwx/CON.png",
        "2_zwx/a.png ",
        "2_zwx/\x1b[2J.png",
        "2_zwx/new\nline.png",
        "2_zwx/x\\y.png",
    ),
    *("2_zwx/" + "n" * 300 + ".png", "d/" * 500 + "x.png", "2_zwx/e\u0301.png", "\u202egnp.png"),
    *(".lorakit/prepared.json", ".git/config", "2_zwx/.hidden.png", "-rf.png", "$(touch x).png"),
)
WRONG: tuple[Any, ...] = (None, [], "x", 1e400)
SIZES: tuple[Any, ...] = (-1, 0, 1e400, 10**400, 1.5, "1", "x", None, True, [], {}, [[[]]])


def cases(folder: Path, count: int) -> Iterator[Case]:
    folder = folder / "zips"
    source = folder / "source"
    (source / "2_zwx").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png")):
        drawing((96, 96), number).save(source / "2_zwx" / name)
        (source / "2_zwx" / name).with_suffix(".txt").write_text("zwx, one", encoding="utf-8")
    call("dataset", "bundle", source, "--out", folder / "sound.zip")
    sound = (folder / "sound.zip").read_bytes()
    attacks = [*of_names(sound), *of_manifests(sound), *of_bytes(sound), *of_entries(sound)]
    random.Random(110).shuffle(attacks)
    for number, (name, data) in enumerate(attacks[:count]):
        at = folder / str(number)
        yield name, lambda at=at, data=data: tried(at, data)  # type: ignore[misc]


def of_names(sound: bytes) -> Iterator[tuple[str, bytes]]:
    for name in NAMES:
        yield f"beside: {name!r:.30}", rebuilt(sound, more={name: b"evil"})
        yield f"listed: {name!r:.30}", rebuilt(sound, more={name: b"evil"}, listed=True)


def of_manifests(sound: bytes) -> Iterator[tuple[str, bytes]]:
    for size in SIZES:
        yield f"size {size!r:.20}", rebuilt(sound, size=size)
    for key in ("version", "files", "dataset"):
        yield from ((f"{key} = {value!r}", rebuilt(sound, told={key: value})) for value in WRONG)
    deep = b"[" * 100_000
    for text in (
        deep,
        b"",
        b"{",
        b"\xff",
        b'{"files":' + deep,
        b'{"version": ' + b"9" * 5000 + b"}",
    ):
        yield f"manifest {text[:12]!r}", rebuilt(sound, manifest=text)


def of_bytes(sound: bytes) -> Iterator[tuple[str, bytes]]:
    pick = random.Random(3)
    for part in (0, 1, 21, 22, len(sound) // 2, len(sound) - 1, len(sound) - 22):
        yield f"cut at {part}", sound[:part]
    yield "something before it", b"#!/bin/sh\n" + sound
    yield "something after it", sound + b"x" * 70_000
    directory = sound.rindex(b"PK\1\2")
    for turn in range(12):
        data, at = bytearray(sound), pick.randrange(directory, len(sound))
        data[at] ^= 1 << pick.randrange(8)
        yield f"directory, bit {turn}", bytes(data)
        data, at = bytearray(sound), pick.randrange(len(sound))
        data[at] ^= 1 << pick.randrange(8)
        yield f"anywhere, bit {turn}", bytes(data)


def of_entries(sound: bytes) -> Iterator[tuple[str, bytes]]:
    kinds = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFDIR)
    for kind in kinds:
        info = zipfile.ZipInfo("2_zwx/link.png")
        info.external_attr = (kind | 0o777) << 16
        yield f"of kind {kind:o}", rebuilt(sound, more={info: b"/etc/passwd"}, listed=True)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        info = zipfile.ZipInfo("2_zwx/bomb.png")
        info.compress_type = method
        yield f"a bomb by {method}", rebuilt(sound, more={info: bytes(12_000_000)}, listed=True)
    for flag in (1, 64):  # encrypted
        data = bytearray(sound)
        at = data.index(b"PK\1\2")
        data[at + 8 : at + 10] = struct.pack("<H", flag)
        yield f"flag {flag}", bytes(data)
    for method in (1, 99):
        data = bytearray(sound)
        for mark, place in ((b"PK\1\2", 10), (b"PK\3\4", 8)):
            at = data.index(mark)
            data[at + place : at + place + 2] = struct.pack("<H", method)
        yield f"method {method}", bytes(data)


def rebuilt(
    sound: bytes,
    *,
    more: dict[Any, bytes] | None = None,
    listed: bool = False,
    told: dict[str, Any] | None = None,
    size: Any = ...,
    manifest: bytes | None = None,
) -> bytes:
    """A bundle with other entries, whose manifest names them or not."""
    out = io.BytesIO()
    with (
        warnings.catch_warnings(),  # of names that are there twice, on purpose
        zipfile.ZipFile(io.BytesIO(sound)) as old,
        zipfile.ZipFile(out, "w") as new,
    ):
        warnings.simplefilter("ignore")
        data = json.loads(old.read("manifest.json")) | (told or {})
        if listed:
            for info, body in (more or {}).items():
                digest = hashlib.sha256(body).hexdigest()
                data["files"][getattr(info, "filename", info)] = {
                    "size": len(body),
                    "sha256": digest,
                }
        if size is not ...:
            next(iter(data["files"].values()))["size"] = size
        new.writestr("manifest.json", json.dumps(data).encode() if manifest is None else manifest)
        for info in old.infolist():
            if info.filename != "manifest.json":
                new.writestr(zipfile.ZipInfo(info.filename), old.read(info))
        for info, body in (more or {}).items():
            entry = info if isinstance(info, zipfile.ZipInfo) else named(info)
            new.writestr(entry, body, entry.compress_type)
    return out.getvalue()


def named(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


def tried(folder: Path, data: bytes) -> str:
    """Proven means: every file of the manifest is there with its hash, and nothing else anywhere."""
    folder.mkdir(parents=True)
    path, there, dataset = folder / "in.zip", folder / "deep/there", folder / "deep/data"
    (folder / "deep").mkdir()
    path.write_bytes(data)
    proven = call("dataset", "bundle", "verify", path, "--unpack", there)
    added = call("dataset", "add", dataset, path, "--trigger", "zwx")
    if fault := proven.fault or added.fault:
        return fault
    if any(
        name.split("/")[:2] not in (["deep", "there"], ["deep", "data"])
        for name in tree(folder)
        if name != "in.zip"
    ):
        return "something was written elsewhere"
    if proven.code:
        return "refused, but unpacked" if there.exists() else ""
    with zipfile.ZipFile(path) as bundle:
        files = json.loads(bundle.read("manifest.json"))["files"]
        entries = len([info for info in bundle.infolist() if not info.is_dir()]) - 1
    wanted = sorted(entry["sha256"] for entry in files.values())
    if len(wanted) != entries or sorted(tree(there).values()) != wanted:
        return (
            f"proven, but {len(tree(there))} files came of {entries} entries, {len(wanted)} named"
        )
    return ""
