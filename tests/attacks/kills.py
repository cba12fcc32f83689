"""Commands that write into a dataset, killed at random moments, only the parent, in three ways."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from drawings import drawing
from PIL import Image

from attacks.calling import Child, Said, call, tree
from attacks.table import Case

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
TURNS = ("add", "prepare", "add", "prepare", "caption", "select", "caption")


class Ready(NamedTuple):
    """Before each command a dataset to copy; after it, undisturbed, what must come; how long it takes."""

    before: Path
    after: dict[str, str]
    length_s: float


MANY = 24  # from so many pictures on, workers look at them


def photographed(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        drawing((420, 300), number).save(folder / f"{number:02}.jpg", quality=90)
        (folder / f"{number:02}.txt").write_text(f"zwx, number {number}", encoding="utf-8")
    return folder


def words_of(command: str, data: Path, photos: Path) -> list[str | Path]:
    chosen = data.parent / "chosen"
    words: dict[str, list[str | Path]] = {
        "add": ["dataset", "add", data, photos, "--repeats", "2", "--trigger", "zwx"],
        "prepare": ["dataset", "prepare", data, "--fit", "letterbox", "--size", "256"],
        "caption": ["dataset", "caption", data, "--add", "red", "--write"],
        "select": ["dataset", "select", data, "--per-category", "6", "--to", chosen],
    }
    return words[command]


def visible(folder: Path) -> dict[str, str]:
    """Without what lorakit keeps for itself."""
    return {
        name: digest
        for name, digest in tree(folder).items()
        if not any(part.startswith(".") for part in Path(name).parts)
        and not name.endswith(("selection.json", "_ranking.json"))
    }


def stages(folder: Path, photos: Path) -> dict[str, Ready]:
    """Each command run once in peace."""
    work, ready = folder / "peace/data", dict[str, Ready]()
    work.mkdir(parents=True)
    for command in ("add", "prepare", "caption", "select"):
        before = folder / f"before-{command}"
        shutil.copytree(work.parent, before)
        began = time.monotonic()
        said = Child(*words_of(command, work, photos)).end()
        if said.code:
            raise RuntimeError(f"{command} in peace: {said.err[-200:]}")
        ready[command] = Ready(before, visible(work.parent), time.monotonic() - began)
    return ready


def cases(folder: Path, count: int) -> Iterator[Case]:
    photos, pick = photographed(folder / "photos", MANY), random.Random(100)
    source, ready = tree(photos), stages(folder, photos)
    for number in range(count):
        command, how = TURNS[number % len(TURNS)], SIGNALS[pick.randrange(3)]
        part, at = pick.uniform(0.15, 1.0), folder / str(number)
        name = f"{number} {command}, {signal.Signals(how).name} at {part:.0%}"
        one = (command, ready[command], at, photos, source, how, part)
        yield name, lambda one=one: tried(*one)  # type: ignore[misc]


def tried(
    command: str,
    ready: Ready,
    at: Path,
    photos: Path,
    source: dict[str, str],
    how: int,
    part: float,
) -> str:
    shutil.copytree(ready.before, at)
    data, old = at / "data", visible(at)
    words = words_of(command, data, photos)
    temporary = at.with_name(f"{at.name}-temporary")
    temporary.mkdir()
    child = Child(*words, temporary=temporary)
    time.sleep(part * ready.length_s)
    child.signal(how)
    left = child.leftover()
    said = child.end()
    if tree(photos) != source:
        return "the user's own photos have changed"
    if fault := left or half_done(at, old, ready.after):
        return fault
    again = in_here(words, temporary)
    finished = visible(at) == ready.after
    there_already = command == "select" and again.code == 1 and finished
    if again.code and not there_already:
        return f"the rerun exits {again.code}: {again.err[-200:]} (first: {said.code})"
    if not finished:
        now = visible(at)
        differs = [
            name for name in now.keys() | ready.after if now.get(name) != ready.after.get(name)
        ]
        return f"the rerun left other files: {sorted(differs)[:3]}"
    hidden = [
        path.name for path in at.rglob(".*") if path.suffix == ".tmp" or ".adding" in path.name
    ]
    hidden += os.listdir(temporary)
    shutil.rmtree(at)
    return f"after the rerun there is still {hidden[0]}" if hidden else ""


def in_here(words: list[str | Path], temporary: Path) -> Said:
    """What is not killed needs no process of its own."""
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        return call(*words, limit_s=120)
    finally:
        tempfile.tempdir = before


def half_done(at: Path, old: dict[str, str], after: dict[str, str]) -> str:
    """Whatever is there is as it was, or as it will be; pictures decode."""
    now = visible(at)
    if lost := [name for name in old if name not in now]:
        return f"{lost[0]} is gone"
    for name, digest in now.items():
        if digest in {old.get(name), after.get(name)}:
            continue
        if name.endswith(".txt") or name in old:
            return f"{name} is neither as before nor as after"
        with Image.open(at / name) as image:
            image.load()
    return ""
