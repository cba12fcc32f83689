"""ai-toolkit as a `Trainer`: one command, one YAML. Interrupted it saves nothing and exits 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.catalogue.file_names import CheckpointName
from lorakit.families.ai_toolkit import EXPERTS
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.ai_toolkit import config_file, folders, rules
from lorakit.trainers.ai_toolkit.lines import AiToolkitText
from lorakit.trainers.ai_toolkit.locate import HOME
from lorakit.trainers.base import (
    CodeChange,
    Command,
    Reader,
    Script,
    Start,
    Work,
    by_itself,
    nothing_to_say,
)
from lorakit.trainers.hub import is_cached

TITLE = "ai-toolkit"
UNCHECKED_LATENTS: Mapping[str, str] = MappingProxyType({})
SPLIT_OVERLAPS = False
SEPARATE_FOLDERS = True
PATIENCE = (20.0, 10.0)
SAVES_WHEN_INTERRUPTED = False
DRAWS_SHEETS = False
PRINTS_MEAN_LOSS = False
RESUMES_EXACTLY = False
STATES_COUNT = True

check = rules.check
files = config_file.files
prepare = folders.prepare
needless = nothing_to_say
fault_after = nothing_to_say
continuation = by_itself  # never asked: it leaves no folder of a state

# Whatever folder is named, these parts come from here.
_FETCHED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "wan22": ("ai-toolkit/wan2.1-vae",),
        "wan21": ("ai-toolkit/umt5_xxl_encoder",),
        "flux2": ("mistralai/Mistral-Small-3.1-24B-Instruct-2503",),
    }
)


def find(_family: str) -> Script:
    return HOME.script("run.py")


def settings(resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
    """What it gets wrong where nothing is said."""
    options = Options(resolved)
    yield "save_precision", "bf16", "its own is fp16"
    yield "max_step_saves_to_keep", 1000, "its own 5 removes the older ones"
    yield "lr_scheduler", "constant", "its own"
    yield "optimizer_type", "AdamW", "kohya's own"
    if options.about.flow:
        yield "network_alpha", options.rank, "it takes the rank, whatever is said"
        yield "timestep_type", "sigmoid", "its own"
    else:
        yield "network_alpha", 1.0, "its own"


def downloads(resolved: Resolved) -> list[str]:
    wanted = list(_FETCHED.get(resolved.family, ()))
    _, bar, adapter = Options(resolved).text("qtype").partition("|")
    if bar and not resolved.path_of(adapter).exists():
        wanted.append("/".join(adapter.split("/")[:2]))
    return [name for name in wanted if not is_cached(name)]


def names(options: Options) -> tuple[CheckpointName, ...]:
    parts = _parts(options.family, {name: options.value(name) for name in _SWITCHES})
    return tuple(
        CheckpointName(options.output_name, from_zero=True, part=part) for part in parts or ("",)
    )


_SWITCHES = tuple(f"train_{part}" for part in EXPERTS)


def _parts(family: str, said: Mapping[str, Any]) -> list[str]:
    two = family in _OF_TWO_EXPERTS
    return [part for part in EXPERTS if two and said.get(f"train_{part}", True) is not False]


_OF_TWO_EXPERTS = frozenset(("wan22",))


def commands(options: Options, start: Start) -> tuple[Command, ...]:
    """Its seed comes from the environment alone."""
    config = (start.run_dir / config_file.FILE).absolute().as_posix()
    seed = f"SEED={options.seed}"
    return (Command(("env", seed, start.python, start.script, config)),)


def log_reader(_offset: int = 0, total: int = 0, _command: str = "") -> Reader:
    return AiToolkitText(total)


def event_reader() -> Reader | None:
    return None


def artefacts(work: Work) -> tuple[Path, ...]:
    name = CheckpointName(work.output_name, from_zero=True)
    parts = _parts(work.family, work.settings) or [""]
    return tuple(work.output_dir / str(replace(name, part=part)) for part in parts)


def changed_since(script: Path, commit: str, lorakit: str) -> CodeChange | None:
    del lorakit
    return HOME.changed(script, script.name, commit)
