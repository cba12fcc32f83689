"""Is `lorakit judge` right? Runs of two characters on the toy base, judged from their losses, held
against a truth that the judge never sees: what a recogniser finds on drawn pictures.

    python tools/prove_judge.py --work FOLDER           train, judge, draw, recognise: about 40
                                                        minutes of one core; goes on where it was
    python tools/prove_judge.py --work FOLDER --report  the table, and the figure in FOLDER

Truth of a cell (checkpoint at a strength), from 0 to 2: how often the character is there where it
was asked for, plus how much of other prompts is obeyed, minus how often the character is there
unasked. The regret of a choice is the best cell's truth minus that of the choice.

One thing in lorakit/judge was chosen by looking at runs of this kind: that the least noisy timestep
is left out and the others weigh alike. The runs in DEVELOPED were there when that was decided; the
others are the test.
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

from lorakit.judge import score  # noqa: E402

PICTURES, HELD, REGULAR = 18, 10, 72
STRENGTHS = (0.4, 0.6, 0.8, 1.0, 1.2)
CONTROLS = 12
TRUTH_STEPS, TRUTH_SCALE, TRUTH_OTHERS = 8, 4.0, 10
CHECKPOINTS = 4
DEVELOPED = (
    "zwx-sound",
    "kvo-sound",
    "zwx-slow",
    "kvo-slow",
    "zwx-broken",
    "kvo-broken",
    "zwx-few",
)
BACKGROUNDS = ("sea", "black", "white", "blue", "night", "meadow", "green", "yellow")
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
    """Both characters under each of six ways of training; two sound ones more, of other seeds."""
    found = []
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        ("sound", {}),
        ("slow", {"rate": 5e-4, "expected": "undertrained"}),
        ("broken", {"rate": 4e-2, "epochs": 4, "expected": "broken"}),
        ("few", {"pictures": 6, "repeats": 6}),
        ("alone", {"regular": False, "epochs": 16}),
        ("high", {"rate": 1e-2}),
        ("again", {}),
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
    controls = [scene.caption for scene in others(who, CONTROLS, 5_000_000)]
    sample = f"[sample]\nprompts = {json.dumps(controls)}\nwidth = 64\nheight = 64\nsteps = 16\n"
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
        with studio.wearing(str(run_dir / "output" / cell["checkpoint"]), cell["strength"]):
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
    answer = json.loads(
        lorakit(project, "judge", name, "--held", f"held/{case.name}", *strengths, "--json")
    )
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


# -- what came out


def truth_of(cell: dict[str, Any]) -> float:
    truth = cell["truth"]
    return float(truth["asked"] + truth["obeyed"] - truth["unasked"])


@dataclass(frozen=True)
class Regrets:
    """Of one live run; each against its best cell."""

    name: str
    length: int
    shortlist: float  # of the best cell in the shortlist
    lowest: float  # of the cell with the lowest held-out loss
    least: float  # of the listed cell with the least drift
    last: float  # of the last checkpoint at 1.0
    last_all: float  # of the best strength of the last checkpoint
    five: float  # of the best of five cells by chance, on average
    chance: float  # of the best of as many cells by chance as the shortlist has


def by_chance(values: Sequence[float], count: int) -> float:
    """The expected best of `count` of these, without drawing one twice."""
    ranked, left, total = sorted(values, reverse=True), 1.0, 0.0
    for place, value in enumerate(ranked):
        rest = len(ranked) - place
        share = min(1.0, count / rest)
        total += left * share * value
        left *= 1 - share
    return total


def regrets(run: dict[str, Any]) -> Regrets:
    cells = run["cells"]
    values = [truth_of(cell) for cell in cells]
    best = max(values)
    chosen = [cell for cell in cells if cell["verdict"] == "listed"]
    listed = [truth_of(cell) for cell in chosen]
    lowest = min(chosen, key=lambda cell: float(cell["held"]))
    least = min(chosen, key=lambda cell: float(cell["drift"]))
    last = [cell for cell in cells if "final" in cell["label"]]
    return Regrets(
        run["name"],
        len(listed),
        best - max(listed),
        best - truth_of(lowest),
        best - truth_of(least),
        best - next(truth_of(cell) for cell in last if cell["strength"] == 1.0),
        best - max(map(truth_of, last)),
        best - by_chance(values, 5),
        best - by_chance(values, len(listed)),
    )


def covered(results: Path) -> tuple[float, float]:
    """Of the judge's own lines about many held-out pictures: how often an interval from ten of them
    holds what all say, of the loss of a cell, and of its distance from the lowest.
    """
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    base = next(line for line in lines if line["cell"] == "base")["held"]
    cells = [score.ratios(line["held"], base) for line in lines if line["cell"] != "base"]
    lowest, chance = min(cells, key=fmean), random.Random(1)
    hits: tuple[list[bool], list[bool]] = ([], [])
    for _ in range(100):
        drawn = chance.sample(range(len(base)), HELD)
        for cell in cells:
            for values, seen in zip((cell, _apart(cell, lowest)), hits, strict=True):
                if any(values):
                    low, high = score.interval([values[at] for at in drawn])
                    seen.append(low <= fmean(values) <= high)
    return fmean(hits[0]), fmean(hits[1])


def _apart(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


HEADS = "run | listed | best listed | lowest loss | least drift | last, 1.0 | last | five | as many"


def report(lines: Sequence[dict[str, Any]]) -> str:
    text = [f"| {HEADS} |", "|---|---|---|---|---|---|---|---|---|"]
    for when, wanted in (("development", True), ("test", False)):
        live = [run for run in lines if run["expected"] != "broken"]
        rows = [regrets(run) for run in live if (run["name"] in DEVELOPED) == wanted]
        for row in rows:
            shown = " | ".join(f"{value:.3f}" for value in list(vars(row).values())[2:])
            text.append(f"| {row.name} | {row.length} | {shown} |")
        if rows:
            means = [fmean(vars(row)[key] for row in rows) for key in list(vars(rows[0]))[1:]]
            shown = " | ".join(f"**{value:.3f}**" for value in means[1:])
            text.append(f"| **{when}, mean of {len(rows)}** | **{means[0]:.1f}** | {shown} |")
            worst = max(row.shortlist for row in rows)
            text += [
                f"| {when}, worst | {max(row.length for row in rows)} | {worst:.3f} |" + " |" * 6
            ]
    tested = [regrets(run) for run in lines if not _known(run)]
    if len(tested) > 2:
        text += ["", f"Gains in the {len(tested)} runs of the test, 95 % intervals over runs:", ""]
        text += [
            _gain(tested, "best listed over five cells by chance", "five", "shortlist"),
            _gain(tested, "best listed over as many by chance", "chance", "shortlist"),
            _gain(
                tested, "best listed over the last checkpoint's strengths", "last_all", "shortlist"
            ),
            _gain(tested, "lowest loss over last at 1.0", "last", "lowest"),
            _gain(tested, "least drift over last at 1.0", "last", "least"),
        ]
    return "\n".join([*text, "", *map(_verdicts, lines)]) + "\n"


def _known(run: dict[str, Any]) -> bool:
    return run["expected"] == "broken" or run["name"] in DEVELOPED


def _gain(rows: Sequence[Regrets], words: str, than: str, of: str) -> str:
    gains = [vars(row)[than] - vars(row)[of] for row in rows]
    low, high = score.interval(gains)
    return f"- {words}: {fmean(gains):+.3f} ({low:+.3f} to {high:+.3f})"


def _verdicts(run: dict[str, Any]) -> str:
    broken = sum(cell["verdict"] == "broken" for cell in run["cells"])
    true = [truth_of(cell) for cell in run["cells"] if "truth" in cell]
    told = ", told to train longer" if any("Train longer" in one for one in run["notes"]) else ""
    span = f"truth {min(true):.2f} to {max(true):.2f}"
    cells = f"{broken} of {len(run['cells'])} cells named broken"
    return f"- {run['name']}, {run['expected']}: {cells}{told}; {span}"


def figure(lines: Sequence[dict[str, Any]]) -> str:
    """One row a live run: every cell at its regret, the listed ones filled, the last checkpoint at
    1.0 ringed.
    """
    live = [run for run in lines if run["expected"] != "broken"]
    left, width, step = 130, 560, 26
    span = max(max(map(truth_of, run["cells"])) - min(map(truth_of, run["cells"])) for run in live)
    height = 70 + step * len(live)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}"'
    out = [f'{head} font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%"']
    out[-1] += ' fill="#fff"/>'
    out.append(f'<text x="{left}" y="18">lost against the best cell of the run (of 2)</text>')
    for tick in range(int(span / 0.2) + 1):
        x = left + width * 0.2 * tick / span
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="28" y2="{height - 36}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{height - 22}" text-anchor="middle">{0.2 * tick:.1f}')
        out[-1] += "</text>"
    for row, run in enumerate(live):
        y = 42 + step * row
        out.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{run["name"]}</text>')
        best = max(map(truth_of, run["cells"]))
        for cell in sorted(run["cells"], key=lambda one: one["verdict"] == "listed"):
            x, listed = left + width * (best - truth_of(cell)) / span, cell["verdict"] == "listed"
            fill, r = ("#1467c8", 5.5) if listed else ("#b9bec7", 4)
            if "final" in cell["label"] and cell["strength"] == 1.0:
                out.append(f'<circle cx="{x:.1f}" cy="{y}" r="8.5" fill="none" stroke="#c2410c"')
                out[-1] += ' stroke-width="2"/>'
            out.append(f'<circle cx="{x:.1f}" cy="{y}" r="{r}" fill="{fill}"/>')
    words = "blue: the shortlist · grey: the other cells · ring: last checkpoint at 1.0"
    out.append(f'<text x="{left}" y="{height - 4}" fill="#444">{words}</text></svg>')
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="where runs and lines are kept")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="of these runs only")
    parser.add_argument(
        "--cover", type=Path, metavar="FILE", help="a run's judge/*.jsonl: do intervals cover?"
    )
    parser.add_argument("--report", action="store_true", help="of the lines that are there")
    args = parser.parse_args()
    if args.cover:
        own, apart = covered(args.cover)
        print(f"95 % intervals from {HELD} pictures hold: {own:.1%} of losses, {apart:.1%} apart")
        return
    args.work.mkdir(parents=True, exist_ok=True)
    path = args.work.resolve() / "lines.jsonl"
    there = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if args.report:
        print(report(there))
        (args.work / "judge-proof.svg").write_text(figure(there), encoding="utf-8")
        return
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
