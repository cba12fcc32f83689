"""A LoRA file judged from its bytes, in one pass: intact, finite, trained, its hashes. No torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorakit.config import cache_dir
from lorakit.memo import Memo
from lorakit.weights.safetensors import Header, HeaderError, read_header

# dtype: (numpy word to look through, bits that are all set in NaN and infinity)
_NOT_FINITE = {
    "F64": ("<u8", 0x7FF0000000000000),
    "F32": ("<u4", 0x7F800000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E4M3": ("u1", 0x7F),
    "F8_E5M2": ("u1", 0x7C),
}


@dataclass(frozen=True)
class Weights:
    """What one pass over the file says. `fault` is empty for a sound file."""

    path: Path
    size_bytes: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    tensors: int = 0
    not_finite: tuple[str, ...] = ()  # names of tensors that hold NaN or infinity
    untrained: bool = False  # every up-projection is still zero
    zeros: bool = False  # and so is everything else but the alphas
    sha256: str = ""
    tensors_sha256: str = ""  # without the header: what training made, whatever the metadata say
    steps: int | None = None
    fault: str = ""

    @property
    def damage(self) -> str:
        """Why no program could use it; "" for a sound file."""
        if not self.not_finite:
            return self.fault
        share = f"{len(self.not_finite)} of {self.tensors} tensors"
        return f"holds NaN or infinity in {share} ({self.not_finite[0]}, ...)"

    @property
    def idle(self) -> str:
        """Why it would change nothing."""
        if self.zeros:
            return "holds nothing but zeros"
        return "is untrained: every up-projection is zero" if self.untrained else ""


def inspect(path: Path) -> Weights:
    """Read the whole file once."""
    try:
        return _scan(path, read_header(path))
    except HeaderError as error:
        return Weights(path, fault=error.fault)
    except OSError as error:
        return Weights(path, fault=f"cannot be read: {error.strerror}")


def number_fault(path: Path) -> str:
    """Why nothing can be trained on from it; "" for a sound LoRA. Remembered while it stays."""
    memo = Memo(cache_dir() / "numbers.json")
    try:
        known = memo.get(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if isinstance(known, str):
        return known
    found = inspect(path)
    fault = found.damage or found.idle
    memo.put(path, fault)
    memo.save()
    return fault


def _scan(path: Path, header: Header) -> Weights:
    whole, data = hashlib.sha256(), hashlib.sha256()
    bad, ups, others = list[str](), list[bool](), list[bool]()
    with path.open("rb") as file:
        whole.update(file.read(header.begin))
        for name, tensor in header.in_order():
            finite, any_set = True, False
            for block in header.blocks(file, name):
                whole.update(block)
                data.update(block)
                finite = finite and is_finite(block, tensor.dtype)
                any_set = any_set or block.count(0) != len(block)
            if not finite:
                bad.append(name)
            if "lora_up" in name or "lora_B" in name:
                ups.append(any_set)
            elif not name.endswith("alpha"):
                others.append(any_set)
    return Weights(
        path,
        header.begin + header.data_bytes,
        header.metadata,
        len(header.tensors),
        tuple(bad),
        bool(ups) and not any(ups),
        not any(ups) and not any(others),
        whole.hexdigest(),
        data.hexdigest(),
        header.steps,
    )


def is_finite(block: bytes, dtype: str) -> bool:
    """No NaN or infinity, judged by the exponent bits: numpy has no bf16 and no fp8."""
    if dtype not in _NOT_FINITE:
        return True
    import numpy as np

    word, bits = _NOT_FINITE[dtype]
    numbers = np.frombuffer(block, dtype=word)
    mask = numbers.dtype.type(bits)
    return not bool(((numbers & mask) == mask).any())
