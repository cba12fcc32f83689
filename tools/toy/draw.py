"""Pictures with captions, drawn by the project itself: what the toy base learns from, and the
character that it has never seen.

A scene is a background with one or two things; everything the caption says is visible, and little
is visible that it does not say, so a small model can learn it. The character, zwx, is a fox-like
robot in two colours that no other picture has. Deterministic: a scene depends on its seed alone.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from figures import ALL_FIGURES, CHARACTER, COLOURS, INK, Colour, Pen
from PIL import Image, ImageDraw

SIDE = 64
OVERSAMPLE = 4

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
