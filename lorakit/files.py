"""Writing that never leaves half a file: beside it first, then moved into place."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from lorakit.user_files import naming_it

MAX_NAME_CHARS = 40  # of a file's name in that of its hidden neighbour


@naming_it
def write_atomic(path: Path, data: str | bytes, *, private: bool = False) -> None:
    """The file is the old one or the new one, whatever happens in between; the old one's
    permissions stay. `private`: readable by its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name[:MAX_NAME_CHARS]}.", suffix=".tmp"
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        if not private:  # as it is made
            os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def at_home(path: Path) -> Path:
    """`~` expanded. Without a home folder or such a user the path stays as written, and is
    reported as missing.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def sha256(path: Path) -> str:
    """Through one buffer that fits the processor's cache: no slower than sha256sum."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
