"""May pictures rank what losses do not? Five rules without a model, tried on the runs of
tools/prove_judge.py and held against the same truth; docs/judge.md has what came out.

    python tools/judge_pictures.py FOLDER [--only NAME ...]

Draws four prompts with the trigger at three seeds and eight without at every cell (two minutes of
one core a run, kept in FOLDER/pictures), then prints what each rule loses. Prompts and noise are
others than the truth's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from judge_table import by_chance, truth_of
from PIL import Image
from prove_judge import LOOKED_AT, Case, caption_of, cases, others, scene_of

SEEDS, OTHERS, SIDE, LONGEST, DRAWS = 3, 8, 16, 6, 1000
ASKED = len(LOOKED_AT) * SEEDS
CHANCE = np.random.default_rng(3)
BY_PROMPT = (
    CHANCE.integers(0, len(LOOKED_AT), (DRAWS, len(LOOKED_AT)))[:, :, None] * SEEDS
    + np.arange(SEEDS)
).reshape(DRAWS, ASKED)
BY_OTHER = CHANCE.integers(0, OTHERS, (DRAWS, OTHERS))
Cell = dict[str, Any]
Mean = Callable[[Any, Any], Any]


def draw(case: Case, run: Path, cells: Sequence[Cell], kept: Path) -> None:
    """Pixels and latents of the base and of every cell."""
    import torch

    from lorakit.embedded.drawing.generate import alike, open_studio
    from lorakit.embedded.drawing.picture import pictures
    from lorakit.sheet.source import read_source

    torch.set_num_threads(1)
    source, who = read_source(run), case.character
    studio = open_studio({"family": source.family, "options": dict(source.options)})
    size = {"width": 64, "height": 64, "steps": 8, "scale": 4.0}
    asked = [caption_of(who, scene_of(who, *one)) for one in LOOKED_AT]
    plain = [scene.caption for scene in others(who, OTHERS, 5_000_000)]
    jobs = [{"prompt": one, "seed": 1000 + n, **size} for one in asked for n in range(SEEDS)]
    jobs += [{"prompt": one, "seed": 2000 + n, **size} for n, one in enumerate(plain)]
    found = {}
    worn = [(), *([(str(run / "output" / c["checkpoint"]), c["strength"])] for c in cells)]
    for number, loras in enumerate(worn):
        with studio.wearing(*loras), torch.inference_mode():
            latents = torch.cat([studio.latents(group) for group in alike(jobs, 24)])
            found[f"latents {number}"] = latents.float().cpu().numpy()
            drawn = pictures(studio.base, studio.vae, latents)
            found[f"pixels {number}"] = np.stack([np.asarray(one) for one in drawn])
    kept.parent.mkdir(exist_ok=True)
    np.savez_compressed(kept, **found)


def small(pixels: Any) -> Any:
    step = pixels.shape[1] // SIDE
    parts = pixels.astype(np.float32).reshape(len(pixels), SIDE, step, SIDE, step, 3) / 255
    return parts.mean(axis=(2, 4))


def apart(one: Any, other: Any) -> Any:
    return np.sqrt(((one - other) ** 2).reshape(len(one), -1).mean(axis=1))


def measure(cells: Sequence[Cell], kept: Path, trained: Path) -> None:
    """Into each cell how far its pictures are from the base's, and the nearest training picture."""
    found = np.load(kept)
    base, own = small(found["pixels 0"]), found["latents 0"]
    files = sorted(trained.rglob("*.png"))
    known = small(np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]))
    for number, cell in enumerate(cells, 1):
        pixels, latents = small(found[f"pixels {number}"]), found[f"latents {number}"]
        moved, far = apart(pixels, base), apart(latents, own)
        cell |= {"asked": moved[:ASKED], "others": moved[ASKED:]}
        cell |= {"asked far": far[:ASKED], "others far": far[ASKED:]}
        cell["near"] = np.array([apart(known, one[None]).min() for one in pixels[:ASKED]])


def rules() -> dict[str, Callable[[Cell, Mean], Any]]:
    """The more the better; `mean` is of all pictures, or of each draw of a bootstrap."""
    return {
        "ratio": lambda c, mean: np.log(mean(c, "asked")) - np.log(mean(c, "others")),
        "difference": lambda c, mean: mean(c, "asked") - mean(c, "others"),
        "difference in latents": lambda c, mean: mean(c, "asked far") - mean(c, "others far"),
        "nearness": lambda c, mean: -mean(c, "near") - mean(c, "others"),
    }


def whole(cell: Cell, key: str) -> Any:
    return cell[key].mean()


def drawn(cell: Cell, key: str) -> Any:
    places = BY_OTHER if key.startswith("others") else BY_PROMPT
    return cell[key][places].mean(axis=1)


def chosen(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """By each rule the single pick and the list, not told apart from it and at most six."""
    able = [one for one in cells if one["verdict"] != "broken"]
    losses = [one for one in able if one["verdict"] == "listed"]
    found = {"losses: list": losses}
    for word, rule in rules().items():
        ranked = sorted(able, key=lambda one: rule(one, whole), reverse=True)
        best = rule(ranked[0], drawn)
        near = [one for one in ranked if np.percentile(best - rule(one, drawn), 2.5) <= 0]
        first = max(losses, key=lambda one: rule(one, whole))
        found |= {f"{word}: pick": ranked[:1], f"{word}: list": near[:LONGEST] or ranked[:1]}
        found[f"losses' list, then {word}: pick"] = [first]
        if word == "difference":
            rest = [one for one in ranked if one not in losses]
            found["losses' list, filled to six"] = losses + rest[: max(0, LONGEST - len(losses))]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    args = parser.parse_args()
    lost: dict[str, list[float]] = {}
    known = {case.name: case for case in cases()}
    for line in map(json.loads, (args.folder / "lines.jsonl").read_text().splitlines()):
        name, cells = line["name"], line["cells"]
        if line["expected"] == "broken" or (args.only and name not in args.only):
            continue
        kept, run = (
            args.folder / "pictures" / f"{name}.npz",
            next((args.folder / "runs" / name).iterdir()),
        )
        if not kept.exists():
            draw(known[name], run, cells, kept)
        measure(cells, kept, args.folder / "datasets" / name)
        values = [truth_of(one) for one in cells]
        for word, some in chosen(cells).items():
            lost.setdefault(word, []).append(max(values) - max(map(truth_of, some)))
        lost.setdefault("six by chance", []).append(max(values) - by_chance(values, LONGEST))
    for word, each in lost.items():
        print(
            f"{word:42} mean {fmean(each):.3f}, worst {max(each):.3f}", *map("{:.3f}".format, each)
        )


if __name__ == "__main__":
    main()
