"""What bench_gpu.py stands on: the card's own peak, weights of full size, pictures."""

from __future__ import annotations

import math
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from lorakit.weights import anatomy
from lorakit.weights.safetensors import write as write_safetensors


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


def weights(work: Path, family: str, *, tiny: bool) -> dict[str, str]:
    """Files by option, made once; FLUX's transformer is a file without content, whose numbers the
    workers draw on the card.
    """
    if tiny:
        from tiny_bases import make_tiny

        place = work / family
        if not place.exists():
            make_tiny(family, place)
        return {"pretrained_model_name_or_path": str(place)}
    if family != "flux":
        tensors = {"sd15": anatomy.sd15_checkpoint, "sdxl": anatomy.sdxl_checkpoint}[family]()
        made = _made(work / f"{family}.safetensors", tensors, "F16")
        return {"pretrained_model_name_or_path": made}
    ae = dict(anatomy.autoencoder(16, quantised=False))
    return {
        "pretrained_model_name_or_path": _hole(work / "flux.safetensors", anatomy.flux()),
        "ae": _made(work / "ae.safetensors", ae, "BF16"),
        "clip_l": _made(work / "clip-l.safetensors", dict(anatomy.clip()), "BF16"),
        "t5xxl": _hole(work / "t5xxl.safetensors", anatomy.t5xxl()),
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


def pictures(work: Path, pixels: int) -> Path:
    import numpy as np
    from PIL import Image

    folder = work / f"images-{pixels}"
    if not folder.exists():
        folder.mkdir()
        for number in range(4):
            noise = np.random.default_rng(number).integers(0, 255, (9, 9, 3), dtype=np.uint8)
            picture = Image.fromarray(noise).resize((pixels, pixels), Image.Resampling.BICUBIC)
            picture.save(folder / f"{number}.png", compress_level=1)
            (folder / f"{number}.txt").write_text("a red fox in the snow", encoding="utf-8")
    return folder
