"""sd-scripts as a `Trainer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
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
from lorakit.trainers.kohya import rules, tokenizers
from lorakit.trainers.kohya.going_on import go_on_in_kohya
from lorakit.trainers.kohya.locate import HOME
from lorakit.trainers.kohya.requirements import version_faults
from lorakit.trainers.progress import KohyaText

TITLE = "sd-scripts"
UNCHECKED_LATENTS: Mapping[str, str] = MappingProxyType({"sd15": "_sd.npz", "sdxl": "_sdxl.npz"})
SPLIT_OVERLAPS = True
SEPARATE_FOLDERS = False
PATIENCE = (20.0, 10.0)
SAVES_WHEN_INTERRUPTED = False
DRAWS_SHEETS = False
PRINTS_MEAN_LOSS = True  # over an epoch, with three digits
RESUMES_EXACTLY = False
STATES_COUNT = True

check = rules.check
commands = one_command
files = run_files.files
needless = fault_after = nothing_to_say
artefacts = one_file
continuation = go_on_in_kohya
names = one_name
downloads = tokenizers.missing


def find(family: str) -> Script:
    found = HOME.script(FAMILIES[family].script)
    located = HOME.locate() if found.found else None
    more = version_faults(located) if located else ()
    return replace(found, faults=(*found.faults, *more))


def settings(resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
    names = FAMILIES[resolved.family].tokenizers
    if names and all(map(tokenizers.provides, names)) and not Options(resolved).flag("v2"):
        place = tokenizers.folder().absolute().as_posix()
        yield ("tokenizer_cache_dir", place, "lorakit's own copies, so that nothing is downloaded")


def prepare(work: Work) -> None:
    """Our copies of the tokenizers, where the run counts on them."""
    if Path(str(work.settings.get("tokenizer_cache_dir"))) == tokenizers.folder():
        tokenizers.ensure(FAMILIES[work.family].tokenizers)


def log_reader(offset: int = 0, total: int = 0, _command: str = "") -> Reader:
    return KohyaText(offset, total)


def event_reader() -> Reader | None:
    return None


def changed_since(script: Path, commit: str, lorakit: str) -> CodeChange | None:
    del lorakit
    return HOME.changed(script, script.name, commit)
