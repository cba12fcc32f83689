"""sha256 of big files, remembered by path, size, mtime and inode in the user's cache; several files at a time."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.files import sha256, write_atomic

SMALL = 1 << 20                  # hashing less than this is cheaper than remembering it
_lock = threading.Lock()


def cached_sha256(path: Path) -> str:
    """As `files.sha256`, but a file that has not changed since is not read again."""
    stat = path.stat()
    if stat.st_size < SMALL:
        return sha256(path)
    key = str(path.resolve())
    stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    known = _read().get(key)
    if isinstance(known, dict) and known.get("stamp") == stamp and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    digest = sha256(path)
    after = path.stat()
    if [after.st_size, after.st_mtime_ns, after.st_ino] == stamp:   # changed while we read: true for nobody, remembered for nobody
        remember(path, digest)
    return digest


def remember(path: Path, digest: str) -> None:
    """What somebody has just hashed need not be read again."""
    stat = path.stat()
    with _lock:
        write_atomic(_store(), json.dumps({
            **_read(), str(path.resolve()): {"stamp": [stat.st_size, stat.st_mtime_ns, stat.st_ino], "sha256": digest}}, indent=0))


def path_digest(path: Path) -> tuple[str, int]:
    """One hash and size for what weights come as: a file, or a diffusers folder (over its sorted relative names and their hashes)."""
    if path.is_file():
        return cached_sha256(path), path.stat().st_size
    files = sorted(file for file in path.rglob("[!.]*") if file.is_file())
    lines = (f"{file.relative_to(path).as_posix()}\t{cached_sha256(file)}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest(), sum(file.stat().st_size for file in files)


def sha256_of_all(paths: Iterable[Path], *, workers: int = 4) -> dict[Path, str | None]:
    """Many files, in parallel (hashing lets go of the interpreter); None for one that cannot be read."""
    with ThreadPoolExecutor(workers) as pool:
        wanted = list(dict.fromkeys(paths))
        return dict(zip(wanted, pool.map(_or_none, wanted), strict=True))


def _or_none(path: Path) -> str | None:
    try:
        return cached_sha256(path)
    except OSError:
        return None


def _store() -> Path:
    return cache_dir() / "hashes.json"


def _read() -> dict[str, object]:
    try:
        data = json.loads(_store().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
