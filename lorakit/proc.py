"""The only door to other programs. No shell, argv lists, output as text with bad bytes replaced."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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


def ask(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 30,
) -> Answer:
    """Run a short program to its end and return what it said; never raises for its failures."""
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            capture_output=True,
            timeout=timeout_s,
            check=False,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else ""
        return Answer(124, said, f"{argv[0]} did not answer within {timeout_s:g} s")
    except OSError as error:
        return Answer(127, "", f"{argv[0]}: {error.strerror}")
    return Answer(done.returncode, done.stdout, done.stderr)
