"""Trainings killed at any moment: lorakit, its trainer, or both; the state is honest, resume goes on.

Most train a stand-in that saves its state; some train for real, at 64 pixels on a random base.
`python -m attacks.trainings RECIPE` starts the stand-in under a real plan.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from attacks import TESTS
from attacks.calling import Child
from attacks.table import Case
from lorakit.runs.find import info
from lorakit.runs.states import states_in
from lorakit.weights.safetensors import steps_of

RECIPE = """
family = "sd15"
trainer = "embedded"
name = "zwx"
trigger = "zwx"
[model]
base = "{base}"
[dataset]
path = "data"
[train]
resolution = "64,64"
network_dim = 4
network_alpha = 2
learning_rate = 1e-3
optimizer_type = "AdamW"
mixed_precision = "no"
max_train_epochs = 1
train_batch_size = 1
cache_latents = true
network_train_unet_only = true
save_state = true
save_every_n_steps = 4
"""
REAL_EVERY = 8  # of so many cases one trains for real
STEPS = 24
WHO = ("lorakit", "trainer", "both")
HOW = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)


def project(folder: Path, *, launch: str = "", base: Path | None = None) -> Path:
    """A recipe, four pictures and a random base of a few megabytes; 24 steps take seconds."""
    from toy_runs import draw_pictures

    draw_pictures(folder / "data" / f"{STEPS // 4}_zwx", wide=False)
    if base is None:
        from tiny_bases import make_tiny

        base = make_tiny("sd15", folder / "base")
    recipe = folder / "zwx.toml"
    recipe.write_text(RECIPE.replace("{base}", str(base)) + launch, encoding="utf-8")
    return recipe


def cases(folder: Path, count: int) -> Iterator[Case]:
    pick, base = random.Random(40), project(folder / "first").parent / "base"
    for number in range(count):
        real = number % REAL_EVERY == 1
        who, how = WHO[number % 3], HOW[pick.randrange(len(HOW))]
        delay = pick.uniform(0.0, 1.0)
        recipe = project(folder / str(number), base=base)
        name = f"{number} {'real' if real else 'stand-in'}: {signal.Signals(how).name} to {who}"
        yield name, lambda r=recipe, w=who, h=how, d=delay, real=real: tried(r, w, h, d, real=real)  # type: ignore[misc]


def tried(recipe: Path, who: str, how: int, delay: float, *, real: bool) -> str:
    folder = recipe.parent
    words = ("-m", "lorakit", "train") if real else ("-m", "attacks.trainings")
    child = Child(recipe, program=words)
    run = begun(folder, child)
    time.sleep(delay * (3 if real else 1.8))
    trainer = [one for one in child.members() if one.pid != child.process.pid]
    if who != "trainer":
        child.signal(how)
    if who != "lorakit":
        for one in trainer:
            if one.is_running():
                one.send_signal(signal.SIGKILL)
    said = child.end(90)
    if said.code == -1:
        return said.err
    if run is None:
        return "" if said.code in {0, 1, 130, -how} else f"exit {said.code}: {said.err[-200:]}"
    honest = judged(folder, run)
    until = time.monotonic() + 60
    while child.members() and time.monotonic() < until:  # it trains on, as it may
        time.sleep(0.1)
    child.clear()
    return honest or judged(folder, run) or gone_on(run, folder)


def begun(folder: Path, child: Child) -> Path | None:
    """Its run folder, once there is one with a record."""
    until = time.monotonic() + 60
    while time.monotonic() < until and child.process.poll() is None:
        if found := list(folder.glob("runs/zwx/*/record.json")):
            return found[0].parent
        time.sleep(0.02)
    return next((one.parent for one in folder.glob("runs/zwx/*/record.json")), None)


def judged(folder: Path, run: Path) -> str:
    """What lorakit says of it, beside what is true."""
    state, lora = info(run).state, run / "output/zwx.safetensors"
    alive = bool(processes_in(folder))
    if state == "done" and steps_of(lora) != STEPS:
        return f"said to be done, but the LoRA has {steps_of(lora)} of {STEPS} steps"
    if state in {"running", "unattended"} and not alive:
        time.sleep(0.5)
        now = info(run).state
        return f"said to be {now}, but nothing runs" if now in {"running", "unattended"} else ""
    return f"its record is {state}" if state == "broken" else ""


def processes_in(folder: Path) -> list[Any]:
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if alive and str(folder) + "/" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone_on(run: Path, folder: Path) -> str:
    if info(run).state == "done":
        return ""
    found = states_in(run / "output", "zwx", per_epoch=STEPS)
    resumable = [state for state in found if not state.fault]
    child = Child("resume", run)
    said = child.end(120)
    if info(run).state == "done":  # or it had come to its end unattended
        return judged(folder, run)
    if not resumable:
        return "" if said.code == 1 and "state" in said.err else f"no state, yet {said.err[-200:]}"
    if said.code:
        return f"resume exits {said.code}: {said.err[-300:]}"
    return "resumed, but not done"


def train_stand_in(recipe: Path) -> int:
    """A real plan whose command is the stand-in."""
    from lorakit.plan.make import make_plan
    from lorakit.recipe.resolve import resolve
    from lorakit.run.train import train
    from lorakit.runs.folder import new_run_dir
    from lorakit.trainers.base import Command

    resolved, faults = resolve(recipe)
    run = new_run_dir(resolved.root, resolved.name)
    plan = make_plan(resolved, faults, run_dir=run)
    words = (str(run / "output"), "zwx", str(STEPS), "0.08")
    command = Command((sys.executable, str(TESTS / "fakes/saves_when_asked.py"), *words))
    plan = replace(plan, commands=(command,), env={**plan.env, "SAVE_EVERY": "4"})
    return 0 if train(plan).state == "done" else 4


if __name__ == "__main__":
    sys.exit(train_stand_in(Path(sys.argv[1])))
