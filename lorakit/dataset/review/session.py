"""What the page works on: the images in order, their captions on disk, your marks. No HTTP here.

A caption is written to its file at every save. The step goes into the history when you leave the
image, so that undo takes back an edit, not a keystroke.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.dataset.buckets import Chooser
from lorakit.dataset.build.drop import drop, take_back
from lorakit.dataset.build.manifest import Manifest
from lorakit.dataset.build.remembered import (
    MARKS,
    MARKS_PLACE,
    OUTSIDE,
    is_box,
    read_marks,
    read_remembered,
    recropped,
    remember,
    write_marks,
)
from lorakit.dataset.captions.edit import Change, History, parts
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.lock import hold_dataset
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError
from lorakit.files import write_atomic
from lorakit.pictures.open import RefusedError, encoded, small_picture, why

LARGEST_SIDE = 2400
PATIENCE_S = 5.0  # with another command that writes; the page keeps the text and tries again


class Conflict(Exception):  # noqa: N818  (an answer to the page)
    """The caption on disk is neither what the page last saw nor what it wants to write."""

    def __init__(self, now: str) -> None:
        super().__init__(now)
        self.now = now


def lint(caption: str, trigger: str) -> list[str]:
    """What is wrong with one caption alone; `lorakit dataset check` compares them."""
    found = []
    if not caption.strip():
        found.append("empty: the image would be trained on the folder's name alone")
    elif trigger and trigger not in caption:
        found.append(f"the trigger {trigger} is missing")
    elif trigger and not caption.lstrip().startswith(trigger):
        found.append(f"the trigger {trigger} is not first")
    counts = Counter(part.casefold() for part in parts(caption.partition("\n")[0]))
    return found + [f"twice: {part}" for part in sorted(counts) if counts[part] > 1]


class ReviewSession:
    def __init__(
        self,
        facts: DatasetFacts,
        *,
        trigger: str = "",
        chooser: Chooser | None = None,
        caption_extension: str = ".txt",
    ) -> None:
        self.facts = facts
        self.root = facts.root
        pairs = ((subset, image) for subset in facts.trained for image in subset.images)
        self.images = [(subset.path.name, image) for subset, image in pairs if not image.frames]
        self.trigger = trigger
        self.chooser = chooser
        self.extension = caption_extension
        self.history = History(facts.root)
        self.dropped: set[int] = set()
        self._before: dict[int, str | None] = {}  # the caption, before this visit's first save
        self._lock = threading.Lock()
        read_marks(self.root)  # says what is wrong with them before the page opens

    def items(self) -> list[dict[str, Any]]:
        """All there is to show besides pixels."""
        marks, crops = read_marks(self.root), read_remembered(self.root).crops
        made, waiting = Manifest(self.root).entries, {*recropped(self.root)}
        items = []
        for number, (subset, image) in enumerate(self.images):
            name, (caption, unreadable) = self._name(number), self._read(number)
            item = {
                "id": number,
                "name": image.path.name,
                "subset": subset,
                "width": image.width,
                "height": image.height,
                "caption": caption,
                "mark": marks.get(name, ""),
                "lint": unreadable or lint(caption, self.trigger),
            }
            if name in made:  # its original can be cropped
                item |= {"box": crops.get(made[name].source), "recut": name in waiting}
            place = self.chooser.place(image.width, image.height) if self.chooser else None
            if place is not None:  # where the crop is in the picture, as shares of its sides
                wide, high = (min(1.0, place.bucket[i] / place.scaled[i]) for i in (0, 1))
                crop = ((1 - wide) / 2, (1 - high) / 2, wide, high)
                item |= {"bucket": place.bucket, "crop": crop}
            items.append(item)
        return items

    def findings(self) -> dict[int, list[dict[str, Any]]]:
        """What a check says about the pictures: asked for when they are seen, for it takes time."""
        from lorakit.dataset.check import CheckSettings, check

        stems = {shown(one.path.with_suffix("")): n for n, (_, one) in enumerate(self.images)}
        found: dict[int, list[dict[str, Any]]] = {}
        for fault in check(self.facts, CheckSettings(self.trigger)):
            number = stems.get(fault.where.rpartition(".")[0])
            if number is None:
                continue
            other = stems.get(fault.twin.rpartition(".")[0])
            own = {"text": f"{fault.rule}: {fault.what}"}
            found.setdefault(number, []).append(own if other is None else own | {"twin": other})
            if other is not None:
                copy = {"text": f"{fault.rule}: {self.images[number][1].path.name}", "twin": number}
                found.setdefault(other, []).append(copy)
        return found

    def save(self, number: int, text: str, *, seen: str, done: bool) -> dict[str, Any]:
        """Unless somebody else changed it since `seen`; with `done`, one step of the history."""
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
        return {"caption": text, "lint": lint(text, self.trigger)}

    def leave(self) -> None:
        """The page is closing: what was saved but not yet left becomes history."""
        for number in set(self._before) - self.dropped:
            text, unreadable = self._read(number)
            if not unreadable:
                self.save(number, text, seen=text, done=True)
        if not (self.root / MARKS_PLACE).exists():  # that somebody has looked is a mark, too
            write_marks(self.root, {})

    def mark(self, number: int, mark: str) -> None:
        if mark not in MARKS:
            raise ValueError(mark)
        with self._alone():
            marks = read_marks(self.root)  # another page may be open on the same dataset
            write_marks(self.root, {**marks, self._name(number): mark})

    def drop(self, number: int, *, back: bool) -> None:
        """Out of training, or in again: the same as `lorakit dataset drop`."""
        with self._alone():
            (take_back if back else drop)(self.root, [self._name(number)])
            (self.dropped.discard if back else self.dropped.add)(number)

    def crop(self, number: int, box: Any) -> None:
        """The part of its original that prepare is to use; None: all of it."""
        if box is not None and not is_box(box):
            raise RefusedError(f"The box {OUTSIDE}")
        source = self._source(number)
        with self._alone():
            kept = read_remembered(self.root)
            crops = {name: one for name, one in kept.crops.items() if name != source}
            crops |= {source: box} if box else {}
            remember(self.root, replace(kept, crops=crops))

    def _source(self, number: int) -> str:
        made = Manifest(self.root).entries.get(self._name(number))
        if made is None:
            raise RefusedError("Only pictures that `lorakit dataset prepare` has made are cropped.")
        return made.source

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One save at a time, of this page and of all commands."""
        with self._lock, hold_dataset(self.root, "review", wait_s=PATIENCE_S):
            yield

    def picture(self, number: int, side: int, *, original: bool = False) -> bytes:
        """As it is trained on; or the original it was made from."""
        path = self.root / self._source(number) if original else self.images[number][1].path
        side = max(16, min(side, LARGEST_SIDE))
        try:
            return encoded(small_picture(path, side, upright=original), "JPEG", quality=88)
        except Exception as error:  # a broken file makes decoders raise anything
            raise RefusedError(why(error)) from error

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
