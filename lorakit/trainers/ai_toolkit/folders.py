"""What it must find on the disk. It writes caches beside the images, and goes on from whatever file
of the run's name is newest: so each run has folders of links and a fresh folder of its own.
"""

from __future__ import annotations

from pathlib import Path

from lorakit import tomllib
from lorakit.trainers.ai_toolkit.config_file import LINKS, SUFFIXES
from lorakit.trainers.base import Work


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
    (work.run_dir / "training").mkdir(exist_ok=True)
    _link(work.run_dir / "training" / work.output_name, work.output_dir.absolute())


def _link(place: Path, target: Path) -> None:
    if not place.is_symlink():
        place.symlink_to(target)
