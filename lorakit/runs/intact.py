"""The door of what leaves: a LoRA goes out only as the bytes that its run's record holds."""

from __future__ import annotations

import os
from pathlib import Path

from lorakit.errors import LorakitError, RecipeError
from lorakit.runs.record import read_record
from lorakit.show import size
from lorakit.weights.finite import inspect


def require_intact(run_dir: Path, file: Path) -> None:
    """Raises where the file is not what the record says; where the record says nothing of it (the
    run ended before it was hashed, or somebody else made it), where it is no sound LoRA.
    """
    try:
        record = read_record(run_dir)
    except LorakitError:
        return  # a sheet is also drawn of a folder from before records
    place = Path(os.path.relpath(file, run_dir)).as_posix()
    saved = next((one for one in record.checkpoints if one.path == place), None)
    found, trouble = inspect(file), ""
    if saved and saved.sha256:
        if found.sha256 != saved.sha256:
            trouble = _difference(
                file, saved.size_bytes, found.tensors_sha256, saved.tensors_sha256
            )
            trouble = f"is not the file that {record.run} made: {trouble}"
    elif found.fault:
        trouble = found.fault
    elif found.not_finite:
        trouble = f"holds NaN or infinity ({found.not_finite[0]})"
    if trouble:
        raise RecipeError(
            f"{file} {trouble}; nothing was written.",
            hint=f"lorakit verify {record.run} names every difference. Restore the file from a"
            f" copy, take another checkpoint, or train again: lorakit train {record.recipe}",
        )


def _difference(file: Path, size_bytes: int | None, now: str, then: str | None) -> str:
    here = file.stat().st_size if file.exists() else 0
    if size_bytes is not None and here != size_bytes:
        return f"{size(here)} where the record says {size(size_bytes)}"
    return "its metadata were changed" if now and now == then else "other bytes, of the same size"
