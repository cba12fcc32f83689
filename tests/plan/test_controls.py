"""Control pictures of models that make one picture out of another: found by stem, refused by name, cached anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import toml
import yaml
from plan_cases import folder, png

from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.proof.lock import compare_locks, lock_of, options_of, text_of
from lorakit.proof.verify import verify_inputs
from lorakit.recipe.resolve import resolve
from lorakit.runs.images import images_of, read_images, write_images
from lorakit.runs.opening import opening_record
from lorakit.trainers.base import Command, Work
from lorakit.trainers.musubi import caches

PAGES = {
    "flux-kontext": 'base = "b.safetensors"',
    "flux2": 'base = "b.safetensors"',
    "qwen-image-edit": 'base = "b.safetensors"',
    "flux-kontext-aitk": 'base = "models/kontext"',
    "qwen-image-edit-aitk": 'base = "models/edit"',
}
ARCHS = {"flux-kontext-aitk": "flux_kontext", "qwen-image-edit-aitk": "qwen_image_edit_plus"}


def plan(root: Path, page: str, said: str = 'control_directory = "before"', train: str = "") -> Plan:  # fmt: skip
    file = root / "recipes/fox.toml"
    file.parent.mkdir(exist_ok=True)
    text = f'preset = "{page}"\nname = "fox"\ntrigger = "fox"\n[model]\n{PAGES[page]}\n[dataset]\npath = "data"\n{said}\n[train]\n{train}\n'
    file.write_text(text, encoding="utf-8")
    return make_plan(*resolve(file), run_dir=root / "runs/fox/1")


def told(plan: Plan) -> str:
    return "\n".join(
        f"{one.where}: {one.advice}" for one in plan.faults if one.rule.startswith("controls")
    )


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder(tmp_path / "data/10_fox", [(64, 64), (64, 96)])
    for name in ("000.png", "001.jpg", "notes.txt"):
        png(tmp_path / "before" / name, 64, 64)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_pairs_by_name_are_planned(pairs: Path, page: str) -> None:
    planned = plan(pairs, page)
    assert told(planned) == ""
    place = str(pairs / "before")
    if page in ARCHS:
        (process,) = yaml.safe_load(planned.files["ai-toolkit.yaml"])["config"]["process"]
        assert process["datasets"][0]["control_path"] == place
        assert process["model"]["arch"] == ARCHS[page]
        return
    (table,) = toml.loads(planned.files["dataset.toml"])["datasets"]
    assert table["control_directory"] == place
    assert table.get("control_resolution") == ([1024, 1024] if page == "qwen-image-edit" else None)
    assert planned.steps.batches == 20


@pytest.mark.parametrize(
    ("page", "change", "said"),
    [
        ("flux-kontext", ("001.jpg", ""), "1 picture without a control picture in {}: 001.png."),
        ("flux-kontext-aitk", ("001.jpg", "001_0.jpg"), "1 picture without a control picture in {}: 001.png."),
        ("flux-kontext", ("", "001_1.jpg"), "1 picture with more than 1 in {}: 001.png."),
        ("flux-kontext", ("001.jpg", "001_before.jpg"), "1 picture with some that are not numbered"),
        ("qwen-image-edit", ("", "001.png"), "1 picture with some that are not numbered"),
    ],
)  # fmt: skip
def test_missing_and_doubled_ones_are_named(
    pairs: Path, page: str, change: tuple[str, str], said: str
) -> None:
    old, new = change
    if old:
        (pairs / "before" / old).unlink()
    if new:
        png(pairs / "before" / new, 64, 64)
    assert said.format(pairs / "before") in told(plan(pairs, page))


def test_one_side_of_a_control_is_a_square(pairs: Path) -> None:
    said = 'control_directory = "before"\ncontrol_resolution = 512'
    (table,) = toml.loads(plan(pairs, "flux2", said).files["dataset.toml"])["datasets"]
    assert table["control_resolution"] == [512, 512]


def test_several_are_taken_where_the_version_takes_them(pairs: Path) -> None:
    (pairs / "before/000.png").rename(pairs / "before/000_0.png")
    png(pairs / "before/000_1.png", 64, 64)
    assert told(plan(pairs, "qwen-image-edit")) == ""
    assert told(plan(pairs, "flux2")) == ""
    assert "with more than 1" in told(plan(pairs, "qwen-image-edit", train='model_version = "edit"'))  # fmt: skip
    original = told(plan(pairs, "qwen-image-edit", train='model_version = "original"'))
    assert "this version of the model takes no control pictures" in original


def test_a_model_that_edits_is_not_trained_without_them(pairs: Path) -> None:
    assert "is not set, and this model learns" in told(plan(pairs, "flux-kontext", ""))
    assert told(plan(pairs, "flux2", "")) == ""
    nowhere = told(plan(pairs, "flux-kontext", 'control_directory = "after"'))
    assert f"there is no folder {pairs / 'after'}" in nowhere


def test_all_of_them_are_named_at_once_and_a_sample_is_drawn_out_of_one(pairs: Path) -> None:
    (pairs / "before/000.png").unlink()
    png(pairs / "before/001_1.jpg", 64, 64)
    sample = '\n[sample]\nprompts = ["snow --ci before/001.jpg"]'
    planned = plan(pairs, "flux-kontext", train=sample)
    assert "without a control picture" in told(planned)
    assert "with more than 1" in told(planned)
    (prompt,) = toml.loads(planned.files["prompts.toml"])["prompt"]["subset"]
    assert prompt["control_image_path"] == [str(pairs / "before/001.jpg")]


def test_a_picture_whose_name_begins_like_another_keeps_its_own(tmp_path: Path) -> None:
    for name in ("fox.png", "fox_1.png"):
        png(tmp_path / "data/1_fox" / name, 64, 64).with_suffix(".txt").write_text("fox")
        png(tmp_path / "before" / name, 64, 64)
    assert told(plan(tmp_path, "flux-kontext")) == ""


def test_an_edited_control_picture_is_cached_again(pairs: Path) -> None:
    planned = plan(pairs, "flux-kontext")
    work = Work(planned.run_dir, "flux_kontext", {}, planned.run_dir / "output", "fox")
    planned.run_dir.mkdir(parents=True)
    (planned.run_dir / "dataset.toml").write_text(planned.files["dataset.toml"], encoding="utf-8")
    (table,) = toml.loads(planned.files["dataset.toml"])["datasets"]
    cache = Path(table["cache_directory"])
    cache.mkdir(parents=True)
    for name in ("000_0064x0064_fk", "001_0064x0096_fk"):
        (cache / f"{name}.safetensors").write_bytes(b"cached")
    latents = Command(("cache",), caches.LATENTS)
    assert not caches.needless(latents, work)
    assert caches.fault_after(latents, work) == ""
    assert caches.needless(latents, work)
    png(pairs / "before/000.png", 96, 96)
    assert not caches.needless(latents, work)


def test_a_changed_control_picture_is_a_changed_lock_and_a_changed_run(pairs: Path) -> None:
    planned = replace(plan(pairs, "flux-kontext"), weights=())
    locked, rows = lock_of(planned), images_of(planned)
    named = [[one.image for one in row.controls] for row in rows]
    assert named == [["../before/000.png"], ["../before/001.jpg"]]
    assert "before" not in text_of(locked)
    record = replace(opening_record(planned), files={})
    planned.run_dir.mkdir(parents=True)
    write_images(planned.run_dir, rows)
    assert read_images(planned.run_dir) == rows
    assert verify_inputs(planned.run_dir, record) == []
    png(pairs / "before/000.png", 32, 32)
    (pairs / "before/001.jpg").unlink()
    inputs, _ = compare_locks(locked, lock_of(planned))
    assert [one.key for one in inputs] == [
        "dataset.files.10_fox/000.png (controls)",
        "dataset.files.10_fox/001.png (controls)",
    ]
    assert [one.key for one in verify_inputs(planned.run_dir, record)] == [
        "dataset 10_fox/000.png (control ../before/000.png)",
        "dataset 10_fox/001.png (control ../before/001.jpg)",
    ]


def test_what_a_folder_has_for_itself_is_in_the_lock(pairs: Path) -> None:
    plain = plan(pairs, "flux2")
    small = plan(pairs, "flux2", 'control_directory = "before"\nno_resize_control = true')
    new = options_of(small).items() - options_of(plain).items()
    assert new == {("10_fox no_resize_control", True)}
