"""sd-scripts as a `Trainer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.catalogue.checkout import VENDOR, head_commit
from lorakit.errors import Fault, LorakitError
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
from lorakit.trainers.kohya.locate import locate
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

check = rules.check
commands = one_command
files = run_files.files
needless = fault_after = nothing_to_say
artefacts = one_file
names = one_name
downloads = tokenizers.missing


def find(family: str) -> Script:
    name = FAMILIES[family].script
    vendored = VENDOR / "sd-scripts" / name
    try:
        located = locate()
    except LorakitError as error:
        named = Fault("trainer = kohya", error.message, "", "sd-scripts-place")
        return Script(vendored, found=False, faults=(named, NOT_THERE))
    if located is None:
        return Script(vendored, found=False, faults=(NOT_THERE,))
    script = located.directory / name
    faults = [*located.faults(), *version_faults(located)]
    if not script.is_file():
        faults.append(
            Fault(str(script), "there is no such script in this checkout.", "", "no-script")
        )
    return Script(script, python=located.python, commit=located.commit, faults=tuple(faults))


NOT_THERE = Fault(
    "trainer = kohya",
    "no sd-scripts checkout is configured; the plan stands, but `lorakit train` would stop.",
    'make vendor sets one up; or trainer = "embedded".',
    "no-sd-scripts",
    "note",
)


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
    now = head_commit(script.parent)
    if not commit or now == commit:
        return None
    return CodeChange(f"sd-scripts in {script.parent}", commit[:12], now and now[:12])
