"""Where runs are, and the names of the files in a run's folder."""

import time
from pathlib import Path

LOG, EVENTS, PROGRESS = "log.txt", "events.jsonl", "progress.jsonl"


def runs_dir(root: Path | None = None) -> Path:
    return (root or Path.cwd()) / "runs"


def new_run_dir(root: Path, name: str) -> Path:
    """runs/NAME/DATE-TIME, or with -2, -3 ... where that is taken. Nothing is created here."""
    stem = time.strftime("%Y%m%d-%H%M%S")
    folder = runs_dir(root) / name
    return next(
        path
        for path in (folder / (stem if n == 1 else f"{stem}-{n}") for n in range(1, 10_000))
        if not path.exists()
    )
