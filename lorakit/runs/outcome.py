"""How a run ended, judged by the files on the disk, not by the script's exit code."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import LorakitError, RecipeError, TrainingFailed, counted
from lorakit.logfile import last_lines, without_launcher
from lorakit.memo import Stamp, stamp_of
from lorakit.runs.folder import LOG
from lorakit.runs.record import Ending, Record, SavedCheckpoint, read_record, seconds_between
from lorakit.show import size
from lorakit.weights.finite import Weights, inspect

TAIL = 40


@dataclass(frozen=True)
class Outcome:
    """A run at its end, its record closed. Only `done` is good: an intact, finite LoRA."""

    run_dir: Path
    record: Record

    @property
    def state(self) -> str:
        return self.record.state

    @property
    def ok(self) -> bool:
        return self.record.state == "done"

    @property
    def ending(self) -> Ending:
        return self.record.outcome

    @property
    def lora(self) -> Path | None:
        return self.run_dir / self.ending.lora if self.ending.lora else None

    @property
    def saved(self) -> tuple[Path, ...]:
        """LoRA files."""
        return tuple(self.run_dir / path for path in self.ending.saved)

    @property
    def states(self) -> tuple[Path, ...]:
        """Intact ones, to go on from."""
        paths = (self.run_dir / one.path for one in self.record.states if not one.fault)
        return tuple(path for path in paths if path.is_dir())

    @property
    def log(self) -> Path:
        """Of the stage it ended in, where it has several."""
        begun = self.record.begun_stages
        return (self.run_dir / begun[-1].folder if begun else self.run_dir) / LOG


Before = Mapping[str, Stamp]


def seen_in(folder: Path, *, made_before: str = "") -> Before:
    """What was there before the launch. Newness is judged against this, not against a clock that
    may be set back; the clock's word is taken where nobody looked then.
    """
    return {
        path.name: stamp_of(path)
        for path in folder.glob("*.safetensors")
        if not made_before or not seconds_between(made_before, path.stat().st_mtime)
    }


def made_since(folder: Path, before: Before) -> list[Path]:
    """Files written since `before`, oldest first."""
    new = [path for path in folder.glob("*.safetensors") if before.get(path.name) != stamp_of(path)]
    return sorted(new, key=lambda path: (path.stat().st_mtime_ns, path.name))


def judge(
    lora: Path, before: Before, *, steps: int, reached: int, shorter_is_right: bool = False
) -> tuple[Weights, str]:
    """The file the run was for, and what is wrong with it; an empty text means nothing is."""
    weights = inspect(lora)
    count = reached if weights.steps is None else weights.steps
    if not weights.fault and before.get(lora.name) == stamp_of(lora):
        wrong = "is older than this run"
    elif weights.damage:
        wrong = weights.damage
    elif not weights.tensors:
        wrong = "holds no tensors"
    elif count != steps and not shorter_is_right:
        wrong = f"was trained for {counted(count or 0, 'step')}; planned: {steps}"
    else:
        wrong = weights.idle
    return weights, wrong and f"{lora.name} {wrong}"


def failure(outcome: Outcome) -> TrainingFailed:
    """The error as it is shown: the last lines, the log's path, cause, evidence and remedy."""
    last = without_launcher(last_lines(outcome.log, 2 * TAIL))[-TAIL:]
    lines = [f"  {line}" for line in last]
    lines += [f"Training failed: {outcome.ending.reason}.", f"The complete log: {outcome.log}"]
    lines += outcome.ending.diagnosis.lines if outcome.ending.diagnosis else []
    if outcome.saved:
        lines.append("Saved before that: " + ", ".join(path.name for path in outcome.saved))
    return TrainingFailed("\n".join(lines))


def require_intact(run_dir: Path, file: Path) -> None:
    """What leaves is what the record says; or, where it says nothing of it, a sound LoRA."""
    try:
        record = read_record(run_dir)
    except LorakitError:
        return  # a sheet is also drawn of a folder from before records
    place = Path(os.path.relpath(file, run_dir)).as_posix()
    saved = next((one for one in record.checkpoints if one.path == place), None)
    found = inspect(file)
    trouble = found.damage
    if saved and saved.sha256:
        other = found.sha256 != saved.sha256 and _difference(file, found, saved)
        trouble = f"is not the file that {record.run} made: {other}" if other else ""
    if trouble:
        raise RecipeError(
            f"{file} {trouble}; nothing was written.",
            hint=f"lorakit verify {record.run} names every difference. Restore the file from a"
            f" copy, take another checkpoint, or train again: lorakit train {record.recipe}",
        )


def _difference(file: Path, now: Weights, then: SavedCheckpoint) -> str:
    here = file.stat().st_size if file.exists() else 0
    if then.size_bytes is not None and here != then.size_bytes:
        return f"{size(here)} where the record says {size(then.size_bytes)}"
    same = now.tensors_sha256 and now.tensors_sha256 == then.tensors_sha256
    return "its metadata were changed" if same else "other bytes, of the same size"
