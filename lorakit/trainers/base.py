"""What lorakit asks of a trainer. Each trainer is a module that fulfils `Trainer` with functions
and constants (kohya/trainer.py, embedded/trainer.py). table.py lists them; mypy checks them there.

Options come from catalogue/, file names from catalogue/file_names.py: the trainers so far share
kohya's words and kohya's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lorakit.catalogue.file_names import CheckpointName
from lorakit.dataset.facts import DatasetFacts
from lorakit.errors import Fault
from lorakit.events import Event
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved, Section
from lorakit.recipe.options import Options
from lorakit.trainers.continuation import Continuation, Paused


class Command(NamedTuple):
    """One program of a run. `name` is what the user sees where a run has several."""

    argv: tuple[str, ...]
    name: str = "training"


class Start(NamedTuple):
    """What the plan has decided about the start of a script."""

    python: str
    flags: tuple[str, ...]  # accelerate's; they stand before the script
    script: str
    run_dir: Path  # train.toml and the plan's other files will be there


@dataclass(frozen=True)
class Work:
    """A run on the disk, as its trainer is asked about it."""

    run_dir: Path
    family: str
    settings: Mapping[str, Any]  # as in train.toml
    output_dir: Path
    output_name: str


@dataclass(frozen=True)
class Script:
    """Where the script that trains a family is, and what runs it."""

    path: Path  # where it is, or where it would be
    found: bool = True
    python: Path | None = None  # None: lorakit's own
    commit: str = ""  # of the checkout, where the trainer has one
    env: Mapping[str, str] = field(default_factory=dict)  # what it needs, such as PYTHONPATH
    faults: tuple[Fault, ...] = ()


class CodeChange(NamedTuple):
    """What is no longer as a run began with it."""

    what: str
    before: str | None
    now: str | None


class Reader(Protocol):
    """Lines in, events out. What it does not understand it skips."""

    def feed(self, line: bytes) -> list[Event]: ...

    def finish(self) -> list[Event]:
        """What was still held back when the output ended."""


class Trainer(Protocol):
    TITLE: str  # in a sentence: "sd-scripts", "the embedded trainer"

    # Planning: nothing is written, nothing is started.

    # Family -> suffix of latent caches beside the images that the script takes unchecked, even
    # when they were made for another size.
    UNCHECKED_LATENTS: Mapping[str, str]

    # True: the two parts of a validation split are rounded separately, so an image may be in both.
    SPLIT_OVERLAPS: bool

    # True: each N_trigger folder fills buckets of its own, so each may end with a short batch.
    SEPARATE_FOLDERS: bool

    def find(self, family: str) -> Script: ...

    def check(self, resolved: Resolved, machine: Machine) -> list[Fault]:
        """What the script asserts, forbids or silently ignores."""

    def settings(self, resolved: Resolved) -> Iterable[tuple[str, Any, str]]:
        """Option, value and reason of what the script needs beyond the recipe."""

    def downloads(self, resolved: Resolved) -> list[str]:
        """Hub ids that the script itself would fetch when it starts."""

    def files(
        self, options: Options, settings: Section, facts: DatasetFacts
    ) -> tuple[dict[str, str], list[Fault]]:
        """The texts that the scripts read, by their names in the run's folder; `settings` as in
        train.toml. What cannot be said in their format is a fault.
        """

    def names(self, options: Options) -> tuple[CheckpointName, ...]:
        """Of the files of one save, without their step."""

    def commands(self, options: Options, start: Start) -> tuple[Command, ...]:
        """The commands of a run in order; the last one trains."""

    # Running.

    PATIENCE: tuple[float, float]  # seconds from interrupt to terminate, and from there to kill
    # True: an interrupt makes it save and end, and `stop --now` kills it. False: it saves nothing
    # on the way out, so a stop waits for the next checkpoint, and `stop --now` interrupts.
    SAVES_WHEN_INTERRUPTED: bool

    def prepare(self, work: Work) -> None:
        """Put in place what the script must find on the disk."""

    def needless(self, command: Command, work: Work) -> str:
        """Why a command before the training need not run again, because what it made is there and
        its inputs are the same; "" where it must.
        """

    def fault_after(self, command: Command, work: Work) -> str:
        """What is wrong with the files that a command before the training has left, although its
        exit code was 0; "" where nothing is. The place to write down what it was made from.
        """

    def log_reader(self, offset: int = 0, total: int = 0, command: str = "training") -> Reader:
        """For what the command of that name prints; `offset` is added to step numbers that a
        resumed script restarts. A loss that its trainer hides (0 for NaN) is said as NaN.
        """

    def event_reader(self) -> Reader | None:
        """For the file named by LORAKIT_EVENTS; None where it writes none."""

    # Afterwards.

    def artefacts(self, work: Work) -> tuple[Path, ...]:
        """The files that are the LoRA, the main one first: a run is done when each is good."""

    DRAWS_SHEETS: bool  # whoever trained with it can draw a sheet, too
    PRINTS_MEAN_LOSS: bool  # the printed loss is a mean; each step's own is in tensorboard's log
    # True: `--resume STATE` goes on byte for byte, under continuous step numbers, on any number of
    # machines. False: run/resume renumbers what the script writes.
    RESUMES_EXACTLY: bool
    STATES_COUNT: bool  # a whole state has a train_state.json with its step; else its name says it

    def continuation(self, at: Paused, settings: Mapping[str, Any]) -> Continuation | None:
        """How it is made to go on there, `settings` as in train.toml; None where it does so by
        itself (RESUMES_EXACTLY).
        """

    def changed_since(self, script: Path, commit: str, lorakit: str) -> CodeChange | None:
        """Whether its code is another than the recorded `commit`, or version of lorakit."""


def one_command(_options: Options, start: Start) -> tuple[Command, ...]:
    """`accelerate launch` and nothing before it."""
    launcher = (start.python, "-m", "accelerate.commands.launch", *start.flags)
    config = (start.run_dir / "train.toml").absolute().as_posix()
    return (Command((*launcher, start.script, "--config_file", config)),)


def one_name(options: Options) -> tuple[CheckpointName, ...]:
    return (CheckpointName(options.output_name),)


def nothing_to_say(_command: Command, _work: Work) -> str:
    """For a trainer with one command: none comes before the training."""
    return ""


def by_itself(_at: Paused, _settings: Mapping[str, Any]) -> Continuation | None:
    """For a trainer that resumes exactly."""
    return None


def one_file(work: Work) -> tuple[Path, ...]:
    return (work.output_dir / f"{work.output_name}.safetensors",)
