"""REGISTRY.md: every LoRA that was trained, where it came from, what people think of it.

The runs' records and notes.json files are the source; the Markdown table is one too, for what
people wrote into it by hand and for rows whose run folder is gone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lorakit.errors import LorakitError, RecipeError
from lorakit.files import write_atomic
from lorakit.journal import now
from lorakit.runs.find import run_dirs
from lorakit.runs.record import Record, read_record
from lorakit.typed_json import Part, rare
from lorakit.user_files import Missing, Unreadable, read_text

FILE = "REGISTRY.md"
NOTES = "notes.json"
BEGIN, END = "<!-- registry:begin -->", "<!-- registry:end -->"
HEAD = f"""# Registry

Every LoRA trained here. `lorakit registry` keeps the table; the columns chosen, strength, rating
and notes are yours to edit.

{BEGIN}
{END}
"""
NOTED = ("chosen", "strength", "rating")


@dataclass(frozen=True)
class Row:
    """One trained LoRA; everything as it is shown."""

    run: str
    name: str = ""
    trigger: str = ""
    family: str = ""
    base: str = ""
    date: str = ""
    steps: str = ""
    images: str = ""
    loss: str = ""
    validation: str = ""
    origin: str = ""  # the weights it started from, and the version before it
    chosen: str = ""
    strength: str = ""
    rating: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Note(Part):
    when: str = ""
    text: str = ""


@dataclass(frozen=True)
class Notes(Part):
    """notes.json of a run."""

    notes: tuple[Note, ...] = rare(())
    rating: float | None = rare(None)
    chosen: str = rare("")
    strength: float | None = rare(None)


COLUMNS = tuple(field.name for field in fields(Row))


def add_note(
    run_dir: Path,
    text: str = "",
    *,
    rating: int | None = None,
    chosen: str = "",
    strength: float | None = None,
) -> None:
    """Keep a note about a run beside the run; earlier notes stay."""
    if rating is not None and not 0 <= rating <= 5:
        raise RecipeError(f"--rating {rating}: 0 to 5.")
    output = read_record(run_dir).output_dir(run_dir)
    if chosen and not (output / chosen).exists():
        there = sorted(path.name for path in output.glob("*.safetensors"))
        what = f"{run_dir.name}: no checkpoint {chosen}."
        raise RecipeError(what, hint="There are " + (", ".join(there) or "none") + ".")
    notes = read_notes(run_dir)
    if text:
        notes = replace(notes, notes=(*notes.notes, Note(now(), text)))
    notes = replace(
        notes,
        rating=notes.rating if rating is None else rating,
        chosen=chosen or notes.chosen,
        strength=notes.strength if strength is None else strength,
    )
    write_atomic(run_dir / NOTES, notes.as_text())


def read_notes(run_dir: Path) -> Notes:
    try:
        return Notes.read(run_dir / NOTES)
    except Missing:
        return Notes()
    except Unreadable as error:
        what = f"{error} The notes in it were left as they are."
        raise LorakitError(what, hint="Fix it by hand.") from error


def rows_of_runs(root: Path) -> list[Row]:
    """One row for every run that made a LoRA, oldest first; of several machines the first's."""
    rows: list[Row] = []
    for run_dir in run_dirs(root):
        try:
            record = read_record(run_dir)
        except LorakitError:
            continue
        if record.state == "done" and not record.machine.rank:
            before = next((row.run for row in reversed(rows) if row.name == record.name), "")
            rows.append(_row(run_dir, record, before))
    return rows


def update(root: Path) -> tuple[list[Row], bool]:
    """Merge runs and table, write what changed; returns the rows and whether it was written."""
    path = root / FILE
    text = read_text(path) if path.exists() else HEAD
    old = parse(text)
    rows = merged(old, rows_of_runs(root))
    fresh = rendered(text, rows)
    changed = bool(rows or old) and (not path.exists() or fresh != text)
    if changed:
        write_atomic(path, fresh)
    return rows, changed


def merged(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Rows of lost runs stay where they were; the others keep what was written by hand."""
    known = {row.run: row for row in new}
    kept = [_with_hand(known.pop(row.run), row) if row.run in known else row for row in old]
    return [*kept, *known.values()]


def parse(text: str) -> list[Row]:
    """The rows between our marks. A broken row is refused: rewriting would lose it."""
    if BEGIN not in text or END not in text:
        if text.strip():
            what = f"{FILE} has no {BEGIN} and {END} lines; it was left as it is."
            raise RecipeError(what, hint="Add the two lines where the table belongs.")
        return []
    head = text[: text.index(BEGIN)].count("\n") + 1
    rows = []
    for number, line in enumerate(text.split(BEGIN, 1)[1].split(END, 1)[0].splitlines(), head):
        cells = _cells(line)
        if not line.strip() or cells == list(COLUMNS) or set("".join(cells)) <= set("-: "):
            continue
        if len(cells) != len(COLUMNS):
            what = (
                f"{FILE}:{number} has {len(cells)} cells, not {len(COLUMNS)}; nothing was changed."
            )
            raise RecipeError(what, hint="Fix that line (a | inside a note is written \\|).")
        rows.append(Row(*cells))
    return rows


def rendered(text: str, rows: Sequence[Row]) -> str:
    """The same page with the table rewritten; everything outside our marks stays."""
    if BEGIN not in text:
        text = HEAD
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [
        "| " + " | ".join(_cell(getattr(row, name)) for name in COLUMNS) + " |" for row in rows
    ]
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.partition(END)[2]}"


def _row(run_dir: Path, record: Record, before: str) -> Row:
    notes, outcome = read_notes(run_dir), record.outcome
    base = next((Path(one.path).name for one in record.weights if one.key == "base"), "")
    began_with = record.value("network_weights", "model")
    origin = [f"from {Path(str(began_with)).name}"] if began_with else []
    origin += [f"after {before}"] if before else []
    return Row(
        run=f"{run_dir.parent.name}/{run_dir.name}",
        name=record.name,
        trigger=record.trigger,
        family=record.family,
        base=base,
        date=record.started[:10],
        steps=str(outcome.step or ""),
        images=str(record.dataset.images),
        loss=_number(outcome.loss),
        validation=_number(outcome.validation_loss),
        origin=", ".join(origin),
        chosen=notes.chosen,
        strength=_number(notes.strength),
        rating=_number(notes.rating),
        notes="; ".join(note.text for note in notes.notes),
    )


def _with_hand(ours: Row, theirs: Row) -> Row:
    """With the cells that people edit: what `lorakit note` keeps, else what the table says."""
    cells = {name: getattr(ours, name) or getattr(theirs, name) for name in NOTED}
    said = [theirs.notes] if theirs.notes else []
    said += [part for part in ours.notes.split("; ") if part and part not in theirs.notes]
    return replace(ours, **cells, notes="; ".join(said))


def _cells(line: str) -> list[str]:
    """The cells of a table line; an escaped | belongs to its cell."""
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
