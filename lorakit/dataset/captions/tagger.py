"""Tags for images by a WD v3 tagger (ONNX): which tags, in which order, from which model. Captions
are written by others.

The model is any file with the same interface as SmilingWolf's v3 taggers: one picture in (NHWC,
float32, 0 to 255, BGR, padded to a square with white), one probability per line of
selected_tags.csv out. What it said is remembered per picture and model, for another try.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lorakit.config import cache_dir
from lorakit.dataset.build.fit import on_ground
from lorakit.dataset.captions.models import INSTALL_TAGGER, CaptionModel
from lorakit.errors import RecipeError, SetupError, did_you_mean
from lorakit.memo import Memo
from lorakit.pictures.open import opened, why
from lorakit.user_files import Unreadable, read_text

GENERAL, CHARACTER = 0, 4  # categories of selected_tags.csv; 9 are ratings, which no caption needs
MOST_TAGS = 1 << 26  # bytes of their list; that of ten thousand tags is 300 kB
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
FLOOR = 0.05  # what is less likely than this is not even remembered
_WORD = re.compile(r"[a-z]{2}")
MODEL, TAGS = "model.onnx", "selected_tags.csv"


@dataclass(frozen=True)
class Tag:
    name: str
    category: int


@dataclass(frozen=True)
class TagChoice:
    """Which of the likely tags become words of a caption."""

    general: float = 0.35
    character: float = 0.85
    drop_characters: bool = False
    drop: frozenset[str] = frozenset()  # names, with spaces or underscores
    keep_underscores: bool = False

    def __post_init__(self) -> None:
        for name, value in (("--general", self.general), ("--character", self.character)):
            if not FLOOR <= value <= 1:
                raise RecipeError(f"{name} {value:g}: a threshold is between {FLOOR:g} and 1.")


Likely = Sequence[tuple[int, float]]  # number of a tag, its probability


def read_tags(path: Path) -> list[Tag]:
    """The line's place in selected_tags.csv is the number of the model's output."""
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, most=MOST_TAGS), newline=""))
        return [Tag(row["name"], int(row["category"])) for row in rows]
    except (Unreadable, csv.Error, ValueError, KeyError, TypeError) as error:
        what = f"{path} is not the tag list of a WD tagger ({error})."
        raise SetupError(what, hint=f"It is the model's {TAGS}.") from error


def chosen(likely: Likely, tags: Sequence[Tag], choice: TagChoice) -> list[str]:
    """Characters first, then general tags, the likeliest first; ratings never."""
    dropped = {_spaced(name).casefold() for name in choice.drop}
    least = {GENERAL: choice.general}
    if not choice.drop_characters:
        least[CHARACTER] = choice.character
    kept: dict[int, list[tuple[float, str]]] = {CHARACTER: [], GENERAL: []}
    for number, probability in likely:
        tag = tags[number]
        spaced = _spaced(tag.name)
        if probability >= least.get(tag.category, 2.0) and spaced.casefold() not in dropped:
            name = tag.name if choice.keep_underscores else spaced
            kept[tag.category].append((-probability, name))
    return [name for category in (CHARACTER, GENERAL) for _, name in sorted(kept[category])]


def unknown_drops(drop: Sequence[str], tags: Sequence[Tag]) -> list[str]:
    """A word for every --drop that the model does not know: most likely mistyped."""
    known = {_spaced(tag.name).casefold() for tag in tags}
    return [
        f"--drop {name}: the tagger knows no such tag."
        f" {did_you_mean(_spaced(name).casefold(), known)}".rstrip()
        for name in drop
        if _spaced(name).casefold() not in known
    ]


class Tagger:
    """One model, opened when the first picture needs it."""

    def __init__(self, model: CaptionModel) -> None:
        self.model = model
        self.tags = read_tags(model.weights.with_name(TAGS))
        self._known = Memo(cache_dir() / "tags" / f"{model.sha256[:16]}.json")

    def look(
        self, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
    ) -> Iterator[tuple[Path, Likely]]:
        """What the model sees in each; kept even when this is interrupted."""
        try:
            for done, path in enumerate(paths, 1):
                found = self._known.get(path)
                if found is None:
                    found = self._run(path)
                    self._known.put(path, found)
                yield path, [(int(number), float(value)) for number, value in found]
                if progress is not None:
                    progress(done, len(paths))
        finally:
            self._known.save()

    def _run(self, path: Path) -> Likely:
        takes = self._session.get_inputs()[0]
        pixels = square(path, takes.shape[1])
        (probabilities,) = self._session.run(None, {takes.name: pixels[None]})[:1]
        row = probabilities[0].tolist()
        if len(row) != len(self.tags):
            what = f"gives {len(row)} numbers, {TAGS} names {len(self.tags)} tags."
            hint = "Both files must come from the same model."
            raise SetupError(f"{self.model.weights} {what}", hint=hint)
        return [(number, round(value, 5)) for number, value in enumerate(row) if value >= FLOOR]

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            what = "The tagger needs the package onnxruntime."
            raise SetupError(what, hint=INSTALL_TAGGER) from error
        there = onnxruntime.get_available_providers()
        providers = [name for name in PROVIDERS if name in there]
        model = self.model.weights
        try:
            session = onnxruntime.InferenceSession(str(model), providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            what = f"{model} is not an ONNX model that onnxruntime can open."
            raise SetupError(what, hint=str(error).strip()[:300]) from error
        shape = session.get_inputs()[0].shape
        if len(shape) != 4 or not isinstance(shape[1], int) or shape[1:] != [shape[1], shape[1], 3]:
            takes = "a WD v3 tagger takes [batch, side, side, 3]"
            raise SetupError(f"{model} takes pictures of shape {shape}; {takes}.")
        return session


def square(path: Path, side: int) -> Any:
    """As the trainer sees it, on a white square: float32, BGR."""
    import numpy as np
    from PIL import Image

    try:
        with opened(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            clear = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
            seen = image.convert("RGBA" if clear else "RGB")
    except Exception as error:  # a broken file makes decoders raise anything
        hint = "`lorakit dataset check` names every such file."
        raise RecipeError(f"{path}: cannot be decoded ({why(error)}).", hint=hint) from error
    scale = side / max(seen.size)
    size = (max(1, round(seen.width * scale)), max(1, round(seen.height * scale)))
    ground = on_ground(seen.resize(size, Image.Resampling.BICUBIC), (side, side), "white")
    return np.asarray(ground, dtype=np.float32)[:, :, ::-1]


def _spaced(name: str) -> str:
    """Underscores as spaces, except in faces such as ^_^ and o_o."""
    return name.replace("_", " ") if _WORD.search(name.casefold()) else name
