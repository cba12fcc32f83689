"""sha256 of big files, remembered by path, size, mtime and inode in the user's cache; as many
files at a time as there are cores.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lorakit.config import cache_dir
from lorakit.files import sha256, write_atomic

SMALL = 1 << 20  # hashing less than this is cheaper than remembering it
_lock = threading.Lock()
Entry = dict[str, Any]


def cached_sha256(path: Path) -> str:
    """As `files.sha256`, but a file that has not changed since is not read again."""
    digest, entry = _look(path, _read())
    _remember({str(path.resolve()): entry} if entry else {})
    return digest


def remember(path: Path, digest: str) -> None:
    """What has just been hashed need not be read again."""
    _remember({str(path.resolve()): {"stamp": _stamp(path), "sha256": digest}})


def path_digest(path: Path) -> tuple[str, int]:
    """One hash and size for what weights come as: a file, or a diffusers folder (over its sorted
    relative names and their hashes).
    """
    if path.is_file():
        return cached_sha256(path), path.stat().st_size
    files = files_of(path)
    now = sha256_of_all(files)
    lines = (f"{file.relative_to(path).as_posix()}\t{now[file]}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), sum(
        file.stat().st_size for file in files
    )


def files_of(path: Path) -> list[Path]:
    """The files whose hashes make the hash of a model's path."""
    return (
        [path] if path.is_file() else sorted(file for file in path.rglob("[!.]*") if file.is_file())
    )


def sha256_of_all(paths: Iterable[Path], *, workers: int | None = None) -> dict[Path, str | None]:
    """Many files, one to each core (hashing lets go of the interpreter), the biggest first; None
    for one that cannot be read.
    """
    sizes = {path: _size(path) for path in dict.fromkeys(paths)}
    wanted = sorted(sizes, key=lambda path: -sizes[path])
    known = _read()
    with ThreadPoolExecutor(workers or _cores()) as pool:
        found = dict(
            zip(wanted, pool.map(lambda path: _look_or_none(path, known), wanted), strict=True)
        )
    _remember({str(path.resolve()): entry for path, (_, entry) in found.items() if entry})
    return {path: found[path][0] for path in sizes}


def _look_or_none(path: Path, known: dict[str, object]) -> tuple[str | None, Entry | None]:
    try:
        return _look(path, known)
    except OSError:
        return None, None


def _look(path: Path, known: dict[str, object]) -> tuple[str, Entry | None]:
    """The hash, and what is worth remembering of it."""
    stamp = _stamp(path)
    if stamp[0] < SMALL:
        return sha256(path), None
    old = known.get(str(path.resolve()))
    if isinstance(old, dict) and old.get("stamp") == stamp and isinstance(old.get("sha256"), str):
        return str(old["sha256"]), None
    digest = sha256(path)
    # Changed while we read: this hash is worth nothing later.
    return digest, {"stamp": stamp, "sha256": digest} if _stamp(path) == stamp else None


def _remember(entries: dict[str, Entry]) -> None:
    if entries:
        with _lock:
            write_atomic(_store(), json.dumps({**_read(), **entries}, indent=0))


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _store() -> Path:
    return cache_dir() / "hashes.json"


def _read() -> dict[str, object]:
    try:
        data = json.loads(_store().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
