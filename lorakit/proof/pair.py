"""Two runs side by side: settings, data, versions, results; stage by stage where there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError
from lorakit.proof.compare import LOCAL, Difference, differences
from lorakit.runs.images import read_images
from lorakit.runs.record import Record, read_record

Account = dict[str, Any]  # nested names and values, to be compared key by key


def compare_runs(a: Path, b: Path) -> dict[str, list[Difference]]:
    """Section -> differences, in the order in which you look for a cause."""
    before, after = read_record(a), read_record(b)

    def by_stage(account: Callable[[Path, Record], Account]) -> list[Difference]:
        return differences(_by_stage(account, a, before), _by_stage(account, b, after))

    return {
        "settings": by_stage(_settings),
        "data": by_stage(_images),
        "weights": by_stage(_weights),
        "versions": differences(_versions(before), _versions(after)),
        "results": differences(_results(before), _results(after)),
    }


def _by_stage(account: Callable[[Path, Record], Account], run_dir: Path, record: Record) -> Account:
    """The account of a run; of one with stages, each stage's own under its name."""
    if not record.stages:
        return account(run_dir, record)
    folders = {one.name: run_dir / one.folder for one in record.stages}
    return {
        f"stage {name}": account(folder, read_record(folder)) for name, folder in folders.items()
    }


def _settings(_: Path, record: Record) -> Account:
    return {
        "preset": record.preset,
        "trigger": record.trigger,
        "trainer": record.trainer.name,
        **{
            name: {key: one.value for key, one in section.items() if key not in LOCAL}
            for name, section in record.settings.items()
        },
    }


def _images(run_dir: Path, record: Record) -> Account:
    """Per image: its picture's hash, its caption as text, its repeats."""
    try:
        rows = read_images(run_dir)
    except LorakitError:
        rows = None
    if rows is None:
        return {"digest": record.dataset.digest}
    return {
        row.image: {"image": row.sha256, "caption": row.caption, "repeats": row.repeats}
        | {one.image: one.sha256 for one in row.controls}
        for row in rows
    }


def _weights(_: Path, record: Record) -> Account:
    return {one.key: {"file": Path(one.path).name, "sha256": one.sha256} for one in record.weights}


def _versions(record: Record) -> Account:
    return {
        "lorakit": record.lorakit,
        "trainer commit": record.trainer.commit,
        "packages": record.trainer.packages,
        "platform": record.platform.to_json(),
    }


def _results(record: Record) -> Account:
    outcome = record.outcome
    return {
        "state": record.state,
        **{
            f"resumed from step {part.from_step}": "; ".join(part.inexact) or "exactly"
            for part in record.parts
        },
        "step": outcome.step,
        "total": outcome.total,
        "loss": outcome.loss,
        "duration_s": None if outcome.blank else outcome.duration_s,
        "exit_code": outcome.exit_code,
        "tensors": {one.path: one.tensors_sha256 for one in record.checkpoints},
    }
