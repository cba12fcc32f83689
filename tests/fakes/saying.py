"""What every stand-in can say and write: the lines of sd-scripts, and a LoRA that is a real safetensors file. Standard library only."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path


def arguments() -> tuple[Path, str, int, float]:
    """OUTPUT_DIR NAME STEPS [SECONDS_A_STEP]"""
    output, name, steps, *more = sys.argv[1:]
    return Path(output), name, int(steps), float(more[0]) if more else 0.0


def say(text: str, end: str = "\n") -> None:
    sys.stdout.write(text + end)
    sys.stdout.flush()


def opening(steps: int, epochs: int = 1) -> None:
    say("Loading dataset config from dataset.toml")
    say("caching latents...")
    say("running training / 学習開始")
    say(f"  num train images * repeats / 学習画像の数×繰り返し回数: {steps}")
    say(f"  num batches per epoch / 1epochのバッチ数: {steps // epochs}")
    say(f"  num epochs / epoch数: {epochs}")
    say(f"  total optimization steps / 学習ステップ数: {steps}")


def bar(step: int, steps: int, loss: float | str) -> None:
    """Two frames, as tqdm draws them: first the new step with the old loss, then the loss."""
    head = f"steps: {100 * step // steps:3d}%|{'█' * (10 * step // steps):<10}| {step}/{steps} [00:0{step % 10}<00:01,  1.50it/s"
    sys.stderr.write(f"\r{head}]")
    sys.stderr.write(f"\r{head}, avr_loss={loss}]")
    sys.stderr.flush()


def lora(
    path: Path,
    steps: int,
    value: float = 0.25,
    epoch: int = 1,
    metadata: dict[str, str] | None = None,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    say(f"\nsaving checkpoint: {path}")
    shapes = {"lora_unet_mid.lora_down.weight": [4, 8], "lora_unet_mid.lora_up.weight": [8, 4]}
    header: dict[str, object] = {
        "__metadata__": {
            "ss_steps": str(steps),
            "ss_epoch": str(epoch),
            "ss_network_dim": "4",
            **(metadata or {}),
        }
    }
    data = b""
    for name, shape in shapes.items():
        body = struct.pack("<32f", *[value] * 32)
        header[name] = {
            "dtype": "F32",
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(body)],
        }
        data += body
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def state(path: Path, step: int, epoch: int = 1) -> None:
    path.mkdir(parents=True, exist_ok=True)
    lora(path / "model.safetensors", step)
    (path / "optimizer.bin").write_bytes(b"moments of step %d" % step)
    (path / "scheduler.bin").write_bytes(b"schedule")
    (path / "train_state.json").write_text(
        json.dumps({"current_epoch": epoch, "current_step": step})
    )


def event(**entry: object) -> None:
    """What the embedded trainer writes beside its text."""
    if name := os.environ.get("LORAKIT_EVENTS"):
        with Path(name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def work(seconds: float) -> None:
    time.sleep(seconds)
