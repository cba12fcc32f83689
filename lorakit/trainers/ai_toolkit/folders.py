"""What it must find on the disk, and what it leaves to go on from. It writes caches beside the
images, and begins with whatever file of the run's name is newest: so each run has folders of
links, and each part of it a fresh folder. The parts share one optimizer.pt: each save replaces it.
"""

from __future__ import annotations

from pathlib import Path
from zipfile import is_zipfile

from lorakit import tomllib
from lorakit.catalogue.file_names import CheckpointName
from lorakit.trainers.ai_toolkit.config_file import LINKS, SUFFIXES, TRAINING
from lorakit.trainers.base import Work
from lorakit.weights.safetensors import steps_of

OPTIMIZER = "optimizer.pt"


def prepare(work: Work) -> None:
    captions = str(work.settings.get("caption_extension") or ".txt")
    for name, source in tomllib.read(work.run_dir / LINKS).items():
        place = work.run_dir / "data" / name
        place.mkdir(parents=True, exist_ok=True)
        for file in sorted(Path(source).iterdir()):
            if file.suffix.lower() in SUFFIXES or file.suffix == captions:
                _link(place / file.name, file)
    # It writes into training/NAME; what it calls samples is sample/ in every run of lorakit.
    (work.output_dir / "sample").mkdir(parents=True, exist_ok=True)
    _link(work.output_dir / "samples", Path("sample"))
    training = work.output_dir.parent / TRAINING
    training.mkdir(exist_ok=True)
    _link(training / work.output_name, work.output_dir.absolute())
    if work.output_dir.parent != work.run_dir:
        _link(work.output_dir / OPTIMIZER, (work.run_dir / "output" / OPTIMIZER).absolute())


def newest_save(work: Work, names: tuple[CheckpointName, ...]) -> tuple[int, Path] | None:
    """The LoRA whose optimiser is on the disk: the last one saved before it."""
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


def _link(place: Path, target: Path) -> None:
    if not place.is_symlink():
        place.symlink_to(target)
