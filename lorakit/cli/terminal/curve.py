"""A curve of Braille dots, two by four a character: small enough for under a progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def curve(points: Sequence[tuple[int, float]], *, width: int = 72, height: int = 8) -> list[str]:
    """Lines of text; nothing for fewer than two points. Steps that share a column are averaged."""
    if len(points) < 2:
        return []
    first, last = points[0][0], points[-1][0]
    columns: dict[int, list[float]] = {}
    for step, value in points:
        columns.setdefault((step - first) * (2 * width - 1) // max(1, last - first), []).append(
            value
        )
    means = {column: sum(values) / len(values) for column, values in columns.items()}
    low, high = min(means.values()), max(means.values())
    cells = [[0] * width for _ in range(height)]
    before = None
    for column, mean in sorted(means.items()):
        row = round((high - mean) / (high - low) * (4 * height - 1)) if high > low else 2 * height
        for dot in _joined(before, row):
            cells[dot // 4][column // 2] |= _DOTS[dot % 4][column % 2]
        before = row
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    lines = [
        f"{label:>{margin}} {''.join(chr(0x2800 + cell) for cell in row)}"
        for label, row in zip(labels, cells, strict=True)
    ]
    return [*lines, f"{'':{margin}} {first}{last!s:>{max(1, width - len(str(first)))}}"]


def _joined(before: int | None, row: int) -> Iterable[int]:
    """The rows of a column, from beside the last one's to its own."""
    if before is None or abs(row - before) <= 1:
        return (row,)
    return range(before + 1, row + 1) if row > before else range(row, before)
