"""A counting bar on stderr for what takes over a second; silent where that is no terminal."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

PATIENCE_S = 1.0


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yields `progress(done, all)`; nothing is drawn in the first second."""
    started, drawn = time.monotonic(), 0.0
    terminal = sys.stderr.isatty()

    def progress(done: int, total: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if terminal and now - started > PATIENCE_S and (now - drawn > 0.1 or done == total):
            drawn = now
            rate = done / (now - started)
            filled = 24 * done // max(total, 1)
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            print(
                f"\r\x1b[K{what} {'█' * filled}{'·' * (24 - filled)} {done}/{total}{left}",
                end="",
                file=sys.stderr,
                flush=True,
            )

    try:
        yield progress
    finally:
        if drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
