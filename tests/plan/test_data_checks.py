from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, recipe

from lorakit.dataset.scan import scan
from lorakit.plan.data_checks import data_faults, latent_shape
from lorakit.plan.steps import count_steps
from lorakit.recipe.options import Options


def rules(
    root: Path,
    train: dict[str, Any] | None = None,
    *,
    family: str = "sd15",
    dataset: dict[str, Any] | None = None,
) -> list[str]:
    resolved = recipe(root, train, family=family, dataset=dataset or {})
    facts = scan(root / "data", reg=root / "reg" if (root / "reg").exists() else None)
    steps, _ = count_steps(Options(resolved), facts)
    return [
        f"{fault.rule}:{fault.severity}" for fault in data_faults(Options(resolved), facts, steps)
    ]


def npz(path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "latents.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        )


def test_ordinary_images_raise_no_question(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512), (640, 480)])
    assert rules(tmp_path) == []


def test_a_picture_without_a_mask_is_named_before_the_start(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512), (640, 480)])
    masks = {"subset": {"1_maya": {"conditioning_data_dir": "masks"}}}
    assert rules(tmp_path, dataset=masks) == ["mask-missing:error"]
    folder(tmp_path / "masks", [(512, 512)])
    assert rules(tmp_path, dataset=masks) == ["mask-missing:error"]
    folder(tmp_path / "masks", [(512, 512), (640, 480)])
    assert rules(tmp_path, dataset=masks) == []


def test_an_image_that_loses_a_quarter_to_the_crop_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(3000, 500)])
    assert rules(tmp_path) == ["much-cropped:warning"]


def test_an_image_that_is_blown_up_is_named(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(256, 256)])
    assert rules(tmp_path) == ["much-enlarged:warning"]
    assert rules(tmp_path, {"bucket_no_upscale": True}) == []


def test_without_buckets_the_script_stops_at_every_other_size(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512), (640, 480)])
    assert rules(tmp_path, {"enable_bucket": False}) == ["unbucketed-size:error"]
    assert rules(tmp_path, {"enable_bucket": False, "random_crop": True}) == []


@pytest.mark.parametrize("key", ["cache_latents", "cache_latents_to_disk"])
def test_without_buckets_a_cached_latent_is_cut_from_the_middle(tmp_path: Path, key: str) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512), (640, 480)])
    assert rules(tmp_path, {"enable_bucket": False, key: True}) == ["unbucketed-crop:warning"]
    assert (
        rules(tmp_path, {"enable_bucket": False, key: True, "resolution": "640,480"})[0]
        == "unbucketed-crop:warning"
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 64, 64), []), ((4, 8, 8), ["cache-bucket:error"]), ((4, 64, 48), ["cache-bucket:error"])],
)
def test_a_latent_cache_of_another_resolution_is_refused(
    tmp_path: Path, shape: tuple[int, ...], expected: list[str]
) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    npz(tmp_path / "data" / "1_maya" / "000_0512x0512_sd.npz", shape)
    assert rules(tmp_path, {"cache_latents_to_disk": True}) == expected


def test_a_wide_image_has_a_wide_cache(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(640, 384)])
    npz(tmp_path / "data" / "1_maya" / "000_0640x0384_sd.npz", (4, 48, 80))
    assert rules(tmp_path, {"cache_latents_to_disk": True}) == []


def test_a_broken_latent_cache_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    (tmp_path / "data" / "1_maya" / "000_0512x0512_sd.npz").write_bytes(b"PK nothing")
    assert latent_shape(tmp_path / "data" / "1_maya" / "000_0512x0512_sd.npz") is None
    assert rules(tmp_path, {"cache_latents_to_disk": True}) == ["cache-bucket:error"]


def test_caches_that_the_run_does_not_read_are_left_alone(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    npz(tmp_path / "data" / "1_maya" / "000_0512x0512_sd.npz", (4, 8, 8))
    assert rules(tmp_path) == []


def test_the_shape_that_numpy_wrote_is_read_without_numpy(tmp_path: Path) -> None:
    import numpy as np

    np.savez(
        tmp_path / "x.npz",
        latents=np.zeros((4, 12, 20), np.float32),
        original_size=np.array([160, 96]),
    )
    assert latent_shape(tmp_path / "x.npz") == (4, 12, 20)


def test_regularisation_images_that_nobody_draws_are_told(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    folder(tmp_path / "reg" / "1_person", [(512, 512)] * 5, captions=False)
    assert rules(tmp_path) == ["reg-unused:note"]


def test_everything_held_back_for_validation_leaves_nothing_to_train(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "1_maya", [(512, 512)])
    resolved = recipe(tmp_path, dataset={"subset": {"1_maya": {"num_repeats": 0}}})
    facts = scan(tmp_path / "data")
    steps, _ = count_steps(Options(resolved), facts)
    assert [fault.rule for fault in data_faults(Options(resolved), facts, steps)] == [
        "nothing-to-train"
    ]


def test_words_for_a_folder_that_is_not_there_are_no_words_at_all(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "10_maya", [(512, 512)])
    resolved = recipe(
        tmp_path, dataset={"subset": {"10_myaa": {"num_repeats": 3}, "10_maya": {"flip_aug": True}}}
    )
    facts = scan(tmp_path / "data")
    steps, _ = count_steps(Options(resolved), facts)
    (fault,) = data_faults(Options(resolved), facts, steps)
    assert fault.rule == "subset-unknown"
    assert (
        str(fault)
        == "recipes/maya.toml [dataset.subset.10_myaa]: the dataset has no such folder. Did you mean 10_maya?"
    )
