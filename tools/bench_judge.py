"""What judging and drawing cost beside what they cannot do without: `judge` against the bare
forward passes that it announces, a sheet against a bare loop of steps and decoding. One process,
one warm base (the demo's), by turns; the median of the ratios. Exits 1 over budget.

    python tools/bench_judge.py [ROUNDS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from safetensors.torch import save_file

from lorakit.embedded.drawing import generate
from lorakit.embedded.drawing.picture import pictures
from lorakit.embedded.judging import measure
from lorakit.judge.make import PLACES, _passes

BASE = Path(__file__).resolve().parents[1] / "recipes" / "demo" / "base"
JUDGE_BUDGET, SHEET_BUDGET = 1.15, 1.10
HELD, CONTROLS, LORAS, STRENGTHS, RANK = 10, 12, 2, (0.4, 0.6, 0.8, 1.0, 1.2), 8
SHOT: dict[str, Any] = {"width": 64, "height": 64, "steps": 20, "scale": 4.0, "negative": ""}


def main() -> int:
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    began = time.perf_counter()
    origin = {"family": "sd15", "options": {"pretrained_model_name_or_path": str(BASE)}}
    studio = generate.open_studio(origin)
    print(f"the base opened in {time.perf_counter() - began:.2f} s, once for all of them")
    warm = [
        patch.object(room, "open_studio", lambda _order: studio) for room in (measure, generate)
    ]
    with tempfile.TemporaryDirectory() as folder, warm[0], warm[1]:
        work = Path(folder)
        loras = [lora(studio, work / f"{number}.safetensors", number) for number in range(LORAS)]
        judged = turns(rounds, *judge_and_bare(studio, {**origin, **judging(work, loras)}))
        drawn = turns(rounds, *sheet_and_bare(studio, {**origin, **drawing(work, loras)}, work))
    print(f"judge: {judged[0]:.3f} of its bare passes ({judged[1]:.2f} s), budget {JUDGE_BUDGET}")
    print(f"sheet: {drawn[0]:.3f} of a bare loop ({drawn[1]:.2f} s), budget {SHEET_BUDGET}")
    return int(judged[0] > JUDGE_BUDGET or drawn[0] > SHEET_BUDGET)


def turns(
    rounds: int, ours: Callable[[], object], bare: Callable[[], object]
) -> tuple[float, float]:
    """The median ratio of neighbours, and the median of the bare ones in seconds."""
    pairs = []
    for number in range(rounds + 1):
        pair = seconds(ours), seconds(bare)
        pairs += [pair] if number else []  # the first one warms up
        print(f"  {pair[0]:.2f} s against {pair[1]:.2f} s")
    return statistics.median(a / b for a, b in pairs), statistics.median(b for _, b in pairs)


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def lora(studio: generate.Studio, path: Path, number: int) -> str:
    """Of every attention layer of the denoiser, as kohya's usual one."""
    chance, found = torch.Generator().manual_seed(number), {}
    for name, layer in studio.layers.items():
        if name.startswith("lora_unet") and "_attn" in name and layer.weight.ndim == 2:
            up, down = layer.weight.shape
            found[f"{name}.lora_up.weight"] = torch.randn(up, RANK, generator=chance) * 0.01
            found[f"{name}.lora_down.weight"] = torch.randn(RANK, down, generator=chance)
            found[f"{name}.alpha"] = torch.tensor(float(RANK))
    save_file(found, path)
    return str(path)


def judging(work: Path, loras: list[str]) -> dict[str, Any]:
    size = {"size": [64, 64], "bucket": [64, 64], "scaled": [64, 64]}
    held = []
    for number in range(HELD):
        file = work / f"{number}.png"
        Image.new("RGB", (64, 64), (25 * number, 90, 140)).save(file)
        held.append({"file": str(file), "caption": f"zwx {number}", **size})
    kinds = {by: ["held", *(["train"] if by == 1.0 else []), "drawn"] for by in STRENGTHS}
    return {
        "seed": 15,
        "places": PLACES,
        "held": held,
        "train": held,
        "drawn": [{**SHOT, "prompt": f"a wall {n}", "seed": n} for n in range(CONTROLS)],
        "budget_s": None,
        "cells": [
            {"cell": f"{one} {by}", "lora": one, "strength": by, "kinds": kinds[by]}
            for one in loras
            for by in STRENGTHS
        ],
        "drawn_file": str(work / "drawn.safetensors"),
        "results": str(work / "results.jsonl"),
    }


def judge_and_bare(
    studio: generate.Studio, order: Mapping[str, Any]
) -> tuple[Callable[[], object], Callable[[], object]]:
    results, kept = Path(order["results"]), Path(order["drawn_file"])
    announced = _passes(dict(order))
    print(f"judge: {len(order['cells'])} cells, {announced:,} forward passes announced")
    batch = measure.AT_ONCE_TINY
    noisy, t = torch.randn(batch, *latent(studio)), torch.full((batch,), 400.0)
    text = studio.texts.of([f"zwx {number}" for number in range(batch)])

    def ours() -> None:
        kept.unlink(missing_ok=True)
        results.write_bytes(b"")
        measure.fill(order)

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(round(announced / batch)):
                studio.predict(noisy, t, text)

    return ours, bare


def latent(studio: generate.Studio) -> tuple[int, int, int]:
    side = 64 // studio.base.latent_step
    return studio.base.vae.config["latent_channels"], side, side


def drawing(work: Path, loras: list[str]) -> dict[str, Any]:
    def jobs(column: str) -> list[dict[str, Any]]:
        shots = [(row, seed) for row in range(4) for seed in range(4)]
        return [
            {**SHOT, "prompt": f"zwx {row}", "seed": seed, "file": f"{column}-{row}{seed}.png"}
            for row, seed in shots
        ]

    worn = [[], *([[one, 0.8]] for one in loras)]
    columns = [
        {"loras": pair, "pictures": jobs(str(work / f"c{n}"))} for n, pair in enumerate(worn)
    ]
    return {"columns": columns}


def sheet_and_bare(
    studio: generate.Studio, order: Mapping[str, Any], work: Path
) -> tuple[Callable[[], object], Callable[[], object]]:
    count = sum(len(column["pictures"]) for column in order["columns"])
    batch, steps = 16, SHOT["steps"]
    text = studio.texts.of([f"zwx {number}" for number in range(batch)])
    print(f"sheet: {count} pictures, {steps} steps each")

    def ours() -> None:
        for file in work.glob("c*.png"):
            file.unlink()
        with Path("/dev/null").open("w") as nowhere:
            told, sys.stdout = sys.stdout, nowhere
            generate.fill(order)
            sys.stdout = told

    def draw() -> None:
        x = torch.randn(batch, *latent(studio))
        for step in range(steps):
            t = torch.full((batch,), 981.0 - 50 * step)
            yes, no = (studio.predict(x, t, text) for _ in range(2))
            x = x - 0.05 * (no + 4.0 * (yes - no))
        pictures(studio.base, studio.vae, x)

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(count // batch):
                draw()

    return ours, bare


if __name__ == "__main__":
    sys.exit(main())
