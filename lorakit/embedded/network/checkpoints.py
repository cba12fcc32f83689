"""LoRA files under kohya's names, complete or absent, and which is one too many."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lorakit.embedded.training.world import DTYPES, World
from lorakit.errors import TrainingFailed
from lorakit.files import write_atomic

SAVE_DTYPES = {"float": torch.float32, "fp16": DTYPES["fp16"], "bf16": DTYPES["bf16"]}


def to_remove(kind: str, now: int, every: int, last: int | None) -> int:
    """What is one too many; 0: none. save_last_n_epochs counts files, save_last_n_steps steps."""
    if last is None:
        return 0
    old = now - every * last if kind == "epoch" else (now - last - 1) // every * every
    return max(0, old)


def write(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str], precision: str | None
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
    data = save(tensors)
    begin = 8 + int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8:begin]), memoryview(data)[begin:]

    def file_of(metadata: Mapping[str, str]) -> bytes:
        """Sorted: the library writes metadata in a new order each time."""
        whole = {"__metadata__": dict(sorted(metadata.items())), **header}
        text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        return b"".join((len(text).to_bytes(8, "little"), text, body))

    hashed = file_of({key: value for key, value in metadata.items() if key.startswith("ss_")})
    marks = {
        "sshs_model_hash": hashlib.sha256(body).hexdigest(),  # as the web UIs index LoRA files
        "sshs_legacy_hash": hashlib.sha256(hashed[0x100000:0x110000]).hexdigest()[:8],
    }
    write_atomic(path, file_of({**metadata, **marks}))


def remove(path: Path, world: World) -> None:
    """An old LoRA or an old state."""
    if path.is_dir():
        world.say(f"removing old state: {path}")
        shutil.rmtree(path)
    elif path.exists():
        world.say(f"removing old checkpoint: {path}")
        path.unlink()
