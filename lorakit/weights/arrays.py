"""Tensors as arrays of float32, and back into the number formats of weights, by their bits: numpy
knows neither bf16 nor fp8. Imported only where a command needs numbers.
"""

from functools import cache
from typing import Any, BinaryIO

import numpy as np

from lorakit.errors import SetupError
from lorakit.weights.safetensors import Header, Shape

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
