"""recipes/NAME.lock.toml: everything a result depends on, small enough for git. Same lock, same
inputs, proven by hash.

Made from a plan. Says nothing about this machine's folders: paths are relative to the project or
absent, and differences in the platform and in packages are told apart from differences in the
inputs.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lorakit import __version__, tomllib
from lorakit.errors import Fault, LorakitError, RecipeError
from lorakit.plan.model import Plan
from lorakit.proof.compare import Difference, differences
from lorakit.run.resume.stage_records import digest_of_stages
from lorakit.run.watch.hashing import dataset_rows, digest_of
from lorakit.runs.record import trainer_of
from lorakit.toml_text import document_text
from lorakit.weights.hashes import path_digest

VERSION = 1
AGAIN = "Take it from git again, or make it anew with `lorakit lock RECIPE`."
# The packages whose version can change a result; the rest of an environment cannot.
DECISIVE = frozenset(
    {
        "accelerate",
        "bitsandbytes",
        "diffusers",
        "lion-pytorch",
        "numpy",
        "peft",
        "pillow",
        "prodigyopt",
        "safetensors",
        "schedulefree",
        "torch",
        "transformers",
        "xformers",
    }
)
# What a run's folder or machine decides, not the recipe.
LOCAL = frozenset(
    {
        "output_dir",
        "logging_dir",
        "dataset_config",
        "sample_prompts",
        "config_file",
        "train_data_dir",
        "reg_data_dir",
        "resume",
        "tokenizer_cache_dir",
    }
)
INPUTS = (
    "trainer",
    "options",
    "prompts",
    "weights",
    "dataset",
)  # a difference here is another training
CIRCUMSTANCES = ("packages", "platform")  # a difference here may change bytes, and is told


def lock_of(plan: Plan) -> dict[str, Any]:
    """Hash everything the plan would read; files hashed before and unchanged since are not read
    again.
    """
    rows = dataset_rows(plan)
    trainer = trainer_of(plan)
    root = plan.resolved.root
    return {
        "version": VERSION,
        "lorakit": __version__,
        "recipe": _relative(plan.resolved.file, root),
        "made": datetime.now(timezone.utc).date().isoformat(),
        "name": plan.resolved.name,
        "trigger": plan.resolved.trigger,
        "family": plan.resolved.family,
        "seed": plan.resolved.get("seed"),
        "trainer": {
            "name": plan.resolved.trainer,
            "commit": plan.commit or trainer["commit"] or __version__,
            "script": plan.script.name if plan.script else "",
        },
        "options": options_of(plan),
        "prompts": {str(number): prompt for number, prompt in enumerate(_prompts(plan))},
        "weights": {weight.option: _weight(weight.path, root) for weight in plan.weights},
        "dataset": {
            "digest": digest_of(rows),
            "images": len(rows),
            "files": {
                str(
                    row["image"]
                ): f"{row['sha256']} {row['caption_sha256'] or '-'} x{row['repeats']}"
                for row in rows
            },
        },
        "packages": {
            name: version
            for name, version in sorted(trainer["packages"].items())
            if name in DECISIVE
        },
        "platform": {
            "system": platform.system(),
            "arch": platform.machine(),
            "cpu_only": "--cpu" in plan.argv,
        },
    }


def lock_of_all(plans: Sequence[Plan]) -> dict[str, Any]:
    """Of one plan; for a recipe with several stages, options and images stand under their stage's
    name.
    """
    locks = {plan.stage: lock_of(plan) for plan in plans}
    if len(plans) == 1:
        return locks[plans[0].stage]
    for lock in list(locks.values())[1:]:
        lock["options"].pop(
            "network_weights", None
        )  # the LoRA of the stage before, in the run's own folder
    whole = locks[plans[0].stage]
    return {
        **whole,
        "options": {stage: lock["options"] for stage, lock in locks.items()},
        "dataset": {
            "digest": digest_of_stages([lock["dataset"]["digest"] for lock in locks.values()]),
            "images": sum(lock["dataset"]["images"] for lock in locks.values()),
            "files": {
                f"{stage}/{name}": line
                for stage, lock in locks.items()
                for name, line in lock["dataset"]["files"].items()
            },
        },
    }


def outputs_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished run made, for its lock: by file and by tensor hash."""
    return {
        Path(str(entry["path"])).name: {
            "sha256": entry["sha256"],
            "tensors_sha256": entry["tensors_sha256"],
            "step": entry.get("step"),
        }
        for entry in record["checkpoints"]
        if entry.get("sha256") and not entry.get("removed")
    }


def options_of(plan: Plan) -> dict[str, Any]:
    """What train.toml says, less what only this machine's folders decide. Paths of weights stand
    under `weights`, by hash.
    """
    weights = {weight.option for weight in plan.weights}
    return {
        key: setting.value
        for key, setting in sorted(plan.settings.items())
        if key not in LOCAL and key not in weights
    }


def text_of(lock: Mapping[str, Any]) -> str:
    """TOML, one line a fact, so that a diff of two locks reads as what changed."""
    lines = [
        f"# Made by `lorakit lock {lock['recipe']}`, checked by `lorakit verify` and `lorakit train"
        " --locked`. Not edited by hand."
    ]
    text = "\n".join(lines) + "\n" + document_text(lock)
    if _clean(tomllib.loads(text)) != _clean(lock):
        raise LorakitError(
            "The lock does not read back as it was meant; it was not written.",
            hint="Please report this recipe.",
        )
    return text


def read_lock(path: Path) -> dict[str, Any]:
    """A lock from disk; hand-made nonsense is told, never a traceback."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(
            f"{path}: there is no such lock.", hint=f"`lorakit lock RECIPE` makes {path.name}."
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as a lock ({error}).", hint=AGAIN) from error
    if data.get("version") != VERSION:
        raise RecipeError(
            f"{path}: version {data.get('version')!r}; this lorakit reads version {VERSION}.",
            hint=AGAIN,
        )
    for key in (*INPUTS, *CIRCUMSTANCES):
        if not isinstance(data.get(key, {}), dict):
            raise RecipeError(f"{path}: {key} is not a table. Was it edited by hand?", hint=AGAIN)
    return data


def lock_path(recipe: Path) -> Path:
    return recipe.with_name(f"{recipe.stem}.lock.toml")


def require_locked(*plans: Plan) -> list[Difference]:
    """Raise where the plan (of a run, or of each of its stages) is not what the lock says, with
    all that differs; returns circumstances.
    """
    recipe = plans[0].resolved.file
    path = lock_path(recipe)
    inputs, around = compare_locks(read_lock(path), lock_of_all(plans))
    if inputs:
        raise RecipeError(
            f"{len(inputs)} difference{'s' * (len(inputs) > 1)} from {path.name}; nothing was"
            " started.",
            faults=[Fault(str(path), str(one), rule="locked") for one in inputs],
            hint=f"Take the old inputs back, or accept these: lorakit lock {recipe.name}",
        )
    return around


def compare_locks(
    locked: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[list[Difference], list[Difference]]:
    """Differences in the inputs, and differences in the circumstances. A hash says what its short
    form would say again.
    """
    inputs = differences(
        {key: locked.get(key, {}) for key in INPUTS}, {key: now.get(key, {}) for key in INPUTS}
    )
    inputs = [
        one
        for one in inputs
        if not (one.key.startswith("weights.") and one.key.endswith((".path", ".short", ".bytes")))
    ]
    if any(one.key.startswith("dataset.files.") for one in inputs):
        inputs = [one for one in inputs if one.key not in {"dataset.digest", "dataset.images"}]
    around = differences(
        {key: locked.get(key, {}) for key in CIRCUMSTANCES},
        {key: now.get(key, {}) for key in CIRCUMSTANCES},
    )
    return [_explained(one) for one in inputs], around


def _explained(one: Difference) -> Difference:
    """A dataset line holds image, caption and repeats; say which of them differs."""
    if not one.key.startswith("dataset.files.") or one.before is None or one.after is None:
        return one
    before, after = str(one.before).split(" "), str(one.after).split(" ")
    changed = [
        word
        for word, a, b in zip(("image", "caption", "repeats"), before, after, strict=False)
        if a != b
    ]
    return Difference(
        f"{one.key} ({', '.join(changed)})",
        " ".join(p[:8] for p in before),
        " ".join(p[:8] for p in after),
    )


def _weight(path: Path, root: Path) -> dict[str, Any]:
    if not path.exists():
        raise RecipeError(
            f"{path}: there is no such file, so it cannot be locked.",
            hint="`lorakit plan` says which weights are missing.",
        )
    digest, size = path_digest(path)
    return {"path": _relative(path, root), "sha256": digest, "short": digest[:10], "bytes": size}


def _prompts(plan: Plan) -> list[str]:
    setting = plan.resolved.sample.get("prompts")
    return (
        [str(prompt) for prompt in setting.value]
        if setting and isinstance(setting.value, (list, tuple))
        else []
    )


def _relative(path: Path, root: Path) -> str:
    """Inside the project: relative. Outside: the name alone, for a lock in git says nothing about
    anybody's folders.
    """
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _clean(data: Mapping[str, Any]) -> Any:
    return json.loads(
        json.dumps({key: value for key, value in data.items() if value is not None}, sort_keys=True)
    )
