"""The table of speeds on an NVIDIA card: sd-scripts and the embedded trainer, each by its own loop,
from the same TOML, on the same random full-size weights, one after the other.

    make bench-gpu                                    # or: python tools/bench_gpu.py
    python tools/bench_gpu.py --only sdxl-b1 flux-b1 --limit 120 --out figures.json

Per row: a steady step (median after warm-up; a step counts when its loss is read), how long the
card's kernels worked in one, the time to the first step and what 500 steps take with it, the most
memory that tensors held, and the share of the card's own peak, measured at the start. All answers
stand in --out as soon as they are there; what does not fit into the time limit is left out and
named. `--compiled` measures ours with torch_compile beside each row; it compiles before its first
step, so give it a longer --limit. `--cpu` runs both trainers' workers here, full-size weights on
pictures of 64 pixels and a FLUX of two blocks; `--tiny` does it at toy size, our trainer playing
both. Neither measures anything: they prove before a card is rented that the table will be made.
Needs a configured sd-scripts (docs/kohya.md); without one our column stands alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import toml
import torch
from bench_gpu_ground import card, pictures, weights

from lorakit.errors import LorakitError
from lorakit.files import write_atomic
from lorakit.machine import free_disk
from lorakit.trainers import tokenizers
from lorakit.trainers.kohya.locate import locate

WORKER = Path(__file__).with_name("bench_gpu_run.py")
LONG = 500  # steps of the run that people wait for
COMMON: dict[str, Any] = {
    "seed": 1,
    "network_module": "networks.lora",
    "network_dim": 32,
    "network_alpha": 16,
    "network_train_unet_only": True,
    "learning_rate": 1e-4,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "mixed_precision": "bf16",
    "save_precision": "bf16",
    "cache_latents": True,
    "sdpa": True,
    "max_data_loader_n_workers": 0,
    "output_name": "lora",
}
SDXL = {"no_half_vae": True, "cache_text_encoder_outputs": True}
SDXL_GC = {**SDXL, "gradient_checkpointing": True}
FLUX = {
    "network_module": "networks.lora_flux",
    "network_dim": 16,
    "network_alpha": 8,
    "cache_text_encoder_outputs": True,
    "guidance_scale": 1.0,
    "timestep_sampling": "flux_shift",
    "model_prediction_type": "raw",
    "t5xxl_max_token_length": 512,
    "gradient_checkpointing": True,
}


@dataclass(frozen=True)
class Row:
    """`tflop`: the arithmetic of a step without recomputation, frozen layers' input gradients and
    the low-rank factors; counted once on tensors without memory (2026-11).
    """

    title: str
    family: str
    pixels: int
    batch: int
    tflop: float
    steps: int = 30
    limit_s: float = 40.0  # of each trainer
    options: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    "sdxl-b1": Row("SDXL 1024 b1", "sdxl", 1024, 1, 14.6, options=SDXL),
    "sd15-b1": Row("SD1.5 512 b1", "sd15", 512, 1, 1.76, steps=60),
    "flux-b1": Row("FLUX 1024 b1", "flux", 1024, 1, 165, steps=14, options=FLUX),
    "sdxl-gc-b1": Row("SDXL 1024 b1, checkpointing", "sdxl", 1024, 1, 14.6, options=SDXL_GC),
    "sd15-b4": Row("SD1.5 512 b4", "sd15", 512, 4, 7.1, steps=50),
    "sdxl-b4": Row("SDXL 1024 b4", "sdxl", 1024, 4, 58.3, steps=20, options=SDXL),
    "flux-fp8-b1": Row(
        "FLUX 1024 b1, fp8_base", "flux", 1024, 1, 165, 14, options={**FLUX, "fp8_base": True}
    ),
}
USUAL = list(ROWS)
ROWS |= {  # ours alone, beside the row that each is compared with
    f"{name}-compiled": replace(
        row,
        title=f"{row.title}, torch_compile",
        limit_s=row.limit_s + 200,
        options={**row.options, "torch_compile": True},
    )
    for name, row in ROWS.items()
}


@dataclass
class Bench:
    given: argparse.Namespace
    work: Path
    begun: float = field(default_factory=time.monotonic)
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        return float(self.given.limit - (time.monotonic() - self.begun))

    def save(self) -> None:
        self.found["seconds"] = round(time.monotonic() - self.begun, 1)
        write_atomic(self.given.out, json.dumps(self.found, indent=1) + "\n")

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self.begun:5.0f} s] {text}", flush=True)


# -- runs


def job_of(bench: Bench, name: str, who: str, steps: int, limit_s: float) -> dict[str, Any]:
    row, tiny, on_cpu = ROWS[name], bench.given.tiny, bench.given.tiny or bench.given.cpu
    pixels = 64 if on_cpu else row.pixels
    folder = bench.work / f"{name}-{who}-{steps}"
    folder.mkdir()
    options = {**COMMON, **row.options, **weights(bench.work, row.family, tiny=tiny)}
    options |= {"max_train_steps": steps, "output_dir": str(folder / "out")}
    if who == "theirs" and not tiny:
        names = [*tokenizers.PADS, tokenizers.T5]
        options["tokenizer_cache_dir"] = str(tokenizers.ensure(names))
    elif row.family == "flux" and not tiny:
        from lorakit.rehearse.standin import t5_tokenizer

        options["tokenizer_cache_dir"] = str(t5_tokenizer())
    images = {"image_dir": str(pictures(bench.work, pixels)), "num_repeats": steps * row.batch}
    subset = {**images, "caption_extension": ".txt"}
    dataset = {"resolution": pixels, "batch_size": row.batch, "subsets": [subset]}
    (folder / "train.toml").write_text(toml.dumps(options), encoding="utf-8")
    (folder / "dataset.toml").write_text(toml.dumps({"datasets": [dataset]}), encoding="utf-8")
    place = None if tiny else locate()
    return {
        "who": "ours" if tiny else who,
        "family": row.family,
        "steps": steps,
        "train": str(folder / "train.toml"),
        "dataset": str(folder / "dataset.toml"),
        "answer": str(folder / "answer.json"),
        "log": str(folder / "log.txt"),
        "checkout": str(place.directory) if place else "",
        "python": str(place.python) if who == "theirs" and place else sys.executable,
        "tokens": 16 if tiny else 512,
        "fp8": bool(row.options.get("fp8_base")),
        "profile": steps != LONG,
        "on_cpu": on_cpu,
        "blocks": 1 if bench.given.cpu else None,
        "until": time.time() + limit_s,
        "started": time.time(),
    }


def run(job: dict[str, Any], limit_s: float) -> dict[str, Any]:
    """The answer, whatever becomes of the run."""
    file = Path(job["train"]).with_name("job.json")
    file.write_text(json.dumps(job), encoding="utf-8")
    root = str(Path(__file__).resolve().parents[1])
    more = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**os.environ, **more, "ACCELERATE_USE_CPU": str(job["on_cpu"]).lower()}
    if job["who"] == "ours":
        environment["PYTHONPATH"] = root
    with Path(job["log"]).open("wb") as log:
        child = subprocess.Popen(
            [job["python"], str(WORKER), str(file)],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=file.parent,
            start_new_session=True,
        )
        try:
            child.wait(timeout=limit_s + 5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    answer = Path(job["answer"])
    if answer.exists():
        read: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    else:
        read = {"code": child.returncode, "said": f"no answer within {limit_s:.0f} s"}
    if read["code"]:
        tail = Path(job["log"]).read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
        read["log"] = tail
    return read


def measure(bench: Bench, name: str, who: str) -> dict[str, Any]:
    row = ROWS[name]
    steps = 4 if bench.given.cpu else 9 if bench.given.tiny else row.steps
    limit_s = min(row.limit_s, bench.left_s - 5) if not bench.given.cpu else bench.left_s
    if limit_s < min(15.0, row.limit_s):
        return {"code": 0, "said": "left out: the time limit"}
    answer = run(job_of(bench, name, who, steps, limit_s), limit_s)
    if answer.get("step_s") and answer.get("first_s"):
        answer["long_s"] = answer["first_s"] + (LONG - 1) * answer["step_s"]
    return answer


def long_run(bench: Bench, name: str) -> dict[str, Any]:
    """From the start of the process to the file, measured and not reckoned."""
    steps = 12 if bench.given.tiny or bench.given.cpu else LONG
    if bench.left_s < 30 and not bench.given.tiny:
        return {"code": 0, "said": "left out: the time limit"}
    limit_s = bench.left_s - 5
    answer = run(job_of(bench, name, "ours", steps, limit_s), limit_s)
    return {**answer, "name": name, "of": steps}


# -- the table


def cell(both: Mapping[str, Any], key: str, form: str) -> str:
    def one(who: str) -> str:
        value = both.get(who, {}).get(key)
        return "-" if value is None else format(value, form)

    return f"{one('theirs')} / {one('ours')}"


def table(found: Mapping[str, Any]) -> str:
    facts = found["card"]
    heads = ("s/step", "times as fast", "busy ms", "kernels", "first step s", f"{LONG} steps s")
    lines = [
        f"{facts['card']}, driver {facts.get('driver', '-')}, torch {facts['torch']}, measured"
        f" {found['date']}; {facts['peak_tflops']} TFLOP/s in a large bf16 product.",
        "Each cell: sd-scripts / embedded.",
        "",
        f"| case | {' | '.join((*heads, 'peak GB', 'loss', 'share of peak %'))} |",
        "|---" * 10 + "|",
    ]
    for name, both in found["rows"].items():
        steps = [both.get(who, {}).get("step_s") for who in ("theirs", "ours")]
        ratio = f"{steps[0] / steps[1]:.2f}" if all(steps) else "-"
        share = [
            f"{100 * ROWS[name].tflop / step / facts['peak_tflops']:.0f}" if step else "-"
            for step in steps
        ]
        cells = [ROWS[name].title, cell(both, "step_s", ".4f"), ratio]
        cells += [cell(both, "busy_ms", ".1f"), cell(both, "kernels", ",")]
        cells += [cell(both, "first_s", ".1f"), cell(both, "long_s", ".0f")]
        cells += [cell(both, "peak_gb", ".1f"), cell(both, "loss", ".4f"), " / ".join(share)]
        lines.append(f"| {' | '.join(cells)} |")
        for who, answer in both.items():
            if answer.get("said") or answer["code"]:
                lines.append(f"  {name}, {who}: {answer.get('said')} {answer.get('log', '')}")
    whole = found.get("long")
    if whole:
        took = f"{whole['whole_s']:.1f} s" if "whole_s" in whole else "-"
        lines += ["", f"{whole.get('of')} steps of {whole.get('name')}, start to file: {took}"]
    return "\n".join(lines)


def bench_all(bench: Bench) -> int:
    names = bench.given.only or USUAL
    if bench.given.compiled:
        names = [row for name in names for row in (name, f"{name}-compiled")]
    people = ["theirs", "ours"] if bench.given.tiny or locate() else ["ours"]
    bench.found |= {"date": time.strftime("%Y-%m-%d"), "card": card(), "rows": {}}
    bench.say(f"{bench.found['card']['card']}; rows: {', '.join(names)}")
    for name in names:
        for who in people if name in USUAL else ["ours"]:
            try:
                answer = measure(bench, name, who)
            except (LorakitError, OSError) as error:
                answer = {"code": 1, "said": str(error)}
            bench.found["rows"].setdefault(name, {})[who] = answer
            bench.save()
            step = answer.get("step_s")
            took = f"{step:.4f} s a step" if step else answer.get("said")
            bench.say(f"{name}, {who}: {took}")
    if bench.given.long in names:
        bench.found["long"] = long_run(bench, bench.given.long)
        bench.save()
    print("\n" + table(bench.found), flush=True)
    answers = [answer for both in bench.found["rows"].values() for answer in both.values()]
    return 1 if any(answer["code"] for answer in answers) else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=USUAL)
    parser.add_argument(
        "--compiled", action="store_true", help="ours with torch_compile, too: a row more for each"
    )
    parser.add_argument("--limit", type=float, default=350.0, help="seconds for all rows")
    parser.add_argument(
        "--long", default="sdxl-b1", help="the row of the 500 steps, if time is left"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"))
    parser.add_argument("--cpu", action="store_true", help="rehearse it without a card, minutes")
    parser.add_argument("--tiny", action="store_true", help="on the CPU at toy size, for testing")
    given = parser.parse_args()
    if not torch.cuda.is_available() and not (given.tiny or given.cpu):
        print("There is no CUDA device here; this measures NVIDIA cards.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # memory that looks like a disk, where there is room for the two checkpoints
    shm = Path("/dev/shm")  # noqa: S108
    roomy = shm.is_dir() and free_disk(shm) > 14e9 and not given.tiny
    with tempfile.TemporaryDirectory(prefix="bench-gpu-", dir=shm if roomy else None) as spare:
        return bench_all(Bench(given, Path(spare)))


if __name__ == "__main__":
    raise SystemExit(main())
