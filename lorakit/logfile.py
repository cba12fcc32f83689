"""A growing file, read as lines: broken bytes replaced, lines of any length survived."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

MAX_LINE_BYTES = 8192  # of a line we look at; the log keeps the rest
BLOCK, BLOCKS = 1 << 18, 16
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
GAP = re.compile(r"(?<=\S) {3,}(?=[\w.]+\.py:\d+$)")
_BREAK = re.compile(rb"[\r\n]")


class Tail:
    """Follows a file that may not exist yet, and may be deleted: we keep our handle."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset
        self._file: BinaryIO | None = None
        self._rest = b""
        self._overlong = False
        self.behind = False

    def read(self) -> list[bytes]:
        """The lines completed since the last call, without their ends; no empty ones. At most 4 MB:
        a late reader must not hold all of a large log. `behind` says that there is more.
        """
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except OSError:
                return []
            self._file.seek(self._offset)
        lines: list[bytes] = []
        self.behind = False
        for _ in range(BLOCKS):
            block = self._file.read(BLOCK)
            lines += self._split(block)
            if len(block) < BLOCK:
                return lines
        self.behind = True
        return lines

    def drain(self) -> Iterator[list[bytes]]:
        """The rest, part by part, with the last line even if nothing ended it."""
        lines = self.read()
        while self.behind:
            yield lines
            lines = self.read()
        if self._rest and not self._overlong:
            lines.append(self._rest)
        self._rest = b""
        if self._file is not None:
            self._file.close()
            self._file = None
        yield lines

    def _split(self, block: bytes) -> list[bytes]:
        parts = (block.replace(b"\r", b"\n")).split(b"\n")
        if self._overlong:  # still inside a line whose head was already handed out
            if len(parts) == 1:
                return []
            parts = parts[1:]
            self._overlong, self._rest = False, b""
        parts[0] = self._rest + parts[0]
        self._rest = parts.pop()
        if len(self._rest) > MAX_LINE_BYTES:
            parts.append(self._rest[:MAX_LINE_BYTES])
            self._rest, self._overlong = b"", True
        return [part[:MAX_LINE_BYTES] for part in parts if part]


def text_of(line: bytes) -> str:
    """Fit for a terminal: no colours, no control characters, no gap before a right-hand column."""
    return GAP.sub("  ", CONTROL.sub("", ANSI.sub("", line.decode("utf-8", "replace"))).rstrip())


def last_lines(path: Path, count: int) -> list[str]:
    """Of a log of any size; of a bar redrawn a hundred times, the last frame."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - BLOCK))
            data = file.read()
    except OSError:
        return []
    raw = _BREAK.split(data if size <= BLOCK else data.partition(b"\n")[2] or data)
    lines: list[str] = []
    for text in filter(None, (text_of(piece[:MAX_LINE_BYTES]) for piece in raw)):
        if lines and _same_bar(lines[-1], text):
            lines.pop()
        lines.append(text)
    return lines[-count:]


def _same_bar(before: str, after: str) -> bool:
    """Two frames of one bar. A message written behind a frame makes it a line of its own."""
    heads = [line.partition("%|")[0].rstrip("0123456789 ") for line in (before, after)]
    return before.endswith("]") and "%|" in before and "%|" in after and heads[0] == heads[1]


def without_launcher(lines: Sequence[str]) -> list[str]:
    """Without accelerate's traceback, which only says that the script it started has failed."""
    head, last = "Traceback (most recent call last)", "subprocess.CalledProcessError: Command "
    ends = [number for number, line in enumerate(lines) if line.startswith(last)]
    if not ends:
        return list(lines)
    end = begin = ends[-1]
    starts = [number for number in range(end) if head in lines[number]]
    if starts and any("accelerate" in line for line in lines[starts[-1] : end]):
        begin = starts[-1]
    # a trainer that was killed did not end its line: the bar stands before the traceback
    bar = lines[begin].partition(head)[0] if begin < end else ""
    return [*lines[:begin], *([bar] if bar else []), *lines[end + 1 :]]
