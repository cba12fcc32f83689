"""The only door to other programs. No shell, argv lists, output as text with bad bytes replaced."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Answer:
    """What a short program said. A missing program answers 127 and says so."""

    code: int
    out: str
    err: str


def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    keep_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """In its own session and group, its output appended to `log`. Raises OSError."""
    with log.open("ab") as out:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(keep_fds),
        )


def start_inside(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """In our own session and group, with our output, environment and locks. Raises OSError."""
    return subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, close_fds=False)


def run_ours(
    python: str, module: str, order: Path, *, log: Path, progress: Callable[[], object]
) -> str:
    """One of our modules in a Python with torch, with its order, as a child that never outlives the
    call. What it said where it failed. Raises OSError.
    """
    paths = filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")))
    # The machine may be busy: threads sleep while waiting.
    env = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "HF_HUB_OFFLINE": "1"}
    env["PYTHONPATH"] = os.pathsep.join(paths)
    child = start([python, "-m", module, str(order)], cwd=log.parent, env=env, log=log)
    try:
        while child.poll() is None:
            time.sleep(0.1)
            progress()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    return (said or f"exit code {child.returncode}") if child.returncode else ""


def ask(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = 30,
    given: IO[bytes] | None = None,
    into: IO[bytes] | None = None,
) -> Answer:
    """Run a short program to its end and return what it said; never raises for its failures. It
    reads the file `given`, and what it writes goes `into` a file.
    """
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdout=into or subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
            stdin=given or subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else ""
        return Answer(124, said, f"{argv[0]} did not answer within {timeout_s} s")
    except OSError as error:
        return Answer(127, "", f"{argv[0]}: {error.strerror}")
    return Answer(done.returncode, done.stdout or "", done.stderr)


def stay(argv: Sequence[str]) -> int:
    """Run a program on our own terminal to its end; its exit code."""
    try:
        return subprocess.call(list(argv))
    except OSError:
        return 127
