"""A plan as a folder that runs without lorakit: its files with relative paths, and a script."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
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
    hidden = [name for name, value in plan.env_shown.items() if value == HIDDEN]
    lost += [f"[launch] env {name}: its value is private; set it yourself." for name in hidden]
    for (section, key), what in ONLY_OURS.items():
        lost += [f"[{section}] {key}: {what}"] if key in getattr(resolved, section) else []
    lost += [f"{key}: kept by lorakit alone." for key in resolved.extra]
    return Exported(files, tuple(lost))


def _relative(text: str, root: Path, folder: Path) -> str:
    """Every path below the project's folder, said from the new one; proven by reading it back."""
    up = Path(os.path.relpath(root, folder)).as_posix()
    heads = {f"{posix(folder)}/": "", f"{posix(root)}/": f"{up}/"}
    new = text
    for head, short in heads.items():
        for quote in "\"'":
            new = new.replace(f"{quote}{head}", f"{quote}{short}")
    meant = [(at, _shortened(value, heads)) for at, value in leaves(tomllib.loads(text))]
    return new if [*leaves(tomllib.loads(new))] == meant else text


def _shortened(value: Any, heads: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_shortened(one, heads) for one in value]
    head = next((one for one in heads if isinstance(value, str) and value.startswith(one)), "")
    return heads[head] + value[len(head) :] if head else value


def _absolute(text: str, name: str) -> Iterator[str]:
    for at, value in leaves(tomllib.loads(text)) if name.endswith(".toml") else ():
        if isinstance(value, str) and os.path.isabs(value):
            yield f"{at}: {value} lies outside the project, so its path stays absolute."


def _script(plan: Plan) -> str:
    who = trainer(plan.resolved.trainer)
    heads = {f"{posix(plan.run_dir)}/": ""}
    env = {key: one for key, one in plan.env_shown.items() if one != HIDDEN and key not in OURS}
    lines = [
        "#!/bin/sh",
        f"# {plan.resolved.name}, exported by lorakit for {who.TITLE} {plan.commit[:12]}".rstrip(),
        f"# {plan.steps.formula}",
        "set -e",
        'cd "$(dirname "$0")"',
        f': "${{{who.CHECKOUT}:?the folder of your checkout of {who.TITLE}}}"',
        *(f"export {key}={shlex.quote(value)}" for key, value in sorted(env.items())),
    ]
    for command in plan.commands:
        words = [shlex.quote(_shortened(word, heads)) for word in command[1:]]
        at = next(n for n, word in enumerate(command[1:]) if word.endswith(".py"))
        words[at] = f'"${who.CHECKOUT}/{Path(command[1 + at]).name}"'
        lines.append(" ".join(["python", *words]))
    return "\n".join(lines) + "\n"
