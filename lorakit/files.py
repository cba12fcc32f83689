"""Writing without ever leaving half a file: beside, then moved into place."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

LONGEST = 40  # of a file's name, how much its hidden neighbour carries


def write_atomic(path: Path, data: str | bytes) -> None:
    """The file is either the old one or the new one, whatever happens in between; permissions of
    an old one are kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name[:LONGEST]}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def at_home(path: Path) -> Path:
    """`~` made the home folder. Where there is none, or no such user, the path stays as it was
    written, and is told as missing.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def sha256(path: Path) -> str:
    """Read into one buffer that stays in the processor's cache: no slower than sha256sum."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
