"""What the page works on: the images in order, their captions on disk, your marks. No HTTP here.

A caption is written to its file at every save. The step goes into the history when you leave the
image, so that undo takes back an edit, not a keystroke.
"""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.dataset.buckets import Chooser, UnfitError
from lorakit.dataset.build.drop import drop, take_back
from lorakit.dataset.captions.edit import Change, parts
from lorakit.dataset.captions.history import History
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.dataset.lock import hold_dataset
from lorakit.dataset.rules import shown
from lorakit.errors import Fault, RecipeError
from lorakit.files import write_atomic
from lorakit.pictures.open import RefusedError, opened, why
from lorakit.user_files import Missing, Unreadable

MARKS_PLACE = Path(".lorakit") / "review.json"
MARKS = ("", "accepted", "flagged")
LARGEST_SIDE = 2400
PATIENCE_S = 5.0  # with another command that writes; the page keeps the text and tries again
FIX = "Correct it, or move it away and begin anew."

Lint = Callable[[str], Sequence[str]]
Findings = Callable[[], Mapping[str, Sequence[str]]]


class Conflict(Exception):  # noqa: N818  (an answer to the page)
    """The caption on disk is neither what the page last saw nor what it wants to write."""

    def __init__(self, now: str) -> None:
        super().__init__(now)
        self.now = now


@dataclass(frozen=True)
class Crop:
    """Where the trainer's crop is in the picture, as shares of its sides."""

    bucket: tuple[int, int]
    box: tuple[float, float, float, float]  # left, top, width, height


def caption_lint(trigger: str) -> Lint:
    """What is wrong with one caption alone; the rules that compare captions are `lorakit dataset
    check`'s.
    """

    def lint(caption: str) -> Sequence[str]:
        items = parts(caption.partition("\n")[0])
        found = []
        if not caption.strip():
            found.append("empty: the image would be trained on the folder's name alone")
        elif trigger and trigger not in caption:
            found.append(f"the trigger {trigger} is missing")
        elif trigger and not caption.lstrip().startswith(trigger):
            found.append(f"the trigger {trigger} is not first")
        counts = Counter(part.casefold() for part in items)
        return found + [f"twice: {part}" for part in sorted(counts) if counts[part] > 1]

    return lint


class ReviewSession:
    def __init__(
        self,
        facts: DatasetFacts,
        *,
        lint: Lint,
        chooser: Chooser | None = None,
        caption_extension: str = ".txt",
        findings: Findings = dict,
    ) -> None:
        self._findings = findings  # by the picture's place in the dataset
        self.dropped: set[int] = set()
        self.root = facts.root
        trained = [subset for subset in facts.subsets if not subset.is_reg]
        self.images = [(subset.path.name, image) for subset in trained for image in subset.images]
        self.lint = lint
        self.chooser = chooser
        self.extension = caption_extension
        self.history = History(facts.root)
        self.marks_path = facts.root / MARKS_PLACE
        self.marks = self._read_marks()
        self._before: dict[int, str | None] = {}  # the caption, before this visit's first save
        self._lock = threading.Lock()

    def items(self) -> list[dict[str, Any]]:
        """All there is to show besides pixels. Captions are read here once; a thousand take a few
        milliseconds.
        """
        return [self.item(number) for number in range(len(self.images))]

    def item(self, number: int) -> dict[str, Any]:
        subset, image = self.images[number]
        caption, unreadable = self._read(number)
        crop = self._crop(image)
        return {
            "id": number,
            "name": image.path.name,
            "subset": subset,
            "width": image.width,
            "height": image.height,
            "caption": caption,
            "mark": self.marks.get(self._name(number), ""),
            "lint": unreadable or list(self.lint(caption)),
            "crop": crop and crop.box,
            "bucket": crop and crop.bucket,
        }

    def findings(self) -> dict[int, list[str]]:
        """What a check says about the pictures: asked for when they are seen, for it takes time."""
        found = self._findings()
        numbers = ((number, self._name(number)) for number in range(len(self.images)))
        return {number: list(found[name]) for number, name in numbers if name in found}

    def save(self, number: int, text: str, *, seen: str, done: bool) -> dict[str, Any]:
        """Write the caption unless somebody else changed it since `seen`; with `done`, the edit
        becomes one step of the history.
        """
        text = text.strip()
        if number in self.dropped:
            raise ValueError("dropped")
        with self._alone():
            path = self._caption(number)
            try:
                now = caption_text(path)
            except RecipeError as error:
                raise Conflict(" ".join(map(str, error.faults))) from error
            if (now or "") not in {seen.strip(), text}:
                raise Conflict(now or "")
            if text != (now or ""):
                self._before.setdefault(number, now)
                write_atomic(path, text + "\n")
            if done and number in self._before:
                before = self._before.pop(number)
                if (before or "") != text:
                    self.history.record("review", [Change(path, before, text)])
        return {"caption": text, "lint": list(self.lint(text))}

    def leave(self) -> None:
        """The page is closing: what was saved but not yet left becomes history."""
        for number in set(self._before) - self.dropped:
            text, unreadable = self._read(number)
            if not unreadable:
                self.save(number, text, seen=text, done=True)
        if not self.marks_path.exists():  # that somebody has looked is a mark, too
            self._write_marks()

    def mark(self, number: int, mark: str) -> None:
        if mark not in MARKS:
            raise ValueError(mark)
        with self._alone():
            self.marks = self._read_marks()  # another page may be open on the same dataset
            self.marks[self._name(number)] = mark
            self._write_marks()

    def drop(self, number: int, *, back: bool) -> None:
        """Out of training, or in again: the same as `lorakit dataset drop`."""
        with self._alone():
            (take_back if back else drop)(self.root, [self._name(number)])
            (self.dropped.discard if back else self.dropped.add)(number)

    def _write_marks(self) -> None:
        kept = {name: mark for name, mark in sorted(self.marks.items()) if mark}
        write_atomic(self.marks_path, json.dumps(kept, indent=0, ensure_ascii=False) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One save at a time, of this page and of all commands."""
        with self._lock, hold_dataset(self.root, "review", wait_s=PATIENCE_S):
            yield

    def picture(self, number: int, side: int) -> bytes:
        """The image as the trainer sees it (EXIF orientation ignored), fit for a screen."""
        side = max(16, min(side, LARGEST_SIDE))
        try:
            with opened(self.images[number][1].path) as image:
                image.draft("RGB", (side, side))
                picture = image.convert("RGB")
        except Exception as error:  # a broken file makes decoders raise anything
            raise RefusedError(why(error)) from error
        picture.thumbnail((side, side), reducing_gap=2.0)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=88)
        return stream.getvalue()

    def _crop(self, image: ImageFacts) -> Crop | None:
        if self.chooser is None:
            return None
        try:
            found = self.chooser.choose(image.width, image.height)
        except UnfitError:
            return None
        width, height = (min(1.0, found.bucket[i] / found.scaled[i]) for i in (0, 1))
        return Crop(found.bucket, ((1 - width) / 2, (1 - height) / 2, width, height))

    def _read(self, number: int) -> tuple[str, list[str]]:
        """The caption; or nothing, and in words why it cannot be edited here."""
        try:
            return caption_text(self._caption(number)) or "", []
        except RecipeError as error:
            return "", [f"the caption {fault.what} {fault.hint}" for fault in error.faults]

    def _caption(self, number: int) -> Path:
        return self.images[number][1].path.with_suffix(self.extension)

    def _name(self, number: int) -> str:
        return self.images[number][1].path.relative_to(self.root).as_posix()

    def _read_marks(self) -> dict[str, str]:
        return read_marks(self.root)


def read_marks(root: Path) -> dict[str, str]:
    """Accepted and flagged pictures, by their place in the dataset."""
    place = root / MARKS_PLACE
    try:
        data = json_text.read(place)
    except Missing:
        return {}
    if not isinstance(data, dict) or not {str(mark) for mark in data.values()} <= {*MARKS}:
        raise Unreadable(place, "is not a page's marks.", FIX)
    return {str(name): str(mark) for name, mark in data.items()}


def findings_of(
    root: Path, faults: Iterable[Fault], images: Iterable[Path]
) -> dict[str, list[str]]:
    """What a check has found, at the picture that it is about."""
    own = [path for path in images if path.is_relative_to(root)]
    names = {shown(path.with_suffix("")): path.relative_to(root).as_posix() for path in own}
    found: dict[str, list[str]] = {}
    for fault in faults:
        name = names.get(fault.where.rpartition(".")[0])
        if name:
            found.setdefault(name, []).append(f"{fault.rule}: {fault.what}")
    return found
