"""Two runs side by side: settings, data, versions, results. What belongs to a stage is compared
stage by stage.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lorakit.proof.compare import LOCAL, Difference, differences
from lorakit.runs.find import PARENT
from lorakit.runs.record import read_record


def compare_runs(a: Path, b: Path) -> dict[str, list[Difference]]:
    """Section -> differences, in the order in which a person looks for a cause."""
    before, after = read_record(a), read_record(b)
    return {
        "settings": differences(_by_stage(_settings, a, before), _by_stage(_settings, b, after)),
        "data": differences(_by_stage(_rows, a, before), _by_stage(_rows, b, after)),
        "weights": differences(_by_stage(_weights, a, before), _by_stage(_weights, b, after)),
        "versions": differences(_versions(before), _versions(after)),
        "results": differences(_results(before), _results(after)),
    }


def _by_stage(
    account: Callable[[Path, Mapping[str, Any]], dict[str, Any]],
    run_dir: Path,
    record: Mapping[str, Any],
) -> dict[str, Any]:
    """The account of a run; of one with stages, each stage's under its name: its own record and
    list of images say what it was.
    """
    folders = {
        str(entry.get("name")): run_dir / str(entry.get("folder"))
        for entry in record.get(PARENT) or ()
    }
    if not folders:
        return account(run_dir, record)
    return {
        f"stage {name}": account(folder, read_record(folder)) for name, folder in folders.items()
    }


def _settings(_: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    sections = {
        name: {
            key: entry.get("value") if isinstance(entry, Mapping) else entry
            for key, entry in section.items()
            if key not in LOCAL
        }
        for name, section in record["settings"].items()
        if isinstance(section, Mapping)
    }
    return {
        "preset": record.get("preset"),
        "trigger": record.get("trigger"),
        "trainer": record["trainer"].get("name"),
        **sections,
    }


def _rows(run_dir: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Per image: its picture's hash, its caption as text, its repeats. Texts are shown, not hashes
    of texts.
    """
    try:
        rows = json.loads((run_dir / "dataset.json").read_text(encoding="utf-8"))
        return {
            str(row["image"]): {
                "image": row["sha256"],
                "caption": row.get("caption"),
                "repeats": row.get("repeats"),
            }
            for row in rows
        }
    except (OSError, ValueError, TypeError, KeyError):
        return {"digest": record["dataset"].get("digest")}


def _weights(_: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        str(entry.get("key")): {
            "file": Path(str(entry.get("path"))).name,
            "sha256": entry.get("sha256"),
        }
        for entry in record["weights"]
    }


def _versions(record: Mapping[str, Any]) -> dict[str, Any]:
    trainer = record["trainer"]
    return {
        "lorakit": record.get("lorakit"),
        "trainer commit": trainer.get("commit"),
        "packages": trainer.get("packages", {}),
        "platform": record.get("platform", {}),
    }


def _results(record: Mapping[str, Any]) -> dict[str, Any]:
    outcome = record["outcome"]
    kept = ("state", "step", "total", "loss", "duration_s", "exit_code")
    tensors = {
        str(entry.get("path")): entry.get("tensors_sha256") for entry in record["checkpoints"]
    }
    resumed = {
        f"resumed from step {part.get('from_step')}": (
            "; ".join(map(str, part.get("inexact") or ())) or "exactly"
        )
        for part in record["parts"]
    }
    return {
        "state": record["state"],
        **resumed,
        **{key: outcome.get(key) for key in kept if key in outcome},
        "tensors": tensors,
    }
