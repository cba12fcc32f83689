"""One training at a time on one device: a lock that lasts as long as the training does, even when
lorakit is killed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.events import Event, Teller


def lock_path() -> Path:
    """One lock per set of visible devices, for all of this user's projects."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    name = "".join(c if c.isalnum() else "-" for c in visible) or "all"
    return cache_dir() / f"device-{name}.lock"


@contextmanager
def hold_device(run_dir: Path, tell: Teller) -> Iterator[tuple[int, ...]]:
    """Holds the lock and gives the descriptor that the child must inherit. Somebody else's lock is
    a warning: two runs may fit.
    """
    handle = _open()
    if handle is None:
        yield ()
        return
    try:
        if _try_lock(handle):
            os.ftruncate(handle, 0)
            os.write(handle, f"{run_dir}\n".encode())
            yield (handle,)
        else:
            tell(
                Event(
                    "warning",
                    text=(
                        f"another run is training on this device ({holder()}); memory and speed are"
                        " shared"
                    ),
                    rule="shared",
                )
            )
            yield ()
    finally:
        os.close(handle)


def device_is_free() -> bool:
    handle = _open()
    if handle is None:
        return True
    try:
        return _try_lock(handle)
    finally:
        os.close(handle)


def holder() -> str:
    try:
        return lock_path().read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"


def _open() -> int | None:
    if sys.platform == "win32":
        return None
    try:
        lock_path().parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _try_lock(handle: int) -> bool:
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
