"""What lorakit asks of a trainer: each is a subclass of `Trainer` (kohya/trainer.py and its like)
that says what it does in a way of its own. table.py lists them.

Options come from catalogue/, file names from catalogue/file_names.py: the trainers so far share
kohya's words and kohya's names.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from lorakit.catalogue.file_names import CheckpointName
from lorakit.dataset.facts import DatasetFacts
from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved, Section
from lorakit.recipe.options import Options
from lorakit.trainers import run_files
from lorakit.trainers.progress import KohyaText, Reader
from lorakit.trainers.rule import Case, Finder

AT_MOST = 4  # times as many saves as planned
ANEW = "noise, timesteps and the order of images are drawn anew from here on"


class Paused(NamedTuple):
    """Where a run goes on, in its own true numbers."""

    step: int
    total: int
    per_epoch: int
    accumulation: int = 1


@dataclass(frozen=True)
class Continuation:
    """What to change in train.toml, and how the script's numbers differ from the true ones."""

    changes: Mapping[str, Any]
    offset: int  # true step minus the step in the script's file names
    bar_offset: int  # true step minus the step on its bar
    # the true step at which lorakit ends the script, which would go on to the end of its epoch
    stop_after: int = 0
    save_phase: int = 0
    inexact: tuple[str, ...] = ()
    epoch_offset: int = 0  # true epoch minus the script's
    # Beside the changed train.toml; where there are any, their folder comes first on PYTHONPATH.
    files: Mapping[str, str] = field(default_factory=dict)


class Saves(NamedTuple):
    every: int | None  # the script's save_every_n_steps
    phase: int  # true steps that are kept leave this remainder-base: (step - phase) % planned == 0
    remarks: tuple[str, ...] = ()

    def changes(self, planned: int | None) -> dict[str, Any]:
        """Those of train.toml."""
        if self.every == planned:
            return {}
        dropped = ("save_last_n_steps", "save_last_n_steps_state")
        return {"save_every_n_steps": self.every, **dict.fromkeys(dropped)}


def saves_after(planned: int | None, offset: int, stop_after: int) -> Saves:
    """The script saves when its own count divides; shifted by `offset` that may fall beside the
    planned steps.

    It may save a few times more often than planned (the planned files are kept), but not at every
    step.
    """
    every, phase, remarks = planned, 0, []
    if every and offset % every:
        if math.gcd(every, offset) * AT_MOST >= every:
            every = math.gcd(every, offset)
        else:
            phase = offset
            remarks.append(
                f"checkpoints come every {every} steps counted from step {offset}, not from 0"
            )
    if not stop_after:
        return Saves(every, phase, tuple(remarks))
    end = stop_after - offset
    if every and math.gcd(every, end) * AT_MOST >= (planned or 0):
        return Saves(math.gcd(every, end), phase, tuple(remarks))
    if every and end > every:
        remarks = [
            "no more checkpoints by step before the last: the script can save either at theirs or"
            " at the last step"
        ]
    return Saves(end, phase, tuple(remarks))


class Command(NamedTuple):
    """One program of a run. `name` is what the user sees where a run has several."""

    argv: tuple[str, ...]
    name: str = "training"


class Start(NamedTuple):
    """What the plan has decided about the start of a script."""

    python: str
    flags: tuple[str, ...]  # accelerate's; they stand before the script; none: without accelerate
    script: str
    run_dir: Path  # train.toml and the plan's other files will be there


@dataclass(frozen=True)
class Work:
    """A run on the disk, as its trainer is asked about it."""

    run_dir: Path
    family: str
    settings: Mapping[str, Any]  # what the script gets
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


class Trainer(ABC):
    """Where nothing is said, it answers as a script of kohya's dialect does that is started by
    `accelerate launch` and nothing before it.
    """

    TITLE: str  # in a sentence: "sd-scripts", "the embedded trainer"

    # Planning: nothing is written, nothing is started.

    RULES: tuple[Finder, ...] = ()  # what the script asserts, forbids or silently ignores

    # Family -> suffix of latent caches beside the images that the script takes unchecked, even
    # when they were made for another size.
    UNCHECKED_LATENTS: Mapping[str, str] = MappingProxyType({})

    # True: the two parts of a validation split are rounded separately, so an image may be in both.
    SPLIT_OVERLAPS = False

    # True: its one process is started as it is, not by a launcher that takes seconds.
    STARTS_ALONE = False

    # True: each N_trigger folder fills buckets of its own, so each may end with a short batch.
    SEPARATE_FOLDERS = False

    @abstractmethod
    def find(self, family: str) -> Script: ...

    def check(self, resolved: Resolved, machine: Machine) -> list[Fault]:
        case = Case(resolved, machine)
        return [fault for rule in self.RULES for fault in rule(case)]

    def settings(self, _resolved: Resolved) -> Iterable[tuple[str, Any, str]]:
        """Option, value and reason of what the script needs beyond the recipe."""
        return ()

    def downloads(self, _resolved: Resolved) -> list[str]:
        """Hub ids that the script itself would fetch when it starts."""
        return []

    def files(self, options: Options, settings: Section, facts: DatasetFacts, /) -> run_files.Texts:
        """The texts that the scripts read, by their names in the run's folder; `settings` as it
        gets them. What cannot be said in their format is a fault.
        """
        return run_files.files(options, settings, facts)

    def names(self, options: Options) -> tuple[CheckpointName, ...]:
        """Of the files of one save, without their step."""
        return (CheckpointName(options.output_name),)

    def commands(self, _options: Options, start: Start) -> tuple[Command, ...]:
        """The commands of a run in order; the last one trains."""
        launcher = ("-m", "accelerate.commands.launch", *start.flags) if start.flags else ()
        config = (start.run_dir / "train.toml").absolute().as_posix()
        return (Command((start.python, *launcher, start.script, "--config_file", config)),)

    # Handed over, as a folder that runs without lorakit.

    HANDED_OVER = ""  # what nobody sees to any more

    def stands_for(self, _files: Mapping[str, str]) -> Mapping[str, str]:
        """What `prepare` would make in the run's folder -> the user's own that it is made from."""
        return {}

    # Running.

    PATIENCE = (20.0, 10.0)  # seconds from interrupt to terminate, and from there to kill
    # True: an interrupt makes it save and end, and `stop --now` kills it. False: it saves nothing
    # on the way out, so a stop waits for the next checkpoint, and `stop --now` interrupts.
    SAVES_WHEN_INTERRUPTED = False

    def prepare(self, work: Work) -> None:  # noqa: B027
        """Put in place what the script must find on the disk."""

    def needless(self, _command: Command, _work: Work, /) -> str:
        """Why a command before the training need not run again, because what it made is there and
        its inputs are the same; "" where it must.
        """
        return ""

    def fault_after(self, _command: Command, _work: Work, /) -> str:
        """What is wrong with the files that a command before the training has left, although its
        exit code was 0; "" where nothing is. The place to write down what it was made from.
        """
        return ""

    def log_reader(self, offset: int = 0, total: int = 0, _command: str = "training") -> Reader:
        """For what the command of that name prints; `offset` is added to step numbers that a
        resumed script restarts. A loss that its trainer hides (0 for NaN) is said as NaN.
        """
        return KohyaText(offset, total)

    def event_reader(self) -> Reader | None:
        """For the file named by LORAKIT_EVENTS; None where it writes none."""
        return None

    # Afterwards.

    def artefacts(self, work: Work) -> tuple[Path, ...]:
        """The files that are the LoRA, the main one first: a run is done when each is good."""
        return (work.output_dir / f"{work.output_name}.safetensors",)

    DRAWS_SHEETS = False  # whoever trained with it can draw a sheet, too
    PRINTS_MEAN_LOSS = False  # the printed loss is a mean; each step's own is in tensorboard's log
    # True: `--resume STATE` goes on byte for byte, under continuous step numbers, on any number of
    # machines. False: run/resume renumbers what the script writes.
    RESUMES_EXACTLY = False
    STATES_COUNT = True  # a whole state has a train_state.json with its step; else its name says it
    RESUMABLE_WITH = "save_state=true"  # the setting by which there is something to go on from
    CONFIG = "train.toml"  # what its command reads, in the run's folder

    def changed(self, config: Path, changes: Mapping[str, Any]) -> str:
        """CONFIG for a part that goes on; None takes a setting away."""
        return run_files.changed_toml(config, changes)

    def newest_save(self, _work: Work) -> tuple[int, Path] | None:
        """Step and file of the LoRA that it can go on from, where it writes no states."""
        return None

    def continuation(self, _at: Paused, _settings: Mapping[str, Any]) -> Continuation | None:
        """How it is made to go on there, `settings` as it gets them; None where it does so by
        itself (RESUMES_EXACTLY).
        """
        return None

    @abstractmethod
    def changed_since(self, script: Path, commit: str, lorakit: str) -> CodeChange | None:
        """Whether its code is another than the recorded `commit`, or version of lorakit."""
