"""After a resumed part of a kohya run: its files move to the run's output under their true names,
their metadata corrected.

A file of an earlier part with the same name is moved to parts/N/replaced. What is cut short stays
where it is.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from lorakit import json_text
from lorakit.catalogue.file_names import CheckpointName, SampleName
from lorakit.files import write_atomic
from lorakit.runs.record import Record, ResumedPart
from lorakit.runs.states import counter_of, fault_of
from lorakit.weights.safetensors import HeaderError, copy_with_metadata, read_header, steps_of


def collect_part_files(run_dir: Path, record: Record) -> list[str]:
    """Move everything intact of the last part; returns remarks about what was not."""
    part, target, every = record.part, record.output_dir(run_dir), save_every(record)
    source, offset, end = run_dir / part.output, part.offset, part.stop_after
    if not part.output or source == target or not source.is_dir():
        return []
    remarks, aside = [], source.parent / "replaced"
    target.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.safetensors")):
        step, extra = _true_step(path.name, offset), is_extra(path.name, part, every)
        true = target / true_name(path.name, offset)
        if extra and step != end:
            path.unlink()  # the script was made to save more often than planned
        elif end and (steps_of(path) or 0) + offset > end:
            continue  # the script ran on before it could be ended: trained too long, so it stays
        elif fault := _move_file(path, true, offset, aside):
            remarks.append(f"{path.name} {fault}; it stays in {source}")
        elif end and step == end:
            _final(true, target / f"{record.output_name}.safetensors", aside, keep=not extra)
    for path in sorted(source.glob("*-state")):
        late = end and (counter_of(path) or 0) + offset >= end
        if late or is_extra(path.name, part, every):
            continue
        if fault := fault_of(path):
            remarks.append(f"{path.name} {fault}; it stays in {source}")
        else:
            _move_state(path, target / true_name(path.name, offset), offset, aside)
    for path in sorted((source / "sample").glob("*.png")):
        name = SampleName.parse(path.name)
        if name and name.step is not None:
            name = replace(name, step=name.step + offset)
        (target / "sample").mkdir(exist_ok=True)
        os.replace(path, target / "sample" / str(name or path.name))
    return remarks


def save_every(record: Record) -> int | None:
    every = record.value("save_every_n_steps")
    return every if isinstance(every, int) else None


def true_name(name: str, offset: int) -> str:
    step, parsed = _true_step(name, offset), CheckpointName.parse(name)
    return name if parsed is None or step is None else str(parsed.at_step(step))


def is_extra(name: str, part: ResumedPart, every: int | None) -> bool:
    """A checkpoint by step that the plan does not know: the script may have been made to save more
    often than planned.
    """
    step = _true_step(name, part.offset)
    return step is not None and (not every or (step - part.save_phase) % every != 0)


def _true_step(name: str, offset: int) -> int | None:
    parsed = CheckpointName.parse(name)
    return None if parsed is None or parsed.step is None else parsed.step + offset


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
    data = json_text.read(path / "train_state.json")
    _step_aside(target, aside)
    os.replace(path, target)
    if step is not None:
        data["current_step"] = step + offset
        write_atomic(target / "train_state.json", json.dumps(data))


def _step_aside(target: Path, aside: Path) -> None:
    if target.exists():
        aside.mkdir(exist_ok=True)
        os.replace(target, aside / target.name)
