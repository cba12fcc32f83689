"""After a resumed part of a kohya run: its files move to the run's output under their true names,
their metadata corrected.

A file of an earlier part with the same name steps aside into parts/N/replaced. What is cut short
stays where it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit.files import write_atomic
from lorakit.runs.states import counter_of, fault_of
from lorakit.weights.safetensors import HeaderError, copy_with_metadata, read_header, steps_of

_STEP = re.compile(r"-step(\d{8})(?=\.safetensors$|-state$)")
_SAMPLE = re.compile(r"_(\d{6})_(\d{2}_\d{14})")


def gather(
    run_dir: Path,
    part: Mapping[str, Any],
    target: Path,
    *,
    output_name: str,
    save_every: int | None,
) -> list[str]:
    """Moves everything whole; gives back remarks about what was not."""
    source, phase = run_dir / str(part["output"]), int(part.get("save_phase") or 0)
    if source == target or not source.is_dir():
        return []
    offset, end, remarks = int(part["offset"]), int(part.get("stop_after") or 0), []
    aside = source.parent / "replaced"
    target.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.safetensors")):
        step, extra = _true_step(path.name, offset), is_extra(path.name, offset, save_every, phase)
        if extra and step != end:
            path.unlink()  # the script was made to save more often than planned
        elif end and (steps_of(path) or 0) + offset > end:
            # the script ran on before it could be ended: trained too long, so it stays where it is
            continue
        elif fault := _move_file(path, target / true_name(path.name, offset), offset, aside):
            remarks.append(f"{path.name} {fault}; it stays in {source}")
        elif end and step == end:
            _final(
                target / true_name(path.name, offset),
                target / f"{output_name}.safetensors",
                aside,
                keep=not extra,
            )
    for path in sorted(source.glob("*-state")):
        if is_extra(path.name, offset, save_every, phase) or (
            end and (counter_of(path) or 0) + offset >= end
        ):
            continue
        if fault := fault_of(path):
            remarks.append(f"{path.name} {fault}; it stays in {source}")
        else:
            _move_state(path, target / true_name(path.name, offset), offset, aside)
    for path in sorted((source / "sample").glob("*.png")):
        (target / "sample").mkdir(exist_ok=True)
        os.replace(
            path,
            target
            / "sample"
            / _SAMPLE.sub(lambda match: f"_{int(match[1]) + offset:06d}_{match[2]}", path.name),
        )
    return remarks


def _move_file(path: Path, target: Path, offset: int, aside: Path) -> str:
    try:
        counted = read_header(path).steps
    except HeaderError as error:
        return error.fault
    _step_aside(target, aside)
    copy_with_metadata(path, target, {} if counted is None else {"ss_steps": str(counted + offset)})
    path.unlink()
    return ""


def _final(saved: Path, target: Path, aside: Path, *, keep: bool) -> None:
    """The file of the last step is the final one, when the script had to be ended there."""
    _step_aside(target, aside)
    if keep:
        copy_with_metadata(saved, target, {})
    else:
        os.replace(saved, target)


def _move_state(path: Path, target: Path, offset: int, aside: Path) -> None:
    step = counter_of(path)
    data = json.loads((path / "train_state.json").read_text(encoding="utf-8"))
    _step_aside(target, aside)
    os.replace(path, target)
    if step is not None:
        write_atomic(
            target / "train_state.json", json.dumps({**data, "current_step": step + offset})
        )


def _step_aside(target: Path, aside: Path) -> None:
    if target.exists():
        aside.mkdir(exist_ok=True)
        os.replace(target, aside / target.name)


def _true_step(name: str, offset: int) -> int | None:
    match = _STEP.search(name)
    return int(match[1]) + offset if match else None


def true_name(name: str, offset: int) -> str:
    return _STEP.sub(lambda match: f"-step{int(match[1]) + offset:08d}", name)


def is_extra(name: str, offset: int, save_every: int | None, phase: int) -> bool:
    """A checkpoint by step that the plan does not know: the script may have been made to save more
    often than planned.
    """
    step = _true_step(name, offset)
    return step is not None and (not save_every or (step - phase) % save_every != 0)
