"""Charts as inline SVG, coloured by the page's classes: they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lorakit.report.series import Point, thinned

MAX_POINTS = 700  # of a line; more than a screen has columns
SHAPES = {"wide": (1100, 320), "narrow": (380, 260)}
LEFT, RIGHT, TOP, BOTTOM = 78, 12, 12, 40  # margins of the plot


@dataclass(frozen=True)
class Line:
    name: str  # in the key; "" where no key is needed
    points: Sequence[Point]
    kind: str  # the class: raw, smooth, validation, rate0 ...
    dots: bool = False


@dataclass(frozen=True)
class Frame:
    """Where in the picture a step and a value are."""

    width: int
    height: int
    last_step: int
    values: tuple[float, float]

    @property
    def right(self) -> int:
        return self.width - RIGHT

    @property
    def floor(self) -> int:
        return self.height - BOTTOM

    def x(self, step: float) -> float:
        return LEFT + step / self.last_step * (self.right - LEFT)

    def y(self, value: float) -> float:
        low, high = self.values
        return self.floor - (value - low) / (high - low) * (self.floor - TOP)

    def shown(self, steps: Sequence[int]) -> list[int]:
        return sorted({step for step in steps if 0 <= step <= self.last_step})


def charts(
    lines: Sequence[Line],
    unit: str,
    label: str,
    *,
    last_step: int = 0,
    marks: Sequence[int] = (),
    cuts: Sequence[int] = (),
) -> str:
    """A key, and the chart twice: on a phone the letters of one that is only scaled cannot be read.
    Empty where there is nothing to draw. `cuts` are the steps from which the run was resumed.
    """
    steps = [step for line in lines for step, _ in line.points]
    if not steps:
        return ""
    drawn, values = _key(lines), _span(lines)
    for shape, (width, height) in SHAPES.items():
        frame = Frame(width, height, max(last_step, *steps, 1), values)
        size = f'width="{frame.right - LEFT}" height="{frame.floor - TOP}"'
        inside = f"{LEFT} {TOP} {frame.right - LEFT} {frame.floor - TOP}"
        drawn += (
            f'<svg class="chart {shape}" viewBox="0 0 {width} {height}" role="img"'
            f' aria-label="{escape(label)}">'
            f"{_axes(frame, unit)}{_marks(frame, marks)}{_cuts(frame, cuts)}"
            f'<svg x="{LEFT}" y="{TOP}" {size} viewBox="{inside}">'  # nothing leaves this one
            f"{''.join(_path(frame, one) for one in lines)}</svg></svg>"
        )
    return drawn


def _key(lines: Sequence[Line]) -> str:
    items = "".join(
        '<li><svg viewBox="0 0 26 10" aria-hidden="true">'
        f'<path class="line {line.kind}" d="M1 5H25"/></svg>{escape(line.name)}</li>'
        for line in lines
        if line.name
    )
    return f'<ul class="key">{items}</ul>' if items else ""


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten) inside the span."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _span(lines: Sequence[Line]) -> tuple[float, float]:
    """Without the wildest hundredth of the raw line: a single spike must not flatten the rest."""
    seen: list[float] = []
    for line in lines:
        values = sorted(value for _, value in line.points)
        wild = len(values) // 100 if line.kind == "raw" else 0
        seen += values[wild : wild + 1] + values[-1 - wild :][:1]
    low, high = min(seen), max(seen)
    if 0 <= low < 0.5 * high:
        low = 0.0
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if low == 0.0 else low - room), high + room


def _axes(frame: Frame, unit: str) -> str:
    middle = (LEFT + frame.right) / 2
    parts = [
        f'<text x="{middle:.0f}" y="{frame.height - 4}" text-anchor="middle">step</text>'
        f'<text transform="translate(12 {(TOP + frame.floor) / 2:.0f}) rotate(-90)"'
        f' text-anchor="middle">{escape(unit)}</text>'
        f'<line class="axis" x1="{LEFT}" x2="{frame.right}" y1="{frame.floor}" y2="{frame.floor}"/>'
    ]
    for value in ticks(*frame.values, about=max(3, frame.height // 60)):
        y = frame.y(value)
        parts.append(
            f'<line class="rule" x1="{LEFT}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    for step in ticks(0, frame.last_step, about=max(3, frame.width // 130)):
        if step == int(step):
            place = f'x="{frame.x(step):.1f}" y="{frame.floor + 18}"'
            parts.append(f'<text {place} text-anchor="middle">{int(step)}</text>')
    return "".join(parts)


def _marks(frame: Frame, steps: Sequence[int]) -> str:
    """A small notch on the step axis for every checkpoint."""
    return "".join(
        f'<path class="mark" d="M{frame.x(step):.1f} {frame.floor}l-4 7h8z">'
        f"<title>checkpoint at step {step}</title></path>"
        for step in frame.shown(steps)
    )


def _cuts(frame: Frame, steps: Sequence[int]) -> str:
    return "".join(
        f'<line class="cut" x1="{frame.x(step):.1f}" x2="{frame.x(step):.1f}" y1="{TOP}"'
        f' y2="{frame.floor}"><title>resumed from step {step}</title></line>'
        for step in frame.shown(steps)
    )


def _path(frame: Frame, line: Line) -> str:
    points = thinned(line.points, MAX_POINTS)
    places = [(f"{frame.x(step):.1f}", f"{frame.y(value):.1f}") for step, value in points]
    drawn = ""
    if len(places) > 1:
        way = "L".join(f"{x} {y}" for x, y in places)
        drawn = f'<path class="line {line.kind}" d="M{way}"/>'
    if line.dots or len(places) == 1:
        dot = '<circle class="dot {}" cx="{}" cy="{}" r="3"/>'
        drawn += "".join(dot.format(line.kind, x, y) for x, y in places)
    return drawn
