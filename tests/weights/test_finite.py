"""A LoRA judged from its bytes, against torch's own opinion of the same numbers where that is at hand."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from lorakit.weights.finite import inspect, is_finite
from lorakit.weights.safetensors import BITS, copy_with_metadata, read_header


def write(path: Path, tensors: dict[str, tuple[str, bytes]], **metadata: str) -> Path:
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, (dtype, body) in tensors.items():
        count = len(body) // (BITS[dtype] // 8)
        header[name] = {"dtype": dtype, "shape": [count], "data_offsets": [at, at + len(body)]}
        at += len(body)
    text = json.dumps(header).encode()
    path.write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(body for _, body in tensors.values())
    )
    return path


def f32(*values: float) -> tuple[str, bytes]:
    return "F32", np.array(values, "<f4").tobytes()


def test_a_sound_file_gives_steps_and_both_hashes(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.safetensors",
        {"x.lora_down": f32(1, 2), "x.lora_up": f32(0, 3)},
        ss_steps="15",
    )
    found = inspect(path)
    assert (found.fault, found.steps, found.tensors, found.not_finite, found.untrained) == (
        "",
        15,
        2,
        (),
        False,
    )
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.tensors_sha256 == hashlib.sha256(path.read_bytes()[-16:]).hexdigest()


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("F32", np.array([1e38, -0.0], "<f4").tobytes(), np.array([1, np.nan], "<f4").tobytes()),
        ("F32", np.array([1e38], "<f4").tobytes(), np.array([-np.inf], "<f4").tobytes()),
        ("F64", np.array([1e300], "<f8").tobytes(), np.array([np.inf], "<f8").tobytes()),
        ("F16", np.array([65504], "<f2").tobytes(), np.array([np.nan], "<f2").tobytes()),
        ("BF16", b"\x7f\x7f\x80\x3f", b"\xc0\x7f"),
        ("F8_E4M3", b"\x7e\xfe", b"\x00\xff"),
        ("F8_E5M2", b"\x7b", b"\x7c"),
        ("I64", b"\xff" * 8, None),
    ],
)
def test_not_finite_is_seen_in_every_kind_of_number(
    dtype: str, good: bytes, bad: bytes | None
) -> None:
    assert is_finite(good, dtype)
    assert bad is None or not is_finite(bad, dtype)


def test_bad_tensors_are_named(tmp_path: Path) -> None:
    assert inspect(
        write(tmp_path / "a.safetensors", {"good": f32(1), "bad": f32(np.nan)})
    ).not_finite == ("bad",)


def test_zero_up_projections_mean_untrained(tmp_path: Path) -> None:
    assert inspect(
        write(tmp_path / "a.safetensors", {"x.lora_down": f32(1), "x.lora_up": f32(0, 0)})
    ).untrained


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[:-1], "is cut short: "),
        (lambda data: data[:6], "is cut short: 6 bytes do not hold its header"),
        (lambda data: data[:30], "is cut short: 30 bytes do not hold its header"),
        (lambda data: b"", "is empty"),
        (lambda data: data + b"more", "is 4 bytes longer than its header says"),
        (lambda data: data[:8] + b"#" + data[9:], "its header does not begin with {"),
        (lambda data: b"\x80\x04\x95" + b"pickled" * 20, "is a pickled checkpoint"),
    ],
)
def test_a_damaged_file_is_described_in_words(tmp_path: Path, damage: object, fault: str) -> None:
    path = write(tmp_path / "a.safetensors", {"x": f32(1, 2, 3)}, ss_steps="1")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert inspect(path).fault.startswith(fault)


def test_a_missing_file_does_not_exist(tmp_path: Path) -> None:
    assert inspect(tmp_path / "no.safetensors").fault == "does not exist"


def test_corrected_metadata_leave_the_tensors_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", {"x": f32(1, 2)}, ss_steps="5", ss_epoch="1")
    said = {**read_header(path).metadata, "ss_steps": "15"}
    copy_with_metadata(path, tmp_path / "b.safetensors", said)
    assert inspect(tmp_path / "b.safetensors").tensors_sha256 == inspect(path).tensors_sha256
    metadata = read_header(tmp_path / "b.safetensors").metadata
    assert metadata == {"ss_steps": "15", "ss_epoch": "1"}
    assert (tmp_path / "b.safetensors").stat().st_size % 8 == 0
