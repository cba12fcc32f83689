"""How long one waits for the command line: each command against `python -c pass`, interleaved,
medians.

    python tools/bench_cli.py [--runs 7]
    python tools/bench_cli.py --sweeps      # the table of 1,000 records, and submitting 100 recipes

Prints seconds on top of the bare interpreter beside the aim, and what a plan of ten thousand images
costs. A stand-in takes what is submitted to Slurm; every recipe is planned before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

AIMS = {"--help": 0.15, "plan, 100 images": 0.35, "plan, 10,000 images": 3.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--sweeps", action="store_true")
    args = parser.parse_args()
    if args.sweeps:
        bench_sweeps(args.runs)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cases = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "--help": [sys.executable, "-m", "lorakit", "--help"],
            "plan, 100 images": [
                sys.executable,
                "-m",
                "lorakit",
                "plan",
                str(project(root / "small", 100)),
            ],
            "plan, 10,000 images": [
                sys.executable,
                "-m",
                "lorakit",
                "plan",
                str(project(root / "large", 10_000)),
            ],
        }
        times: dict[str, list[float]] = {name: [] for name in cases}
        for turn in range(args.runs + 1):
            for name, argv in cases.items():
                if name == "plan, 10,000 images" and turn > 3:
                    continue
                seconds = timed(argv)
                if turn:  # the first turn warms the disk's cache
                    times[name].append(seconds)
    base = statistics.median(times["python -c pass"])
    print(f"{'command':<22}{'median s':>10}{'on top':>9}{'ratio':>8}{'aim':>7}")
    for name, taken in times.items():
        median = statistics.median(taken)
        aim = f"{AIMS[name]:.2f}" if name in AIMS else ""
        print(f"{name:<22}{median:>10.3f}{median - base:>9.3f}{median / base:>7.1f}x{aim:>7}")


def bench_sweeps(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        recipe = project(root, 20)
        recipe.write_text(f'{recipe.read_text()}[train]\noptimizer_type = "AdamW"\n')
        for name, said in {"sbatch": "41", "squeue": ""}.items():
            (root / name).write_text(f"#!/bin/sh\necho {said}\n")
            (root / name).chmod(0o755)
        os.chdir(root)
        os.environ["PATH"] = f"{root}:{os.environ['PATH']}"
        lorakit = [sys.executable, "-m", "lorakit", "sweep"]
        seconds: dict[str, list[float]] = {"sweep table, 1,000": [], "submit 100 recipes": []}
        for count in (100, 1000):
            seeds = ",".join(map(str, range(count)))
            words = ["maya", "--vary", f"seed={seeds}", "--name", f"of{count}"]
            timed([*lorakit, *words], check=True)
        for number in range(1, 1001):
            left_run(root, f"of1000-{number:04d}")
        used: dict[str, list[float]] = {name: [] for name in seconds}
        for turn in range(runs + 1):
            shutil.rmtree(root / "sweeps" / "of100" / "slurm", ignore_errors=True)
            cases = (["table", "of1000"], ["run", "of100", "--on", "slurm"])
            for name, case in zip(seconds, cases, strict=True):
                before = os.times()
                wall = timed([*lorakit, *case], check=True)
                after = os.times()
                processor = after.children_user + after.children_system
                processor -= before.children_user + before.children_system
                if turn:
                    seconds[name].append(wall)
                    used[name].append(processor)
    print(f"{'command':<22}{'median s':>10}{'processor s':>13}{'aim':>7}")
    for name, aim in {"sweep table, 1,000": 1.0, "submit 100 recipes": 5.0}.items():
        wall, processor = statistics.median(seconds[name]), statistics.median(used[name])
        print(f"{name:<22}{wall:>10.3f}{processor:>13.3f}{aim:>7.2f}")


def left_run(root: Path, name: str) -> None:
    """What a run of sixty settings leaves, as far as a table reads it."""
    run = root / "runs" / name / "20260101-120000"
    run.mkdir(parents=True)
    settings = {f"key_{number}": {"value": number, "source": "preset"} for number in range(60)}
    record = {
        "schema": 1,
        "name": name,
        "state": "done",
        "settings": {"train": settings},
        "steps": {"total": 100},
        "outcome": {"step": 100, "total": 100, "loss": 0.1},
    }
    (run / "record.json").write_text(json.dumps(record))


def timed(argv: list[str], *, check: bool = False) -> float:
    started = time.perf_counter()
    subprocess.run(
        argv,
        check=check,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    return time.perf_counter() - started


def project(root: Path, count: int) -> Path:
    """A recipe and a dataset of `count` tiny PNGs of many shapes; their pixels are never read by a
    plan.
    """
    folder = root / "datasets" / "maya" / "10_maya_char"
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:05d}.png").write_bytes(
            png(512 + 8 * (number % 97), 512 + 8 * (number % 89))
        )
        (folder / f"{number:05d}.txt").write_text(f"maya_char, picture {number}\n")
    recipe = root / "recipes" / "maya.toml"
    recipe.parent.mkdir()
    recipe.write_text(
        f'preset = "sd15"\nname = "maya"\ntrigger = "maya_char"\n[model]\nbase = "{base(root)}"\n'
        '[dataset]\npath = "datasets/maya"\n[sample]\nprompts = ["{trigger}, portrait"]\n'
    )
    return recipe


def base(root: Path) -> Path:
    """A safetensors file whose header reads like SD1.5; the data is a hole."""
    header = (
        b'{"model.diffusion_model.input_blocks.0.0.weight":{"dtype":"F16","shape":[320,4,3,3],"data_offsets":[0,23040]},'
        b'"first_stage_model.decoder.conv_in.weight":{"dtype":"F16","shape":[512,4,3,3],"data_offsets":[23040,59904]},'
        b'"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight":'
        b'{"dtype":"F16","shape":[49408,768],"data_offsets":[59904,75950592]}}'
    )
    path = root / "base.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + 75950592)
    return path


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
