"""The table of speeds on an NVIDIA card: sd-scripts and the embedded trainer, each by its own loop,
from the same TOML, on the same random full-size weights, one after the other.

    make bench-gpu                                    # or: python tools/bench_gpu.py
    python tools/bench_gpu.py --only sdxl-b1 flux-b1 --limit 120 --out figures.json

Per row: a steady step (median after warm-up; a step counts when its loss is read), how long the
card's kernels worked in one, the time to the first step and what 500 steps take with it, the most
memory that tensors held, and the share of the card's own peak, measured at the start. All answers
stand in --out as soon as they are there; what does not fit into the time limit is left out and
named. `--tiny` runs every line of this on the CPU at toy size, our trainer playing both: it
measures nothing. Needs a configured sd-scripts (docs/kohya.md); without one our column stands
alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import toml
import torch

from lorakit.errors import LorakitError
from lorakit.files import write_atomic
from lorakit.machine import free_disk
from lorakit.trainers import tokenizers
from lorakit.trainers.kohya.locate import locate
from lorakit.weights import anatomy
from lorakit.weights.safetensors import write as write_safetensors

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
    "sdxl-gc-b1": Row(
        "SDXL 1024 b1, checkpointing",
        "sdxl",
        1024,
        1,
        14.6,
        options={**SDXL, "gradient_checkpointing": True},
    ),
    "sd15-b4": Row("SD1.5 512 b4", "sd15", 512, 4, 7.1, steps=50),
    "sdxl-b4": Row("SDXL 1024 b4", "sdxl", 1024, 4, 58.3, steps=20, options=SDXL),
    "flux-fp8-b1": Row(
        "FLUX 1024 b1, fp8_base", "flux", 1024, 1, 165, 14, options={**FLUX, "fp8_base": True}
    ),
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


def card() -> dict[str, Any]:
    """Which card, and what it can do: a large product in bf16, a copy."""
    facts: dict[str, Any] = {"torch": torch.__version__, "python": platform.python_version()}
    if not torch.cuda.is_available():
        return {**facts, "card": "none: the CPU, at toy size", "peak_tflops": 1.0}
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product_s = _timed(lambda: a @ b)
    big = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    other = torch.empty_like(big)
    copy_s = _timed(lambda: other.copy_(big))
    asked = ["nvidia-smi", "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
    try:
        driver = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
        facts["driver"] = driver.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        facts["driver"] = "unknown"
    facts["card"] = torch.cuda.get_device_name()
    facts["cuda"] = torch.version.cuda
    facts["peak_tflops"] = round(2 * 8192**3 / product_s / 1e12, 1)
    facts["copy_tb_s"] = round(2 * big.numel() / copy_s / 1e12, 2)
    return facts


def _timed(act: Any) -> float:
    """Seconds of one, by the card's clock."""
    for _ in range(3):
        act()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(10):
        act()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e4


# -- weights and pictures


def weights(bench: Bench, family: str) -> dict[str, str]:
    """Files by option, made once; FLUX's transformer is a file without content, whose numbers the
    workers draw on the card.
    """
    if bench.given.tiny:
        from tiny_bases import make_tiny

        place = bench.work / family
        if not place.exists():
            make_tiny(family, place)
        return {"pretrained_model_name_or_path": str(place)}
    if family != "flux":
        tensors = {"sd15": anatomy.sd15_checkpoint, "sdxl": anatomy.sdxl_checkpoint}[family]()
        made = _made(bench.work / f"{family}.safetensors", tensors, "F16")
        return {"pretrained_model_name_or_path": made}
    ae = dict(anatomy.autoencoder(16, quantised=False))
    return {
        "pretrained_model_name_or_path": _hole(bench.work / "flux.safetensors", anatomy.flux()),
        "ae": _made(bench.work / "ae.safetensors", ae, "BF16"),
        "clip_l": _made(bench.work / "clip-l.safetensors", dict(anatomy.clip()), "BF16"),
        "t5xxl": _hole(bench.work / "t5xxl.safetensors", anatomy.t5xxl()),
    }


def _made(path: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str) -> str:
    if not path.exists():
        typed = {name: (dtype, shape) for name, shape in tensors.items()}
        write_safetensors(path, typed, {}, _numbers(tensors, dtype))
    return str(path)


def _numbers(tensors: Mapping[str, tuple[int, ...]], dtype: str) -> Iterator[bytes]:
    """As the stand-ins have them, drawn on the card."""
    kind = {"F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name, shape in tensors.items():
        bias = name.endswith((".bias", "in_proj_bias"))
        value = torch.full(shape, 0.0 if bias else 1.0, device=device, dtype=kind)
        if len(shape) > 1 and not bias:
            spread = 0.02 if "embedding" in name else 0.7 / math.sqrt(math.prod(shape[1:]))
            value.normal_(0.0, spread)
        yield value.view(torch.uint8).cpu().numpy().tobytes()


def _hole(path: Path, tensors: Any) -> str:
    if not path.exists():
        write_safetensors(path, {name: ("BF16", shape) for name, shape in tensors}, {}, None)
    return str(path)


def pictures(bench: Bench, pixels: int) -> Path:
    import numpy as np
    from PIL import Image

    folder = bench.work / f"images-{pixels}"
    if not folder.exists():
        folder.mkdir()
        for number in range(4):
            noise = np.random.default_rng(number).integers(0, 255, (9, 9, 3), dtype=np.uint8)
            picture = Image.fromarray(noise).resize((pixels, pixels), Image.Resampling.BICUBIC)
            picture.save(folder / f"{number}.png", compress_level=1)
            (folder / f"{number}.txt").write_text("a red fox in the snow", encoding="utf-8")
    return folder


# -- runs


def job_of(bench: Bench, name: str, who: str, steps: int, limit_s: float) -> dict[str, Any]:
    row, tiny = ROWS[name], bench.given.tiny
    pixels = 64 if tiny else row.pixels
    folder = bench.work / f"{name}-{who}-{steps}"
    folder.mkdir()
    options = {**COMMON, **row.options, **weights(bench, row.family)}
    options |= {"max_train_steps": steps, "output_dir": str(folder / "out")}
    if who == "theirs" and not tiny:
        names = [*tokenizers.PADS, tokenizers.T5]
        options["tokenizer_cache_dir"] = str(tokenizers.ensure(names))
    elif row.family == "flux" and not tiny:
        from lorakit.rehearse.standin import t5_tokenizer

        options["tokenizer_cache_dir"] = str(t5_tokenizer())
    images = {"image_dir": str(pictures(bench, pixels)), "num_repeats": steps * row.batch}
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
        "on_cpu": tiny,
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
    steps = 9 if bench.given.tiny else row.steps
    limit_s = min(row.limit_s, bench.left_s - 5)
    if limit_s < min(15.0, row.limit_s):
        return {"code": 0, "said": "left out: the time limit"}
    answer = run(job_of(bench, name, who, steps, limit_s), limit_s)
    if answer.get("step_s") and answer.get("first_s"):
        answer["long_s"] = answer["first_s"] + (LONG - 1) * answer["step_s"]
    return answer


def long_run(bench: Bench, name: str) -> dict[str, Any]:
    """From the start of the process to the file, measured and not reckoned."""
    steps = 12 if bench.given.tiny else LONG
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
    names = bench.given.only or list(ROWS)
    people = ["theirs", "ours"] if bench.given.tiny or locate() else ["ours"]
    bench.found |= {"date": time.strftime("%Y-%m-%d"), "card": card(), "rows": {}}
    bench.say(f"{bench.found['card']['card']}; rows: {', '.join(names)}")
    for name in names:
        for who in people:
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
    parser.add_argument("--only", nargs="+", choices=list(ROWS))
    parser.add_argument("--limit", type=float, default=350.0, help="seconds for all rows")
    parser.add_argument(
        "--long", default="sdxl-b1", help="the row of the 500 steps, if time is left"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-gpu.json"))
    parser.add_argument("--tiny", action="store_true", help="on the CPU at toy size, for testing")
    given = parser.parse_args()
    if not torch.cuda.is_available() and not given.tiny:
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
