"""May a run go on? Only from what it began with: its settings, weights, images, captions and
trainer; else it becomes another training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit.dataset.scan import scan
from lorakit.errors import Fault, RecipeError, counted
from lorakit.proof.compare import Difference, differences
from lorakit.proof.lock import DECISIVE
from lorakit.proof.verify import verify_inputs
from lorakit.run.diagnose import run_name
from lorakit.runs.find import WAITING
from lorakit.runs.opening import packages_of
from lorakit.runs.record import NAME, read_record
from lorakit.trainers.table import trainer

LIST = "dataset.json"


def require_same_inputs(run_dir: Path, anyway: bool = False) -> list[str]:
    """What is no longer as it was when the run began, for its record. Raises where that makes it
    another training, unless `anyway`.
    """
    record = read_record(run_dir)
    record["weights"] = _weights(run_dir, record)
    found = [*verify_inputs(run_dir, record), *_new_images(run_dir, record), *_code(record)]
    if found and not anyway:
        name = run_name(run_dir)
        raise RecipeError(
            f"{counted(len(found), 'difference')} from what {name} began with; nothing was"
            " started.",
            faults=[Fault(name, f"{one}.", rule="inputs") for one in found],
            hint=(
                "Take the old inputs back, or go on with these, which the record will say: lorakit"
                f" resume {name} --anyway"
            ),
        )
    return [*map(str, found), *_circumstances(record), *_unknown(run_dir, record)]


def _weights(run_dir: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of a stage that has not begun are not hashed yet; the stages before it have read the
    same ones.
    """
    above = read_record(run_dir.parent)["weights"] if (run_dir.parent / NAME).is_file() else []
    known = {entry.get("path"): entry.get("sha256") for entry in above}
    return [
        {**entry, "sha256": entry.get("sha256") or known.get(entry.get("path"))}
        for entry in record["weights"]
    ]


def _new_images(run_dir: Path, record: Mapping[str, Any]) -> Iterator[Difference]:
    """Those that have come since, in the subsets' folders, by the scan that the plan used."""
    if not (run_dir / LIST).is_file():
        return
    root = Path(str(record["dataset"].get("root", "")))
    known = {str(root / str(row["image"])) for row in json.loads((run_dir / LIST).read_bytes())}
    subsets = {str(subset.get("path")) for subset in record["dataset"].get("subsets") or ()}
    for folder in sorted({Path(path).parent for path in subsets}):
        for subset in scan(folder).subsets:
            new = (
                [image.path for image in subset.images if str(image.path) not in known]
                if str(subset.path) in subsets
                else []
            )
            yield from (
                Difference(f"dataset {subset.path.name}/{path.name}", None, "image") for path in new
            )


def _code(record: Mapping[str, Any]) -> Iterator[Difference]:
    """The trainer's own."""
    recorded = record["trainer"]
    script, commit = Path(str(recorded.get("script") or "")), str(recorded.get("commit") or "")
    lorakit = str(record.get("lorakit") or "")
    change = trainer(str(recorded["name"])).changed_since(script, commit, lorakit)
    if change:
        yield Difference(*change)


def _circumstances(record: Mapping[str, Any]) -> list[str]:
    """Packages that may change bytes; an environment that is gone is told by the launch."""

    def decisive(packages: Mapping[str, str]) -> dict[str, str]:
        return {name: version for name, version in packages.items() if name in DECISIVE}

    before = decisive(record["trainer"].get("packages") or {})
    now = decisive(packages_of(Path(str(record["trainer"].get("python") or ""))))
    return [f"package {one}" for one in differences(before, now)] if now else []


def _unknown(run_dir: Path, record: Mapping[str, Any]) -> list[str]:
    """What the run ended too early to write down."""
    if record["state"] == WAITING:
        return []
    weights = [
        f"weights {Path(str(one.get('path'))).name}"
        for one in record["weights"]
        if not one.get("sha256")
    ]
    unknown = weights + ([] if (run_dir / LIST).is_file() else ["the dataset"])
    return (
        [
            "whether it is still the same is not known, for the run ended before it was hashed:"
            f" {', '.join(unknown)}"
        ]
        if unknown
        else []
    )
