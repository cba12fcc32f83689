"""LoRA files and states under kohya's names, and when old ones go; every file is complete or
absent.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from lorakit.embedded.training.world import DTYPES, World
from lorakit.errors import TrainingFailed
from lorakit.files import LONGEST, write_atomic

SAVE_DTYPES = {"float": torch.float32, "fp16": DTYPES["fp16"], "bf16": DTYPES["bf16"]}


class Names:
    """stem, stem-000001, stem-step00000001, and the same with -state."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder = Path(args.output_dir)
        self.stem = args.output_name

    def file(self, mark: str = "") -> Path:
        return self.folder / f"{self.stem}{mark}.safetensors"

    def state(self, mark: str = "") -> Path:
        return self.folder / f"{self.stem}{mark}-state"


def tidy(folder: Path, stem: str) -> None:
    """What a kill left half-written in an output folder goes; a state that had just stepped aside
    for its successor comes back.
    """
    marks = r"(-\d{6}|-step\d{8}|-best)?(-state|\.safetensors)|_e?\d{6}_[\d_]+\.png"
    written = f"{re.escape(stem)}({marks})"
    for path in (*folder.glob(".*"), *folder.glob("sample/.*")):
        found = re.fullmatch(r"\.(.+?)\.(old\.)?[a-z0-9_]{8}(\.tmp)?", path.name)
        if found is None or not (
            re.fullmatch(written, found[1])
            or (len(found[1]) == LONGEST and found[1].startswith(stem[:LONGEST]))
        ):
            continue
        if not path.is_dir():
            path.unlink()
            continue
        for old in path.iterdir() if found[2] else ():
            if not (folder / old.name).exists():
                old.replace(folder / old.name)
        shutil.rmtree(path)


def epoch_mark(epoch: int) -> str:
    return f"-{epoch:06d}"


def step_mark(step: int) -> str:
    return f"-step{step:08d}"


def epoch_to_remove(epoch: int, every: int, last: int | None) -> int | None:
    """save_last_n_epochs counts files."""
    old = epoch - every * last if last is not None else -1
    return old if old > 0 else None


def step_to_remove(step: int, every: int, last: int | None) -> int | None:
    """save_last_n_steps counts steps, not files."""
    if last is None:
        return None
    old = step - last - 1
    old -= old % every
    return old if old > 0 else None


def write(
    path: Path,
    state: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    precision: str | None,
) -> None:
    from safetensors.torch import save

    kind = SAVE_DTYPES.get(precision or "")
    tensors = {key: tensor.to(kind) if kind else tensor for key, tensor in state.items()}
    for key, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            what = f"{key} holds numbers that are not finite in {precision or 'float'}."
            raise TrainingFailed(
                f"{path.name} is not written: {what}",
                hint='Older checkpoints are good. save_precision = "float" or "bf16" holds larger'
                " numbers.",
            )
    hashed = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    marks = {
        "sshs_model_hash": _body_hash(hashed),
        "sshs_legacy_hash": hashlib.sha256(hashed[0x100000:0x110000]).hexdigest()[:8],
    }
    write_atomic(path, save(tensors, {**metadata, **marks}))


def _body_hash(data: bytes) -> str:
    """Of everything behind the header, as the web UIs index LoRA files."""
    header = int.from_bytes(data[:8], "little")
    return hashlib.sha256(data[8 + header :]).hexdigest()


def remove(path: Path, world: World) -> None:
    """An old LoRA or an old state."""
    if path.is_dir():
        world.say(f"removing old state: {path}")
        shutil.rmtree(path)
    elif path.exists():
        world.say(f"removing old checkpoint: {path}")
        path.unlink()
