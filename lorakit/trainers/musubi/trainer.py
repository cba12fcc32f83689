"""musubi-tuner as a `Trainer`: latents and texts are cached by two commands, a third trains."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.catalogue.options import options as catalogue
from lorakit.events import Event
from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.base import (
    CodeChange,
    Command,
    Reader,
    Script,
    Start,
    Work,
    one_command,
    one_file,
    one_name,
)
from lorakit.trainers.hub import is_cached
from lorakit.trainers.musubi import caches, rules, run_files
from lorakit.trainers.musubi.going_on import go_on_in_musubi
from lorakit.trainers.musubi.locate import HOME
from lorakit.trainers.progress import KohyaText

TITLE = "musubi-tuner"
UNCHECKED_LATENTS: Mapping[str, str] = MappingProxyType({})
SPLIT_OVERLAPS = False
SEPARATE_FOLDERS = True
PATIENCE = (20.0, 10.0)
SAVES_WHEN_INTERRUPTED = False
DRAWS_SHEETS = False
PRINTS_MEAN_LOSS = True
RESUMES_EXACTLY = False
STATES_COUNT = False

check = rules.check
files = run_files.files
needless = caches.needless
fault_after = caches.fault_after
artefacts = one_file
continuation = go_on_in_musubi
names = one_name

_PLACE = "src/musubi_tuner"  # of its scripts, in a checkout
# Not the recipe's to say, or not the same thing in a cacher.
_NOT_PASSED = frozenset(("dataset_config", "batch_size", "num_workers", "device", "dit"))
_KLEIN = {"klein-4b": "Qwen/Qwen3-4B", "klein-9b": "Qwen/Qwen3-8B"}
_COUNT = re.compile(rb"(\d+)it \[")


def find(family: str) -> Script:
    found = HOME.script(f"{_PLACE}/{FAMILIES[family].script}")
    path = str(found.path.parents[1])
    return replace(found, env={"PYTHONPATH": path}) if found.found else found


def settings(resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
    if Options(resolved).value("save_precision") is None:
        yield "save_precision", "bf16", "the script's own is 32 bits"


def downloads(resolved: Resolved) -> list[str]:
    """Its tokenizers come from fixed places on the hub, whatever text encoder is named."""
    version = Options(resolved).text("model_version").replace("klein-base", "klein")
    klein = [_KLEIN[version]] if version in _KLEIN else []
    return [name for name in klein or FAMILIES[resolved.family].tokenizers if not is_cached(name)]


def commands(options: Options, start: Start) -> tuple[Command, ...]:
    family = options.about.script.removesuffix("_train_network.py")
    cachers = [
        Command(tuple(_cacher(options, start, f"{family}_{script}.py")), name)
        for name, script in (
            (caches.LATENTS, "cache_latents"),
            (caches.TEXTS, "cache_text_encoder_outputs"),
        )
    ]
    return (*cachers, *one_command(options, start))


def _cacher(options: Options, start: Start, script: str) -> Iterator[str]:
    """What it shares with the training is said by the same settings."""
    yield from (start.python, str(Path(start.script).with_name(script)))
    yield from ("--dataset_config", (start.run_dir / "dataset.toml").absolute().as_posix())
    for name, option in catalogue("musubi", script).items():
        if option.of_dataset or name in _NOT_PASSED or not options.is_set(name):
            continue
        if option.type == "bool":
            yield from [f"--{name}"] if options.flag(name) else []
        else:
            yield from (f"--{name}", str(options.value(name)))
    if "i2v" in catalogue("musubi", script) and options.text("task").startswith("i2v"):
        yield "--i2v"


def prepare(work: Work) -> None:
    del work


class CacherText:
    """`4it [00:09, 2.45s/it]`: a bar without a total."""

    def __init__(self, what: str) -> None:
        self._what, self._said = what, 0

    def feed(self, line: bytes) -> list[Event]:
        match = _COUNT.search(line)
        count = int(match[1]) if match else 0
        if count <= self._said:
            return []
        self._said = count
        return [Event("phase", text=f"caching {self._what}, {count} done")]

    def finish(self) -> list[Event]:
        return []


def log_reader(offset: int = 0, total: int = 0, command: str = "training") -> Reader:
    caching = command in {caches.LATENTS, caches.TEXTS}
    return CacherText(command) if caching else KohyaText(offset, total)


def event_reader() -> Reader | None:
    return None


def changed_since(script: Path, commit: str, lorakit: str) -> CodeChange | None:
    del lorakit
    return HOME.changed(script, f"{_PLACE}/{script.name}", commit)
