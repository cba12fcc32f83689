"""From a run and a choice to a sheet. Pictures are kept beside the run, named by everything they
depend on: a second sheet draws only what is new.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lorakit import proc
from lorakit.errors import LorakitError, SetupError, counted, did_you_mean
from lorakit.files import write_atomic
from lorakit.pictures.open import write_png
from lorakit.runs.find import whole_of
from lorakit.runs.outcome import require_intact
from lorakit.runs.record import read_record
from lorakit.sheet.grid import Column, Sheet, draw_grid
from lorakit.sheet.interfaces import A1111, ComfyUI
from lorakit.sheet.source import DrawnCheckpoint, SheetRow, Source, fits, read_source, samples
from lorakit.show import duration
from lorakit.weights.finite import inspect

Say = Callable[[str], object]
Progress = Callable[[int, int], object]
PNG_END = b"IEND\xaeB`\x82"
Order = dict[str, Any]  # for the child, as JSON
Artist = A1111 | ComfyUI  # a program of yours that draws, in the child's place


@dataclass(frozen=True)
class Choice:
    """What you asked for: which checkpoints, strengths, prompts, and how many seeds."""

    checkpoints: str = "all"  # all, last, last:3, or numbers, labels and names: 4,final
    strengths: tuple[float, ...] = (0.6, 0.8, 1.0)
    prompts: tuple[str, ...] = ()  # () is the run's own
    seeds: int = 2
    base: bool = True  # a first column without any LoRA
    cells: tuple[tuple[str, float], ...] = ()  # exactly these: file name and strength
    others: tuple[tuple[Path, float], ...] = ()  # LoRAs that lie under this run's


def make_sheet(
    run_dir: Path,
    choice: Choice,
    *,
    out: Path,
    elsewhere: Callable[[Source, Sequence[Path]], Artist] | None = None,
    python: str = sys.executable,
    say: Say = lambda _line: None,
    progress: Progress = lambda _done, _all: None,
) -> Sheet:
    """Draw what the choice asks for and write the grid to `out`; `say` gets what is begun."""
    source = read_source(run_dir)
    columns, rows = columns_of(source, choice), rows_of(source, choice)
    loras = list(dict.fromkeys(lora for column in columns for lora, _ in column.worn))
    for file in loras:
        require_intact(run_dir, file)
    artist = elsewhere(source, loras) if elsewhere else None
    if artist:
        source = replace(source, options={**source.options, "drawn by": digest(artist.mark)})
    folder = run_dir / "sheet"
    sheet, order = lay_out(source, columns, rows, choice.seeds, folder)
    if total := len(missing := missing_of(order)):
        pace = None if artist else read_record(whole_of(run_dir)).pass_seconds
        seconds = passes_of(source.family, missing) * pace if pace else 0.0
        say(
            f"Drawing {counted(total, 'picture')}: {counted(len(columns), 'column')},"
            f" {counted(len(rows), 'prompt')}, {counted(choice.seeds, 'seed')}"
            + (f", about {duration(seconds)} by this run's pace." if seconds else ".")
        )

        def tell() -> None:
            progress(total - len(missing_of(order)), total)

        if artist:
            try:
                draw_there(artist, order, folder, tell)
            except LorakitError as error:
                kept = f"{total - len(missing_of(order))} of {counted(total, 'picture')} are kept"
                error.hint = f"{error.hint} {kept}; the same command goes on.".lstrip()
                raise
        else:
            run_torch(
                "lorakit.embedded.drawing.generate",
                order,
                folder / "draw.log",
                python,
                what="pictures",
                otherwise="lorakit sheet RUN --from-samples shows what the training drew.",
                progress=tell,
            )
    write_png(out, draw_grid(sheet))
    return sheet


def draw_there(artist: Artist, order: Order, folder: Path, tell: Callable[[], object]) -> None:
    """One picture after the other, each kept as soon as it is there."""
    for column in order["columns"]:
        worn = [(Path(lora), strength) for lora, strength in column["loras"]]
        for job in [one for one in column["pictures"] if not Path(one["file"]).exists()]:
            picture = artist.draw(job, worn)
            if not (picture.startswith(b"\x89PNG") and picture.endswith(PNG_END)):
                raise LorakitError(f"{artist.address.url} answers with half a picture, or none.")
            folder.mkdir(exist_ok=True)
            write_atomic(Path(job["file"]), picture)
            tell()


def sheet_from_samples(run_dir: Path, *, out: Path) -> Sheet:
    """Of what the training itself drew; needs neither torch nor the base model."""
    source, folder = read_source(run_dir), run_dir / "output" / "sample"
    found = samples(folder, source.name)
    if not found:
        hint = "lorakit sheet RUN draws its own."
        raise LorakitError(f"{folder} has no sample pictures of {source.name}.", hint=hint)
    counts = {label: count for count, label, _, _ in found}
    columns = [
        Column(label, note="" if count else "before training") for label, count in counts.items()
    ]
    labels, rows = list(counts), max(prompt for _, _, prompt, _ in found) + 1
    prompts = [row.prompt for row in source.rows[:rows]]
    prompts += [f"prompt {number + 1}" for number in range(len(prompts), rows)]
    pictures = {(prompt, labels.index(label)): (path,) for _, label, prompt, path in found}
    footer = "samples drawn while training"
    sheet = Sheet(_title(source), tuple(columns), tuple(prompts), pictures, footer)
    write_png(out, draw_grid(sheet))
    return sheet


def columns_of(source: Source, choice: Choice) -> tuple[Column, ...]:
    """The base first, then every chosen checkpoint at every strength, each LoRA once."""
    if choice.cells:
        points = {one.path.name: one for one in source.checkpoints}
        gone = [name for name, _ in choice.cells if name not in points]
        if gone:
            raise LorakitError(f"{source.run_dir / 'output'} has no {gone[0]} any more.")
        pairs = [(points[name], by) for name, by in choice.cells]
    else:
        chosen = distinct(choose(source.checkpoints, choice.checkpoints, source.run_dir))
        pairs = [(one, by) for one in chosen for by in choice.strengths]
    columns = [Column(one.label, one.path, by, others=choice.others) for one, by in pairs]
    bare = [Column("base")] if choice.base else []
    if bare and choice.others:
        bare.append(Column("without it", note=_beside(choice.others), others=choice.others))
    return (*bare, *columns)


def _beside(others: Sequence[tuple[Path, float]]) -> str:
    return ", ".join(f"{lora.stem} at {strength:g}" for lora, strength in others)


def choose(points: Sequence[DrawnCheckpoint], wish: str, run_dir: Path) -> list[DrawnCheckpoint]:
    """`all`, `last`, `last:3`, or epochs, steps, labels and file names with commas between."""
    if not points:
        hint = "lorakit watch shows how far the run is; of several machines the one of rank 0 has"
        raise LorakitError(f"{run_dir / 'output'} has no LoRA yet.", hint=f"{hint} it.")
    if wish == "all":
        return list(points)
    word, _, count = wish.partition(":")
    if word == "last" and (count.isdigit() or wish == "last"):
        return list(points[-int(count or 1) :])
    chosen: set[DrawnCheckpoint] = set()
    for word in filter(None, map(str.strip, wish.split(","))):
        fitting = {point for point in points if fits(point, word)}
        if not fitting:
            known = [point.label for point in points]
            what = f"No checkpoint {word!r}. {did_you_mean(word, known)}".rstrip()
            raise LorakitError(what, hint=f"There are: {', '.join(known)}.")
        chosen |= fitting
    return sorted(chosen, key=lambda point: point.order)


def distinct(points: Sequence[DrawnCheckpoint]) -> list[DrawnCheckpoint]:
    """Without those whose tensors a later one has, too; that one says both labels."""
    kept: dict[str, DrawnCheckpoint] = {}
    for point in points:
        mark = inspect(point.path).tensors_sha256 or str(point.path)
        twin = kept.get(mark)
        kept[mark] = replace(point, label=f"{twin.label} = {point.label}") if twin else point
    return list(kept.values())


def rows_of(source: Source, choice: Choice) -> tuple[SheetRow, ...]:
    if choice.prompts:
        like = source.rows[0] if source.rows else source.plain
        return tuple(replace(like, prompt=prompt) for prompt in choice.prompts)
    if not source.rows:
        hint = 'Give some: lorakit sheet RUN --prompts "..." "..."'
        raise LorakitError("The run has no sample prompts.", hint=hint)
    return source.rows


def lay_out(
    source: Source, columns: Sequence[Column], rows: Sequence[SheetRow], seeds: int, folder: Path
) -> tuple[Sheet, Order]:
    """The sheet, and the order for the child: a picture is named by what it depends on."""
    pictures: dict[tuple[int, int], tuple[Path, ...]] = {}
    wanted: list[Order] = []
    for at_column, column in enumerate(columns):
        jobs: list[Order] = []
        for at_row, row in enumerate(rows):
            own = [_job(source, column, row, source.seed + n, folder) for n in range(seeds)]
            pictures[at_row, at_column] = tuple(Path(job["file"]) for job in own)
            jobs += own
        loras = [(str(lora), strength) for lora, strength in column.worn]
        wanted.append({"loras": loras, "pictures": jobs})
    first, seeded = rows[0], f"seeds {source.seed} to {source.seed + seeds - 1}"
    drawn = f"{first.width} x {first.height}, {first.steps} steps, scale {first.scale:g}"
    footer = f"{drawn}, {seeded}"
    if others := columns[-1].others:
        footer += f", with {_beside(others)}"
    prompts = tuple(row.prompt for row in rows)
    sheet = Sheet(_title(source), tuple(columns), prompts, pictures, footer)
    return sheet, {"family": source.family, "options": dict(source.options), "columns": wanted}


def missing_of(order: Order) -> list[Order]:
    jobs = (job for column in order["columns"] for job in column["pictures"])
    return [job for job in jobs if not Path(job["file"]).exists()]


def passes_of(family: str, jobs: Sequence[Order]) -> int:
    """Of the denoiser; two a step where the negative prompt is drawn, too."""
    return sum((1 if family == "flux" else 2) * job["steps"] for job in jobs)


def _job(source: Source, column: Column, row: SheetRow, seed: int, folder: Path) -> Order:
    job = asdict(row) | {"seed": seed}
    worn = ", ".join(f"{stamp(lora)} {strength!r}" for lora, strength in column.worn)
    key = digest(source.family, dict(source.options), bases_of(source), job, worn)
    return {**job, "file": str(folder / f"{key[:20]}.png")}


def digest(*parts: object) -> str:
    """Of whatever JSON holds: what a kept file depends on is its name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def bases_of(source: Source) -> list[str]:
    return [stamp(Path(value)) for value in source.options.values() if isinstance(value, str)]


def stamp(path: Path) -> str:
    """Enough to notice that a file or folder of weights has changed; reads no weights."""
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return " ".join(f"{name} {one.st_size} {one.st_mtime_ns}" for name, one in stats)


def _title(source: Source) -> str:
    base = Path(str(source.options.get("pretrained_model_name_or_path", ""))).name
    return f"{source.name}, run {source.run_dir.name}" + (f", on {base}" if base else "")


def run_torch(
    module: str,
    order: Order,
    log: Path,
    python: str,
    *,
    what: str,
    otherwise: str = "",
    progress: Callable[[], object] = lambda: None,
) -> None:
    """A child with torch carries out an order. `what` could not be made where it fails; `otherwise`
    is what can be done without torch. The order lies beside the child's log.
    """
    path = log.with_name("order.json" if log.stem == "draw" else f"{log.stem}-order.json")
    write_atomic(path, json.dumps(order, indent=1))
    write_atomic(log, "")
    try:
        said = proc.run_ours(python, module, path, log=log, progress=progress)
    except OSError as error:
        hint = "--python FILE names a Python with torch."
        raise SetupError(f"{python}: {error.strerror}.", hint=hint) from error
    if "No module named 'torch'" in said:
        hint = f"pip install 'lorakit[train]'. {otherwise}".rstrip()
        raise SetupError(f"{python} has no torch to make {what} with.", hint=hint)
    if said:
        # what we can explain is a sentence and a hint, a line each
        last = " ".join(said.splitlines()[-1 if "Traceback" in said else -2 :])
        hint = f"Its output: {log}. {otherwise}".rstrip()
        raise SetupError(f"The {what} could not be made: {last}", hint=hint)
