"""Side by side: the real sd-scripts and the embedded trainer, same recipe, same random SD1.5
weights, runs in turn, medians and ratios.

    python tools/bench_trainers.py [--row unet-64 ...] [--runs 3] [--steps 4]

For every row: the whole run from start to exit, start to the end of the first step, a later step
(median of all but the first two), and the peak of resident memory. Take the ratios; the seconds
belong to the machine and to what else runs on it. The last lines say what the imports alone cost.
On a card: tools/bench_gpu.py.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import toml  # noqa: E402

from lorakit.families import FAMILIES  # noqa: E402 -- from a plain checkout, too
from lorakit.rehearse import standin  # noqa: E402 -- from a plain checkout, too
from lorakit.trainers import tokenizers  # noqa: E402 -- from a plain checkout, too
from lorakit.trainers.kohya.locate import require  # noqa: E402 -- from a plain checkout, too

STEP = re.compile(rb"steps:\s+\d+%.*?\| (\d+)/(\d+) \[")
COMMON: dict[str, Any] = {
    "seed": 1,
    "network_module": "networks.lora",
    "network_dim": 4,
    "network_alpha": 2,
    "learning_rate": 1e-4,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "output_name": "lora",
    "cache_latents": True,
    "max_data_loader_n_workers": 0,
    "mixed_precision": "no",
}
SCRIPT = "train_network.py"


@dataclass(frozen=True)
class Row:
    """One line of the table: a size, and how the two recipes differ, if they do."""

    what: str
    pixels: int
    both: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)


UNET = {"network_train_unet_only": True}
LIKE = "U-Net only, sdpa, {} px (like for like)"
DEFAULT = "sd-scripts' default against U-Net only with cached text, {} px"
ROWS = {
    "text-64": Row("U-Net and text encoder, 64 px", 64, {"sdpa": True}),
    "unet-64": Row(LIKE.format(64), 64, {**UNET, "sdpa": True}),
    "unet-256": Row(LIKE.format(256), 256, {**UNET, "sdpa": True}),
    "default-64": Row(DEFAULT.format(64), 64, {}, ours=UNET),
    "default-256": Row(DEFAULT.format(256), 256, {}, ours=UNET),
}


@dataclass(frozen=True)
class Run:
    whole_s: float
    first_s: float
    step_s: float
    # all its threads and children, in user and system: hardly moved by what else the machine does
    cpu_s: float
    peak_gb: float


def argv_of(who: str) -> list[str]:
    if who == "theirs":
        place = require()
        return [str(place.python), str(place.directory / SCRIPT)]
    return [sys.executable, str(ROOT / "lorakit" / "embedded" / SCRIPT)]


def measure(argv: list[str], cwd: Path, *, threads: int) -> Run:
    """One run, watched: the progress bar is the clock, the kernel counts the memory."""
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    start = time.monotonic()
    child = subprocess.Popen(
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    times: dict[int, float] = {}
    log = b""
    assert child.stdout is not None
    try:
        while chunk := os.read(child.stdout.fileno(), 1 << 16):
            log += chunk
            now = time.monotonic() - start
            for found in STEP.finditer(log[-4000:]):
                times.setdefault(int(found[1]), now)
    except BaseException:
        child.kill()  # a bench that is stopped leaves nothing running
        raise
    _, status, usage = os.wait4(child.pid, 0)
    whole = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    (cwd / "log.txt").write_bytes(log)
    if child.returncode or 1 not in times:
        raise SystemExit(
            f"{' '.join(argv)}\nended with"
            f" {child.returncode}:\n{log[-3000:].decode(errors='replace')}"
        )
    later = [number for number in sorted(times) if number > 2 and number - 1 in times]
    steps = [times[number] - times[number - 1] for number in later]
    step = statistics.median(steps) if steps else float("nan")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(whole, times[1], step, cpu, usage.ru_maxrss / 1e6)


def prepare(folder: Path, row: Row, who: str, steps: int, weights: Mapping[str, Path]) -> list[str]:
    options = {
        **COMMON,
        **row.both,
        **(row.ours if who == "ours" else {}),
        "max_train_steps": steps,
        "output_dir": str(folder / "out"),
        "pretrained_model_name_or_path": str(weights["base"]),
    }
    if who == "theirs":
        options["tokenizer_cache_dir"] = str(tokenizers.ensure(FAMILIES["sd15"].tokenizers))
    folder.mkdir(parents=True)
    (folder / "train.toml").write_text(toml.dumps(options), encoding="utf-8")
    images = str(folder.parent / f"images-{row.pixels}")
    subset = {"image_dir": images, "num_repeats": 10, "caption_extension": ".txt"}
    dataset = {"datasets": [{"resolution": row.pixels, "batch_size": 1, "subsets": [subset]}]}
    (folder / "dataset.toml").write_text(toml.dumps(dataset), encoding="utf-8")
    config = ["--config_file", str(folder / "train.toml")]
    return [*argv_of(who), *config, "--dataset_config", str(folder / "dataset.toml")]


def draw_images(folder: Path, pixels: int) -> None:
    """Two pictures with a caption each, so that no trainer can be lucky with a single one."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((pixels, pixels), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png")
        caption = f"a red fox, number {number}, in the snow"
        (folder / f"{number}.txt").write_text(caption, encoding="utf-8")


def imports() -> dict[str, tuple[float, float]]:
    """Seconds and gigabytes of importing each trainer, best of three."""
    place = require()
    code = {
        "theirs": f"import sys; sys.path.insert(0, {str(place.directory)!r}); import train_network",
        "ours": (
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); import lorakit.embedded.training.loop"
        ),
    }
    python = {"theirs": str(place.python), "ours": sys.executable}
    found: dict[str, tuple[float, float]] = {}
    for _ in range(3):
        for who, program in code.items():
            start = time.monotonic()
            child = subprocess.Popen(
                [python[who], "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, _, usage = os.wait4(child.pid, 0)
            child.returncode = 0
            found[who] = min(
                found.get(who, (1e9, 0.0)), (time.monotonic() - start, usage.ru_maxrss / 1e6)
            )
    return found


def table(name: str, row: Row, runs: Mapping[str, list[Run]]) -> None:
    print(f"\n{name}: {row.what}; medians of {len(runs['ours'])} interleaved runs")
    print(f"{'':22}{'sd-scripts':>12}{'embedded':>12}{'ratio':>8}")
    for key, title in (
        ("whole_s", "whole run, s"),
        ("first_s", "to first step, s"),
        ("step_s", "a later step, s"),
        ("cpu_s", "processor time, s"),
        ("peak_gb", "peak memory, GB"),
    ):
        theirs, ours = (
            statistics.median(getattr(run, key) for run in runs[who]) for who in ("theirs", "ours")
        )
        ratio = statistics.median(
            getattr(b, key) / getattr(a, key)
            for a, b in zip(runs["theirs"], runs["ours"], strict=True)
        )
        print(f"{title:22}{theirs:12.2f}{ours:12.2f}{ratio:8.2f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--row", action="append", choices=[*ROWS])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="for both; on a busy machine take 1 and read the processor time",
    )
    parser.add_argument("--no-imports", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="bench-") as spare:
        weights = standin.weights("sd15", lambda text: print(text, flush=True))
        for name in options.row or ROWS:
            row = ROWS[name]
            draw_images(Path(spare) / name / f"images-{row.pixels}", row.pixels)
            runs: dict[str, list[Run]] = {"theirs": [], "ours": []}
            for number in range(options.runs):
                for who in ("theirs", "ours"):
                    folder = Path(spare) / name / f"{who}-{number}"
                    argv = prepare(folder, row, who, options.steps, weights)
                    runs[who].append(measure(argv, folder, threads=options.threads))
                    print(f"  {who} {number}: {runs[who][-1]}", file=sys.stderr, flush=True)
            table(name, row, runs)
    if not options.no_imports:
        for who, (seconds, memory) in imports().items():
            print(f"imports, {who}: {seconds:.1f} s, {memory:.2f} GB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
