"""One training at a time on one device: a lock that lives as long as the training itself."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.events import Emit, Event


def lock_path() -> Path:
    """One lock per set of visible devices, for all of this user's projects."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    name = "".join(c if c.isalnum() else "-" for c in visible) or "all"
    return cache_dir() / f"device-{name}.lock"


@contextmanager
def hold_device(run_dir: Path, emit: Emit) -> Iterator[tuple[int, ...]]:
    """Gives what the child must inherit. A lock of somebody else is a warning: two may fit."""
    with ExitStack() as stack:
        handles = _lock(stack)
        for handle in handles or ():
            os.ftruncate(handle, 0)
            os.write(handle, f"{run_dir}\n".encode())
        if handles is None:
            busy = (
                f"another run is training on this device ({holder()}); memory and speed are shared"
            )
            emit(Event("warning", text=busy, rule="shared"))
        yield handles or ()


def device_is_free() -> bool:
    with ExitStack() as stack:
        return _lock(stack) is not None


def holder() -> str:
    try:
        return lock_path().read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"


def _lock(stack: ExitStack) -> tuple[int, ...] | None:
    """The descriptor until the stack closes; none where locks fail; None where another has it."""
    from filelock import FileLock, Timeout

    taken: list[int] = []
    try:
        lock_path().parent.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(lock_path(), blocking=False, on_acquired=taken.append))
    except Timeout:
        return None
    except OSError:
        return ()
    return tuple(taken)
