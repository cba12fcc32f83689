"""The plan and its parts: everything that would happen, decided and checked. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorakit.dataset.facts import DatasetFacts, ImageFacts
from lorakit.errors import Fault
from lorakit.machine import Gpu
from lorakit.plan.foreseen import Checkpoint, Estimate
from lorakit.private import names_only, shown
from lorakit.recipe.model import Resolved, Section, Setting
from lorakit.trainers.base import Command, Work
from lorakit.weights.reference import WeightFile


@dataclass(frozen=True)
class Bucket:
    """One bucket of one dataset: its size, the images in it, and its samples in an epoch."""

    width: int
    height: int
    images: tuple[ImageFacts, ...]
    draws: int  # sum of repeats
    batches: int
    frames: int = 0  # of each piece of a film; 0: pictures


@dataclass(frozen=True)
class Steps:
    """The arithmetic, exactly as the script will do it."""

    buckets: tuple[Bucket, ...]
    train_images: int  # images x repeats, as the script prints "num train images * repeats"
    reg_images: int
    validation_images: int
    batches: int  # of one epoch, over all processes
    batches_per_process: int  # what the script prints as "num batches per epoch"
    batch_size: int
    processes: int
    accumulation: int
    epochs: int  # what the script prints as "num epochs"
    steps_per_epoch: int
    total: int  # "total optimization steps"
    checkpoints: tuple[Checkpoint, ...]
    sample_steps: tuple[int, ...]
    # one line to check with a pencil: "40 x 70 + 20 x 30 = 3400 samples, / 4 = 850 batches, ..."
    formula: str


@dataclass(frozen=True)
class Verdict:
    word: str  # fits, may fit, does not fit, unknown
    low: float
    high: float
    there: float  # bytes; 0: not known
    device: str = ""
    better: str = ""  # a preset with which it would fit, or might: "flux-8gb would"

    @classmethod
    def of(cls, needs: Estimate, device: Gpu) -> "Verdict":
        low, high, there = needs.memory_low, needs.memory_high, device.memory_bytes
        if not high or not there:
            word = "unknown"
        elif low > there:
            word = "does not fit"
        else:
            word = "fits" if high <= there else "may fit"
        return cls(word, low, high, there, device.name)

    def __str__(self) -> str:
        there, middle = _gigabytes(self.there), f"about {_gigabytes((self.low + self.high) / 2)}"
        if self.word == "fits":
            return f"fits, {middle} of {there} GB"
        if self.word == "does not fit":
            hint = f"; {self.better}" if self.better else ""
            return f"does not fit: {middle} of {there} GB{hint}"
        if self.word == "may fit":
            return f"may fit: {_gigabytes(self.low)} to {_gigabytes(self.high)} of {there} GB"
        needed = f"{middle} GB are needed, of how many is not known"
        return f"unknown: {needed if self.high else 'what this family needs is not known'}"


def _gigabytes(count: float) -> str:
    gigabytes = count / 1e9
    whole = gigabytes >= 9.95 or gigabytes == int(gigabytes)
    return f"{gigabytes:.0f}" if whole else f"{gigabytes:.1f}"


@dataclass(frozen=True)
class Plan:
    """`files` are texts for the run folder, by name; commands and env already point there."""

    resolved: Resolved
    dataset: DatasetFacts
    steps: Steps
    run_dir: Path
    script: Path | None  # None: no checkout; plans work, training stops with one message
    files: Mapping[str, str]  # train.toml, dataset.toml, prompts.toml, accelerate.yaml
    commands: tuple[Command, ...]  # in order; the last one trains
    env: Mapping[str, str]  # only what we set; the rest is inherited
    estimate: Estimate
    faults: tuple[Fault, ...]  # errors, warnings and notes; errors mean that nothing is started
    # what train.toml says, every value with its source ("plan" where we add it)
    settings: Section = field(default_factory=dict)
    weights: tuple[WeightFile, ...] = ()
    commit: str = ""  # of the sd-scripts checkout, where the trainer is kohya
    stage: str = ""  # the stage's name, in a recipe with several
    verdict: Verdict = Verdict("unknown", 0, 0, 0)  # does its memory fit?

    @property
    def argv(self) -> tuple[str, ...]:
        """The command that trains."""
        return self.commands[-1].argv

    @property
    def env_shown(self) -> Mapping[str, str]:
        """What may be said of `env`: of [launch] env the names alone."""
        own = self.resolved.launch.get("env")
        return names_only(self.env, own.value if own else ())

    @property
    def settings_shown(self) -> dict[str, Section]:
        """By section, `train` as the script gets it; private values are named, never written."""
        names = ("model", "dataset", "train", "sample", "launch")
        sections = {name: getattr(self.resolved, name) for name in names}
        sections["train"] = self.settings or self.resolved.train
        return {
            name: {k: Setting(shown(name, k, one.value), one.source) for k, one in section.items()}
            for name, section in sections.items()
        }

    @property
    def output_name(self) -> str:
        return str(self.resolved.get("output_name", self.resolved.name))

    @property
    def output_dir(self) -> Path:
        """Where the script writes checkpoints, states and `sample/`."""
        setting = self.settings.get("output_dir")
        return Path(str(setting.value)) if setting else self.run_dir / "output"

    @property
    def logging_dir(self) -> Path:
        setting = self.settings.get("logging_dir")
        return Path(str(setting.value)) if setting else self.run_dir / "logs"

    @property
    def work(self) -> Work:
        settings = {key: one.value for key, one in self.settings.items()}
        return Work(self.run_dir, self.resolved.family, settings, self.output_dir, self.output_name)
