"""What something costs, whatever else the machine does: counted where that can be, else timed beside
a fixed piece of work. And the one way in which tests wait for something to come true.
"""

import cProfile
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 60.0  # costs nothing where all goes well
YARD_S = 0.05  # of the processor: what `yard` takes on a quiet machine of 2020


def until(true: Callable[[], object], what: str = "", seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain {what}"
        time.sleep(0.02)


def calls(work: Callable[[], object]) -> int:
    """Of functions, Python's own among them: the same number on every machine."""
    watch = cProfile.Profile()
    watch.runcall(work)
    return int(vars(pstats.Stats(watch))["total_calls"])


def bytes_read(work: Callable[[], object]) -> int:
    """By system calls of this process."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])

    before = so_far()
    work()
    return so_far() - before


def yard() -> float:
    """A fixed piece of work: numbers, words and little files."""
    began = time.process_time()
    words = dict[str, int]()
    for number in range(60_000):
        word = f"{number * 7919 % 10_007:05}"
        words[word] = words.get(word, 0) + len(word.partition("7")[2])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(150):
            path = os.path.join(folder, str(number))
            with open(path, "w", encoding="utf-8") as file:
                file.write("a few words")
            os.stat(path)
    return time.process_time() - began


def slowness() -> float:
    """By how much this machine is slower just now than a quiet one; never under 1."""
    return max(1.0, yard() / YARD_S)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """So many seconds of this process's processor time on a quiet machine, more on a slower one."""
    before, began = slowness(), time.process_time()
    yield
    took = time.process_time() - began
    limit = seconds * max(before, slowness())
    assert took < limit, f"{took:.2f} s of the processor; {limit:.2f} s are allowed here and now"
