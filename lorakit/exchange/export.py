"""A plan as a folder that runs without lorakit: its files with relative paths, and a script."""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.checkout import named_checkout
from lorakit.config import CHECKOUTS
from lorakit.exchange.said import leaves
from lorakit.plan.complete import posix
from lorakit.plan.model import Plan
from lorakit.private import HIDDEN
from lorakit.trainers.table import trainer

OURS = {"LORAKIT_EVENTS"}  # of the environment: read by nobody else
ONLY_OURS = {  # section, key -> what of it is lost
    ("model", "sha256"): "the weights' hashes are not checked.",
    ("dataset", "rules"): "lorakit's own checks of the dataset.",
    ("dataset", "rules_off"): "lorakit's own checks of the dataset.",
}


@dataclass(frozen=True)
class Exported:
    files: Mapping[str, str]
    lost: tuple[str, ...]  # what it could not express, a line each


def export(plan: Plan) -> Exported:
    """What would be written into `plan.run_dir`."""
    resolved, folder = plan.resolved, plan.run_dir
    files, lost = dict[str, str](), list[str]()
    for name, text in plan.files.items():
        files[name] = _relative(text, resolved.root, folder) if name.endswith(".toml") else text
        lost += [f"{name} {path}" for path in _absolute(files[name], name)]
    files["train.sh"] = _script(plan)
    if "--cpu" in plan.argv:
        lost.append("train.sh trains on the CPU, as this machine would: --for cuda:24 says a card.")
    hidden = [name for name, value in plan.env_shown.items() if value == HIDDEN]
    lost += [f"[launch] env {name}: its value is private; set it yourself." for name in hidden]
    for (section, key), what in ONLY_OURS.items():
        lost += [f"[{section}] {key}: {what}"] if key in getattr(resolved, section) else []
    kept = {"notes": resolved.notes, "[subject]": resolved.subject != type(resolved.subject)()}
    lost += [f"{key}: kept by lorakit alone." for key, said in kept.items() if said]
    return Exported(files, tuple(lost))


def _relative(text: str, root: Path, folder: Path) -> str:
    """Every path below the project's folder, said from the new one; proven by reading it back."""
    heads = _heads(root, folder)
    new = text
    for head, short in heads.items():
        for quote in "\"'":
            new = new.replace(f"{quote}{head}", f"{quote}{short}")
    meant = [(at, _shortened(value, heads)) for at, value in leaves(tomllib.loads(text))]
    return new if [*leaves(tomllib.loads(new))] == meant else text


def _heads(root: Path, folder: Path) -> dict[str, str]:
    up = Path(os.path.relpath(root, folder)).as_posix()
    return {f"{posix(folder)}/": "", f"{posix(root)}/": f"{up}/"}


def _shortened(value: Any, heads: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_shortened(one, heads) for one in value]
    head = next((one for one in heads if isinstance(value, str) and value.startswith(one)), "")
    return heads[head] + value[len(head) :] if head else value


def _absolute(text: str, name: str) -> Iterator[str]:
    for at, value in leaves(tomllib.loads(text)) if name.endswith(".toml") else ():
        if isinstance(value, str) and os.path.isabs(value):
            yield f"{at}: {value} lies outside the project, so its path stays absolute."


def variable_of(trainer_name: str) -> str:
    """The variable by which the script finds the checkout."""
    return CHECKOUTS[trainer_name][0].upper()


def _script(plan: Plan) -> str:
    name = plan.resolved.trainer
    title, variable = trainer(name).TITLE, variable_of(name)
    heads = {
        f"{posix(named_checkout(name)[0])}/": f"${variable}/",
        **_heads(plan.resolved.root, plan.run_dir),
    }

    def word(text: str) -> str:
        short = _shortened(text, heads)
        return f'"{short}"' if short.startswith("$") else shlex.quote(short)

    env = {key: one for key, one in plan.env_shown.items() if one != HIDDEN and key not in OURS}
    lines = [
        "#!/bin/sh",
        f"# {plan.resolved.name}, exported by lorakit for {title} {plan.commit[:12]}".rstrip(),
        f"# {plan.steps.formula}",
        "set -e",
        'cd "$(dirname "$0")"',
        f': "${{{variable}:?the folder of your checkout of {title}}}"',
        *(f"export {key}={word(value)}" for key, value in sorted(env.items())),
        *(" ".join(["python", *map(word, one.argv[1:])]) for one in plan.commands),
    ]
    return "\n".join(lines) + "\n"
