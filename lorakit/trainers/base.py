"""What lorakit asks of a trainer. Each trainer is a module that fulfils `Trainer` with functions
and constants (kohya/trainer.py, embedded/trainer.py). table.py lists them; mypy checks them there.

Options come from catalogue/, file names from catalogue/file_names.py: the trainers so far share
kohya's words and kohya's names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lorakit.errors import Fault
from lorakit.events import Event
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved

Command = tuple[str, ...]


@dataclass(frozen=True)
class Script:
    """Where the script that trains a family is, and what runs it."""

    path: Path  # where it is, or where it would be
    found: bool = True
    python: Path | None = None  # None: lorakit's own
    commit: str = ""  # of the checkout, where the trainer has one
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

    # The variable by which an exported script finds the checkout; "" where the script is lorakit's.
    CHECKOUT: str

    # Planning: nothing is written, nothing is started.

    # Family -> suffix of latent caches beside the images that the script takes unchecked, even
    # when they were made for another size.
    UNCHECKED_LATENTS: Mapping[str, str]

    # True: the two parts of a validation split are rounded separately, so an image may be in both.
    SPLIT_OVERLAPS: bool

    def find(self, family: str) -> Script: ...

    def check(self, resolved: Resolved, machine: Machine) -> list[Fault]:
        """What the script asserts, forbids or silently ignores."""

    def settings(self, resolved: Resolved) -> Iterable[tuple[str, Any, str]]:
        """Option, value and reason of what the script needs beyond the recipe."""

    def downloads(self, resolved: Resolved) -> list[str]:
        """Hub ids that the script itself would fetch when it starts."""

    def commands(
        self, python: str, launch_flags: Sequence[str], script: str, config: str
    ) -> tuple[Command, ...]:
        """The commands of a run in order; the last one trains."""

    # Running.

    PATIENCE: tuple[float, float]  # seconds from interrupt to terminate, and from there to kill
    # True: an interrupt makes it save and end, and `stop --now` kills it. False: it saves nothing
    # on the way out, so a stop waits for the next checkpoint, and `stop --now` interrupts.
    SAVES_WHEN_INTERRUPTED: bool

    def prepare(self, family: str, settings: Mapping[str, Any]) -> None:
        """Put in place what the script must find on the disk; `settings` as in train.toml."""

    def log_reader(self, offset: int = 0, total: int = 0) -> Reader:
        """For what it prints; `offset` is added to step numbers that a resumed script restarts."""

    def event_reader(self) -> Reader | None:
        """For the file named by LORAKIT_EVENTS; None where it writes none."""

    # Afterwards.

    DRAWS_SHEETS: bool  # whoever trained with it can draw a sheet, too
    PRINTS_MEAN_LOSS: bool  # the printed loss is a mean; each step's own is in tensorboard's log
    # True: `--resume STATE` goes on byte for byte, under continuous step numbers, on any number of
    # machines. False: run/resume renumbers what the script writes.
    RESUMES_EXACTLY: bool

    def changed_since(self, script: Path, commit: str, lorakit: str) -> CodeChange | None:
        """Whether its code is another than the recorded `commit`, or version of lorakit."""


def one_command(
    python: str, launch_flags: Sequence[str], script: str, config: str
) -> tuple[Command, ...]:
    """`accelerate launch` and nothing before it; flags before the script are accelerate's."""
    launcher = (python, "-m", "accelerate.commands.launch", *launch_flags)
    return ((*launcher, script, "--config_file", config),)
