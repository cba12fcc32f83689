"""What a recipe's plan says that it did not say in another commit: settings, steps, data, cost.
Both plans are made on the same machine, from the same dataset folder; pictures that changed are
known where both commits have a lock.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.errors import Fault, LorakitError, did_you_mean
from lorakit.files import write_new
from lorakit.machine import Machine
from lorakit.plan.document import subset_rows
from lorakit.plan.make import make_plans
from lorakit.plan.model import Plan
from lorakit.proc import ask
from lorakit.proof.compare import LOCAL, Difference, differences
from lorakit.proof.lock import lock_path, options_of, read_lock
from lorakit.recipe.model import Resolved
from lorakit.recipe.resolve import resolve
from lorakit.show import size
from lorakit.user_files import read_text

Changes = dict[str, list[Difference]]  # by section, in the order in which one reads them
COUNTED = ("train_images", "batch_size", "accumulation", "epochs", "steps_per_epoch", "total")


def changes_since(
    rev: str, resolved: Resolved, plans: Sequence[Plan], machine: Machine
) -> Changes | None:
    """None where the recipe was not there yet."""
    commit = _commit(rev, resolved.root)
    name = resolved.file.relative_to(resolved.root).as_posix()
    text = _at(commit, name, resolved.root)
    if text is None:
        return None
    before = _plans_at(commit, name, text, resolved, machine)
    found: Changes = {}
    for number in range(max(len(before), len(plans))):
        old, new = (_account(one[number : number + 1]) for one in (before, plans))
        stage = f"{plans[number].stage} " if number < len(plans) and plans[number].stage else ""
        for section in dict.fromkeys([*old, *new]):
            found[stage + section] = differences(old.get(section, {}), new.get(section, {}))
    lock = lock_path(resolved.file)
    old_lock = _at(commit, lock.relative_to(resolved.root).as_posix(), resolved.root)
    found["pictures"] = differences(
        _pictures(old_lock), _pictures(read_text(lock) if lock.is_file() else None)
    )
    return {section: rows for section, rows in found.items() if rows}


def _git(root: Path, *words: str) -> str | None:
    answer = ask(["git", "-C", str(root), *words])
    return answer.out if answer.code == 0 else None


def _commit(rev: str, root: Path) -> str:
    words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
    if found := _git(root, *words):
        return found.strip()
    names = _git(root, "for-each-ref", "--format=%(refname:short)")
    if names is None:
        raise LorakitError(f"{root} is in no git repository, so there is no {rev}.")
    what = f"git knows no commit {rev!r} here. {did_you_mean(rev, names.split())}".rstrip()
    raise LorakitError(what, hint="Such as --diff HEAD or --diff origin/main.")


def _at(commit: str, name: str, root: Path) -> str | None:
    return _git(root, "show", f"{commit}:./{name}")


def _plans_at(
    commit: str, name: str, text: str, now: Resolved, machine: Machine
) -> tuple[Plan, ...]:
    """Recipe and presets as they were, in a folder of their own; everything else as it is now."""
    with tempfile.TemporaryDirectory() as place:
        there = Path(place)
        write_new(there / name, text)
        pages = _git(now.root, "ls-tree", "--name-only", commit, "presets/") or ""
        for page in pages.splitlines():
            if page.endswith(".toml"):
                write_new(there / page, _at(commit, page, now.root) or "")
        try:
            was, faults = resolve(there / name, sets=now.sets, unsets=now.unsets)
        except LorakitError:
            return ()  # nothing could be planned then
        was = replace(was, root=now.root, file=now.file)
        return make_plans(was, faults, run_dir=now.root / "runs" / "plan", machine=machine)


def _account(plans: Sequence[Plan]) -> dict[str, dict[str, Any]]:
    if not plans:
        return {}
    (plan,) = plans
    resolved, steps = plan.resolved, plan.steps
    sections = {
        name: {key: one.value for key, one in section.items() if key not in LOCAL}
        for name, section in plan.settings_shown.items()
    }
    told = ("preset", "trainer", "family", "name", "trigger")
    return {
        "settings": {**{key: getattr(resolved, key) for key in told}, **sections},
        "steps": {key: getattr(steps, key) for key in COUNTED},
        "data": {row.folder: f"{row.images} x {row.repeats}" for row in subset_rows(plan)},
        "cost": {
            "memory": size(plan.estimate.memory_high),
            "disk": size(plan.estimate.disk_bytes),
            "LoRA": size(plan.estimate.lora_bytes),
        },
    }


def _pictures(lock: str | None) -> dict[str, Any]:
    try:
        files = tomllib.loads(lock or "").get("dataset", {}).get("files", {})
    except tomllib.TOMLDecodeError:
        return {}
    return {name: str(said).partition(" ")[0] for name, said in files.items()}


def stale_lock(plans: Sequence[Plan]) -> list[Fault]:
    """Whether the recipe differs from its lock, by the options alone: nothing is hashed."""
    path = lock_path(plans[0].resolved.file)
    if not path.is_file():
        return []
    lock = read_lock(path)
    if lock.get("sets") or lock.get("unsets") or len(plans) > 1:
        return []
    changed = [str(one) for one in differences(lock.get("options", {}), options_of(plans[0]))]
    if not changed:
        return []
    what = f"is not of this recipe any more: {'; '.join(changed[:3])}."
    return [Fault(str(path), what, f"lorakit lock {plans[0].resolved.file.name}", "lock")]
