"""ai-toolkit as a `Trainer`: one command, one YAML. Interrupted it saves nothing and exits 0."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.file_names import EXPERTS, CheckpointName
from lorakit.events import Event
from lorakit.logfile import text_of
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers.ai_toolkit import config_file, rules
from lorakit.trainers.base import ANEW, Command, Continuation, Paused, Start, Work
from lorakit.trainers.checkout import CheckoutTrainer, Home
from lorakit.trainers.progress import Reader
from lorakit.trainers.tokenizers import is_cached
from lorakit.weights.safetensors import steps_of

# Whatever folder is named, these parts come from here.
_FETCHED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "wan22": ("ai-toolkit/wan2.1-vae",),
        "wan21": ("ai-toolkit/umt5_xxl_encoder",),
        "flux2": ("mistralai/Mistral-Small-3.1-24B-Instruct-2503",),
    }
)
OPTIMIZER = "optimizer.pt"
AVERAGED = "the average begins anew with the averaged weights, which are all that it saves"
# maya:  33%|###3      | 2/6 [00:04<00:05, 1.42s/it, lr: 1.0e-03 loss: 1.026e-01]
_BAR = re.compile(rb"\| (\d+)/(\d+) \[[^\]]*?, lr: (\S+) loss: ([^\s\]]+)")
_SAVED = re.compile(r"Saved checkpoint to (.+)$")
_OPTIMIZER = re.compile(r"^(?:Saved optimizer to |Could not save optimizer)")
_OOM = re.compile(r"# OOM during training step, skipping batch (\d)/3 #")


class AiToolkit(CheckoutTrainer):
    HOME = Home(
        title="ai-toolkit",
        trainer="ai-toolkit",
        venv=".venv-ai-toolkit",
        mark="toolkit/config_modules.py",
        pin="27a03a91f23eb1b757d5ec2e80ee3e129cfcc350",  # 2026-08-21
        not_there="docs/ai-toolkit.md says how to set one up: LORAKIT_AI_TOOLKIT names it.",
        set_up="""\
  git clone https://github.com/ostris/ai-toolkit DIR
                       then its README: a virtual environment with torch and its requirements""",
    )
    TITLE = HOME.title
    RULES = rules.RULES
    SEPARATE_FOLDERS = True
    RESUMABLE_WITH = "save_every_n_steps=250"
    CONFIG = config_file.FILE
    files = staticmethod(config_file.files)
    changed = staticmethod(config_file.changed)
    HANDED_OVER = (
        "ai-toolkit: writes its caches beside the pictures, and started twice it goes on from the"
        " newest file in training/."
    )

    def settings(self, resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
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

    def downloads(self, resolved: Resolved) -> list[str]:
        wanted = list(_FETCHED.get(resolved.family, ()))
        _, bar, adapter = Options(resolved).text("qtype").partition("|")
        if bar and not resolved.path_of(adapter).exists():
            wanted.append("/".join(adapter.split("/")[:2]))
        return [name for name in wanted if not is_cached(name)]

    def names(self, options: Options) -> tuple[CheckpointName, ...]:
        switches = {f"train_{part}": options.value(f"train_{part}") for part in EXPERTS}
        return _names(options.output_name, options.family, switches)

    def commands(self, options: Options, start: Start) -> tuple[Command, ...]:
        """Its seed comes from the environment alone."""
        config = (start.run_dir / config_file.FILE).absolute().as_posix()
        return (Command(("env", f"SEED={options.seed}", start.python, start.script, config)),)

    def stands_for(self, files: Mapping[str, str]) -> Mapping[str, str]:
        links = tomllib.loads(files[config_file.LINKS])
        return {f"data/{name}": place for name, place in links.items()}

    def prepare(self, work: Work) -> None:
        """It writes caches beside the images and begins with its newest file: hence the links, and
        a fresh folder for each part. The parts share one optimizer.pt: each save replaces it.
        """
        captions = str(work.settings.get("caption_extension") or ".txt")
        for name, source in tomllib.read(work.run_dir / config_file.LINKS).items():
            place = work.run_dir / "data" / name
            place.mkdir(parents=True, exist_ok=True)
            for file in sorted(Path(source).iterdir()):
                if file.suffix.lower() in config_file.SUFFIXES or file.suffix == captions:
                    _link(place / file.name, file)
        # It writes into training/NAME; what it calls samples is sample/ in every run of lorakit.
        (work.output_dir / "sample").mkdir(parents=True, exist_ok=True)
        _link(work.output_dir / "samples", Path("sample"))
        training = work.output_dir.parent / config_file.TRAINING
        training.mkdir(exist_ok=True)
        _link(training / work.output_name, work.output_dir.absolute())
        if work.output_dir.parent != work.run_dir:
            _link(work.output_dir / OPTIMIZER, (work.run_dir / "output" / OPTIMIZER).absolute())

    def log_reader(self, _offset: int = 0, total: int = 0, _command: str = "") -> Reader:
        return AiToolkitText(total)

    def newest_save(self, work: Work) -> tuple[int, Path] | None:
        """The LoRA whose optimiser is on the disk: the last one saved before it."""
        from zipfile import is_zipfile

        names = _names(work.output_name, work.family, work.settings)
        optimizer = work.output_dir / OPTIMIZER
        if not optimizer.is_file() or not is_zipfile(optimizer):
            return None
        saved_at = optimizer.stat().st_mtime_ns
        for path in sorted(work.output_dir.glob(f"{work.output_name}_*.safetensors"), reverse=True):
            name = CheckpointName.parse(path.name, work.output_name)
            if name is None or name.step is None or name.part != names[0].part:
                continue
            together = [path.with_name(str(one.at_step(name.step))) for one in names]
            if all(steps_of(one) and one.stat().st_mtime_ns <= saved_at for one in together):
                return name.step, path
        return None

    def continuation(self, at: Paused, settings: Mapping[str, Any]) -> Continuation:
        """Its numbers go on, and so does its schedule."""
        averaged = (AVERAGED,) if settings.get("ema_decay") else ()
        return Continuation({"start_step": at.step}, 0, 0, save_phase=1, inexact=(ANEW, *averaged))

    def artefacts(self, work: Work) -> tuple[Path, ...]:
        names = _names(work.output_name, work.family, work.settings)
        return tuple(work.output_dir / str(name) for name in names)


def _names(stem: str, family: str, settings: Mapping[str, Any]) -> tuple[CheckpointName, ...]:
    """One of each expert that is trained, where the model has two."""
    name = CheckpointName(stem, from_zero=True)
    said = (part for part in EXPERTS if settings.get(f"train_{part}", True) is not False)
    parts = said if family == "wan22" else ()
    return tuple(replace(name, part=part) for part in parts) or (name,)


def _link(place: Path, target: Path) -> None:
    if not place.is_symlink():
        place.symlink_to(target)


class AiToolkitText(Reader):
    """Before the bar moves on, its frame has the old count and the new loss; so a step is told when
    the count rises. A loss that was NaN is printed as 0.
    """

    PHASES = (
        ("Caching latents", "caching"),
        ("Caching text embeddings", "caching"),
        ("Generating Images", "sampling"),
        ("Generating baseline samples", "sampling"),
    )

    def __init__(self, total: int = 0) -> None:
        self._total = total
        self._frame: tuple[int, float, float] | None = None  # count, rate, loss
        self._saved: list[Event] = []  # until its optimiser is saved, too

    def feed(self, line: bytes) -> list[Event]:
        if frame := _BAR.search(line):
            return [*self.new_phase("training"), *self._bar(*frame.groups())]
        text = text_of(line)
        if match := _SAVED.search(text):
            step = self._frame[0] + 1 if self._frame else None
            self._saved = [Event("saving", step, path=str(path)) for path in written(match[1])]
            return self.new_phase("saving")
        if _OPTIMIZER.search(text):
            return self.finish()
        if match := _OOM.search(text):
            what = f"out of memory: a batch was left out ({match[1]} of 3) and counted as a step"
            return [Event("warning", text=what, rule="oom-skipped")]
        if text.strip() == "loss is nan":
            return [Event("nan", self._frame[0] + 1 if self._frame else None)]
        return self.phase_in(text)

    def finish(self) -> list[Event]:
        saved, self._saved = self._saved, []
        return saved

    def _bar(self, count: bytes, total: bytes, rate: bytes, loss: bytes) -> list[Event]:
        before, shown = self._frame, float(loss)
        self._frame = (int(count), float(rate), shown or math.nan)
        if before is None or self._frame[0] <= before[0]:
            return []
        step, of = before[0] + 1, self._total or int(total)
        return [Event("step", step, of, loss=before[2], lr=before[1])]


def written(path: str) -> list[Path]:
    """Of a model with two experts it names a file that does not exist: there is one of each. The
    folder is a link to the run's output.
    """
    named = Path(os.path.realpath(path))
    parts = [named.with_name(f"{named.stem}_{part}{named.suffix}") for part in EXPERTS]
    return [one for one in parts if one.is_file()] or [named]
