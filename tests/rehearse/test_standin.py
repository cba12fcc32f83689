"""Stand-in weights: right names and shapes, finite numbers, written whole or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lorakit.errors import SetupError
from lorakit.rehearse import standin
from lorakit.weights import anatomy


@pytest.mark.parametrize(
    ("tensors", "count", "millions"),
    [
        (anatomy.sd15_checkpoint(), 1130, 1066),
        (anatomy.sdxl_checkpoint(), 1680 + 248 + 196 + 390, 3469),
        (dict(anatomy.clip()), 196, 123),
        (dict(anatomy.t5xxl()), 219, 4762),
        (dict(anatomy.autoencoder(16, quantised=False)), 244, 84),
    ],
    ids=["sd15", "sdxl", "clip-l", "t5xxl", "ae"],
)
def test_as_many_tensors_and_parameters_as_the_real_model(
    tensors: dict[str, anatomy.Shape], count: int, millions: int
) -> None:
    assert len(tensors) == count
    assert round(sum(map(math.prod, tensors.values())) / 1e6) == millions


TENSORS = {
    "conv.weight": (8, 4, 3, 3),
    "conv.bias": (8,),
    "norm.weight": (5,),
    "x.embedding.weight": (40, 6),
}


def test_a_file_reads_back_with_norms_at_one_and_biases_at_zero(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = tmp_path / "a.safetensors"
    standin.write(path, TENSORS, "F16")
    found = load_file(path)
    assert {name: array.shape for name, array in found.items()} == TENSORS
    assert (found["norm.weight"] == 1).all()
    assert (found["conv.bias"] == 0).all()
    assert 0.5 < found["conv.weight"].astype(np.float32).std() * math.sqrt(4 * 9) < 0.9
    assert all(np.isfinite(array).all() for array in found.values())
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_hole_takes_no_room_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "hole.safetensors"
    standin.write(path, {"big.weight": (10_000, 10_000)}, "BF16", hole=True)
    assert path.stat().st_size > 2e8
    assert path.stat().st_blocks * 512 < 1e6
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        assert json.loads(file.read(size))["big.weight"]["data_offsets"] == [0, 200_000_000]


def test_the_same_file_comes_out_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        standin.write(tmp_path / name, TENSORS, "F16")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        standin.write(tmp_path / "a", {"x.weight": (2, 2), "y.weight": None}, "F16")  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_a_stand_in_is_made_once_and_kept_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    monkeypatch.setitem(standin.FILES, "tiny", standin.StandIn(lambda: TENSORS, "F16"))
    said: list[str] = []
    path = standin.stand_in("tiny", said.append)
    assert path.is_relative_to(own_home / ".cache" / "lorakit")
    assert standin.stand_in("tiny", said.append) == path
    assert len(said) == 1


def test_no_room_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        standin.FILES, "vast", standin.StandIn(lambda: {"x.weight": (1 << 25, 1 << 25)}, "F16")
    )
    with pytest.raises(SetupError, match="no room"):
        standin.stand_in("vast")
    assert not standin.folder().exists()
