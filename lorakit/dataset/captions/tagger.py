"""Tags for images by a WD v3 tagger (ONNX): which tags, in which order, from which model. Captions
are written by others.

The model is any file with the same interface as SmilingWolf's v3 taggers: one picture in (NHWC,
float32, 0 to 255, BGR, padded to a square with white), one probability per line of
selected_tags.csv out. What it said is remembered per picture and model, so that a diff that is
looked at first and other thresholds tried later cost the reckoning only once.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit.config import cache_dir
from lorakit.dataset.captions.tagger_models import Model
from lorakit.errors import RecipeError, SetupError, did_you_mean
from lorakit.files import write_atomic
from lorakit.pictures.open import opened, why

GENERAL, CHARACTER = 0, 4  # categories of selected_tags.csv; 9 are ratings, which no caption needs
FLOOR = 0.05  # what is less likely than this is not even remembered
INSTALL = 'pip install "lorakit[tag]"'
_WORD = re.compile(r"[a-z]{2}")


@dataclass(frozen=True)
class Tag:
    name: str
    category: int


@dataclass(frozen=True)
class Choice:
    """Which of the likely tags become words of a caption."""

    general: float = 0.35
    character: float = 0.85
    drop_characters: bool = False
    drop: frozenset[str] = frozenset()  # names, with spaces or underscores
    keep_underscores: bool = False

    def __post_init__(self) -> None:
        for name, value in (("--general", self.general), ("--character", self.character)):
            if not FLOOR <= value <= 1:
                raise RecipeError(f"{name} {value:g}: a threshold lies between {FLOOR:g} and 1.")


Likely = Sequence[tuple[int, float]]  # number of a tag, its probability


def read_tags(path: Path) -> list[Tag]:
    """selected_tags.csv: tag_id, name, category, count; the line's place is the number of the
    model's output.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Tag(row["name"], int(row["category"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{path} is no tag list of a WD tagger ({error}).",
            hint="It is the model's selected_tags.csv.",
        ) from error


def chosen(likely: Likely, tags: Sequence[Tag], choice: Choice) -> list[str]:
    """Characters first, then general tags, the likeliest first; ratings never."""
    dropped = {_spaced(name).casefold() for name in choice.drop}
    kept: dict[int, list[tuple[float, str]]] = {CHARACTER: [], GENERAL: []}
    for number, probability in likely:
        tag = tags[number]
        wanted = {
            GENERAL: choice.general,
            CHARACTER: 2.0 if choice.drop_characters else choice.character,
        }.get(tag.category, 2.0)
        if probability >= wanted and _spaced(tag.name).casefold() not in dropped:
            kept[tag.category].append(
                (-probability, tag.name if choice.keep_underscores else _spaced(tag.name))
            )
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

    def __init__(self, model: Model) -> None:
        self.model = model
        self.tags = read_tags(model.tags)
        self._session: Any = None
        self._side = 0
        self._known = _Memory(model.sha256)

    def look(
        self, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
    ) -> Iterator[tuple[Path, Likely]]:
        """What the model sees in each picture. What was said is kept even when this is
        interrupted.
        """
        try:
            for done, path in enumerate(paths, 1):
                found = self._known.get(path)
                if found is None:
                    found = self._run(path)
                    self._known.put(path, found)
                yield path, found
                if progress is not None:
                    progress(done, len(paths))
        finally:
            self._known.save()

    def _run(self, path: Path) -> Likely:
        session = self._session or self._open()
        pixels = square(path, self._side)
        (probabilities,) = session.run(None, {session.get_inputs()[0].name: pixels[None]})[:1]
        row = probabilities[0].tolist()
        if len(row) != len(self.tags):
            raise SetupError(
                f"{self.model.model} gives {len(row)} numbers, {self.model.tags.name} names"
                f" {len(self.tags)} tags.",
                hint="Both files must come from the same model.",
            )
        return [(number, round(value, 5)) for number, value in enumerate(row) if value >= FLOOR]

    def _open(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise SetupError("The tagger needs the package onnxruntime.", hint=INSTALL) from error
        providers = [
            name
            for name in ("CUDAExecutionProvider", "CPUExecutionProvider")
            if name in onnxruntime.get_available_providers()
        ]
        try:
            session = onnxruntime.InferenceSession(str(self.model.model), providers=providers)
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise SetupError(
                f"{self.model.model} is no ONNX model that onnxruntime can open.",
                hint=str(error).strip()[:300],
            ) from error
        shape = session.get_inputs()[0].shape
        if (
            len(shape) != 4
            or shape[3] != 3
            or not isinstance(shape[1], int)
            or shape[1] != shape[2]
        ):
            raise SetupError(
                f"{self.model.model} takes pictures of shape {shape}; a WD v3 tagger takes [batch,"
                " side, side, 3]."
            )
        self._session, self._side = session, shape[1]
        return session


def square(path: Path, side: int) -> Any:
    """The picture as the trainer sees it (EXIF orientation ignored), transparency on white,
    centred on a white square: float32, BGR.
    """
    import numpy as np
    from PIL import Image

    try:
        with opened(path) as image:
            image.draft("RGB", (2 * side, 2 * side))
            seen = (
                image.convert("RGBA")
                if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
                else image.convert("RGB")
            )
    except Exception as error:  # a broken file makes decoders raise anything
        raise RecipeError(
            f"{path}: cannot be decoded ({why(error)}).",
            hint="`lorakit dataset check` names every such file.",
        ) from error
    scale = side / max(seen.size)
    size = (max(1, round(seen.width * scale)), max(1, round(seen.height * scale)))
    small = seen.resize(size, Image.Resampling.BICUBIC)
    ground = Image.new("RGB", (side, side), "white")
    ground.paste(
        small,
        ((side - size[0]) // 2, (side - size[1]) // 2),
        small if small.mode == "RGBA" else None,
    )
    return np.asarray(ground, dtype=np.float32)[:, :, ::-1]


def _spaced(name: str) -> str:
    """Underscores as spaces, except in faces such as ^_^ and o_o."""
    return name.replace("_", " ") if _WORD.search(name.casefold()) else name


class _Memory:
    """What one model said about pictures, by place, size and time of change."""

    def __init__(self, model_sha256: str) -> None:
        self._path = cache_dir() / "tags" / f"{model_sha256[:16]}.json"
        self._said: dict[str, Any] | None = None
        self._changed = False

    def get(self, path: Path) -> Likely | None:
        entry = self._read().get(self._key(path))
        return (
            [(int(number), float(value)) for number, value in entry]
            if isinstance(entry, list)
            else None
        )

    def put(self, path: Path, likely: Likely) -> None:
        self._read()[self._key(path)] = likely
        self._changed = True

    def save(self) -> None:
        if self._changed:
            write_atomic(self._path, json.dumps(self._read()))
            self._changed = False

    def _read(self) -> dict[str, Any]:
        if self._said is None:
            try:
                data: Any = json.loads(self._path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                data = {}
            self._said = dict(data) if isinstance(data, Mapping) else {}
        return self._said

    @staticmethod
    def _key(path: Path) -> str:
        stat = path.stat()
        return f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
