"""From a run and a choice to a sheet: what to draw, a child process that draws it, and the grid
around it.

Pictures are kept beside the run, named by everything they depend on: a second sheet draws only what
is new.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lorakit
from lorakit import proc
from lorakit.errors import LorakitError, SetupError, did_you_mean
from lorakit.files import write_atomic
from lorakit.sheet.grid import draw_grid
from lorakit.sheet.model import Checkpoint, Choice, Column, Row, Sheet, Source
from lorakit.sheet.source import read_source, samples

if TYPE_CHECKING:
    from PIL.Image import Image

Teller = Callable[[str], object]
PACKAGE = Path(lorakit.__file__).parent
TELL_EVERY_S = 10
OTHERWISE = "lorakit sheet RUN --from-samples shows what the training drew."


def silent(_: str) -> None:
    """Nobody listens."""


def make_sheet(
    run_dir: Path, choice: Choice, *, out: Path, python: str = sys.executable, tell: Teller = silent
) -> Sheet:
    """Draw what the choice asks for and write the grid to `out`; `tell` hears how much there is to
    draw.
    """
    source = read_source(run_dir)
    columns, rows = columns_of(source, choice), rows_of(source, choice)
    sheet, order = lay_out(source, columns, rows, choice.seeds, run_dir / "sheet")
    missing = missing_pictures(order)
    if missing:
        tell(
            f"Drawing {len(missing)} pictures: {len(columns)} columns, {len(rows)} prompts,"
            f" {choice.seeds} seeds."
        )
        draw_missing(order, run_dir / "sheet", python, tell)
    write_sheet(sheet, out)
    return sheet


def sheet_from_samples(run_dir: Path, *, out: Path) -> Sheet:
    """A grid of the pictures that the training itself drew; needs neither torch nor the base
    model.
    """
    source = read_source(run_dir)
    found = list(samples(run_dir / "output" / "sample", source.name))
    if not found:
        folder = run_dir / "output" / "sample"
        raise LorakitError(
            f"{folder} has no sample pictures of {source.name}.",
            hint="lorakit sheet RUN draws its own.",
        )
    labels = list(dict.fromkeys(label for _, label, _, _ in found))
    count = max(prompt for _, _, prompt, _ in found) + 1
    prompts = [row.prompt for row in source.rows][:count]
    prompts += [f"prompt {number + 1}" for number in range(len(prompts), count)]
    pictures = {(prompt, labels.index(label)): (path,) for _, label, prompt, path in found}
    columns = tuple(
        Column(label, note="before training" if label.endswith(" 0") else "") for label in labels
    )
    sheet = Sheet(_title(source), columns, tuple(prompts), pictures, "samples drawn while training")
    write_sheet(sheet, out)
    return sheet


def columns_of(source: Source, choice: Choice) -> tuple[Column, ...]:
    """The base first, then every chosen checkpoint at every strength."""
    chosen = choose(source.checkpoints, choice.checkpoints, source.run_dir)
    base = (Column("base"),) if choice.base else ()
    return base + tuple(
        Column(point.label, point.path, strength)
        for point in chosen
        for strength in choice.strengths
    )


def choose(points: Sequence[Checkpoint], wish: str, run_dir: Path) -> list[Checkpoint]:
    """`all`, `last`, `last:3`, or numbers of epochs or steps, labels and file names, with commas
    between.
    """
    if not points:
        raise LorakitError(
            f"{run_dir / 'output'} has no LoRA yet.",
            hint=(
                "lorakit watch shows how far the run is; of several machines the one of rank 0"
                " has it."
            ),
        )
    if wish == "all":
        return list(points)
    if wish == "last" or (wish.startswith("last:") and wish[5:].isdigit()):
        return list(points[-int(wish[5:] or 1) if ":" in wish else -1 :])
    chosen = []
    for word in (part.strip() for part in wish.split(",") if part.strip()):
        fitting = [
            point
            for point in points
            if word in {point.label, point.path.name, point.path.stem, str(point.order[1])}
        ]
        if not fitting:
            known = [point.label for point in points]
            raise LorakitError(
                f"No checkpoint {word!r}. {did_you_mean(word, known)}".rstrip(),
                hint=f"There are: {', '.join(known)}.",
            )
        chosen += fitting
    return sorted(set(chosen), key=lambda point: point.order)


def rows_of(source: Source, choice: Choice) -> tuple[Row, ...]:
    if not choice.prompts:
        if not source.rows:
            raise LorakitError(
                "The run has no sample prompts.",
                hint='Give some: lorakit sheet RUN --prompts "..." "..."',
            )
        return source.rows
    like = source.rows[0] if source.rows else Row("")
    return tuple(replace(like, prompt=prompt) for prompt in choice.prompts)


def lay_out(
    source: Source, columns: Sequence[Column], rows: Sequence[Row], seeds: int, folder: Path
) -> tuple[Sheet, dict[str, Any]]:
    """The sheet, and the order for the child: every picture has one name, made of what it depends
    on.
    """
    pictures: dict[tuple[int, int], tuple[Path, ...]] = {}
    wanted: list[dict[str, Any]] = []
    for at_column, column in enumerate(columns):
        jobs: list[dict[str, Any]] = []
        for at_row, row in enumerate(rows):
            entries = [
                _job(source, column, row, source.seed + number, folder) for number in range(seeds)
            ]
            pictures[at_row, at_column] = tuple(Path(entry["file"]) for entry in entries)
            jobs += entries
        wanted.append(
            {
                "lora": None if column.lora is None else str(column.lora),
                "strength": column.strength,
                "pictures": jobs,
            }
        )
    first = rows[0]
    footer = (
        f"{first.width} x {first.height}, {first.steps} steps, scale {first.scale:g}, seeds"
        f" {source.seed} to {source.seed + seeds - 1}"
    )
    sheet = Sheet(
        _title(source), tuple(columns), tuple(row.prompt for row in rows), pictures, footer
    )
    return sheet, {"family": source.family, "options": dict(source.options), "columns": wanted}


def missing_pictures(order: dict[str, Any]) -> list[Path]:
    return [
        path
        for column in order["columns"]
        for job in column["pictures"]
        if not (path := Path(job["file"])).exists()
    ]


def draw_missing(order: dict[str, Any], folder: Path, python: str, tell: Teller) -> None:
    """One child process with torch draws every picture that is not there yet; it never outlives
    this call.
    """
    path, log = folder / "order.json", folder / "draw.log"
    write_atomic(path, json.dumps(order, indent=1))
    write_atomic(log, "")
    paths = os.pathsep.join(
        part for part in (str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")) if part
    )
    env = {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "PYTHONPATH": paths,
    }  # the machine may be busy: threads sleep while waiting
    try:
        child = proc.start(
            [python, "-m", "lorakit.embedded.drawing.generate", str(path)],
            cwd=folder,
            env=env,
            log=log,
        )
    except OSError as error:
        raise SetupError(
            f"{python}: {error.strerror}.", hint="--python FILE names a Python with torch."
        ) from error
    try:
        whole, told = len(missing_pictures(order)), time.monotonic()
        while child.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                tell(f"{whole - len(missing_pictures(order))} of {whole} pictures")
    finally:
        if child.poll() is None:
            child.kill()
    if child.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        last = (said.splitlines() or [f"exit code {child.returncode}"])[-1]
        if "No module named 'torch'" in said:
            raise SetupError(
                f"{python} has no torch to draw pictures with.",
                hint=f"pip install 'lorakit[train]'. {OTHERWISE}",
            )
        raise SetupError(
            f"The pictures could not be drawn: {last}", hint=f"All it said: {log}. {OTHERWISE}"
        )


def write_sheet(sheet: Sheet, out: Path) -> None:
    from io import BytesIO

    page: Image = draw_grid(sheet)
    data = BytesIO()
    page.save(data, "PNG")
    write_atomic(out, data.getvalue())


def _job(source: Source, column: Column, row: Row, seed: int, folder: Path) -> dict[str, Any]:
    job = {
        "prompt": row.prompt,
        "negative": row.negative,
        "width": row.width,
        "height": row.height,
        "steps": row.steps,
        "scale": row.scale,
        "seed": seed,
    }
    worn = "" if column.lora is None else f"{stamp(column.lora)} {column.strength!r}"
    bases = [stamp(Path(value)) for value in source.options.values() if isinstance(value, str)]
    key = json.dumps(
        [source.family, dict(source.options), bases, job, worn], sort_keys=True, default=str
    )
    return {**job, "file": str(folder / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.png")}


def stamp(path: Path) -> str:
    """Enough to notice that a file, or a folder of weights, is no longer the same; reads no
    weights.
    """
    files = (
        sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    )
    return " ".join(
        f"{file.name} {facts.st_size} {facts.st_mtime_ns}"
        for file in files
        for facts in [file.stat()]
    )


def _title(source: Source) -> str:
    base = Path(str(source.options.get("pretrained_model_name_or_path", ""))).name
    return (
        f"{source.name}, run {source.run_dir.name}, on {base}"
        if base
        else f"{source.name}, run {source.run_dir.name}"
    )
