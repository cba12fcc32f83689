"""A LoRA file judged from its bytes: whole, finite, trained, how many steps. One streaming pass
also gives both hashes. No torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# dtype: (numpy word to look through, bits that are all set in NaN and infinity)
_NOT_FINITE = {
    "F64": ("<u8", 0x7FF0000000000000),
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E4M3": ("u1", 0x7F),
    "F8_E4M3FN": ("u1", 0x7F),
    "F8_E5M2": ("u1", 0x7C),
}
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Weights:
    """What one pass over the file says. `fault` is empty for a whole file."""

    path: Path
    size_bytes: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    tensors: int = 0
    not_finite: tuple[str, ...] = ()  # names of tensors that hold NaN or infinity
    untrained: bool = False  # every up-projection is still zero
    sha256: str = ""
    tensors_sha256: str = (
        ""  # of the bytes after the header: what training made, whatever the metadata say
    )
    fault: str = ""

    @property
    def steps(self) -> int | None:
        text = self.metadata.get("ss_steps", "")
        return int(text) if text.isdigit() else None


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header and where the tensors begin. ValueError, in words, for anything that is not a
    whole safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, 100_000_000):
            raise ValueError(
                "is cut short" if size < 8 or length < 100_000_000 else "is not a safetensors file"
            )
        try:
            header = json.loads(file.read(length))
        except ValueError:
            raise ValueError("has a broken header") from None
    if not isinstance(header, dict):
        raise ValueError("has a broken header")  # noqa: TRY004  (the file's fault, told as the others are)
    try:
        ends = [
            int(entry["data_offsets"][1])
            for name, entry in header.items()
            if name != "__metadata__"
        ]
    except (TypeError, KeyError, IndexError, ValueError):
        raise ValueError("has a broken header") from None
    if 8 + length + max(ends, default=0) != size:
        raise ValueError("is cut short")
    return header, 8 + length


def inspect(path: Path) -> Weights:
    """Read the whole file once."""
    try:
        header, begin = read_header(path)
        return _scan(path, header, begin)
    except FileNotFoundError:
        return Weights(path, fault="does not exist")
    except OSError as error:
        return Weights(path, fault=f"cannot be read: {error.strerror}")
    except ValueError as error:
        return Weights(path, fault=str(error))


def _scan(path: Path, header: dict[str, Any], begin: int) -> Weights:
    metadata = header.pop("__metadata__", {}) or {}
    whole, data = hashlib.sha256(), hashlib.sha256()
    bad: list[str] = []
    ups: list[bool] = []
    with path.open("rb") as file:
        whole.update(file.read(begin))
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0]):
            first, last = entry["data_offsets"]
            finite, any_set, left = True, False, last - first
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                left -= len(block)
                whole.update(block)
                data.update(block)
                finite = finite and is_finite(block, str(entry["dtype"]))
                any_set = any_set or block.count(0) != len(block)
            if not finite:
                bad.append(name)
            if "lora_up" in name or "lora_B" in name:
                ups.append(any_set)
    return Weights(
        path,
        os.path.getsize(path),
        {str(key): str(value) for key, value in metadata.items()},
        len(header),
        tuple(bad),
        bool(ups) and not any(ups),
        whole.hexdigest(),
        data.hexdigest(),
    )


def is_finite(block: bytes, dtype: str) -> bool:
    """No NaN and no infinity in these bytes, judged by the exponent bits, so that bf16 and fp8
    need no float type of numpy's.
    """
    if dtype not in _NOT_FINITE:
        return True
    import numpy as np

    word, bits = _NOT_FINITE[dtype]
    numbers = np.frombuffer(block, dtype=word)
    mask = numbers.dtype.type(bits)
    return not bool(((numbers & mask) == mask).any())


def copy_with_metadata(source: Path, target: Path, changes: Mapping[str, str]) -> None:
    """The same tensors under corrected metadata, written beside and moved into place."""
    header, begin = read_header(source)
    header["__metadata__"] = {**header.get("__metadata__", {}), **changes}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    beside = target.with_name(f".{target.name}.part")
    with source.open("rb") as old, beside.open("wb") as new:
        new.write(len(text).to_bytes(8, "little") + text)
        old.seek(begin)
        while block := old.read(_BLOCK):
            new.write(block)
        new.flush()
        os.fsync(new.fileno())
    os.replace(beside, target)
