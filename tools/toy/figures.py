"""The figures of the toy world, and the pen that draws them. Each is drawn around (0, 0) in a box
from -1 to 1, y down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

COLOURS: Mapping[str, Colour] = {
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 50),
    "green": (60, 160, 70),
    "blue": (45, 95, 205),
    "purple": (125, 60, 165),
    "pink": (245, 150, 185),
    "brown": (130, 85, 50),
    "white": (248, 248, 245),
    "black": (35, 35, 40),
}
HELD_OUT: Mapping[str, Colour] = {
    "turquoise": (30, 190, 180),
    "magenta": (225, 20, 140),
}  # the character's own

Points = list[tuple[float, float]]


class Pen:
    """An ImageDraw that knows where the thing stands, how large it is, and whether its edge is
    drawn.
    """

    def __init__(self, image: Image.Image, x: float, y: float, half: float, *, edge: bool) -> None:
        self.draw, self.x, self.y, self.half = ImageDraw.Draw(image), x, y, half
        self.width = max(1, round(image.width * 0.018)) if edge else 0
        self.ink = INK if edge else None

    def place(self, points: Points) -> Points:
        return [(self.x + self.half * px, self.y + self.half * py) for px, py in points]

    def polygon(self, points: Points, fill: Colour) -> None:
        placed = self.place(points)
        self.draw.polygon(placed, fill=fill)
        if self.width:
            self.draw.line(
                [*placed, placed[0], placed[1]], fill=INK, width=self.width, joint="curve"
            )

    def oval(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        corners = self.place([(left, top), (right, bottom)])
        self.draw.ellipse(corners, fill=fill, outline=self.ink, width=self.width)

    def box(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: Colour,
        *,
        round_by: float = 0.0,
    ) -> None:
        corners = self.place([(left, top), (right, bottom)])
        self.draw.rounded_rectangle(
            corners, self.half * round_by, fill=fill, outline=self.ink, width=self.width
        )

    def stroke(self, points: Points, fill: Colour, width: float) -> None:
        self.draw.line(
            self.place(points), fill=fill, width=max(1, round(self.half * width)), joint="curve"
        )


INK: Colour = (25, 25, 30)
WHITE: Colour = (250, 250, 250)
GLASS: Colour = (190, 225, 245)
WOOD: Colour = (120, 80, 50)
STEEL: Colour = (185, 190, 198)


def shade(colour: Colour, factor: float) -> Colour:
    """Darker below 1, lighter above."""
    if factor <= 1:
        return tuple(round(c * factor) for c in colour)  # type: ignore[return-value]
    return tuple(round(255 - (255 - c) * (2 - factor)) for c in colour)  # type: ignore[return-value]


def circle(pen: Pen, colour: Colour) -> None:
    pen.oval(-0.95, -0.95, 0.95, 0.95, colour)


def square(pen: Pen, colour: Colour) -> None:
    pen.box(-0.88, -0.88, 0.88, 0.88, colour)


def triangle(pen: Pen, colour: Colour) -> None:
    pen.polygon([(0, -1), (1, 0.85), (-1, 0.85)], colour)


def star(pen: Pen, colour: Colour) -> None:
    tips = [
        (math.sin(i * math.pi / 5), -math.cos(i * math.pi / 5), 1.0 if i % 2 == 0 else 0.42)
        for i in range(10)
    ]
    pen.polygon([(x * r * 1.05, y * r * 1.05) for x, y, r in tips], colour)


def heart(pen: Pen, colour: Colour) -> None:
    turns = [2 * math.pi * i / 60 for i in range(60)]
    pen.polygon(
        [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
                / 16
                + 0.05,
            )
            for t in turns
        ],
        colour,
    )


def cross(pen: Pen, colour: Colour) -> None:
    a, b = 0.34, 0.95
    pen.polygon(
        [
            (-a, -b),
            (a, -b),
            (a, -a),
            (b, -a),
            (b, a),
            (a, a),
            (a, b),
            (-a, b),
            (-a, a),
            (-b, a),
            (-b, -a),
            (-a, -a),
        ],
        colour,
    )


def house(pen: Pen, colour: Colour) -> None:
    pen.box(-0.75, -0.1, 0.75, 0.95, colour)
    pen.polygon([(0, -1), (1, -0.05), (-1, -0.05)], shade(colour, 0.6))
    pen.box(-0.2, 0.35, 0.2, 0.95, WOOD)
    pen.box(0.35, 0.1, 0.62, 0.4, GLASS)
    pen.box(-0.62, 0.1, -0.35, 0.4, GLASS)


def tree(pen: Pen, colour: Colour) -> None:
    pen.box(-0.16, 0.2, 0.16, 1.0, WOOD)
    pen.oval(-0.8, -0.6, 0.1, 0.3, colour)
    pen.oval(-0.1, -0.6, 0.8, 0.3, colour)
    pen.oval(-0.55, -1.0, 0.55, 0.1, colour)


def fish(pen: Pen, colour: Colour) -> None:
    pen.polygon([(0.4, 0), (1.0, -0.55), (1.0, 0.55)], shade(colour, 0.7))
    pen.oval(-1.0, -0.6, 0.6, 0.6, colour)
    pen.oval(-0.75, -0.3, -0.4, 0.05, WHITE)
    pen.oval(-0.66, -0.2, -0.5, -0.04, INK)


def robot(pen: Pen, colour: Colour) -> None:
    pen.stroke([(0, -0.75), (0, -1.0)], STEEL, 0.09)
    pen.box(-0.5, -0.8, 0.5, -0.1, STEEL)
    pen.box(-0.36, -0.6, -0.1, -0.35, INK)
    pen.box(0.1, -0.6, 0.36, -0.35, INK)
    pen.box(-0.6, 0.0, 0.6, 0.65, colour)
    pen.box(-0.95, 0.02, -0.68, 0.5, STEEL)
    pen.box(0.68, 0.02, 0.95, 0.5, STEEL)
    pen.box(-0.42, 0.68, -0.12, 1.0, STEEL)
    pen.box(0.12, 0.68, 0.42, 1.0, STEEL)


def boat(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-1, 0.4), (1, 0.4), (0.65, 0.95), (-0.65, 0.95)], colour)
    pen.stroke([(0, 0.4), (0, -1)], WOOD, 0.12)
    pen.polygon([(0.1, -0.95), (0.85, 0.2), (0.1, 0.2)], WHITE)
    pen.polygon([(-0.1, -0.7), (-0.7, 0.2), (-0.1, 0.2)], shade(colour, 1.5))


def flower(pen: Pen, colour: Colour) -> None:
    pen.stroke([(0, 0), (0, 1)], (50, 130, 60), 0.14)
    pen.polygon([(0, 0.85), (0.55, 0.45), (0.4, 0.8)], (50, 130, 60))
    for i in range(6):
        x, y = 0.42 * math.cos(i * math.pi / 3), 0.42 * math.sin(i * math.pi / 3) - 0.3
        pen.oval(x - 0.3, y - 0.3, x + 0.3, y + 0.3, colour)
    pen.oval(-0.26, -0.56, 0.26, -0.04, (250, 205, 60) if colour != COLOURS["yellow"] else WOOD)


def car(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.55, 0.0), (-0.35, -0.5), (0.35, -0.5), (0.6, 0.0)], GLASS)
    pen.box(-1.0, -0.05, 1.0, 0.45, colour, round_by=0.12)
    for x in (-0.55, 0.55):
        pen.oval(x - 0.27, 0.2, x + 0.27, 0.74, INK)
        pen.oval(x - 0.1, 0.37, x + 0.1, 0.57, STEEL)


def cat(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.85, -0.95), (-0.15, -0.5), (-0.8, 0.0)], colour)
    pen.polygon([(0.85, -0.95), (0.15, -0.5), (0.8, 0.0)], colour)
    pen.oval(-0.9, -0.6, 0.9, 0.95, colour)
    ink = INK if colour != COLOURS["black"] else WHITE
    pen.oval(-0.5, -0.1, -0.22, 0.2, ink)
    pen.oval(0.22, -0.1, 0.5, 0.2, ink)
    pen.polygon([(-0.13, 0.35), (0.13, 0.35), (0, 0.52)], (245, 150, 160))


def mushroom(pen: Pen, colour: Colour) -> None:
    pen.box(-0.28, 0.0, 0.28, 0.95, (240, 228, 205), round_by=0.15)
    turns = [i * math.pi / 20 for i in range(21)]
    pen.polygon(
        [(-1, 0.15), *[(-math.cos(t), 0.15 - 1.1 * math.sin(t)) for t in turns], (1, 0.15)], colour
    )
    spots = WHITE if colour != COLOURS["white"] else (214, 40, 40)
    for x, y, r in ((-0.45, -0.3, 0.17), (0.1, -0.6, 0.19), (0.5, -0.2, 0.15)):
        pen.oval(x - r, y - r, x + r, y + r, spots)


def rocket(pen: Pen, colour: Colour) -> None:
    pen.polygon([(-0.22, 0.6), (0.22, 0.6), (0, 1.05)], (250, 150, 40))
    pen.polygon([(-0.35, 0.05), (-0.75, 0.7), (-0.3, 0.65)], shade(colour, 0.65))
    pen.polygon([(0.35, 0.05), (0.75, 0.7), (0.3, 0.65)], shade(colour, 0.65))
    pen.polygon(
        [
            (0, -1.05),
            (0.28, -0.6),
            (0.38, 0.0),
            (0.3, 0.65),
            (-0.3, 0.65),
            (-0.38, 0.0),
            (-0.28, -0.6),
        ],
        colour,
    )
    pen.oval(-0.2, -0.4, 0.2, 0.0, GLASS)


def zwx(pen: Pen, _: Colour) -> None:
    body, accent = HELD_OUT["turquoise"], HELD_OUT["magenta"]
    pen.stroke([(0, -0.5), (0, -0.88)], INK, 0.08)
    pen.oval(-0.16, -1.08, 0.16, -0.76, accent)
    pen.polygon([(-0.82, -0.98), (-0.2, -0.55), (-0.78, -0.1)], body)
    pen.polygon([(0.82, -0.98), (0.2, -0.55), (0.78, -0.1)], body)
    pen.box(-0.78, -0.62, 0.78, 0.28, body, round_by=0.3)
    pen.polygon([(-0.5, 0.0), (0.5, 0.0), (0.3, 0.26), (-0.3, 0.26)], WHITE)
    pen.oval(-0.55, -0.42, -0.11, 0.02, WHITE)
    pen.oval(0.11, -0.42, 0.55, 0.02, WHITE)
    pen.oval(-0.41, -0.3, -0.19, -0.08, INK)
    pen.oval(0.19, -0.3, 0.41, -0.08, INK)
    pen.oval(-0.1, 0.02, 0.1, 0.18, INK)
    pen.box(-0.5, 0.36, 0.5, 0.98, body, round_by=0.12)
    pen.oval(-0.2, 0.46, 0.2, 0.86, accent)


ALL_FIGURES: Mapping[str, Callable[[Pen, Colour], None]] = {
    f.__name__: f
    for f in (
        circle,
        square,
        triangle,
        star,
        heart,
        cross,
        house,
        tree,
        fish,
        robot,
        boat,
        flower,
        car,
        cat,
        mushroom,
        rocket,
    )
}
CHARACTER = {"zwx": zwx}
