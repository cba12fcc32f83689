"""lorakit called: in this process where that isolates enough, as a process where it is killed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from lorakit.cli.main import main

MARK = "LORAKIT_ATTACK"  # in the environment of what we start: its workers have it too


class HangsError(BaseException):
    """Raised through every `except Exception` of the code that takes too long."""


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def fault(self) -> str:
        """What no command may do, whatever it is given."""
        both = self.out + self.err
        if self.code not in {0, 1}:
            return f"exit {self.code}: {self.err.strip()[:200]}"
        if "Traceback" in both or "lorakit crashed" in both:
            return f"a traceback: {self.err.strip()[-200:]}"
        raw = {one for one in both if ord(one) < 32 and one not in "\n\t"} | ({"\x7f"} & set(both))
        return f"raw control characters {sorted(raw)} reach the terminal" if raw else ""


@contextlib.contextmanager
def at_most(seconds: float, room: int = 2 << 30) -> Iterator[None]:
    """In so much time, and so much memory beyond what is taken already."""

    def hangs(*_: object) -> None:
        raise HangsError

    before = signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    memory = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + room, memory[1]))
    try:
        yield
    except HangsError:
        raise TimeoutError(f"not done after {seconds:.0f} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, memory)


def call(*words: str | Path, limit_s: float = 20) -> Said:
    """In this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace") for _ in range(2))
    with at_most(limit_s), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8", "replace"))
    return Said(code, *texts)


class Child:
    """lorakit as a process of its own, with everything that it starts."""

    def __init__(
        self,
        *words: str | Path,
        program: tuple[str, ...] = ("-m", "lorakit"),
        temporary: Path | None = None,
        cwd: Path | None = None,
    ) -> None:
        own = {"TMPDIR": str(temporary)} if temporary else {}
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, words)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, MARK: self.mark, "OMP_NUM_THREADS": "1", **own},
        )

    def end(self, limit_s: float = 120) -> Said:
        try:
            out, err = self.process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            self.clear()
            out, err = self.process.communicate()
            return Said(-1, "", f"not done after {limit_s:.0f} s; {err[-200:]!r}")
        return Said(
            self.process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )

    def signal(self, number: int) -> bool:
        """To lorakit alone, not to its children; whether it still ran."""
        if self.process.poll() is not None:
            return False
        self.process.send_signal(number)
        return True

    def members(self) -> list[psutil.Process]:
        """What it started and what still lives, wherever it hangs in the tree."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def leftover(self, within_s: float = 8) -> str:
        """Workers that outlived it; they are ended here, so that the next case is not disturbed."""
        until = time.monotonic() + within_s
        while (left := self.members()) and time.monotonic() < until:
            time.sleep(0.1)
        if left:
            self.clear()
        return f"{len(left)} processes outlived it by {within_s:.0f} s" if left else ""

    def clear(self) -> None:
        for process in self.members():
            with contextlib.suppress(psutil.Error):
                process.kill()


def tree(folder: Path) -> dict[str, str]:
    """Every regular file below and its hash; without the note of whose turn it is."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".owner.")
    }


def first(*faults: str) -> str:
    return next(filter(None, faults), "")
