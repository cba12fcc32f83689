"""How a run ended, judged by the files on the disk, not by the script's exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lorakit.errors import TrainingFailed, counted
from lorakit.runs.typed_json import Part
from lorakit.weights.finite import Weights, inspect

State = Literal["done", "failed", "interrupted", "stopped", "dead"]


@dataclass(frozen=True)
class Diagnosis(Part):
    cause: str = ""
    evidence: str = ""  # the line of the log that says so
    remedy: str = ""  # a command
    rule: str = "unknown"


@dataclass(frozen=True)
class Outcome:
    """`done` is the only good one: an intact, finite LoRA of this run with the expected number of
    steps (or this machine's part of it).
    """

    state: State
    run_dir: Path
    exit_code: int | None = None  # of the process we launched; None when it ended by a signal
    signal: int | None = None
    step: int = 0
    total: int = 0
    loss: float | None = None
    duration_s: float = 0.0
    lora: Path | None = None
    saved: tuple[Path, ...] = ()  # LoRA files
    states: tuple[Path, ...] = ()  # intact ones, to go on from
    reason: str = ""  # why it is not done, in one sentence
    nan: bool = False
    recipe: str = ""
    sets: tuple[str, ...] = ()  # what was said after --set and --unset
    unsets: tuple[str, ...] = ()
    python: str = ""  # the trainer's
    settings: Mapping[str, object] = field(default_factory=dict)
    diagnosis: Diagnosis | None = None
    stage_dir: Path | None = None  # the stage it ended in, of a run with several
    asked_by: int | None = None  # the signal that asked lorakit to stop
    rank: int = 0  # of this machine; only the first writes the LoRA, others are judged by exit code

    @property
    def ok(self) -> bool:
        return self.state == "done"

    @property
    def log(self) -> Path:
        return (self.stage_dir or self.run_dir) / "log.txt"


Before = Mapping[str, tuple[int, int, int]]


def seen_in(folder: Path) -> Before:
    """What was there before the launch. Newness is judged against this, not against a clock that
    may be set back.
    """
    if not folder.is_dir():
        return {}
    return {path.name: _stamp(path) for path in folder.glob("*.safetensors")}


def made_since(folder: Path, before: Before) -> list[Path]:
    """Files written since `before`, oldest first."""
    if not folder.is_dir():
        return []
    new = [path for path in folder.glob("*.safetensors") if before.get(path.name) != _stamp(path)]
    return sorted(new, key=lambda path: (path.stat().st_mtime_ns, path.name))


def judge(
    lora: Path, before: Before, *, steps: int, reached: int, shorter_is_right: bool = False
) -> tuple[Weights, str]:
    """The file the run was for, and what is wrong with it; an empty text means nothing is."""
    weights = inspect(lora)
    if weights.fault:
        return weights, f"{lora.name} {weights.fault}"
    if before.get(lora.name) == _stamp(lora):
        return weights, f"{lora.name} is older than this run"
    if weights.not_finite:
        share = f"{len(weights.not_finite)} of {weights.tensors} tensors"
        first = weights.not_finite[0]
        return weights, f"{lora.name} holds NaN or infinity in {share} ({first}, ...)"
    if not weights.tensors:
        return weights, f"{lora.name} holds no tensors"
    count = weights.steps if weights.steps is not None else reached
    if count != steps and not shorter_is_right:
        return (
            weights,
            f"{lora.name} was trained for {counted(count or 0, 'step')}; planned: {steps}",
        )
    if weights.untrained:
        return weights, f"{lora.name} is untrained: every up-projection is zero"
    if weights.zeros:
        return weights, f"{lora.name} holds nothing but zeros"
    return weights, ""


def failure(outcome: Outcome, last_lines: list[str]) -> TrainingFailed:
    """The error as it is shown: the last lines, the log's path, cause, evidence and remedy."""
    lines = [f"  {line}" for line in last_lines]
    lines += [f"Training failed: {outcome.reason}.", f"The complete log: {outcome.log}"]
    found = outcome.diagnosis
    if found:
        lines.append(f"Cause: {found.cause}")
        lines += [f"Evidence: {found.evidence}"] if found.evidence else []
        lines += [f"Remedy: {found.remedy}"] if found.remedy else []
    if outcome.saved:
        lines.append("Saved before that: " + ", ".join(path.name for path in outcome.saved))
    return TrainingFailed("\n".join(lines))


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
