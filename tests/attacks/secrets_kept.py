"""Secrets planted where people put them; afterwards nothing that was written or said may hold one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from attacks.calling import Said, call
from attacks.table import Case
from attacks.trainings import project

PLACES = {  # by which words somebody gives it
    "launch.env WANDB_API_KEY": "recipe",
    "launch.env HF_TOKEN": "recipe",
    "launch.env AWS_KEY": "recipe",
    "launch.env DATABASE_PWD": "recipe",
    "launch.env MIRROR (an address)": "recipe",
    "launch.env PLAIN": "recipe",
    "--set launch.env.SET_TOKEN": "set",
    "--set launch.env.NOTHING_SPECIAL": "set",
    "environment HF_TOKEN": "environment",
    "environment WANDB_API_KEY": "environment",
    "environment HTTPS_PROXY (an address)": "environment",
    "environment GIT_PASSWORD": "environment",
}


def plant() -> tuple[dict[str, str], str, list[str], dict[str, str]]:
    """Each secret by its place; how the recipe, --set and the environment hold them."""
    planted = {place: f"Sx{number:02}aQ7dLw9Zk" for number, place in enumerate(PLACES)}
    inside, sets, environment = list[str](), list[str](), dict[str, str]()
    for place, secret in planted.items():
        word = place.split()[1] if not place.startswith("--set") else place.rsplit(".", 1)[1]
        value = f"https://user:{secret}@127.0.0.1:9/x" if "address" in place else secret
        if PLACES[place] == "recipe":
            inside.append(f'{word} = "{value}"')
        elif PLACES[place] == "set":
            sets.append(f"--set=launch.env.{word}={value}")
        else:
            environment[word] = value
    return planted, "[launch.env]\n" + "\n".join(inside), sets, environment


def planned(recipe: Path, sets: list[str]) -> list[Said]:
    """What is said before anything is trained."""
    return [
        call("plan", recipe, *sets),
        call("plan", recipe, *sets, "--json"),
        call("plan", recipe, *sets, "--write", recipe.parent / "out"),
        call("queue", "add", recipe),
        call("queue", "add", recipe, *sets),
        call("queue", "list"),
    ]


def cases(folder: Path, count: int) -> Iterator[Case]:
    """One recipe with all of them: planned, queued, trained, looked at."""
    planted, launch, sets, environment = plant()
    os.environ.update(environment)
    recipe = project(folder / "project", launch=launch)
    os.chdir(folder / "project")  # where the queue is
    said = [call("train", recipe, *sets, limit_s=120), *planned(recipe, sets)]
    runs = sorted((folder / "project/runs/zwx").glob("2*"))
    for command in ("report", "lock", "explain", "log", "verify"):
        said += [call(command, run) for run in runs[:1]]
    trained = bool(runs) and (runs[0] / "output/zwx.safetensors").is_file()
    wrong = "" if trained else f"nothing was trained: {said[0].err[-250:]}"
    for place, secret in list(planted.items())[:count]:
        yield place, lambda s=secret: wrong or found(folder, recipe, s, said)  # type: ignore[misc]


def found(folder: Path, recipe: Path, secret: str, said: list[Said]) -> str:
    if any(secret in one.out + one.err for one in said):
        return "a command said it"
    needle = secret.encode()
    places = [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and path != recipe and needle in path.read_bytes()
    ]
    return f"it stands in {', '.join(sorted(set(places)))}" if places else ""
