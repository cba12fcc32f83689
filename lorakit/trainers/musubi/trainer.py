"""musubi-tuner as a `Trainer`: latents and texts are cached by two commands, a third trains."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit.catalogue.options import options as catalogue
from lorakit.events import Event
from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.base import Command, Continuation, Paused, Script, Start, saves_after
from lorakit.trainers.checkout import CheckoutTrainer, Home
from lorakit.trainers.musubi import caches, rules, run_files
from lorakit.trainers.progress import Reader
from lorakit.trainers.tokenizers import is_cached

# Not the recipe's to say, or not the same thing in a cacher.
_NOT_PASSED = frozenset(("dataset_config", "batch_size", "num_workers", "device", "dit"))
_KLEIN = {"klein-4b": "Qwen/Qwen3-4B", "klein-9b": "Qwen/Qwen3-8B"}
_COUNT = re.compile(rb"(\d+)it \[")

SCHEDULE = "lorakit_schedule"  # its name in the part's folder
ORDER = "the images come in the order of the run's first epochs again; noise goes on as it was"


class Musubi(CheckoutTrainer):
    HOME = Home(
        title="musubi-tuner",
        trainer="musubi",
        venv=".venv-musubi",
        mark="src/musubi_tuner/zimage_train_network.py",
        pin="30c658c4f4b0bf05038b3346eff9670259b10fc7",  # v0.3.4
        not_there="make vendor-musubi sets one up; LORAKIT_MUSUBI names one that you have.",
        set_up="""\
  make vendor-musubi   in a clone of lorakit: checks it out, builds vendor/.venv-musubi (7 GB)""",
    )
    PLACE = "src/musubi_tuner"
    TITLE = HOME.title
    RULES = rules.RULES
    SEPARATE_FOLDERS = True
    PRINTS_MEAN_LOSS = True
    STATES_COUNT = False
    files = staticmethod(run_files.files)
    needless = staticmethod(caches.needless)
    fault_after = staticmethod(caches.fault_after)

    def find(self, family: str) -> Script:
        found = super().find(family)
        path = str(found.path.parents[1])
        return replace(found, env={"PYTHONPATH": path}) if found.found else found

    def settings(self, resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
        if Options(resolved).value("save_precision") is None:
            yield "save_precision", "bf16", "the script's own is 32 bits"

    def downloads(self, resolved: Resolved) -> list[str]:
        """Its tokenizers come from fixed places on the hub, whatever text encoder is named."""
        version = Options(resolved).text("model_version").replace("klein-base", "klein")
        klein = [_KLEIN[version]] if version in _KLEIN else []
        wanted = klein or FAMILIES[resolved.family].tokenizers
        return [name for name in wanted if not is_cached(name)]

    def commands(self, options: Options, start: Start) -> tuple[Command, ...]:
        family = options.about.script.removesuffix("_train_network.py")
        latents = _cacher(options, start, f"{family}_cache_latents.py")
        texts = _cacher(options, start, f"{family}_cache_text_encoder_outputs.py")
        cachers = (Command((*latents,), caches.LATENTS), Command((*texts,), caches.TEXTS))
        return (*cachers, *super().commands(options, start))

    def log_reader(self, offset: int = 0, total: int = 0, command: str = "training") -> Reader:
        cacher = command in {caches.LATENTS, caches.TEXTS}
        return CacherText(command) if cacher else super().log_reader(offset, total)

    def continuation(self, at: Paused, settings: Mapping[str, Any]) -> Continuation:
        """It restores weights, optimiser, schedule and random states, and counts from 0: told
        max_train_steps = T - S it makes the right number of steps, with a schedule that is built
        for the whole run (whole_schedule.py). Inside an epoch, that begins again.
        """
        step, total, per_epoch, _ = at
        epochs_done, inside = divmod(step, per_epoch)
        by_step, by_epoch = settings.get("save_every_n_steps"), settings.get("save_every_n_epochs")
        saves = saves_after(by_step, step, 0)
        changes: dict[str, Any] = {
            "max_train_steps": total - step,
            "max_train_epochs": None,
            "lr_scheduler_type": f"{SCHEDULE}.whole_run",
            "lr_scheduler_args": [f"total={total}"],
            "sample_at_first": None,
            **saves.changes(by_step),
        }
        if by_epoch and epochs_done % by_epoch:
            changes["save_every_n_epochs"] = math.gcd(by_epoch, epochs_done)
        inexact = [ORDER]
        if inside:
            inexact.append(
                f"epoch {epochs_done + 1} begins again with its first image, so epochs end"
                f" {inside} steps later than planned"
            )
        source = Path(__file__).with_name("whole_schedule.py")
        return Continuation(
            changes,
            offset=step,
            bar_offset=step,
            save_phase=saves.phase,
            inexact=(*inexact, *saves.remarks),
            epoch_offset=epochs_done,
            files={f"{SCHEDULE}.py": source.read_text(encoding="utf-8")},
        )


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


class CacherText(Reader):
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
