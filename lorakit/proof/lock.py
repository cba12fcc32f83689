"""recipes/NAME.lock.toml: everything a result depends on, small enough for git. Same lock, same
inputs, proven by hash. It says nothing about this machine's folders, and keeps differences in
platform and packages apart from those in the inputs.
"""

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from itertools import chain
from pathlib import Path
from typing import Any

from lorakit import __version__, tomllib
from lorakit.errors import Fault, LorakitError, RecipeError, counted
from lorakit.plan.model import Plan
from lorakit.proof.compare import LOCAL, Difference, differences
from lorakit.recipe.options import Options
from lorakit.runs.find import run_dirs, run_name
from lorakit.runs.images import digest_of, digest_of_stages, files_in, images_of
from lorakit.runs.opening import sets_of, trainer_of
from lorakit.runs.record import Record, read_record
from lorakit.toml_text import document_text
from lorakit.user_files import Missing, Unreadable
from lorakit.weights.hashes import files_of, path_digest, sha256_of_all

Lock = dict[str, Any]  # as in the file
VERSION = 1
AGAIN = "Take it from git again, or make a new one with `lorakit lock RECIPE`."
# The packages whose version can change a result; the rest of an environment cannot.
DECISIVE = frozenset(
    {
        *("accelerate", "diffusers", "numpy", "peft", "pillow", "safetensors", "torch"),
        *("transformers", "xformers"),
        *("bitsandbytes", "lion-pytorch", "prodigyopt", "schedulefree"),
    }
)
PLACES = {"control_directory", "conditioning_data_dir", "num_repeats"}  # or in the files' lines
# A difference in one of these is another training,
INPUTS = ("trainer", "options", "prompts", "weights", "dataset")
# but weights may be in another folder,
INCIDENTAL = re.compile(r"^weights\..*\.(?:path|short|bytes)$")
# and where single images differ, that is said, not what sums them up.
FILES, SUMS = "dataset.files.", {"dataset.digest", "dataset.images"}
# In one of these it may change bytes, and is reported.
CIRCUMSTANCES = ("packages", "platform")


def lock_of(plan: Plan) -> Lock:
    """Hash everything the plan would read, but for files hashed before and unchanged since."""
    resolved, trainer, rows = plan.resolved, trainer_of(plan), images_of(plan)
    prompts = Options(resolved).said("sample", "prompts") or ()
    return {
        "version": VERSION,
        "lorakit": __version__,
        "recipe": _relative(resolved.file, resolved.root),
        "made": datetime.now(timezone.utc).date().isoformat(),
        "name": resolved.name,
        "trigger": resolved.trigger,
        "family": resolved.family,
        "seed": resolved.get("seed"),
        **({"sets": list(sets_of(resolved))} if sets_of(resolved) else {}),
        **({"unsets": list(resolved.unsets)} if resolved.unsets else {}),
        "trainer": {
            "name": resolved.trainer,
            "commit": plan.commit or trainer.commit or __version__,
            "script": plan.script.name if plan.script else "",
        },
        "options": options_of(plan),
        "prompts": {str(number): prompt for number, prompt in enumerate(prompts)},
        "weights": {one.option: _weight(one.path, resolved.root) for one in plan.weights},
        "dataset": {
            "digest": digest_of(rows),
            "images": len(rows),
            "files": {
                row.image: f"{row.sha256} {row.caption_sha256 or '-'} x{row.repeats}"
                + "".join(f" {one.sha256}" for one in row.controls)
                for row in rows
            },
        },
        "packages": {
            name: version for name, version in sorted(trainer.packages.items()) if name in DECISIVE
        },
        "platform": {
            "system": platform.system(),
            "arch": platform.machine(),
            "cpu_only": "--cpu" in plan.argv,
        },
    }


def lock_of_all(plans: Sequence[Plan], *, quick: bool = False) -> Lock:
    """Every byte read anew unless `quick`; with stages, options and images by the stage."""
    # Together: the stages share their weights, and the cores share the files.
    weights = (path for plan in plans for one in plan.weights for path in files_of(one.path))
    sha256_of_all(chain(weights, *map(files_in, plans)), anew=not quick)
    locks = {plan.stage: lock_of(plan) for plan in plans}
    first, *others = locks.values()
    if not others:
        return first
    for lock in others:
        lock["options"].pop("network_weights", None)  # the LoRA of the stage before
    datasets = {stage: lock["dataset"] for stage, lock in locks.items()}
    return {
        **first,
        "options": {stage: lock["options"] for stage, lock in locks.items()},
        "dataset": {
            "digest": digest_of_stages([one["digest"] for one in datasets.values()]),
            "images": sum(one["images"] for one in datasets.values()),
            "files": {
                f"{stage}/{name}": line
                for stage, one in datasets.items()
                for name, line in one["files"].items()
            },
        },
    }


def made_from(plan: Plan, digest: str) -> Lock:
    """What the newest finished run of this recipe on this very dataset made, for its lock."""
    for run_dir in reversed(run_dirs(plan.resolved.root, plan.resolved.name)):
        with suppress(LorakitError):
            record = read_record(run_dir)
            if record.state == "done" and record.dataset.digest == digest:
                return {"run": run_name(run_dir), "outputs": outputs_of(record)}
    return {}


def outputs_of(record: Record) -> Lock:
    """By file and by tensor hash."""
    return {
        Path(one.path).name: {
            "sha256": one.sha256,
            "tensors_sha256": one.tensors_sha256,
            "step": one.step,
        }
        for one in record.checkpoints
        if one.sha256 and not one.removed
    }


def options_of(plan: Plan) -> Lock:
    """What the trainer gets, of all and of single folders, without what this machine's folders
    decide; weights are there by their hash.
    """
    left_out = LOCAL | {weight.option for weight in plan.weights}
    found = {key: one.value for key, one in sorted(plan.settings.items()) if key not in left_out}
    for subset in plan.dataset.subsets:
        own = Options(plan.resolved).subset(subset.path.name)
        found |= {f"{subset.path.name} {key}": own[key] for key in sorted(own.keys() - PLACES)}
    return found


def text_of(lock: Mapping[str, Any]) -> str:
    """TOML, one line a fact, so that a diff of two locks reads as what changed."""
    text = (
        f"# Made by `lorakit lock {lock['recipe']}`, checked by `lorakit verify` and `lorakit train"
        f" --locked`. Not edited by hand.\n{document_text(lock)}"
    )
    if _plain(tomllib.loads(text)) != _plain(lock):
        what = "The lock does not read back as it was meant; it was not written."
        raise LorakitError(what, hint="Please report this recipe.")
    return text


def read_lock(path: Path) -> Lock:
    """A lock from disk; nonsense edited into it is an error, never a traceback."""
    try:
        data = tomllib.read(path)
    except Missing as error:
        what = f"{path}: there is no such lock."
        raise RecipeError(what, hint=f"`lorakit lock RECIPE` makes {path.name}.") from error
    except Unreadable as error:
        raise RecipeError(f"{path}: cannot be read as a lock: {error.why}", hint=AGAIN) from error
    if wrong := next(_nonsense(data), ""):
        raise RecipeError(f"{path}: {wrong}", hint=AGAIN)
    return data


def _nonsense(data: Lock) -> Iterator[str]:
    if data.get("version") != VERSION:
        yield f"version {data.get('version')!r}; this lorakit reads version {VERSION}."
    for key in ("sets", "unsets"):
        said = data.get(key, [])
        if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
            yield f"{key} is not a list of texts. Was it edited by hand?"
    for key in (*INPUTS, *CIRCUMSTANCES):
        if not isinstance(data.get(key, {}), dict):
            yield f"{key} is not a table. Was it edited by hand?"


def lock_path(recipe: Path) -> Path:
    return recipe.with_name(f"{recipe.stem}.lock.toml")


def require_locked(*plans: Plan) -> list[Difference]:
    """Raises where the plans are not what the lock says, with all that differs."""
    recipe = plans[0].resolved.file
    path = lock_path(recipe)
    inputs, around = compare_locks(read_lock(path), lock_of_all(plans))
    if inputs:
        raise RecipeError(
            f"{counted(len(inputs), 'difference')} from {path.name}; nothing was started.",
            faults=[Fault(str(path), str(one), rule="locked") for one in inputs],
            hint=f"Restore the old inputs, or accept these: lorakit lock {recipe.name}",
        )
    return around


def compare_locks(
    locked: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[list[Difference], list[Difference]]:
    """Differences in the inputs, and differences in the circumstances."""
    inputs, around = (
        differences(*({key: lock.get(key, {}) for key in keys} for lock in (locked, now)))
        for keys in (INPUTS, CIRCUMSTANCES)
    )
    by_image = any(one.key.startswith(FILES) for one in inputs)
    told = (
        one for one in inputs if not (INCIDENTAL.search(one.key) or (by_image and one.key in SUMS))
    )
    return [_explained(one) if one.key.startswith(FILES) else one for one in told], around


def _explained(one: Difference) -> Difference:
    """A dataset line holds image, caption, repeats and control pictures; say which differs."""
    if one.before is None or one.after is None:
        return one
    words = [[*str(side).split(" ", 3), ""] for side in (one.before, one.after)]
    pairs = zip(("image", "caption", "repeats", "controls"), *words, strict=False)
    changed = ", ".join(what for what, before, after in pairs if before != after)
    before, after = (" ".join(word[:8] for word in line) for line in words)
    return Difference(f"{one.key} ({changed})", before, after)


def _weight(path: Path, root: Path) -> Lock:
    if not path.exists():
        what = f"{path}: there is no such file, so it cannot be locked."
        raise RecipeError(what, hint="`lorakit plan` says which weights are missing.")
    digest, size = path_digest(path)
    return {"path": _relative(path, root), "sha256": digest, "short": digest[:10], "bytes": size}


def _relative(path: Path, root: Path) -> str:
    """A lock in git says nothing about anybody's folders: outside the project the name alone."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _plain(lock: Mapping[str, Any]) -> Any:
    """Lists for tuples, and no key without a value, as TOML gives it back."""
    return json.loads(json.dumps({key: one for key, one in lock.items() if one is not None}))
