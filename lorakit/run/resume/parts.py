"""After a resumed part whose script counted from 0: its files move to the run's output under their
true names, their metadata corrected.

A file of an earlier part with the same name is moved to parts/N/replaced. What is cut short stays
where it is.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lorakit import json_text
from lorakit.catalogue.file_names import CheckpointName, SampleName, samples_in
from lorakit.files import write_atomic
from lorakit.runs.ledger import Ledger
from lorakit.runs.ran_from import StepCounts
from lorakit.runs.record import Record, ResumedPart, SampleDrawn
from lorakit.runs.states import COUNTER, counter_of, fault_of, where_saved
from lorakit.trainers.table import trainer
from lorakit.weights.safetensors import HeaderError, copy_with_metadata, read_header, steps_of


def collect_part_files(ledger: Ledger) -> list[str]:
    """Move everything intact of the last part; returns remarks about what was not."""
    record, run_dir = ledger.record, ledger.run_dir
    part, target = record.part, record.output_dir(run_dir)
    source, offset, end = run_dir / part.output, part.offset, part.stop_after
    counted = trainer(record.trainer.name).STATES_COUNT
    if not part.output or source == target or not source.is_dir():
        return []
    inside = f"{part.output}/"
    ledger.note(
        checkpoints=tuple(one for one in record.checkpoints if not one.path.startswith(inside)),
        samples=tuple(one for one in record.samples if not one.path.startswith(inside)),
    )
    remarks, aside = [], source.parent / "replaced"
    target.mkdir(exist_ok=True)
    for path in sorted(source.glob("*.safetensors")):
        step, extra = _true_step(path.name, offset), is_extra(path.name, record)
        true = target / true_name(path.name, part)
        if extra and step != end:
            path.unlink()  # the script was made to save more often than planned
        elif end and (steps_of(path) or 0) + offset > end:
            continue  # the script ran on before it could be ended: trained too long, so it stays
        elif fault := _move_file(path, true, record, aside):
            remarks.append(f"{path.name} {fault}; it stays in {source}")
        elif end and step == end:
            _final(true, target / f"{record.output_name}.safetensors", aside, keep=not extra)
    for path in sorted(source.glob("*-state")):
        late = end and (counter_of(path) or 0) + offset >= end
        if late or is_extra(path.name, record):
            continue
        if fault := fault_of(path, counted=counted):
            remarks.append(f"{path.name} {fault}; it stays in {source}")
        else:
            _move_state(path, target / true_name(path.name, part), record, aside)
    for path in samples_in(source):
        (target / "sample").mkdir(exist_ok=True)
        os.replace(path, target / "sample" / str(true_sample(path.name, part) or path.name))
    return remarks


def true_sample(name: str, part: ResumedPart) -> SampleName | None:
    parsed = SampleName.parse(name)
    if parsed and parsed.epoch is not None:
        return replace(parsed, epoch=parsed.epoch + part.epoch_offset)
    return parsed and replace(parsed, step=(parsed.step or 0) + part.offset)


def sample_drawn(path: str, name: SampleName | None, steps: StepCounts) -> SampleDrawn:
    """The record's word of a picture, by its true name."""
    if name is None:
        return SampleDrawn(path)
    step = name.step if name.epoch is None else steps.end_of(name.epoch)
    return SampleDrawn(path, step, name.epoch, name.prompt)


def true_name(name: str, part: ResumedPart) -> str:
    step, parsed = _true_step(name, part.offset), CheckpointName.parse(name)
    if parsed and parsed.epoch is not None:
        return str(parsed.at_epoch(parsed.epoch + part.epoch_offset))
    return name if parsed is None or step is None else str(parsed.at_step(step))


def is_extra(name: str, record: Record) -> bool:
    """A checkpoint that the plan does not know: the script was made to save more often."""
    part, parsed = record.part, CheckpointName.parse(name)
    by_step, by_epoch = (record.value(f"save_every_n_{unit}") for unit in ("steps", "epochs"))
    step = _true_step(name, part.offset)
    if parsed and parsed.epoch is not None and isinstance(by_epoch, int) and part.epoch_offset:
        return (parsed.epoch + part.epoch_offset) % by_epoch != 0
    every = by_step if isinstance(by_step, int) else None
    return step is not None and (not every or (step - part.save_phase) % every != 0)


def _true_step(name: str, offset: int) -> int | None:
    parsed = CheckpointName.parse(name)
    return None if parsed is None or parsed.step is None else parsed.step + offset


def _move_file(path: Path, target: Path, record: Record, aside: Path) -> str:
    try:
        header = read_header(path)
    except HeaderError as error:
        return error.fault
    _step_aside(target, aside)
    copy_with_metadata(path, target, {**header.metadata, **_true_counts(header.metadata, record)})
    shutil.copystat(path, target)  # when it was saved
    path.unlink()
    return ""


def _true_counts(metadata: Mapping[str, str], record: Record) -> dict[str, str]:
    part, steps = record.part, record.steps
    before = {"ss_steps": part.offset, "ss_epoch": part.epoch_offset}
    found = {
        key: str(int(metadata[key]) + count)
        for key, count in before.items()
        if count and metadata.get(key, "").isdecimal()
    }
    # The script may have been told what was left.
    whole = {"ss_max_train_steps": steps.total, "ss_num_epochs": steps.epochs}
    return found | {key: str(value) for key, value in whole.items() if key in metadata}


def _final(saved: Path, target: Path, aside: Path, *, keep: bool) -> None:
    """The file of the last step is the final one, when the script had to be ended there."""
    _step_aside(target, aside)
    if keep:
        copy_with_metadata(saved, target, read_header(saved).metadata)
    else:
        os.replace(saved, target)


def _move_state(path: Path, target: Path, record: Record, aside: Path) -> None:
    """With its true step in it, also where its trainer counts in its name alone."""
    file, part = path / COUNTER, record.part
    step, epoch = where_saved(path, None, record.steps.per_epoch)
    data = json_text.read(file) if file.is_file() else {"current_epoch": epoch}
    data["current_step"] = step + part.offset if step else record.steps.total
    _step_aside(target, aside)
    os.replace(path, target)
    write_atomic(target / COUNTER, json.dumps(data))


def _step_aside(target: Path, aside: Path) -> None:
    if target.exists():
        aside.mkdir(exist_ok=True)
        os.replace(target, aside / target.name)
