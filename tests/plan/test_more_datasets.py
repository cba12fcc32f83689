"""Several resolutions, folders without a number in their name, and metadata files: planned as kohya's scripts count them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plan_cases import CUDA, folder, png, recipe, sd15_base

from lorakit import tomllib
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.rehearse.rehearse import link_dataset, made_small

SIZES = [(512, 512), (640, 480), (480, 640), (512, 512)]


def planned(
    root: Path, dataset: dict[str, Any], train: dict[str, Any] | None = None, **more: Any
) -> Plan:
    sd15_base(root)
    resolved = recipe(root, train, dataset=dataset, **more)
    return make_plan(resolved, run_dir=root / "run", machine=CUDA)


def errors(plan: Plan) -> list[str]:
    return [str(fault) for fault in plan.faults if fault.severity == "error"]


def datasets(plan: Plan) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tomllib.loads(plan.files["dataset.toml"])["datasets"]
    return found


def test_every_picture_is_trained_at_each_of_several_resolutions(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "2_maya", SIZES)
    plan = planned(
        tmp_path,
        {"resolutions": [512, 768]},
        {"train_batch_size": 3, "max_bucket_reso": 1024, "max_train_epochs": 2},
    )
    assert errors(plan) == []
    assert [one["resolution"] for one in datasets(plan)] == [[512, 512], [768, 768]]
    assert datasets(plan)[0]["subsets"] == datasets(plan)[1]["subsets"]
    # a square and two oblongs, at each resolution: ceil(4 / 3) + ceil(2 / 3) + ceil(2 / 3)
    assert plan.steps.batches == 2 * (2 + 1 + 1)
    assert (plan.steps.train_images, plan.steps.total) == (16, 16)
    assert plan.steps.formula.startswith(
        "2 x 4 = 8 samples, x 2 resolutions = 16, / 3 = 8 batches"
    ), plan.steps.formula
    assert 'resolution = "768,768"' in plan.files["train.toml"]


def test_one_file_of_latents_cannot_serve_two_resolutions(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "2_maya", SIZES)
    train = {"cache_latents": True, "cache_latents_to_disk": True}
    plan = planned(tmp_path, {"resolutions": [384, 512]}, train)
    assert [fault.rule for fault in plan.faults if fault.severity == "error"] == [
        "cache-resolutions"
    ]
    assert errors(planned(tmp_path, {"resolutions": [512]}, train)) == []
    # each dataset asks for its own buckets
    assert "bucket-bounds" in {one.rule for one in planned(tmp_path, {"resolutions": [8]}).faults}


def test_folder_mode_cannot_train_at_several_resolutions(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "2_maya", SIZES)
    plan = planned(tmp_path, {"resolutions": [384, 512], "mode": "folders"})
    assert "folder mode trains at one resolution" in "".join(errors(plan))


def test_a_folder_of_any_name_is_a_subset_where_the_recipe_says_its_repeats(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "portraits", SIZES)
    folder(tmp_path / "data" / "2_maya", SIZES[:1])
    bare = planned(tmp_path, {})
    assert "num_repeats = 10" in next(one.hint for one in bare.faults if one.rule == "folder-name")
    plan = planned(tmp_path, {"subset": {"portraits": {"num_repeats": 3}}})
    assert errors(plan) == []
    assert plan.steps.train_images == 3 * 4 + 2 * 1
    ours = next(one for one in datasets(plan)[0]["subsets"] if "portraits" in one["image_dir"])
    assert (ours["num_repeats"], ours["class_tokens"]) == (3, "maya_char")


META = {
    "0.png": {"caption": "maya at sea", "tags": "1girl, sea"},
    "1.png": {"caption": "maya", "image_size": [480, 640]},
}


def described(root: Path, entries: Any = META, name: str = "meta.json") -> dict[str, Any]:
    for number in range(3):
        png(root / "data" / "pictures" / f"{number}.png", 512, 512)
    text = "\n".join(entries) if name.endswith("l") else json.dumps(entries)
    (root / name).write_text(text, encoding="utf-8")
    return {"subset": {"pictures": {"metadata_file": name, "num_repeats": 4}}}


def test_a_metadata_file_names_images_and_captions_in_place_of_the_folder(tmp_path: Path) -> None:
    plan = planned(tmp_path, described(tmp_path))
    assert errors(plan) == []
    [subset] = plan.dataset.subsets
    assert [(one.path.name, one.caption) for one in subset.images] == [
        ("0.png", "maya at sea,1girl, sea"),
        ("1.png", "maya"),
    ]
    assert [(one.width, one.height, one.draws) for one in plan.steps.buckets] == [
        (448, 576, 4),
        (512, 512, 4),
    ]
    [told] = datasets(plan)[0]["subsets"]
    assert told == {
        "image_dir": (tmp_path / "data" / "pictures").as_posix(),
        "metadata_file": (tmp_path / "meta.json").as_posix(),
        "num_repeats": 4,
    }
    assert "metadata-others" in {fault.rule for fault in plan.faults}  # 2.png is in no line


def test_a_metadata_file_may_be_lines_of_json(tmp_path: Path) -> None:
    lines = [json.dumps({"image_path": f"{number}.png", "caption": "x"}) for number in range(3)]
    plan = planned(tmp_path, described(tmp_path, lines, "meta.jsonl"))
    assert errors(plan) == []
    assert plan.steps.train_images == 12


def test_two_metadata_files_may_not_call_two_images_the_same(tmp_path: Path) -> None:
    dataset = described(tmp_path)
    png(tmp_path / "data" / "more" / "0.png", 512, 512)
    (tmp_path / "more.json").write_text(json.dumps({"0.png": {"caption": "y"}}))
    dataset["subset"]["more"] = {"metadata_file": "more.json"}
    assert "the script keeps one of them" in "".join(errors(planned(tmp_path, dataset)))


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"gone.png": {"caption": "x"}}, "gone.png, which is not there"),
        ({"0.png": "x"}, "is no metadata of images"),
        ({"0.png": {"caption": 4}}, "caption and tags are texts"),
        ([1, 2], "is no metadata of images"),
    ],
)
def test_what_is_wrong_with_a_metadata_file_is_said(
    tmp_path: Path, entries: Any, said: str
) -> None:
    assert said in "\n".join(errors(planned(tmp_path, described(tmp_path, entries))))


def test_what_kohya_cannot_mix_with_a_metadata_file_is_refused(tmp_path: Path) -> None:
    dataset = described(tmp_path)
    dataset["subset"]["pictures"]["class_tokens"] = "maya"
    folder(tmp_path / "data" / "2_maya", SIZES)
    plan = planned(tmp_path, dataset, {"validation_split": 0.1})
    found = "\n".join(errors(plan))
    assert "stands beside folders without one: 2_maya" in found
    assert "the very images" in found
    assert "class_tokens: does not go with metadata_file" in found


def test_the_embedded_trainer_refuses_a_metadata_file_by_name(tmp_path: Path) -> None:
    plan = planned(tmp_path, described(tmp_path), trainer="embedded")
    assert any("metadata_file" in one and "not implement" in one for one in errors(plan))


def test_a_rehearsal_takes_the_captions_of_a_metadata_file_along(tmp_path: Path) -> None:
    plan = planned(tmp_path, {**described(tmp_path), "resolutions": [384, 512]})
    place = tmp_path / "rehearsal"
    link_dataset(plan.dataset, place / "dataset", place / "reg")
    small = made_small(plan.resolved, place, {}, steps=2, resolution=64, machine=CUDA)
    again = make_plan(small, run_dir=place / "run", machine=CUDA)
    captions = {one.caption for subset in again.dataset.subsets for one in subset.images}
    assert captions == {"maya at sea,1girl, sea", "maya"}
    assert [one["resolution"] for one in datasets(again)] == [[64, 64]]
