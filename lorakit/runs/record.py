"""record.json as a type: what ran, from what, what came out. Every reader has a `Record`; who
writes has a `Ledger` (ledger.py). docs/record.md describes each key.

    record = read_record(run_dir)
    record.steps.total, record.outcome.loss, record.trainer.name
    record.value("learning_rate"), record.value("network_weights", "model")
    [one.path for one in record.checkpoints if not one.removed]
    record.output_dir(run_dir), record.begun_stages, record.part.from_step

Text that is not there is "", a list (), a part of the record an empty part: `record.outcome.blank`
says that nothing is known yet. A number that may be missing is None. Nothing here can be changed;
`dataclasses.replace(record, name="b")` makes another one, `record.to_json()` gives the JSON.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.errors import LorakitError
from lorakit.plan.foreseen import Estimate
from lorakit.processes import Identity
from lorakit.recipe.model import Setting, Subject
from lorakit.runs.ran_from import (
    CommandRun,
    DatasetUsed,
    MachineRank,
    RanOn,
    StepCounts,
    TrainerUsed,
    WeightUsed,
)
from lorakit.typed_json import Part, WrongValue, rare
from lorakit.user_files import Missing

SCHEMA = 1
NAME = "record.json"
STEP_PASSES = 3  # a training step costs about three forward passes of each of its pictures
WAITING = "waiting"  # the state of a stage that is written down and not begun


@dataclass(frozen=True)
class Warned(Part):
    step: int | None = None
    rule: str | None = None
    text: str | None = None
    stage: str = rare("")


@dataclass(frozen=True)
class SavedCheckpoint(Part):
    path: str = ""
    step: int | None = None
    epoch: int | None = None
    kind: str = ""
    size_bytes: int | None = rare(None)
    sha256: str | None = rare(None)
    tensors_sha256: str | None = rare(None)
    finite: bool | None = rare(None)
    fault: str | None = rare(None)
    removed: bool = rare(False)
    stage: str = rare("")


@dataclass(frozen=True)
class SavedState(Part):
    path: str = ""
    step: int = 0
    fault: str | None = None
    stage: str = rare("")


@dataclass(frozen=True)
class SampleDrawn(Part):
    path: str = ""
    step: int | None = None
    epoch: int | None = rare(None)
    prompt: int | None = rare(None)
    stage: str = rare("")


@dataclass(frozen=True)
class RunProcess(Identity):
    pgid: int = rare(0)
    oom_kills: int = rare(0)
    log_at: tuple[int, ...] = rare((0, 0))


@dataclass(frozen=True)
class StageSummary(Part):
    name: str = ""
    folder: str = field(kw_only=True)
    state: str = rare("")
    first_step: int = rare(0)
    step: int | None = rare(None)
    total: int = rare(0)
    loss: float | None = rare(None)
    digest: str | None = rare(None)


@dataclass(frozen=True)
class ResumedPart(Part):
    number: int = 0
    started: str = ""
    ended: str = rare("")
    state: str = rare("")
    from_state: str = ""
    from_step: int | None = None
    last_step: int | None = rare(None)
    before_s: float = 0.0
    command: tuple[str, ...] = ()
    output: str = ""
    offset: int = 0
    bar_offset: int = 0
    stop_after: int = 0
    save_phase: int = rare(0)
    epoch_offset: int = rare(0)
    exact: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis(Part):
    cause: str = ""
    evidence: str = ""  # the line of the log that says so
    remedy: str = ""  # a command
    rule: str = "unknown"

    @property
    def lines(self) -> list[str]:
        told = {"Cause": self.cause, "Evidence": self.evidence, "Remedy": self.remedy}
        return [f"{name}: {text}" for name, text in told.items() if text]


@dataclass(frozen=True)
class Ending(Part):
    exit_code: int | None = None
    signal: int | None = None
    asked_by: int | None = None
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    validation_loss: float | None = None
    duration_s: float = 0.0
    reason: str = ""
    nan: bool = False
    gave_up: bool = False
    seconds_a_step: float | None = None
    lora: str | None = None
    saved: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    judged_by: str = ""


@dataclass(frozen=True)
class JudgedCell(Part):
    """A checkpoint at a strength. Losses are natural logarithms of ratios: below 0 is better."""

    checkpoint: str = ""  # the file's name
    label: str = ""
    strength: float = 0.0
    verdict: str = ""  # listed, behind, broken, unranked
    held: float | None = None  # loss on held-out pictures against the base's
    held_low: float | None = None
    held_high: float | None = None
    behind: float | None = None  # its held minus the lowest cell's
    behind_low: float | None = None
    behind_high: float | None = None
    drift: float | None = None  # how far it moves the base's own pictures, in parts of their square
    gap: float | None = rare(None)  # held minus the same on pictures it was trained on
    seen: Mapping[str, float] | None = rare(None)  # what its drawn pictures say, by name
    resembles: str = rare("")  # the training picture that they copy


@dataclass(frozen=True)
class Judged(Part):
    """What `lorakit judge` found: the cells, those worth looking at first and by drift."""

    when: str = ""
    held_out: int = 0
    cells: tuple[JudgedCell, ...] = ()
    unmeasured: int = 0
    reason: str = ""
    notes: tuple[str, ...] = ()
    base: Mapping[str, float] | None = rare(None)  # what the base's own pictures say
    models: Mapping[str, str] | None = rare(None)  # by the numbers in `seen` that are theirs

    @property
    def listed(self) -> tuple[JudgedCell, ...]:
        return tuple(cell for cell in self.cells if cell.verdict == "listed")

    @property
    def winner(self) -> JudgedCell | None:
        """Only where every other measured cell is told apart from it."""
        alone = len(self.listed) == 1 and len(self.cells) > 1 and not self.unmeasured
        return self.listed[0] if alone else None


NOT_JUDGED = Judged()


@dataclass(frozen=True)
class Record(Part):
    schema: int = SCHEMA
    lorakit: str = ""
    state: str = ""
    name: str = ""
    run: str = ""
    recipe: str = ""
    root: str = ""
    trigger: str = ""
    family: str = ""
    preset: str = ""
    sets: tuple[str, ...] = rare(())
    unsets: tuple[str, ...] = rare(())
    output_name: str = ""
    output: str = ""
    logs: str = ""
    stage: str = rare("")
    started: str = ""
    ended: str = rare("")
    platform: RanOn = field(default_factory=RanOn)
    trainer: TrainerUsed = field(default_factory=TrainerUsed)
    machine: MachineRank = field(default_factory=MachineRank)
    command: tuple[str, ...] = ()
    commands: tuple[CommandRun, ...] = rare(())
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = rare("")
    files: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    steps: StepCounts = field(default_factory=StepCounts)
    estimate: Estimate = field(default_factory=Estimate)
    dataset: DatasetUsed = field(default_factory=DatasetUsed)
    notes: str = rare("")
    subject: Subject = field(default_factory=Subject)
    weights: tuple[WeightUsed, ...] = ()
    plan_warnings: tuple[str, ...] = ()
    warnings: tuple[Warned, ...] = ()
    checkpoints: tuple[SavedCheckpoint, ...] = ()
    states: tuple[SavedState, ...] = ()
    samples: tuple[SampleDrawn, ...] = ()
    supervisor: Identity = field(default_factory=Identity)
    process: RunProcess = field(default_factory=RunProcess)
    stages: tuple[StageSummary, ...] = rare(())
    parts: tuple[ResumedPart, ...] = ()
    outcome: Ending = field(default_factory=Ending)
    judged: Judged = field(default=NOT_JUDGED, metadata={"rare": True})

    def value(self, key: str, section: str = "train") -> Any:
        """What the setting was; None when it was not set."""
        setting = self.settings.get(section, {}).get(key)
        return setting.value if setting else None

    def with_checkpoint(self, path: str, **changes: Any) -> "Record":
        """Where one of its checkpoints is another now."""
        changed = (replace(one, **changes) if one.path == path else one for one in self.checkpoints)
        return replace(self, checkpoints=tuple(changed))

    def output_dir(self, run_dir: Path) -> Path:
        return run_dir / (self.output or "output")

    @property
    def pass_seconds(self) -> float | None:
        """Of one picture through the denoiser once, as far as the run's own steps tell."""
        step_s = self.outcome.seconds_a_step
        pictures = max(1, self.steps.batch_size) * max(1, self.steps.accumulation)
        return step_s / (STEP_PASSES * pictures) if step_s else None

    @property
    def part(self) -> ResumedPart:
        """The last resumed part; an empty one before the first resume."""
        return self.parts[-1] if self.parts else ResumedPart()

    @property
    def begun_stages(self) -> tuple[StageSummary, ...]:
        return tuple(one for one in self.stages if one.state not in {"", WAITING})


def read_record(run_dir: Path, *, only: Collection[str] = ()) -> Record:
    """Nonsense in it is a clear error. `only`: the keys that a reader of many records needs."""
    path = run_dir / NAME
    try:
        data = json_text.read(path)
    except Missing:
        raise LorakitError(f"{run_dir} has no {NAME}; it is not a run of lorakit.") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if not isinstance(schema, int):
        raise LorakitError(f"{path} is not a record: it has no schema number.")
    if schema > SCHEMA:
        what = f"{path} was written by a newer lorakit (schema {schema}, this one reads {SCHEMA})."
        raise LorakitError(what)
    try:
        return Record.from_json({key: data[key] for key in only if key in data} if only else data)
    except WrongValue as error:
        what = f"{path}: {error}, which no record holds. Was it edited by hand?"
        raise LorakitError(what) from None


def moment(text: str, form: str, otherwise: str = "") -> str:
    """A record's time in that form of strftime; `otherwise` where it makes no sense."""
    try:
        return datetime.fromisoformat(text).strftime(form)
    except ValueError:
        return otherwise


def seconds_between(started: str, end: float) -> float | None:
    """None where the record's time makes no sense."""
    try:
        return max(0.0, end - datetime.fromisoformat(started).timestamp())
    except ValueError:
        return None
