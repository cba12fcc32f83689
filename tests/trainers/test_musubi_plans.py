"""musubi-tuner: its rules, its grammar, its commands, and what keeps old caches out of a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toml
from plan_cases import CUDA, MAC, PLAIN, folder, png, recipe

from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.scan import scan
from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.plan.make import make_plan, make_plans
from lorakit.proof.lock import options_of
from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.recipe.resolve import resolve
from lorakit.report import gallery
from lorakit.runs.images import images_of, write_images
from lorakit.runs.opening import opening_record
from lorakit.trainers.base import Command, Paused, Start, Work
from lorakit.trainers.musubi import caches, run_files
from lorakit.trainers.musubi.rules import RULES
from lorakit.trainers.musubi.trainer import Musubi
from lorakit.trainers.rule import Rule

GOOD: dict[str, Any] = {
    "network_alpha": 8,
    "optimizer_type": "AdamW",
    "sdpa": True,
    "save_precision": "bf16",
    "mixed_precision": "bf16",
}
WAN: dict[str, Any] = {"task": "t2v-A14B", "min_timestep": 0, "max_timestep": 875}
TWO = [Command(("cache",), caches.LATENTS), Command(("cache",), caches.TEXTS)]


def resolved(root: Path, family: str = "zimage", **train: Any) -> Resolved:
    said = {**GOOD, **train}
    gone = [key for key, value in said.items() if value is None]
    return recipe(
        root, said, family=family, trainer="musubi", without=("network_train_unet_only", *gone)
    )


@pytest.mark.parametrize(
    ("rule", "family", "wrong", "right"),
    [
        ("musubi-optimizer", "zimage", {"optimizer_type": None}, {}),
        ("musubi-rate", "zimage", {"learning_rate": None}, {}),
        ("musubi-attention", "zimage", {"sdpa": None}, {"sdpa": None, "xformers": True}),
        ("musubi-sage", "zimage", {"sage_attn": True}, {}),
        ("musubi-fp8", "zimage", {"fp8_scaled": True}, {"fp8_scaled": True, "fp8_base": True}),
        ("musubi-fp8-krea", "krea2", {"fp8_base": True}, {"fp8_base": True, "fp8_scaled": True}),
        ("musubi-turbo-swap", "krea2", {"turbo_dit": "t", "blocks_to_swap": 4}, {"turbo_dit": "t"}),
        ("musubi-fp8-text", "flux2", {"fp8_text_encoder": True, "model_version": "dev"}, {"fp8_text_encoder": True, "model_version": "klein-4b"}),
        ("musubi-vae-type", "qwen_image", {"vae_dtype": "fp16"}, {}),
        ("musubi-module", "zimage", {"network_module": "networks.lora_wan"}, {"network_module": "networks.lokr"}),
        ("musubi-swap-too-many", "qwen_image", {"blocks_to_swap": 60}, {"blocks_to_swap": 59}),
        ("musubi-offload", "wan22", {**WAN, "offload_inactive_dit": True, "blocks_to_swap": 2}, WAN),
        ("musubi-expert-range", "wan22", {"task": "t2v-A14B"}, WAN),
        ("musubi-expert-border", "wan22", {**WAN, "max_timestep": 900}, {**WAN, "task": "i2v-A14B", "max_timestep": 900}),
        ("musubi-clip", "wan21", {"task": "i2v-14B"}, {"task": "i2v-14B", "clip": "clip.safetensors"}),
        ("musubi-alpha", "zimage", {"network_alpha": None}, {}),
        ("musubi-fp32-file", "zimage", {"save_precision": "fp32"}, {}),
    ],
)  # fmt: skip
def test_each_rule_finds_its_case_and_leaves_the_one_beside_it(
    tmp_path: Path, rule: str, family: str, wrong: dict[str, Any], right: dict[str, Any]
) -> None:
    assert rule in names(resolved(tmp_path, family, **wrong))
    assert rule not in names(resolved(tmp_path, family, **right))


@pytest.mark.parametrize(
    ("rule", "train", "wrong", "right"),
    [
        ("musubi-swap-device", {"blocks_to_swap": 4}, MAC, CUDA),
        ("musubi-cpu-wan", WAN, PLAIN, CUDA),
    ],
)
def test_what_a_machine_lacks_is_said(
    tmp_path: Path, rule: str, train: dict[str, Any], wrong: Machine, right: Machine
) -> None:
    case = resolved(tmp_path, "wan22", **train)
    assert rule in names(case, wrong)
    assert rule not in names(case, right)


def test_every_rule_is_tried_above() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")
    assert not [
        rule.name for rule in RULES if isinstance(rule, Rule) and f'"{rule.name}"' not in tried
    ]


def names(case: Resolved, machine: Machine = CUDA) -> set[str]:
    return {fault.rule for fault in Musubi().check(case, machine)}


# Buckets: figures of its own BucketSelector; tests/real compares them with it.
BUCKETS = [
    ((1024, 1024), False, (1200, 800), (1248, 832)),
    ((1024, 1024), False, (640, 480), (1184, 880)),
    ((1024, 1024), True, (640, 480), (640, 480)),
    ((1024, 1024), True, (635, 485), (624, 480)),
    ((1024, 1024), True, (4000, 3000), (1184, 880)),
    ((512, 512), False, (3000, 500), (1024, 256)),
    ((960, 544), False, (544, 960), (544, 960)),
    ((300, 300), False, (300, 300), (288, 304)),
]


@pytest.mark.parametrize(("resolution", "no_upscale", "size", "bucket"), BUCKETS)
def test_buckets_are_musubis_own(
    resolution: tuple[int, int], no_upscale: bool, size: tuple[int, int], bucket: tuple[int, int]
) -> None:
    rules = BucketRules(resolution, step=16, no_upscale=no_upscale, by_area=True)
    assert Chooser(rules).choose(*size).bucket == bucket


# Files.


def written(root: Path, case: Resolved) -> tuple[dict[str, Any], list[Fault]]:
    options = Options(case)
    facts = scan(root / "data", caption_extension=".txt")
    texts, faults = run_files.files(options, {}, facts)
    return {name: toml.loads(text) for name, text in texts.items()}, faults


def test_each_folder_at_each_resolution_is_a_dataset_with_a_cache_of_its_own(
    tmp_path: Path,
) -> None:
    for name in ("10_maya_char", "2_maya_char"):
        folder(tmp_path / "data" / name, [(64, 64)])
    case = recipe(tmp_path, {**GOOD, "train_batch_size": 2}, family="zimage", trainer="musubi", dataset={"resolutions": [512, 768], "caption_extension": ".txt"})  # fmt: skip
    texts, faults = written(tmp_path, case)
    data = texts["dataset.toml"]
    assert not faults
    assert data["general"] == {
        "caption_extension": ".txt",
        "batch_size": 2,
        "enable_bucket": True,
        "bucket_no_upscale": False,
    }
    assert [(one["num_repeats"], one["resolution"]) for one in data["datasets"]] == [
        (10, [512, 512]),
        (2, [512, 512]),
        (10, [768, 768]),
        (2, [768, 768]),
    ]
    assert len({one["cache_directory"] for one in data["datasets"]}) == 4
    assert set(data["datasets"][0]) == {
        "image_directory",
        "resolution",
        "cache_directory",
        "num_repeats",
    }


def test_what_its_grammar_cannot_say_or_would_leave_out_silently_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path / "data/10_maya_char", [(64, 64)] * 3)
    (place / "000.txt").unlink()
    case = recipe(tmp_path, GOOD, family="zimage", trainer="musubi", dataset={"subset": {"10_maya_char": {"keep_tokens": 1}}})  # fmt: skip
    _, faults = written(tmp_path, case)
    assert {fault.rule for fault in faults} == {"musubi-subset", "musubi-no-caption"}
    assert any("000.png" in fault.what for fault in faults)


def test_what_stands_in_its_dataset_file_is_in_the_record_the_lock_and_the_report_too(
    tmp_path: Path,
) -> None:
    folder(tmp_path / "data/10_maya_char", [(64, 32), (32, 32)])
    case = recipe(
        tmp_path,
        {**GOOD, "resolution": "64", "train_batch_size": 1},
        family="zimage",
        trainer="musubi",
    )
    plan = make_plan(case, run_dir=tmp_path / "runs/maya/1", machine=CUDA)
    record = opening_record(plan)
    said = {key: record.value(key) for key in ("resolution", "enable_bucket", "train_batch_size")}
    assert said == {"resolution": "64,64", "enable_bucket": True, "train_batch_size": 1}
    assert said.items() <= options_of(plan).items()
    assert not said.keys() & toml.loads(plan.files["train.toml"]).keys()
    plan.run_dir.mkdir(parents=True)
    write_images(plan.run_dir, images_of(plan))
    page = gallery.dataset(plan.run_dir, record)
    ours = {f"bucket {one.width} × {one.height}, 1 image" for one in plan.steps.buckets}
    assert len(ours) == 2
    assert {one for one in ours if one in page} == ours


def test_brackets_in_the_way_to_its_caches_are_refused(tmp_path: Path) -> None:
    """Its search for caches takes them for a pattern, and finds nothing."""
    root = tmp_path / "my [loras]"
    folder(root / "data/10_maya_char", [(64, 64)])
    options = Options(resolved(root))
    settings = {"dataset_config": type(next(iter(options.resolved.train.values())))(str(root / "runs/dataset.toml"), "")}  # fmt: skip
    facts = scan(root / "data", caption_extension=".txt")
    _, faults = run_files.files(options, settings, facts)
    assert [fault.rule for fault in faults] == ["musubi-brackets"]


def test_folder_mode_is_refused(tmp_path: Path) -> None:
    facts = DatasetFacts(tmp_path, ())
    in_folders = replace(resolved(tmp_path), dataset={"mode": Setting("folders", "")})
    _, faults = run_files.files(Options(in_folders), {}, facts)
    assert [fault.rule for fault in faults] == ["musubi-folders"]


def test_prompts_are_in_its_own_words(tmp_path: Path) -> None:
    folder(tmp_path / "data/1_maya_char", [(64, 64)])
    case = recipe(
        tmp_path,
        GOOD,
        family="zimage",
        trainer="musubi",
        sample={"prompts": ["maya_char --fs 2.5"], "scale": 4.0, "steps": 8, "negative": "blurry"},
    )
    texts, faults = written(tmp_path, case)
    assert not faults
    (prompt,) = texts["prompts.toml"]["prompt"]["subset"]
    assert prompt["prompt"] == "maya_char"
    assert (prompt["cfg_scale"], prompt["sample_steps"]) == (4.0, 8)
    assert prompt["discrete_flow_shift"] in {2.5, "2.5"}
    assert "scale" not in prompt


# Commands.


def test_the_cachers_get_what_the_training_gets(tmp_path: Path) -> None:
    case = resolved(tmp_path, "qwen_image", vae="vae.safetensors", text_encoder="t.safetensors", fp8_vl=True)  # fmt: skip
    start = Start("python", (), "/mt/src/musubi_tuner/qwen_image_train_network.py", tmp_path)
    latents, texts, training = Musubi().commands(Options(case), start)
    assert latents.argv[:4] == (
        "python",
        "/mt/src/musubi_tuner/qwen_image_cache_latents.py",
        "--dataset_config",
        str(tmp_path / "dataset.toml"),
    )
    assert latents.argv[latents.argv.index("--vae") + 1] == "vae.safetensors"
    assert texts.argv[texts.argv.index("--text_encoder") + 1] == "t.safetensors"
    assert "--fp8_vl" in texts.argv
    assert "--fp8_vl" not in latents.argv
    assert training.argv[-2:] == ("--config_file", str(tmp_path / "train.toml"))


def test_image_to_video_is_said_to_the_cacher_of_latents(tmp_path: Path) -> None:
    case = resolved(tmp_path, "wan22", **{**WAN, "task": "i2v-A14B"})
    start = Start("python", (), "/mt/src/musubi_tuner/wan_train_network.py", tmp_path)
    assert [("--i2v" in one.argv) for one in Musubi().commands(Options(case), start)] == [
        True,
        False,
        False,
    ]


def test_tokenizers_that_are_in_the_hubs_cache_are_no_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    klein = resolved(tmp_path, "flux2", model_version="klein-base-9b")
    assert Musubi().downloads(klein) == ["Qwen/Qwen3-8B"]
    assert Musubi().downloads(resolved(tmp_path)) == ["Tongyi-MAI/Z-Image"]
    (tmp_path / "models--Tongyi-MAI--Z-Image/snapshots").mkdir(parents=True)
    assert Musubi().downloads(resolved(tmp_path)) == []


def test_a_cachers_count_is_a_phase() -> None:
    reader = Musubi().log_reader(0, 0, "latents")
    lines = [b"1it [00:01, 1.0s/it]", b"1it [00:01, 1.0s/it]", b"2it [00:02, 1.0s/it]", b"Done!"]
    told = [event.text for line in lines for event in reader.feed(line)]
    assert told == ["caching latents, 1 done", "caching latents, 2 done"]
    assert reader.finish() == []


# Caches.


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Two pictures whose caches are there."""
    pictures = folder(tmp_path / "data/1_fox", [(64, 64), (64, 96)])
    run_dir = tmp_path / "runs/fox/1"
    cache = caches.folder(run_dir) / "1_fox-64x64"
    cache.mkdir(parents=True)
    table = {
        "image_directory": str(pictures),
        "cache_directory": str(cache),
        "resolution": [64, 64],
        "num_repeats": 1,
    }
    general = {"caption_extension": ".txt"}
    (run_dir / "dataset.toml").write_text(toml.dumps({"general": general, "datasets": [table]}))
    for name in ("000_0064x0064_zi", "001_0064x0096_zi", "000_zi_te", "001_zi_te"):
        (cache / f"{name}.safetensors").write_bytes(b"cached")
    return Work(run_dir, "zimage", {}, run_dir / "output", "fox")


def begun(work: Work) -> list[bool]:
    """Whether each cacher must run."""
    return [not caches.needless(one, work) for one in TWO]


def test_caches_of_the_same_pictures_and_captions_are_not_made_again(work: Work) -> None:
    assert begun(work) == [True, True]
    assert [caches.fault_after(one, work) for one in TWO] == ["", ""]
    assert begun(work) == [False, False]


def test_an_edited_caption_is_read_again_and_the_pictures_are_not(
    tmp_path: Path, work: Work
) -> None:
    test_caches_of_the_same_pictures_and_captions_are_not_made_again(work)
    (tmp_path / "data/1_fox/000.txt").write_text("fox, edited")
    assert begun(work) == [False, True]


def test_an_edited_picture_is_read_again(tmp_path: Path, work: Work) -> None:
    test_caches_of_the_same_pictures_and_captions_are_not_made_again(work)
    png(tmp_path / "data/1_fox/000.png", 64, 80)
    assert begun(work)[0]


def test_a_removed_picture_is_not_trained_from_its_old_cache(tmp_path: Path, work: Work) -> None:
    test_caches_of_the_same_pictures_and_captions_are_not_made_again(work)
    for name in ("001.png", "001.txt"):
        (tmp_path / "data/1_fox" / name).unlink()
    assert begun(work) == [True, True]
    assert "001_0064x0096_zi.safetensors is not of these pictures" in caches.fault_after(
        TWO[0], work
    )


def test_another_command_line_or_resolution_makes_them_again(work: Work) -> None:
    test_caches_of_the_same_pictures_and_captions_are_not_made_again(work)
    assert not caches.needless(Command(("cache", "--vae", "other"), caches.LATENTS), work)
    path = work.run_dir / "dataset.toml"
    path.write_text(path.read_text().replace("64, 64", "128, 128"))
    assert begun(work) == [True, True]


def test_a_lost_cache_makes_them_again(work: Work) -> None:
    test_caches_of_the_same_pictures_and_captions_are_not_made_again(work)
    next(caches.folder(work.run_dir).rglob("000_zi_te.safetensors")).unlink()
    assert begun(work) == [False, True]
    assert "it left no texts of " in caches.fault_after(TWO[1], work)


def test_what_is_edited_while_it_is_cached_is_not_taken_for_cached(
    tmp_path: Path, work: Work
) -> None:
    assert begun(work) == [True, True]
    (tmp_path / "data/1_fox/000.txt").write_text("fox, edited meanwhile")
    assert caches.fault_after(TWO[0], work) == ""
    assert "changed while it was read" in caches.fault_after(TWO[1], work)
    assert begun(work) == [False, True]


def test_a_broken_note_about_caches_is_no_proof(work: Work) -> None:
    test_caches_of_the_same_pictures_and_captions_are_not_made_again(work)
    (caches.folder(work.run_dir) / "latents.json").write_text("{")
    assert begun(work) == [True, False]
    assert json.loads((caches.folder(work.run_dir) / "texts.json").read_text())


# Going on.


def test_between_two_epochs_it_makes_what_is_left_on_the_schedule_of_the_whole_run() -> None:
    settings = {"max_train_epochs": 3, "save_every_n_epochs": 1, "lr_scheduler": "cosine"}
    how = Musubi().continuation(Paused(4, 12, 4), settings)
    assert how
    assert (how.changes["max_train_steps"], how.changes["max_train_epochs"]) == (8, None)
    assert how.changes["lr_scheduler_type"] == "lorakit_schedule.whole_run"
    assert how.changes["lr_scheduler_args"] == ["total=12"]
    assert "save_every_n_epochs" not in how.changes
    assert (how.offset, how.bar_offset, how.epoch_offset, how.stop_after) == (4, 4, 1, 0)
    assert "def whole_run(" in how.files["lorakit_schedule.py"]


def test_inside_an_epoch_that_begins_again_and_that_is_said() -> None:
    how = Musubi().continuation(Paused(6, 12, 4), {"save_every_n_steps": 3})
    assert how
    assert (how.offset, how.epoch_offset) == (6, 1)
    assert any("epochs end 2 steps later" in text for text in how.inexact)


def test_every_second_epoch_is_still_saved_after_an_odd_one() -> None:
    how = Musubi().continuation(Paused(12, 24, 4), {"save_every_n_epochs": 2})
    assert how
    assert how.changes["save_every_n_epochs"] == 1  # the odd ones are dropped afterwards


# Wan 2.2.


def test_guide_4_trains_two_experts_each_on_its_own_base_and_timesteps(tmp_path: Path) -> None:
    name = "portrait-best54-wan22"
    file = tmp_path / "recipes" / f"{name}.toml"
    file.parent.mkdir()
    shipped = Path(__file__).parents[2] / "recipes" / file.name
    file.write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    folder(tmp_path / "datasets/portrait-best54/10_rin_v1", [(1024, 1024)] * 3)
    resolved, faults = resolve(file)
    plans = make_plans(resolved, faults, run_dir=tmp_path / "runs" / name / "1", machine=CUDA)
    told = [
        (
            plan.output_name,
            plan.settings["min_timestep"].value,
            plan.settings["max_timestep"].value,
            "high_noise" in str(plan.settings["dit"].value),
            "network_weights" in plan.settings,
        )
        for plan in plans
    ]
    assert told == [(f"{name}_high", 875, 1000, True, False), (f"{name}_low", 0, 875, False, False)]
    assert {plan.steps.total for plan in plans} == {1500}
    wrong = {fault.rule for plan in plans for fault in plan.faults if fault.severity == "error"}
    assert wrong == {"weights-not-there"}
