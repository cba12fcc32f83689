"""record.json: what ran, from what, what came out. Opened before the launch, closed whatever
happened. docs/record.md says each key.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lorakit import __version__
from lorakit.errors import LorakitError, SetupError
from lorakit.files import write_atomic
from lorakit.machine import this_machine
from lorakit.plan.model import Plan
from lorakit.recipe.model import Section, Setting

SCHEMA = 1
NAME = "record.json"
SPARE, SPARE_BYTES = ".room-for-the-record", 1 << 17
_SECRET = re.compile(
    r"token(?!i)|api_?key|secret|passw|credential", re.IGNORECASE
)  # TOKENIZERS_PARALLELISM is none
HIDDEN = "(not recorded)"


class Record:
    """The record while its run goes on. Writing it may fail (disk full, folder gone) without
    ending a training that still works.
    """

    def __init__(self, run_dir: Path, data: dict[str, Any]) -> None:
        self.run_dir = run_dir
        self.data = data
        self.trouble = ""

    def update(self, **entries: Any) -> None:
        self.data.update(entries)
        self.save()

    def save(self) -> None:
        try:
            self._write()
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self.run_dir / NAME} cannot be written: {error.strerror}"

    def _write(self) -> None:
        text = json.dumps(self.data, indent=1, ensure_ascii=False, default=str) + "\n"
        spare = self.run_dir / SPARE
        try:
            write_atomic(self.run_dir / NAME, text)
        except OSError:
            if not spare.is_file():
                raise
            spare.unlink()
            write_atomic(self.run_dir / NAME, text)

    def keep_room(self) -> None:
        """Room for two records, given up when the disk is full: then of all times the outcome must
        be written down.
        """
        with contextlib.suppress(OSError):
            write_atomic(
                self.run_dir / SPARE,
                bytes(max(SPARE_BYTES, 2 * (self.run_dir / NAME).stat().st_size)),
            )

    def give_room(self) -> None:
        with contextlib.suppress(OSError):
            (self.run_dir / SPARE).unlink(missing_ok=True)


def read_record(run_dir: Path) -> dict[str, Any]:
    """A record from disk, checked enough that readers may rely on its shape. Hand-edited nonsense
    is a clear error, never a traceback.
    """
    path = run_dir / NAME
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise LorakitError(f"{run_dir} has no {NAME}; it is not a run of lorakit.") from None
    except OSError as error:
        raise LorakitError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise LorakitError(
            f"{path} is not JSON any more ({error}). Was it edited by hand?"
        ) from None
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise LorakitError(f"{path} is not a record: it has no schema number.")
    if data["schema"] > SCHEMA:
        raise LorakitError(
            f"{path} was written by a newer lorakit (schema {data['schema']}, this one reads"
            f" {SCHEMA})."
        )
    for key, (kind, empty) in _SHAPE.items():
        if not isinstance(data.setdefault(key, empty()), kind):
            raise LorakitError(
                f"{path}: {key} is {data[key]!r}, which no record holds. Was it edited by hand?"
            )
    _check_inside(path, data)
    return data


def _check_inside(path: Path, data: dict[str, Any]) -> None:
    """The few inner values that everybody counts with."""
    for section, keys in (
        ("steps", ("total", "epochs", "per_epoch", "accumulation")),
        ("outcome", ("step", "total")),
    ):
        for key in keys:
            value = data[section].get(key)
            if not _counted(value):
                raise LorakitError(
                    f"{path}: {section}.{key} is {value!r}, not a count. Was it edited by hand?"
                )
    for key in ("weights", "checkpoints", "states", "samples", "warnings", "parts"):
        if not all(isinstance(entry, dict) and _counted(entry.get("step")) for entry in data[key]):
            raise LorakitError(
                f"{path}: {key} holds something that no record holds. Was it edited by hand?"
            )
    sections = data["settings"].values()
    if not all(
        isinstance(section, dict) and all(isinstance(one, dict) for one in section.values())
        for section in sections
    ):
        raise LorakitError(
            f"{path}: settings holds something that no record holds. Was it edited by hand?"
        )
    stages = data.get("stages") or []  # only a run with several has them
    if not (
        isinstance(stages, list)
        and all(
            isinstance(entry, dict) and isinstance(entry.get("folder"), str) for entry in stages
        )
    ):
        raise LorakitError(
            f"{path}: stages holds something that no record holds. Was it edited by hand?"
        )
    if not isinstance(data["outcome"].get("diagnosis") or {}, dict):
        raise LorakitError(
            f"{path}: outcome.diagnosis is {data['outcome']['diagnosis']!r}. Was it edited by hand?"
        )


def _counted(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


_SHAPE: Mapping[str, tuple[type, Any]] = {
    **dict.fromkeys(("state", "name", "started", "output_name", "recipe"), (str, str)),
    **dict.fromkeys(
        (
            "trainer",
            "steps",
            "outcome",
            "machine",
            "process",
            "supervisor",
            "settings",
            "dataset",
            "env",
            "files",
            "estimate",
        ),
        (dict, dict),
    ),
    **dict.fromkeys(
        ("weights", "checkpoints", "states", "samples", "warnings", "parts", "command"),
        (list, list),
    ),
}


def from_plan(plan: Plan) -> dict[str, Any]:
    """Everything that is known before the launch."""
    resolved, steps = plan.resolved, plan.steps
    return {
        "schema": SCHEMA,
        "lorakit": __version__,
        "state": "running",
        "name": resolved.name,
        "run": f"{resolved.name}/{plan.run_dir.name}",
        "recipe": str(resolved.file),
        "root": str(resolved.root),
        "trigger": resolved.trigger,
        "family": resolved.family,
        "preset": resolved.preset,
        "output_name": plan.output_name,
        "output": _inside(plan.output_dir, plan.run_dir),
        "logs": _inside(plan.logging_dir, plan.run_dir),
        "started": now(),
        "platform": _platform(),
        "trainer": trainer_of(plan),
        "machine": {
            "rank": _launched(plan, "machine_rank", 0),
            "of": _launched(plan, "machines", 1),
        },
        "command": list(plan.argv),
        "env": {key: HIDDEN if _SECRET.search(key) else value for key, value in plan.env.items()},
        "files": {
            name: hashlib.sha256(text.encode()).hexdigest() for name, text in plan.files.items()
        },
        "settings": settings_of(plan),
        "steps": {
            "total": steps.total,
            "epochs": steps.epochs,
            "per_epoch": steps.steps_per_epoch,
            "accumulation": steps.accumulation,
            "batches_per_process": steps.batches_per_process,
            "processes": steps.processes,
            "batch_size": steps.batch_size,
            "formula": steps.formula,
            "checkpoints": [asdict(checkpoint) for checkpoint in steps.checkpoints],
        },
        "estimate": asdict(plan.estimate),
        "dataset": dataset_of(plan),
        "weights": weights_of(plan),
        "plan_warnings": [str(fault) for fault in plan.faults if fault.severity != "error"],
        "warnings": [],
        "checkpoints": [],
        "states": [],
        "samples": [],
        "parts": [],
        "outcome": {},
    }


def _launched(plan: Plan, key: str, default: int) -> int:
    setting = plan.resolved.launch.get(key)
    return setting.value if setting and isinstance(setting.value, int) else default


def settings_of(plan: Plan) -> dict[str, Any]:
    """Section -> key -> value and source, `train` as the script gets it; secrets are named, never
    written.
    """
    resolved = plan.resolved
    sections: dict[str, Section] = {
        "model": resolved.model,
        "dataset": resolved.dataset,
        "train": plan.settings or resolved.train,
        "sample": resolved.sample,
        "launch": resolved.launch,
    }
    return {
        name: {key: _setting(key, setting) for key, setting in section.items()}
        for name, section in sections.items()
    }


def _setting(key: str, setting: Setting) -> dict[str, Any]:
    return {"value": HIDDEN if _SECRET.search(key) else setting.value, "source": setting.source}


def dataset_of(plan: Plan) -> dict[str, Any]:
    facts = plan.dataset
    return {
        "root": str(facts.root),
        "images": facts.image_count,
        "subsets": [
            {
                "path": str(subset.path),
                "repeats": subset.repeats,
                "class_tokens": subset.class_tokens,
                "is_reg": subset.is_reg,
                "images": len(subset.images),
                "captioned": subset.captioned,
            }
            for subset in facts.subsets
        ],
        "digest": None,  # of dataset.json, computed beside the training
    }


def weights_of(plan: Plan) -> list[dict[str, Any]]:
    """The weight files the run reads; hashes are filled in beside the training."""
    from lorakit.families import FAMILIES

    keys = {weight.option: weight.key for weight in FAMILIES[plan.resolved.family].weights}
    return [
        {
            "key": keys.get(file.option, file.option),
            "option": file.option,
            "asked": file.asked,
            "path": str(file.path),
            "reference": file.reference,
            "sha256": None,
            "short": None,
        }
        for file in plan.weights
    ]


def trainer_of(plan: Plan) -> dict[str, Any]:
    """Who trains: script, commit, Python, packages. Only folder names are read."""
    script = plan.script
    python = Path(plan.argv[0])
    return {
        "name": plan.resolved.trainer,
        "script": None if script is None else str(script),
        "commit": plan.commit or None,
        "python": str(python),
        "packages": packages_of(python),
    }


def packages_of(python: Path) -> dict[str, str]:
    """Name and version of everything in that interpreter's environment, read from folder names
    alone.
    """
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for site in sorted(python.parent.parent.glob("lib/python3*/site-packages")):
            for entry in sorted(site.glob("*.dist-info")):
                name, _, version = entry.name.removesuffix(".dist-info").rpartition("-")
                if name:
                    found[name.replace("_", "-").lower()] = version
    return found


def _inside(path: Path, run_dir: Path) -> str:
    return path.relative_to(run_dir).as_posix() if path.is_relative_to(run_dir) else str(path)


def now() -> str:
    return (
        datetime.fromtimestamp(time.time(), timezone.utc).astimezone().isoformat(timespec="seconds")
    )


def _platform() -> dict[str, Any]:
    machine = this_machine()
    return {
        "system": machine.system,
        "arch": machine.arch,
        "cpus": machine.cpu_count,
        "memory_bytes": machine.memory_bytes,
        "gpus": [gpu.name for gpu in machine.gpus],
        "node": platform.node(),
        "python": sys.version.split()[0],
    }


def require_folder(run_dir: Path) -> None:
    """Make the run's folder, which must be new: a run never reuses one."""
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        run_dir.mkdir()
    except FileExistsError:  # also when it is empty: another start has made it a moment ago
        raise FolderTaken(f"{run_dir} holds another run; nothing was started.") from None
    except OSError as error:
        raise SetupError(f"{run_dir}: {error.strerror}; nothing was started.") from error


class FolderTaken(SetupError):  # noqa: N818  (reads as what happened)
    """Two starts in the same second: the later one plans again with the next name."""
