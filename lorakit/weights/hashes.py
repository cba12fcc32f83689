"""sha256 of big files, remembered in the cache until they change; one to each core."""

import errno
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.files import sha256
from lorakit.memo import Memo

SMALL = 1 << 20  # hashing less than this is cheaper than remembering it


def remember(path: Path, digest: str) -> None:
    """What somebody has just hashed need not be read again."""
    memo = _memo()
    memo.put(path, digest)
    memo.save()


def path_digest(path: Path) -> tuple[str, int]:
    """Hash and size of a file, or of a folder (over its relative names and their hashes)."""
    if path.is_file():
        memo = _memo()
        digest = _digest(path, memo)
        memo.save()
        return digest, path.stat().st_size
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


def sha256_of_all(paths: Iterable[Path], *, anew: bool = False) -> dict[Path, str | None]:
    """The biggest first; None for one that cannot be read. `anew`: every byte, not the memory."""
    from concurrent.futures import ThreadPoolExecutor

    from lorakit.pictures.pool import cores

    asked = list(dict.fromkeys(paths))
    sizes = {path: os.path.getsize(path) if os.path.exists(path) else 0 for path in asked}
    wanted = sorted(asked, key=sizes.__getitem__, reverse=True)
    memo = _memo()

    def look(path: Path) -> str | None:
        try:
            return _digest(path, memo, anew=anew)
        except OSError:
            return None

    with ThreadPoolExecutor(cores()) as pool:
        found = dict(zip(wanted, pool.map(look, wanted), strict=True))
    memo.save()
    return {path: found[path] for path in asked}


def _digest(path: Path, memo: Memo, *, anew: bool = False) -> str:
    if not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))  # a pipe would never end
    if path.stat().st_size < SMALL:
        return sha256(path)
    known = memo.get(path)
    if isinstance(known, str) and not anew:
        return known
    digest = sha256(path)
    memo.put(path, digest)
    return digest


def _memo() -> Memo:
    return Memo(cache_dir() / "hashes.json")
