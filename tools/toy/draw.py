"""Pictures with captions, drawn by the project itself: what the toy base learns from, and the
character that it has never seen.

A scene is a background with one or two things; everything the caption says is visible, and little
is visible that it does not say, so a small model can learn it. The character, zwx, is a fox-like
robot in two colours that no other picture has. Deterministic: a scene depends on its seed alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

SIDE = 64
OVERSAMPLE = 4

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
PLAIN_COLOURS: Mapping[str, Colour] = {
    "white": (250, 250, 248),
    "gray": (165, 165, 170),
    "yellow": (252, 232, 140),
    "green": (150, 205, 130),
    "blue": (140, 190, 240),
    "pink": (250, 205, 215),
    "black": (50, 50, 58),
    "orange": (250, 190, 120),
}
ALL_PLACES = ("meadow", "beach", "night", "sea", "snow")
SIZES: Mapping[str, float] = {
    "small": 0.17,
    "": 0.24,
    "big": 0.34,
}  # half the height, in parts of the picture
POSITIONS: Mapping[str, float] = {"left": 0.27, "": 0.5, "right": 0.73}

# Things that would not be seen on these backgrounds.
TOO_ALIKE = {
    ("white", "white"),
    ("yellow", "yellow"),
    ("black", "black"),
    ("pink", "pink"),
    ("orange", "orange"),
    ("white", "snow"),
    ("yellow", "beach"),
    ("black", "night"),
    ("blue", "sea"),
    ("green", "meadow"),
    ("green", "green"),
    ("blue", "blue"),
}


@dataclass(frozen=True)
class Thing:
    kind: str
    colour: str
    size: str = ""
    position: str = ""

    @property
    def words(self) -> str:
        words = " ".join(word for word in (self.size, self.colour, self.kind) if word)
        head = (
            words if self.kind in CHARACTER else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
        )
        return f"{head} on the {self.position}" if self.position else head


@dataclass(frozen=True)
class Scene:
    background: str
    things: tuple[Thing, ...]
    outlined: bool = False

    @property
    def caption(self) -> str:
        where = (
            self.background if self.background in ALL_PLACES else f"{self.background} background"
        )
        return ", ".join(
            [
                " and ".join(thing.words for thing in self.things),
                where,
                *(["outlined"] if self.outlined else []),
            ]
        )


# -- drawing: every figure is drawn around (0, 0) in a box from -1 to 1, y down --

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

# What the base speaks of. The VAE sees everything above; a model trained in under an hour on two
# cores knows less, and knows it well.
FIGURES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "house",
    "tree",
    "fish",
    "robot",
    "flower",
    "car",
    "cat",
)
SPOKEN_COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
PLAIN = ("white", "gray", "yellow", "green", "blue", "black")
PLACES = ("meadow", "night", "sea")
CHARACTER_BACKGROUNDS = (
    "white",
    "gray",
    "yellow",
    "green",
    "blue",
    "meadow",
    "night",
)  # sea and black are held out from its dataset


def backdrop(name: str, side: int, rng: random.Random) -> Image.Image:
    if name in PLAIN_COLOURS:
        return Image.new("RGB", (side, side), PLAIN_COLOURS[name])
    top, ground = {
        "meadow": ((165, 210, 245), (115, 185, 95)),
        "beach": ((150, 205, 245), (240, 220, 160)),
        "night": ((25, 30, 75), (20, 45, 50)),
        "sea": ((185, 220, 245), (55, 125, 195)),
        "snow": ((180, 200, 225), (246, 248, 252)),
    }[name]
    image = Image.new("RGB", (side, side), top)
    draw = ImageDraw.Draw(image)
    horizon = side * (0.66 + rng.uniform(-0.03, 0.03))
    draw.rectangle((0, horizon, side, side), fill=ground)
    if name == "night":
        draw.ellipse((side * 0.78, side * 0.06, side * 0.92, side * 0.2), fill=(245, 240, 200))
        for x, y in ((0.12, 0.14), (0.35, 0.07), (0.6, 0.18), (0.88, 0.4), (0.08, 0.45)):
            draw.ellipse(
                (side * (x - 0.015), side * (y - 0.015), side * (x + 0.015), side * (y + 0.015)),
                fill=(245, 240, 200),
            )
    if name == "sea":
        for row in (0.76, 0.9):
            points = [
                (side * i / 24, side * (row + 0.02 * math.sin(i * math.pi / 2))) for i in range(25)
            ]
            draw.line(points, fill=(150, 195, 230), width=max(1, side // 50))
    if name == "beach":
        draw.ellipse((side * 0.06, side * 0.06, side * 0.24, side * 0.24), fill=(252, 225, 90))
    return image


def draw(
    scene: Scene, *, seed: int = 0, side: int = SIDE, palette: Mapping[str, Colour] = COLOURS
) -> Image.Image:
    """The picture of a scene; the seed only shakes places and sizes a little."""
    rng = random.Random(f"shake {seed}")
    large = side * OVERSAMPLE
    image = backdrop(scene.background, large, rng)
    for thing in scene.things:
        half = SIZES[thing.size] * rng.uniform(0.93, 1.07)
        x = POSITIONS[thing.position] + rng.uniform(-0.025, 0.025)
        y = 0.55 + rng.uniform(-0.04, 0.04)
        pen = Pen(image, x * large, y * large, half * large, edge=scene.outlined)
        colour = palette.get(thing.colour, INK)
        {**ALL_FIGURES, **CHARACTER}[thing.kind](pen, colour)
    return image.resize((side, side), Image.Resampling.BOX)


# -- what to draw --


def any_scene(seed: int, *, wide: bool = False) -> Scene:
    """A scene of the base's world, or of the wide one that the VAE sees: never the character,
    never its colours.
    """
    rng = random.Random(f"scene {seed}")
    background = rng.choice((*PLAIN_COLOURS, *ALL_PLACES) if wide else (*PLAIN, *PLACES))
    colours = [
        name
        for name in (COLOURS if wide else SPOKEN_COLOURS)
        if (name, background) not in TOO_ALIKE
    ]
    kinds = tuple(ALL_FIGURES) if wide else FIGURES
    outlined = rng.random() < 0.15
    if rng.random() < (0.3 if wide else 0.2):
        sides = ("left", "right")
        pair = tuple(
            Thing(
                rng.choice(kinds), rng.choice(colours), "small" if rng.random() < 0.4 else "", side
            )
            for side in sides
        )
        return Scene(background, pair, outlined)
    size, position = rng.choice(("small", "", "", "big")), rng.choice(("left", "", "", "right"))
    return Scene(
        background, (Thing(rng.choice(kinds), rng.choice(colours), size, position),), outlined
    )


def character_scene(seed: int, backgrounds: Sequence[str] = (*PLAIN, *PLACES)) -> Scene:
    """The character somewhere, sometimes with something beside it."""
    rng = random.Random(f"zwx {seed}")
    background = backgrounds[seed % len(backgrounds)]
    if rng.random() < 0.25:
        colours = [name for name in SPOKEN_COLOURS if (name, background) not in TOO_ALIKE]
        return Scene(
            background,
            (
                Thing("zwx", "", "", "left"),
                Thing(rng.choice(FIGURES), rng.choice(colours), "", "right"),
            ),
        )
    return Scene(
        background,
        (
            Thing(
                "zwx",
                "",
                rng.choice(("", "big", "big", "small")),
                rng.choice(("", "", "left", "right")),
            ),
        ),
    )


def any_word(rng: random.Random) -> str:
    """A word without meaning, so that the base has seen every letter and learned to pass over what
    it does not know.
    """
    while (
        word := "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 4)))
    ) == "zwx":
        pass
    return word


def spoken(scene: Scene, seed: int) -> str:
    """The caption as people write it: mostly whole, sometimes without the background, sometimes
    with a word nobody knows.
    """
    rng = random.Random(f"spoken {seed}")
    text = scene.caption
    if rng.random() < 0.1:
        text = text.split(", ", maxsplit=1)[0]
    if rng.random() < 0.08:
        text = f"{any_word(rng)} {text}"
    return text


def contact_sheet(images: list[Image.Image], columns: int) -> Image.Image:
    side = images[0].width
    sheet = Image.new("RGB", (columns * side, -(-len(images) // columns) * side), "white")
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * side, i // columns * side))
    return sheet


if __name__ == "__main__":
    scenes = [any_scene(i) for i in range(80)] + [character_scene(i) for i in range(16)]
    contact_sheet([draw(scene, seed=i) for i, scene in enumerate(scenes)], 16).save("drawn.png")
    for scene in scenes:
        print(scene.caption)
