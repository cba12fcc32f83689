"""Where a JPEG says its size: from marker to marker, in time that no file can drive up."""

import os

MOST_MARKERS = 10_000
READ = 1 << 16
MOST_FILL = 1 << 20
SHORT_JPEG = "a JPEG that ends before its size"
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


class EndlessError(ValueError):
    """Looking for the size any further would only cost time."""


def jpeg_size(handle: int, head: bytes) -> tuple[int, int] | None:
    """ValueError says what is wrong; None where only a more forgiving reader can tell."""
    at = 2
    for _ in range(MOST_MARKERS):
        chunk = head[at : at + 10] if at + 10 <= len(head) else os.pread(handle, 10, at)
        if len(chunk) < 4:
            raise ValueError(SHORT_JPEG)
        if chunk[0] != 0xFF:  # stray bytes between markers: Pillow knows how to look further
            _past(handle, at, b"\0")
            return None
        marker = chunk[1]
        if marker == 0xFF:  # fill bytes; the last one begins a marker
            at = _past(handle, at, b"\xff") - 1
        elif marker in BARE:
            at += 2
        elif marker in SOF:
            if len(chunk) < 9:
                raise ValueError(SHORT_JPEG)
            wide, high = (int.from_bytes(chunk[i : i + 2], "big") for i in (7, 5))
            return wide, high
        else:
            at += 2 + int.from_bytes(chunk[2:4], "big")
    raise EndlessError(f"a JPEG without a size in its first {MOST_MARKERS} markers")


def _past(handle: int, at: int, fill: bytes) -> int:
    """Where a row of the same byte ends."""
    for _ in range(MOST_FILL // READ):
        block = os.pread(handle, READ, at)
        rest = block.lstrip(fill)
        at += len(block) - len(rest)
        if rest or not block:
            return at
    raise EndlessError(f"a JPEG with more than {MOST_FILL} bytes of filling")
