"""Charts as inline SVG: axes with ticks a person would choose, a raw line behind a smooth one,
marks where checkpoints lie.

Colours come from the page's classes, so that a chart follows light and dark; nothing in it is
scripted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from lorakit.report.series import Point, thinned

MOST = 700  # points a line keeps; more than a screen has columns


@dataclass(frozen=True)
class Line:
    name: str
    points: Sequence[Point]
    kind: str  # the class: raw, smooth, validation, rate0 ...
    dots: bool = False


@dataclass(frozen=True)
class Frame:
    """Where the plot lies in the picture and what it spans."""

    width: int
    height: int
    steps: tuple[float, float]
    values: tuple[float, float]
    left: int = 78
    right: int = 12
    top: int = 12
    bottom: int = 40

    def x(self, step: float) -> float:
        low, high = self.steps
        return self.left + (step - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        low, high = self.values
        return (
            self.height
            - self.bottom
            - (value - low) / (high - low) * (self.height - self.top - self.bottom)
        )


def chart(
    lines: Sequence[Line],
    *,
    label: str,
    unit: str,
    ident: str,
    width: int,
    height: int,
    last_step: int = 0,
    marks: Sequence[int] = (),
    cuts: Sequence[int] = (),
) -> str:
    """One SVG; empty where there is nothing to draw. `ident` makes the clip path's name its own on
    the page; `cuts` are steps from which the run was resumed.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    frame = Frame(
        width, height, (0.0, float(max(last_step, *(step for step, _ in points), 1))), _span(lines)
    )
    parts = [
        (
            f'<svg class="chart" viewBox="0 0 {width} {height}" role="img"'
            f' aria-label="{escape(label)}">'
        ),
        _clip(frame, ident),
        *_axes(frame, unit),
        *_marks(frame, marks),
        *_cuts(frame, cuts),
        f'<g clip-path="url(#{ident})">',
        *(_path(frame, line) for line in lines),
        "</g></svg>",
    ]
    return "".join(parts)


def _clip(frame: Frame, ident: str) -> str:
    width, height = frame.width - frame.left - frame.right, frame.height - frame.top - frame.bottom
    return (
        f'<clipPath id="{ident}"><rect x="{frame.left}" y="{frame.top}" width="{width}"'
        f' height="{height}"/></clipPath>'
    )


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2, 5 times a power of ten) inside the span."""
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _span(lines: Sequence[Line]) -> tuple[float, float]:
    """All of the smooth lines, and all but the wildest hundredth of the raw one: a single spike
    must not flatten the rest.
    """
    seen = [value for line in lines if line.kind != "raw" for _, value in line.points]
    for line in lines:
        if line.kind == "raw":
            values = sorted(value for _, value in line.points)
            seen += [values[len(values) // 100], values[-1 - len(values) // 100]]
    low, high = min(seen), max(seen)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low if low == 0.0 else low - room), high + room


def _axes(frame: Frame, unit: str) -> list[str]:
    bottom, right = frame.height - frame.bottom, frame.width - frame.right
    parts = []
    for value in ticks(*frame.values, about=max(3, frame.height // 60)):
        y = frame.y(value)
        parts.append(
            f'<line class="rule" x1="{frame.left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{frame.left - 7}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    parts += [
        f'<text x="{frame.x(step):.1f}" y="{bottom + 18}" text-anchor="middle">{int(step)}</text>'
        for step in ticks(*frame.steps, about=max(3, frame.width // 130))
        if step == int(step)
    ]
    middle = (frame.left + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{frame.height - 4}" text-anchor="middle">step</text>')
    parts.append(
        f'<text transform="translate(12 {(frame.top + bottom) / 2:.0f}) rotate(-90)"'
        f' text-anchor="middle">{escape(unit)}</text>'
    )
    parts.append(f'<line class="axis" x1="{frame.left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    return parts


def _marks(frame: Frame, steps: Sequence[int]) -> list[str]:
    """A small notch on the step axis for every checkpoint."""
    y = frame.height - frame.bottom
    return [
        f'<path class="mark" d="M{frame.x(step):.1f} {y}l-4 7h8z"><title>checkpoint at step'
        f" {step}</title></path>"
        for step in sorted(set(steps))
        if frame.steps[0] <= step <= frame.steps[1]
    ]


def _cuts(frame: Frame, steps: Sequence[int]) -> list[str]:
    bottom = frame.height - frame.bottom
    return [
        f'<line class="cut" x1="{frame.x(step):.1f}" x2="{frame.x(step):.1f}" y1="{frame.top}"'
        f' y2="{bottom}"><title>resumed from step {step}</title></line>'
        for step in sorted(set(steps))
        if frame.steps[0] <= step <= frame.steps[1]
    ]


def _path(frame: Frame, line: Line) -> str:
    places = [
        (f"{frame.x(step):.1f}", f"{frame.y(value):.1f}")
        for step, value in thinned(line.points, MOST)
    ]
    way = "L".join(f"{x} {y}" for x, y in places)
    dots = places if line.dots or len(places) == 1 else []
    return (f'<path class="line {line.kind}" d="M{way}"/>' if len(places) > 1 else "") + "".join(
        f'<circle class="dot {line.kind}" cx="{x}" cy="{y}" r="3"/>' for x, y in dots
    )
