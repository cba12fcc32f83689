"""Our own trainer as a `Trainer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit import __version__
from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.trainers import run_files
from lorakit.trainers.base import (
    CodeChange,
    Reader,
    Script,
    Work,
    nothing_to_say,
    one_command,
    one_file,
    one_name,
)
from lorakit.trainers.embedded import SCRIPTS, rules
from lorakit.trainers.progress import EmbeddedEvents, KohyaText

TITLE = "the embedded trainer"
UNCHECKED_LATENTS: Mapping[str, str] = MappingProxyType({})
SPLIT_OVERLAPS = False
SEPARATE_FOLDERS = False
PATIENCE = (120.0, 20.0)  # after an interrupt it ends its step and saves
SAVES_WHEN_INTERRUPTED = True
DRAWS_SHEETS = True
PRINTS_MEAN_LOSS = False
RESUMES_EXACTLY = True

check = rules.check
commands = one_command
files = run_files.files
needless = fault_after = nothing_to_say
artefacts = one_file
names = one_name


def find(family: str) -> Script:
    own = SCRIPTS.get(family)
    return Script(own or Path(FAMILIES[family].script), found=own is not None)


def settings(_resolved: Resolved) -> Iterable[tuple[str, Any, str]]:
    return ()


def downloads(_resolved: Resolved) -> list[str]:
    return []  # its tokenizers are part of lorakit or are beside the weights


def prepare(_work: Work) -> None:
    pass


def log_reader(offset: int = 0, total: int = 0, _command: str = "") -> Reader:
    return KohyaText(offset, total)  # it prints sd-scripts' lines, too


def event_reader() -> Reader | None:
    return EmbeddedEvents()


def changed_since(_script: Path, _commit: str, lorakit: str) -> CodeChange | None:
    if lorakit == __version__:
        return None
    return CodeChange("lorakit, whose trainer it is", lorakit or None, __version__)
