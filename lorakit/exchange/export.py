"""A plan as a folder that runs without lorakit: its files with relative paths, and a script."""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.checkout import named_checkout
from lorakit.config import CHECKOUTS
from lorakit.families import FAMILIES
from lorakit.json_text import leaves
from lorakit.plan.complete import posix
from lorakit.plan.model import Plan
from lorakit.private import HIDDEN
from lorakit.trainers import tokenizers
from lorakit.trainers.table import trainer

# Of the environment: read by nobody else, and true of this machine alone.
OURS = {"LORAKIT_EVENTS", "HF_HUB_OFFLINE"}
ONLY_OURS = {  # section, key -> what of it is lost
    ("model", "sha256"): "the weights' hashes are not checked.",
    ("dataset", "rules"): "lorakit's own checks of the dataset.",
    ("dataset", "rules_off"): "lorakit's own checks of the dataset.",
}


@dataclass(frozen=True)
class Exported:
    files: Mapping[str, str]
    lost: tuple[str, ...]  # what it could not express, a line each
    folders: Mapping[str, tuple[str, ...]]  # for copies of lorakit's own tokenizers, by hub id


def export(plan: Plan) -> Exported:
    """What would be written into `plan.run_dir`."""
    resolved, heads, asked = plan.resolved, _heads(plan), trainer(plan.resolved.trainer)
    texts = {name: _relative(text, name, heads) for name, text in plan.files.items()}
    files = {"train.sh": _script(plan, heads)}
    for name, text in texts.items():  # each is named by a command or by another one
        if any(name in one for one in [*files.values(), *texts.values()]):
            files[name] = text
    lost = [f"{name} {path}" for name in files for path in _absolute(files[name], name)]
    lost += [asked.HANDED_OVER] if asked.HANDED_OVER else []
    if "ACCELERATE_USE_CPU" in plan.env:
        lost.append("train.sh trains on the CPU, as this machine would: --for cuda:24 says a card.")
    hidden = [name for name, value in plan.env_shown.items() if value == HIDDEN]
    lost += [f"[launch] env {name}: its value is private; set it yourself." for name in hidden]
    for (section, key), what in ONLY_OURS.items():
        lost += [f"[{section}] {key}: {what}"] if key in getattr(resolved, section) else []
    kept = {"notes": resolved.notes, "[subject]": resolved.subject != type(resolved.subject)()}
    lost += [f"{key}: kept by lorakit alone." for key, said in kept.items() if said]
    ours = any(posix(tokenizers.folder()) in text for text in plan.files.values())
    folders = {"tokenizers": FAMILIES[resolved.family].tokenizers} if ours else {}
    return Exported(files, tuple(lost), folders)


def _relative(text: str, name: str, heads: Mapping[str, str]) -> str:
    """Every path below the project's folder, said from the new one; proven by reading it back."""
    new = text
    for head, short in heads.items():
        for before in ('"', "'", ": "):
            new = new.replace(before + head, before + short)
    meant = [(at, _shortened(value, heads)) for at, value in _values(text, name)]
    return new if [*_values(new, name)] == meant else text


def _values(text: str, name: str) -> Iterator[tuple[str, Any]]:
    if name.endswith(".toml"):
        yield from leaves(tomllib.loads(text))
    elif name.endswith(".yaml"):
        import yaml

        yield from leaves(yaml.safe_load(text))


def _heads(plan: Plan) -> dict[str, str]:
    """How absolute paths begin -> how they do from the new folder; the longest first."""
    root, folder = plan.resolved.root, plan.run_dir

    def short(path: Path | str) -> str:
        return Path(os.path.relpath(path, folder)).as_posix()

    places = trainer(plan.resolved.trainer).stands_for(plan.files)
    heads = {f"{posix(folder)}/{name}": short(place) for name, place in places.items()}
    heads |= {f"{posix(folder)}/": "", f"{posix(root)}/": f"{short(root)}/"}
    heads[posix(tokenizers.folder())] = "tokenizers"
    return dict(sorted(heads.items(), key=lambda one: -len(one[0])))


def _shortened(value: Any, heads: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_shortened(one, heads) for one in value]
    head = next((one for one in heads if isinstance(value, str) and value.startswith(one)), "")
    return heads[head] + value[len(head) :] if head else value


def _absolute(text: str, name: str) -> Iterator[str]:
    for at, value in _values(text, name):
        if isinstance(value, str) and os.path.isabs(value):
            yield f"{at}: {value} lies outside the project, so its path stays absolute."


def variable_of(trainer_name: str) -> str:
    """The variable by which the script finds the checkout."""
    return CHECKOUTS[trainer_name][0].upper()


def _script(plan: Plan, below: Mapping[str, str]) -> str:
    name = plan.resolved.trainer
    title, variable = trainer(name).TITLE, variable_of(name)
    heads = {f"{posix(named_checkout(name)[0])}/": f"${variable}/", **below}

    def word(text: str) -> str:
        short = _shortened(text, heads)
        return f'"{short}"' if short.startswith("$") else shlex.quote(short)

    def line(argv: tuple[str, ...]) -> str:
        given = [*takewhile(lambda one: "=" in one, argv[1:])] if argv[0] == "env" else []
        rest = argv[len(given) + bool(given) + 1 :]
        return " ".join([*given, "python", *map(word, rest)])

    env = {key: one for key, one in plan.env_shown.items() if one != HIDDEN and key not in OURS}
    lines = [
        "#!/bin/sh",
        f"# {plan.resolved.name}, exported by lorakit for {title} {plan.commit[:12]}".rstrip(),
        f"# {plan.steps.formula}",
        "set -e",
        'cd "$(dirname "$0")"',
        f': "${{{variable}:?the folder of your checkout of {title}}}"',
        *(f"export {key}={word(value)}" for key, value in sorted(env.items())),
        *(line(one.argv) for one in plan.commands),
    ]
    return "\n".join(lines) + "\n"
