"""A trainer of three commands, as musubi-tuner is one: latents, texts, training. For tests only; what it starts are the stand-ins in tests/fakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import MappingProxyType

from lorakit.events import Event
from lorakit.recipe.options import Options
from lorakit.trainers import table
from lorakit.trainers.base import CodeChange, Command, Script, Start, Trainer, Work
from lorakit.trainers.progress import EmbeddedEvents, Reader

FAKES = Path(__file__).parent / "fakes"


class ThreeCommands(Trainer):
    TITLE = "three commands"
    PATIENCE = (2.0, 0.5)
    PRINTS_MEAN_LOSS = True
    RESUMES_EXACTLY = True

    def find(self, _family: str) -> Script:
        return Script(FAKES / "trains.py")

    def commands(self, _options: Options, start: Start) -> tuple[Command, ...]:
        output = start.run_dir / "output"
        return of(start.run_dir, (sys.executable, start.script, str(output), "fox", "4", "0"))

    def needless(self, command: Command, work: Work) -> str:
        fingerprint = cache_of(work.run_dir) / f"{command.name}.json"
        made = json.loads(fingerprint.read_text()) if fingerprint.is_file() else None
        return "made from the same images" if made == _inputs(work) else ""

    def fault_after(self, command: Command, work: Work) -> str:
        if not list(cache_of(work.run_dir).glob(f"*.{command.name}")):
            return f"it left no {command.name}"
        (cache_of(work.run_dir) / f"{command.name}.json").write_text(json.dumps(_inputs(work)))
        return ""

    def log_reader(self, offset: int = 0, total: int = 0, command: str = "training") -> Reader:
        return super().log_reader(offset, total) if command == "training" else Counted()

    def event_reader(self) -> Reader:
        return EmbeddedEvents()

    def artefacts(self, work: Work) -> tuple[Path, ...]:
        names = work.settings.get("loras") or [work.output_name]
        assert isinstance(names, (list, tuple))
        return tuple(work.output_dir / f"{name}.safetensors" for name in names)

    def changed_since(self, _script: Path, _commit: str, _lorakit: str) -> CodeChange | None:
        return None


def of(run_dir: Path, training: tuple[str, ...], **more: tuple[str, ...]) -> tuple[Command, ...]:
    """Two cachers before the training; `latents=("0.5",)` is what the one gets beside the usual."""
    cache = str(cache_of(run_dir))
    cachers = (
        Command(
            (*(sys.executable, str(FAKES / "caches.py"), cache, name), *more.get(name, ("2",))),
            name,
        )
        for name in ("latents", "texts")
    )
    return (*cachers, Command(training, "training"))


def cache_of(run_dir: Path) -> Path:
    return run_dir.parents[2] / "cache"


def _inputs(work: Work) -> object:
    return work.settings.get("learning_rate")


class Counted(Reader):
    """`4it [00:09, 2.45s/it]`: a bar without a total."""

    def feed(self, line: bytes) -> list[Event]:
        count, _, rest = line.partition(b"it [")
        return [Event("phase", text=f"caching, {int(count)} done")] if rest else []


def register() -> None:
    """Into the table of this process."""
    table.TRAINERS = MappingProxyType({**table.TRAINERS, "three": f"{__name__}:ThreeCommands"})
