"""Delta-W of LoRA, LoHa, LoKr and whole differences, as arrays of float32; and arrays back in the
number formats of weights, by their bits: numpy knows neither bf16 nor fp8. Imported only where a
command needs numbers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lorakit import json_text
from lorakit.errors import SetupError, refused
from lorakit.user_files import Unreadable
from lorakit.weights.keys import MODEL, LoraFile, Module
from lorakit.weights.safetensors import Header, Shape

PEFT_CONFIG = "adapter_config.json"  # beside adapter_model.safetensors
CORE = "i j k l, j r, i p -> p r k l"  # LyCORIS' Tucker core with its two factors
Array = np.ndarray[Any, np.dtype[Any]]

PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
FP8 = {"F8_E4M3": (4, 7), "F8_E5M2": (5, 15)}  # bits of the exponent, its bias
WRITTEN = ("F32", "F16", "BF16")


def read_array(file: BinaryIO, header: Header, name: str) -> Array:
    """One tensor as float32."""
    tensor, data = header.tensors[name], b"".join(header.blocks(file, name))
    if tensor.dtype in PLAIN:
        array = np.frombuffer(data, dtype=PLAIN[tensor.dtype]).astype(np.float32)
    elif tensor.dtype == "BF16":
        array = (np.frombuffer(data, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
    elif tensor.dtype in FP8:
        array = _fp8_values(tensor.dtype)[np.frombuffer(data, dtype=np.uint8)]
    else:
        raise SetupError(f"{name}: numbers of type {tensor.dtype} are not read.")
    return array.reshape(tensor.shape)


def stored(array: Array, dtype: str) -> tuple[str, Shape, bytes]:
    """As a file keeps it: rounded to the nearest; what is too large becomes infinite."""
    shape = tuple(int(side) for side in array.shape)
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, dtype="<f4").view("<u4")
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        quiet = np.where(np.isnan(array), (bits >> 16) | 0x40, rounded)  # a NaN stays one
        return dtype, shape, quiet.astype("<u2").tobytes()
    with np.errstate(over="ignore"):
        return dtype, shape, np.ascontiguousarray(array, dtype=PLAIN[dtype]).tobytes()


@cache
def _fp8_values(dtype: str) -> Array:
    """The 256 numbers that a byte can mean."""
    exponent_bits, bias = FP8[dtype]
    mantissa_bits = 7 - exponent_bits
    codes = np.arange(256)
    exponent = (codes >> mantissa_bits) & ((1 << exponent_bits) - 1)
    part = (codes & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    size = np.where(exponent > 0, 1 + part, part) * 2.0 ** (np.maximum(exponent, 1) - bias)
    if dtype == "F8_E5M2":
        size[exponent == 31] = np.where(part[exponent == 31] > 0, np.nan, np.inf)
    else:
        size[(codes & 0x7F) == 0x7F] = np.nan
    values: Array = np.where(codes & 0x80, -size, size).astype(np.float32)
    return values


@dataclass(frozen=True)
class Factors:
    """delta-W = scale * up @ down, a convolution's kernel flattened into the columns."""

    up: Array
    down: Array
    scale: float = 1.0
    kernel: Shape = ()  # (3, 3), (1, 1); () for a linear layer

    @property
    def rank(self) -> int:
        return len(self.down)

    @property
    def norm(self) -> float:
        """Frobenius, by two small products."""
        up, down = self.up.astype(np.float64), self.down.astype(np.float64)
        square = float(((up.T @ up) * (down @ down.T)).sum())
        return abs(self.scale) * math.sqrt(max(square, 0.0))

    def delta(self) -> Array:
        whole: Array = self.scale * (self.up @ self.down)
        return whole

    def applied(self, given: Array) -> Array:
        result: Array = self.scale * (self.up @ (self.down @ given))
        return result

    def shaped(self) -> tuple[Array, Array]:
        """Down and up, as a file has them."""
        if not self.kernel:
            return self.down, self.up
        ones = (1,) * len(self.kernel)
        down = self.down.reshape(self.rank, -1, *self.kernel)
        return down, self.up.reshape(*self.up.shape, *ones)

    def cut(self, rank: int, energy: float = 1.0) -> "tuple[Factors, float]":
        """The best approximation of that rank, or of as few as hold that share of the norm, and the
        share that is lost. It is delta-W's SVD, had from the factors' own small products.
        """
        up, down = self.up.astype(np.float64), self.down.astype(np.float64)
        left, (right, undo) = _root(up.T @ up)[0], _root(down @ down.T)
        _, values, outer = np.linalg.svd(left.T @ right)
        squares = values**2
        total = float(squares.sum())
        if energy < 1 and total:
            held = np.sqrt(np.cumsum(squares) / total)
            rank = min(rank, int(np.searchsorted(held, energy)) + 1)
        rank = min(rank, len(values))
        basis = outer[:rank] @ undo @ down  # orthonormal rows
        up = up @ (down @ basis.T)
        lost = math.sqrt(float(squares[rank:].sum()) / total) if total else 0.0
        return replace(self, up=up.astype(np.float32), down=basis.astype(np.float32)), lost


def _root(square: Array) -> tuple[Array, Array]:
    """R with R @ R.T = square, and its inverse where there is one."""
    values, vectors = np.linalg.eigh(square)
    roots = np.sqrt(np.maximum(values, 0.0))
    inverse = np.where(roots > 1e-7 * roots.max(), 1.0 / np.maximum(roots, 1e-300), 0.0)
    return vectors * roots, (vectors * inverse).T


def summed(parts: Sequence[Factors]) -> Factors:
    """Their sum, exactly: the ranks add up."""
    ups = [one.up * one.scale for one in parts]
    return Factors(np.hstack(ups), np.vstack([one.down for one in parts]), 1.0, parts[0].kernel)


class AdapterNumbers:
    """An open LoRA file, to be asked for one module after another."""

    def __init__(self, lora: LoraFile, file: BinaryIO) -> None:
        self.lora, self._file = lora, file

    def array(self, module: Module, role: str) -> Array:
        return read_array(self._file, self.lora.header, module.tensors[role])

    def alpha(self, module: Module) -> float | None:
        if "alpha" in module.tensors:
            return float(self.array(module, "alpha").reshape(-1)[0])
        return self._peft.get(module.part)

    @cached_property
    def _peft(self) -> Mapping[str, float]:
        """Of diffusers and PEFT, who keep alpha in the header, or in a file beside the tensors."""
        text = self.lora.header.metadata.get("lora_adapter_metadata", "")
        try:
            told = json_text.loads(text) if text else _beside(self.lora.path)
        except (ValueError, Unreadable):
            return {}
        found = {}
        for key, value in told.items() if isinstance(told, dict) else ():
            head, _, word = key.rpartition(".")
            if word == "lora_alpha" and isinstance(value, (int, float)):
                found[{"text_encoder": "te1", "text_encoder_2": "te2"}.get(head, MODEL)] = value
        return found

    def as_stored(self, module: Module, role: str) -> tuple[str, Shape, bytes]:
        header, name = self.lora.header, module.tensors[role]
        tensor = header.tensors[name]
        return tensor.dtype, tensor.shape, b"".join(header.blocks(self._file, name))

    def product(self, module: Module) -> Factors:
        if module.kind != "LoRA":
            what = f"{module.name} is {module.kind}, which is no product of two."
            raise refused(str(self.lora.path), what, "Only LoRA modules can be taken for this.")
        return self._product(module)

    def _product(self, module: Module) -> Factors:
        up, down = self.array(module, "up"), self.array(module, "down")
        kernel, rank, alpha = down.shape[2:], len(down), self.alpha(module)
        if "mid" in module.tensors:
            core = self.array(module, "mid")
            kernel = core.shape[2:]
            down = np.einsum("p r k l, r i -> p i k l", core, down.reshape(rank, -1))
        scale = (rank if alpha is None else alpha) / max(1, rank)
        return Factors(up.reshape(len(up), -1), down.reshape(len(down), -1), scale, tuple(kernel))

    def delta(self, module: Module) -> Array:
        """delta-W, however it is kept, a convolution's kernel flattened."""
        if module.kind == "full":
            whole = self.array(module, "diff")
        elif module.kind == "LoHa":
            whole = self._hada(module)
        elif module.kind == "LoKr":
            whole = self._kronecker(module)
        else:
            return self.product(module).delta()
        return whole.reshape(len(whole), -1)

    def norm(self, module: Module) -> float:
        """Of a DoRA, of what it is before its magnitudes; of a torso, 0."""
        if module.kind in {"LoRA", "DoRA"}:
            return self._product(module).norm
        return 0.0 if module.kind == "incomplete" else float(np.linalg.norm(self.delta(module)))

    def _hada(self, module: Module) -> Array:
        one, other = (self._half(module, f"hada_w{n}", f"hada_t{n}") for n in (1, 2))
        rank, alpha = self.lora.rank(module), self.alpha(module)
        product: Array = one * other * ((rank if alpha is None else alpha) / max(1, rank))
        return product

    def _kronecker(self, module: Module) -> Array:
        one, other = self._half(module, "lokr_w1", ""), self._half(module, "lokr_w2", "lokr_t2")
        rank, alpha = self.lora.rank(module), self.alpha(module)
        scale = alpha / rank if rank and alpha is not None else 1.0
        one = one.reshape(*one.shape, *(1,) * (other.ndim - one.ndim))
        return np.kron(one, other) * scale

    def _half(self, module: Module, name: str, core: str) -> Array:
        if name in module.tensors:
            return self.array(module, name)
        first, second = (self.array(module, f"{name}_{side}") for side in "ab")
        if core in module.tensors:
            whole: Array = np.einsum(CORE, self.array(module, core), second, first)
            return whole
        product: Array = first @ second.reshape(len(second), -1)
        return product.reshape(-1, *second.shape[1:]) if second.ndim > 2 else product


def _beside(path: Path) -> Any:
    config = path.with_name(PEFT_CONFIG)
    return json_text.read(config) if config.is_file() else {}


@contextmanager
def opened_lora(lora: LoraFile) -> Iterator[AdapterNumbers]:
    with lora.path.open("rb") as file:
        yield AdapterNumbers(lora, file)
