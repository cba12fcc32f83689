"""Is `lorakit judge` right? Runs of two characters on the toy base, judged from their losses, held
against a truth that the judge never sees: what a recogniser finds on drawn pictures.

    python tools/prove_judge.py --work FOLDER    train, judge, draw, recognise: about 40 minutes of
                                                 one core; goes on where it was
    python tools/judge_table.py FOLDER           the table, and the figure in FOLDER

Truth of a cell (checkpoint at a strength), from 0 to 2: how often the character is there where it
was asked for, plus how much of other prompts is obeyed, minus how often the character is there
unasked.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE / "toy"))
sys.path.insert(0, str(ROOT))

from draw import CHARACTER_BACKGROUNDS, Scene, Thing, any_scene, draw  # noqa: E402  (path set first)

PICTURES, HELD, REGULAR = 18, 10, 72
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)
CONTROLS = 12
TRUTH_STEPS, TRUTH_SCALE, TRUTH_OTHERS = 8, 4.0, 10
CHECKPOINTS = 4
BACKGROUNDS = ("sea", "black", "white", "blue", "night", "meadow", "green", "yellow")
LOOKED_AT = (  # what the judge draws: other scenes than the truth
    ("gray", "", ""),
    ("meadow", "big", "left"),
    ("sea", "", "right"),
    ("black", "big", ""),
)
SIZES = ("", "", "", "", "big", "", "", "")
POSITIONS = ("", "", "left", "right", "", "", "left", "")


@dataclass(frozen=True)
class Character:
    """A word the base does not know, and what it shall mean. `kvo` is made of things that the base
    draws, so that the recogniser, which knows one new figure only, can tell it.
    """

    trigger: str
    kind: str
    colour: str


ZWX, KVO = Character("zwx", "zwx", ""), Character("kvo", "robot", "orange")


@dataclass(frozen=True)
class Case:
    """One run: what is trained, and how it is made good or bad."""

    name: str
    character: Character
    seed: int
    rate: float = 5e-3
    pictures: int = PICTURES
    repeats: int = 2
    epochs: int = 8
    regular: bool = True
    expected: str = "sound"  # sound, broken, undertrained


def cases() -> list[Case]:
    """Both characters under each of six ways of training; those of `later` are of other seeds, and
    prove what was chosen by looking at the others.
    """
    found = []
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        ("sound", {}),
        ("slow", {"rate": 5e-4, "expected": "undertrained"}),
        ("broken", {"rate": 4e-2, "epochs": 4, "expected": "broken"}),
        ("few", {"pictures": 6, "repeats": 6}),
        ("alone", {"regular": False, "epochs": 16}),
        ("high", {"rate": 1e-2}),
        ("again", {}),
        ("later", {}),
        ("later-alone", {"regular": False, "epochs": 16}),
        ("later-high", {"rate": 1e-2}),
    )
    for seed, (way, more) in enumerate(ways):
        for at, who in enumerate((ZWX, KVO)):
            found.append(Case(f"{who.trigger}-{way}", who, 100 + 10 * seed + at, **more))
    return found


def scene_of(who: Character, background: str, size: str, position: str) -> Scene:
    return Scene(background, (Thing(who.kind, who.colour, size, position),))


def caption_of(who: Character, scene: Scene) -> str:
    """As the scene's, but with the trigger for the thing."""
    thing = scene.things[0]
    words = " ".join(word for word in (thing.size, who.trigger) if word)
    where = f" on the {thing.position}" if thing.position else ""
    return f"{words}{where}, {scene.caption.rpartition(', ')[2]}"


def own_pictures(case: Case, count: int, first: int) -> Iterator[tuple[str, Scene, int]]:
    for number in range(first, first + count):
        rng = random.Random(f"{case.name} {case.seed} {number}")
        background = CHARACTER_BACKGROUNDS[number % len(CHARACTER_BACKGROUNDS)]
        size, position = rng.choice(("", "big", "big", "small")), rng.choice(("", "left", "right"))
        scene = scene_of(case.character, background, size, position)
        yield caption_of(case.character, scene), scene, 1000 * case.seed + number


def draw_into(folder: Path, wanted: Iterator[tuple[str, Scene, int]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (caption, scene, seed) in enumerate(wanted):
        draw(scene, seed=seed).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(caption + "\n", encoding="utf-8")


def is_it(who: Character, scene: Scene) -> bool:
    return any((thing.kind, thing.colour) == (who.kind, who.colour) for thing in scene.things)


def others(who: Character, count: int, first: int) -> list[Scene]:
    """Scenes of one thing that is not the character."""
    found: list[Scene] = []
    while len(found) < count:
        scene, first = any_scene(first), first + 1
        if len(scene.things) == 1 and not scene.outlined and not is_it(who, scene):
            found.append(scene)
    return found


def prepare(case: Case, project: Path) -> Path:
    """Pictures and recipe of a case."""
    data, who = project / "datasets" / case.name, case.character
    draw_into(data / f"{case.repeats}_{who.trigger}", own_pictures(case, case.pictures, 0))
    draw_into(project / "held" / case.name, own_pictures(case, HELD, 500))
    regular = ((s.caption, s, 9_000_000 + n) for n, s in enumerate(others(who, REGULAR, 9_000_000)))
    if case.regular:
        draw_into(project / "datasets" / f"{case.name}-reg" / "1_other", regular)
    text = (ROOT / "recipes" / "demo.toml").read_text(encoding="utf-8").split("[sample]")[0]
    changes = {
        '"demo"': f'"{case.name}"',
        '"zwx"': f'"{who.trigger}"',
        "recipes/demo/base": str(ROOT / "recipes" / "demo" / "base"),
        "datasets/demo": f"datasets/{case.name}",
        "learning_rate     = 5e-3": f"learning_rate     = {case.rate}",
        "text_encoder_lr   = 2e-3": f"text_encoder_lr   = {case.rate * 0.4}",
        "max_train_epochs  = 14": f"max_train_epochs  = {case.epochs}",
        "save_every_n_epochs = 7": f"save_every_n_epochs = {case.epochs // CHECKPOINTS}",
        "seed              = 42": f"seed              = {case.seed}",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    lines = [one for one in text.splitlines() if case.regular or not one.startswith("reg_path")]
    prompts = [caption_of(who, scene_of(who, *scene)) for scene in LOOKED_AT]
    prompts += [scene.caption for scene in others(who, CONTROLS, 5_000_000)]
    sample = f"[sample]\nprompts = {json.dumps(prompts)}\nwidth = 64\nheight = 64\nsteps = 16\n"
    recipe = project / "recipes" / f"{case.name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    end = "scale = 4.0\nseed = 42\n[launch]\nnum_cpu_threads = 1\n"
    recipe.write_text("\n".join(lines) + f"\n{sample}{end}", encoding="utf-8")
    return recipe


def lorakit(project: Path, *words: str) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "lorakit", *words],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def truths(case: Case, run_dir: Path, cells: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Of each cell, as shares: asked and there, others obeyed, there unasked. The recogniser's own
    certainty counts, not only what it holds likeliest.
    """
    import torch
    from recognise import GROUNDS, HUES, KINDS, as_pixels, load_judge

    from lorakit.embedded.drawing.generate import alike, open_studio
    from lorakit.sheet.source import read_source

    torch.set_num_threads(1)
    source = read_source(run_dir)
    studio = open_studio({"family": source.family, "options": dict(source.options)})
    judge, who = load_judge(ROOT / "recipes" / "demo" / "judge.safetensors"), case.character
    asked = [scene_of(who, *one) for one in zip(BACKGROUNDS, SIZES, POSITIONS, strict=True)]
    wanted = [(caption_of(who, scene), scene) for scene in asked]
    wanted += [(scene.caption, scene) for scene in others(who, TRUTH_OTHERS, 7_000_000)]
    size = {"width": 64, "height": 64, "steps": TRUTH_STEPS, "scale": TRUTH_SCALE}
    jobs = [{"prompt": words, "seed": 400_000 + n, **size} for n, (words, _) in enumerate(wanted)]
    found = []
    for cell in cells:
        with studio.wearing((str(run_dir / "output" / cell["checkpoint"]), cell["strength"])):
            drawn = [picture for group in alike(jobs, 24) for picture in studio.draw(group)]
        with torch.no_grad():
            kinds, hues, grounds = (part.softmax(1).tolist() for part in judge(as_pixels(drawn)))
        share = [
            [
                kinds[at][KINDS.index(scene.things[0].kind)],
                hues[at][HUES.index(scene.things[0].colour)],
                grounds[at][GROUNDS.index(scene.background)],
            ]
            for at, (_, scene) in enumerate(wanted)
        ]
        ours, rest = range(len(asked)), range(len(asked), len(wanted))
        kind, hue = KINDS.index(who.kind), HUES.index(who.colour)
        there = [
            kinds[at][kind] * (hues[at][hue] if who.colour else 1.0) for at in range(len(kinds))
        ]
        found.append(
            {
                "asked": fmean(there[at] for at in ours),
                "obeyed": fmean(fmean(share[at]) for at in rest),
                "unasked": fmean(there[at] for at in rest),
            }
        )
    return found


def work(case: Case, project: Path) -> dict[str, Any]:
    """One case from its pictures to its line."""
    recipe, clock = prepare(case, project), [time.monotonic()]
    runs = project / "runs" / case.name
    if not list(runs.glob("*/output/" + case.name + ".safetensors")):
        lorakit(project, "train", str(recipe.relative_to(project)))
    clock.append(time.monotonic())
    run_dir = max(path.parents[1] for path in runs.glob(f"*/output/{case.name}.safetensors"))
    name = f"{case.name}/{run_dir.name}"
    strengths = ["--strengths", ",".join(map(str, STRENGTHS))]
    words = ["--held", f"held/{case.name}", *strengths]
    answer = json.loads(lorakit(project, "judge", name, *words, "--json"))
    clock.append(time.monotonic())
    cells = answer["cells"]
    drawn = [c for c in cells if case.expected != "broken" or c["strength"] == 1.0]
    for cell, truth in zip(drawn, truths(case, run_dir, drawn), strict=True):
        cell["truth"] = {key: round(value, 4) for key, value in truth.items()}
    clock.append(time.monotonic())
    seconds = [round(after - before, 1) for before, after in pairwise(clock)]
    return {
        "name": case.name,
        "expected": case.expected,
        "seconds": seconds,
        "notes": answer.get("notes", []),
        "reason": answer.get("reason", ""),
        "cells": cells,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where runs and lines are kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of these runs only")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.work.resolve() / "lines.jsonl"
    there = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for case in cases():
        if case.name in {line["name"] for line in there} or (
            args.only and case.name not in args.only
        ):
            continue
        try:
            line = work(case, args.work.resolve())
        except subprocess.CalledProcessError as error:
            print(f"{case.name}: {error.stderr}", file=sys.stderr, flush=True)
            continue
        with path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        print(case.name, line["seconds"], line["reason"], *line["notes"], flush=True)


if __name__ == "__main__":
    main()
