"""The pictures of a run: what it was trained on by bucket, the samples it drew by step."""

import base64
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lorakit import tomllib
from lorakit.dataset.buckets import Chooser
from lorakit.dataset.facts import is_film_name
from lorakit.errors import LorakitError, counted
from lorakit.pictures.open import TooLargeError, encoded, small_picture
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.report.page import details, element, soft
from lorakit.runs.images import ImageRow, read_images
from lorakit.runs.record import Record
from lorakit.user_files import Unreadable

PROMPTS = "prompts.toml"


@dataclass(frozen=True)
class Budget:
    side: int  # of the longer side, in pixels
    count: int
    size_bytes: int  # of all data URLs together
    quality: int = 74


THUMBNAILS = Budget(side=176, count=200, size_bytes=4_000_000)
SAMPLES = Budget(side=448, count=180, size_bytes=8_000_000, quality=80)


@dataclass(frozen=True)
class Picture:
    """What the page shows for one file: a data URL, or why there is none."""

    url: str = ""
    width: int = 0
    height: int = 0
    fault: str = ""


def spread(count: int, most: int) -> list[int]:
    """Which of `count` things to take, `most` of them: evenly, the first and last always."""
    if count <= most:
        return list(range(count))
    if most < 2:
        return [count - 1][:most]
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def shrink(paths: Sequence[Path], budget: Budget) -> list[Picture]:
    """One a path, in order, until the bytes are spent; the rest come back empty, not faulty."""
    found: list[Picture] = []
    left = budget.size_bytes
    workers = min(4, os.cpu_count() or 1)
    batch = 4 * workers  # a few at a time: what the budget refuses is not made first
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(paths), batch):
            for picture in pool.map(_small, paths[start : start + batch], [budget] * batch):
                left -= len(picture.url)
                if left < 0:
                    return found + [Picture()] * (len(paths) - len(found))
                found.append(picture)
    return found


def _small(path: Path, budget: Budget) -> Picture:
    if is_film_name(path.name):
        return Picture(fault="a film, not shown")
    try:
        small = small_picture(path, budget.side)
        data = encoded(small, "JPEG", quality=budget.quality)
    except FileNotFoundError:
        return Picture(fault="no longer there")
    except TooLargeError:
        return Picture(fault="too large to be shown")
    except Exception:  # noqa: BLE001  (a broken file makes decoders raise anything)
        return Picture(fault="cannot be decoded")
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", *small.size)


@dataclass(frozen=True)
class Samples:
    shown: Mapping[tuple[int, int], tuple[str, Picture]]  # (step, prompt): the file's name
    prompts: tuple[str, ...]  # the words, by number
    left_out: int  # pictures

    def words(self, prompt: int) -> str:
        return self.prompts[prompt] if prompt < len(self.prompts) else f"prompt {prompt}"


def dataset(run_dir: Path, record: Record) -> str:
    """From the run's own list of images; of files that have gone since the name is shown."""
    digest = record.dataset.digest
    body = f"<p>{counted(record.dataset.images, 'image')}; {escape(record.steps.formula)}.</p>"
    body += (
        element("p", f"digest {escape(digest)}", class_="hash")
        if digest
        else soft("The digest is not computed yet.")
    )
    subsets: dict[str, list[ImageRow]] = {}
    for row in _images(run_dir, record):
        subsets.setdefault(Path(row.image).parent.name, []).append(row)
    shares = _shares(subsets, THUMBNAILS.count)
    chosen = [rows[at] for name, rows in subsets.items() for at in spread(len(rows), shares[name])]
    root = Path(record.dataset.root or ".")
    made = zip(chosen, shrink([root / row.image for row in chosen], THUMBNAILS), strict=True)
    pictures = {row.image: picture for row, picture in made if picture.url or picture.fault}
    total = sum(map(len, subsets.values()))
    if len(pictures) < total:
        body += soft(
            f"Shown: {len(pictures)} of {counted(total, 'image')}, an even choice that keeps this"
            " page small."
        )
    chooser = _chooser(record)
    return body + "".join(_subset(*subset, pictures, chooser) for subset in subsets.items())


def _subset(
    name: str, rows: Sequence[ImageRow], pictures: Mapping[str, Picture], chooser: Chooser | None
) -> str:
    buckets: dict[tuple[int, ...], list[str]] = {}  # () where there is none
    for row in sorted(rows, key=lambda row: row.image):
        if row.image in pictures:
            place = chooser.place(row.width, row.height) if chooser else None
            figures = buckets.setdefault(place.bucket if place else (), [])
            figures.append(_thumbnail(row, pictures[row.image]))
    body = ""
    for bucket, figures in sorted(buckets.items()):
        head = f"bucket {' × '.join(map(str, bucket))}" if bucket else "no bucket"
        body += f"<h4>{head}, {counted(len(figures), 'image')}</h4>"
        body += element("div", "".join(figures), class_="grid small")
    repeats = counted(rows[0].repeats, "repeat")
    title = f"{name}: {counted(len(rows), 'image')}, {repeats}"
    return details(title, body, is_open=True, kind="subset")


def _thumbnail(row: ImageRow, picture: Picture) -> str:
    name, said = Path(row.image).name, row.caption
    caption = element("span", escape(said or "no caption"), class_="caption", title=said or "")
    under = f"<b>{escape(name)}</b>{row.width} × {row.height}{caption}"
    return figure(picture, name, said or name, under)


def samples(run_dir: Path, record: Record) -> str:
    found = samples_of(run_dir, record)
    figures: dict[int, str] = {}
    for (step, prompt), (name, picture) in found.shown.items():
        words = found.words(prompt)
        shown = figure(picture, name, words, escape(words))
        figures[step] = figures.get(step, "") + shown
    if not figures:
        return "<p>None were drawn. [sample] prompts in the recipe asks for some.</p>"
    more = f"{counted(found.left_out, 'picture')} more in the run's sample folder."
    return by_step(figures) + (soft(f"These are an even choice; {more}") if found.left_out else "")


def samples_of(run_dir: Path, record: Record, budget: Budget = SAMPLES) -> Samples:
    """Where there are too many pictures, complete steps are left out, evenly."""
    paths = {(one.step or 0, one.prompt or 0): one.path for one in record.samples if one.path}
    steps = sorted({step for step, _ in paths})
    widest = max((sum(step == one for step, _ in paths) for one in steps), default=1)
    kept = {steps[at] for at in spread(len(steps), max(1, budget.count // widest))}
    still = [key for key in sorted(paths) if Path(paths[key]).suffix != ".mp4"]
    wanted = [key for key in still if key[0] in kept]
    made = zip(wanted, shrink([run_dir / paths[key] for key in wanted], budget), strict=True)
    shown = {
        key: (Path(paths[key]).name, picture)
        for key, picture in made
        if picture.url or picture.fault
    }
    # A stage has its own list of prompts.
    folder = run_dir if (run_dir / PROMPTS).is_file() else record.output_dir(run_dir).parent
    return Samples(shown, _prompts(folder / PROMPTS), len(paths) - len(shown))


def by_step(figures: Mapping[int, str], kind: str = "grid") -> str:
    """One step's figures below the other's; page.js shows the slider and one step at a time."""
    last = len(figures) - 1
    return (
        '<div class="controls" hidden><label for="step">Step</label><input type="range" id="step"'
        f' min="0" max="{last}" value="{last}"><output id="shown" for="step"></output>'
        '<label><input type="checkbox" id="all"> all steps</label></div>'
    ) + "".join(
        f'<div class="step" data-name="step {step}"><h3>step {step}</h3>'
        f'<div class="{kind}">{inside}</div></div>'
        for step, inside in figures.items()
    )


def figure(picture: Picture, name: str, words: str, under: str) -> str:
    """`words` describe the picture; `under` is HTML."""
    if picture.fault:
        shown = f'<div class="none">{escape(name)}: {escape(picture.fault)}</div>'
    else:
        size = f'width="{picture.width}" height="{picture.height}"'
        shown = f'<img src="{picture.url}" alt="{escape(words)}" {size} decoding="async">'
    return f"<figure>{shown}<figcaption>{under}</figcaption></figure>"


def _chooser(record: Record) -> Chooser | None:
    """The bucket rules that the plan used, from the settings in the record."""
    train = record.settings.get("train", {})
    trainer = record.trainer.name or "kohya"
    resolved = Resolved(Path(), Path(), "", "", "", record.family, trainer, train=train)
    try:
        return Chooser(Options(resolved).bucket_rules)
    except (ValueError, KeyError, OSError):
        return None


def _shares(groups: Mapping[str, Sequence[object]], most: int) -> dict[str, int]:
    """Small subsets complete, large ones share what is left."""
    shares: dict[str, int] = {}
    by_size = sorted(groups, key=lambda name: len(groups[name]))
    for place, name in enumerate(by_size):
        shares[name] = min(len(groups[name]), most // (len(by_size) - place))
        most -= shares[name]
    return shares


def _images(run_dir: Path, record: Record) -> list[ImageRow]:
    try:
        return read_images(run_dir, record.dataset.files) or []
    except LorakitError:
        return []


def _prompts(path: Path) -> tuple[str, ...]:
    try:
        data = tomllib.read(path)
        return tuple(str(entry.get("prompt", "")) for entry in data["prompt"]["subset"])
    except (Unreadable, KeyError, AttributeError, TypeError):
        return ()
