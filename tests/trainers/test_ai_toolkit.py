"""ai-toolkit: what is planned for it, written for it, read from it, and what became of it."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from plan_cases import CUDA, folder

from lorakit.catalogue.file_names import CheckpointName
from lorakit.catalogue.options import options, sections
from lorakit.errors import Fault, LorakitError
from lorakit.events import Event
from lorakit.plan.make import make_plan, make_plans
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve
from lorakit.run.resume.next_command import newest_state
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import train
from lorakit.run.watch.supervise import STOP_REQUEST
from lorakit.runs.find import progress_rows
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import read_record
from lorakit.trainers.ai_toolkit.config_file import replaced, yaml_text
from lorakit.trainers.ai_toolkit.trainer import AVERAGED, AiToolkitText
from lorakit.trainers.base import ANEW, Trainer

FAKE = Path(__file__).parents[1] / "fakes" / "ai_toolkit_run.py"
PRESETS = {"flux-aitk": "flux", "qwen-image-aitk": "qwen_image", "wan22-aitk": "wan22"}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is known as ai-toolkit's, with the stand-in as its run.py."""
    place = tmp_path / "ai-toolkit"
    (place / "toolkit").mkdir(parents=True)
    (place / "toolkit" / "config_modules.py").touch()
    shutil.copy(FAKE, place / "run.py")
    monkeypatch.setattr(Trainer, "PATIENCE", (2.0, 0.5))
    monkeypatch.setenv("LORAKIT_AI_TOOLKIT", str(place))
    monkeypatch.setenv("LORAKIT_AI_TOOLKIT_PYTHON", sys.executable)
    return place


def planned(root: Path, preset: str = "flux-aitk", name: str = "maya", /, **sets: Any) -> Plan:
    folder(root / "datasets/maya/40_maya_char", [(1024, 1024), (1200, 800)])
    folder(root / "datasets/maya/20_maya_char_realbody", [(1024, 1024)])
    model = root / "models/base"
    model.mkdir(parents=True, exist_ok=True)
    (model / "model_index.json").write_text('{"_class_name": "FluxPipeline"}', encoding="utf-8")
    text = "".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}\n"
        for key, value in sets.items()
    )
    file = root / "recipes" / "maya.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(
        f'preset = "{preset}"\nname = "{name}"\ntrigger = "maya_char"\n[model]\nbase = "models/base"\n[dataset]\npath = "datasets/maya"\n[train]\n{text}',
        encoding="utf-8",
    )
    resolved, faults = resolve(file)
    return make_plan(resolved, faults, run_dir=root / "runs" / "maya" / "1", machine=CUDA)


def refused(plan: Plan) -> dict[str, Fault]:
    return {fault.rule: fault for fault in plan.faults if fault.severity == "error"}


def written(plan: Plan) -> Mapping[str, Any]:
    config: Mapping[str, Any] = yaml.safe_load(plan.files["ai-toolkit.yaml"])["config"]
    process: Mapping[str, Any] = config["process"][0]
    return process


def sound(plan: Plan) -> Plan:
    """What is installed here is this machine's own affair."""
    return replace(plan, faults=tuple(one for one in plan.faults if one.severity != "error"))


def ran(plan: Plan, monkeypatch: pytest.MonkeyPatch, **env: str) -> Outcome:
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    return train(sound(plan))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_guides_presets_plan_without_a_fault(
    preset: str, tmp_path: Path, checkout: Path
) -> None:
    plan = planned(tmp_path, preset)
    found = {rule for rule in refused(plan) if rule not in {"package-missing", "disk-space"}}
    assert not found
    assert plan.resolved.trainer == "ai-toolkit"
    assert plan.argv == (
        *("env", "SEED=42", sys.executable, str(checkout / "run.py")),
        str(tmp_path / "runs/maya/1/ai-toolkit.yaml"),
    )


def test_the_guide_of_two_folders_is_written_as_it_says(tmp_path: Path) -> None:
    said = written(planned(tmp_path))
    train_block, model = said["train"], said["model"]
    assert (said["network"]["linear"], said["network"]["linear_alpha"]) == (16, 16)
    assert [train_block[key] for key in ("steps", "batch_size", "gradient_accumulation")] == [
        3400,
        1,
        4,
    ]
    assert "gradient_accumulation_steps" not in train_block, "that one counts batches as steps"
    assert (train_block["lr"], train_block["optimizer"]) == (2e-4, "adamw8bit")
    assert train_block["ema_config"] == {"use_ema": True, "ema_decay": 0.999}
    assert (train_block["noise_scheduler"], train_block["train_text_encoder"]) == (
        "flowmatch",
        False,
    )
    assert (model["arch"], model["quantize"], model["qtype"]) == ("flux", True, "qint8")
    assert [(Path(one["folder_path"]).name, one["num_repeats"]) for one in said["datasets"]] == [
        ("20_maya_char_realbody", 20),
        ("40_maya_char", 40),
    ]
    assert {one["caption_dropout_rate"] for one in said["datasets"]} == {0.05}
    assert said["save"]["max_step_saves_to_keep"] == 10
    assert said["sample"]["samples"][0]["prompt"].startswith("portrait of maya")


def test_the_guide_of_the_best_54_is_written_as_it_says(tmp_path: Path) -> None:
    plan = planned(tmp_path, "wan22-aitk")
    said = written(plan)["train"]
    assert [said[key] for key in ("steps", "lr", "batch_size", "optimizer", "lr_scheduler")] == [
        1500,
        1e-4,
        1,
        "adamw8bit",
        "constant_with_warmup",
    ]
    assert said["lr_scheduler_params"] == {"num_warmup_steps": 100}
    assert written(plan)["network"]["linear"] == 16
    saved = [(one.name, one.step) for one in plan.steps.checkpoints]
    assert saved[:2] == [
        ("maya_000000250_high_noise.safetensors", 251),
        ("maya_000000250_low_noise.safetensors", 251),
    ]
    assert saved[-2:] == [
        ("maya_high_noise.safetensors", 1500),
        ("maya_low_noise.safetensors", 1500),
    ]
    one = planned(tmp_path, "wan22-aitk", train_low_noise=False)
    assert one.steps.checkpoints[-1].name == "maya_high_noise.safetensors"


def test_a_second_stage_begins_with_the_files_of_the_first(tmp_path: Path) -> None:
    planned(tmp_path, "wan22-aitk")
    file = tmp_path / "recipes" / "maya.toml"
    with file.open("a", encoding="utf-8") as text:
        text.write('[[stage]]\nname = "faces"\n[[stage]]\nname = "everything"\n')
    resolved, faults = resolve(file)
    _, second = make_plans(resolved, faults, run_dir=tmp_path / "runs/maya/1", machine=CUDA)
    begun = Path(written(second)["network"]["pretrained_lora_path"])
    assert begun.name == "maya_high_noise.safetensors", "it finds the other expert beside it"


def test_a_save_that_falls_on_the_last_step_has_both_its_names(tmp_path: Path) -> None:
    plan = planned(tmp_path, max_train_steps=7, save_every_n_steps=3, max_step_saves_to_keep=1)
    assert [(one.name, one.step, one.kept) for one in plan.steps.checkpoints] == [
        ("maya_000000003.safetensors", 4, False),
        ("maya_000000006.safetensors", 7, True),
        ("maya.safetensors", 7, True),
    ]


@pytest.mark.parametrize(
    ("sets", "rule"),
    [
        ({"lr_scheduler": "linear"}, "aitk-linear"),
        ({"lr_scheduler": "polynomial"}, "aitk-scheduler"),
        ({"lr_warmup_steps": 100}, "aitk-warmup"),
        ({"network_alpha": 8.0}, "aitk-alpha"),
        ({"optimizer_type": "DAdaptAdam"}, "aitk-optimizer"),
        ({"optimizer_type": "Prodigy"}, "aitk-adaptive"),
        ({"resolution": "768,1024"}, "aitk-square"),
        ({"train_high_noise": True}, "aitk-expert-elsewhere"),
        ({"output_name": "conf"}, "aitk-name"),
        ({"output_name": "o"}, "aitk-name"),
        ({"caption_prefix": "x"}, "trainer"),
        ({"max_train_epochs": 3}, "trainer"),
        ({"quantise": True}, "unknown-key"),
        ({"noise_scheduler": "${HOME}"}, "aitk-replaced"),
    ],
)
def test_what_it_gets_wrong_is_refused_by_name(
    sets: dict[str, Any], rule: str, tmp_path: Path
) -> None:
    assert rule in refused(planned(tmp_path, **sets))


def test_a_part_that_lies_in_the_base_folder_is_refused_with_a_word_that_helps(
    tmp_path: Path,
) -> None:
    planned(tmp_path)
    file = tmp_path / "recipes" / "maya.toml"
    text = file.read_text(encoding="utf-8").replace("[model]", '[model]\nclip_l = "c.safetensors"')
    file.write_text(text, encoding="utf-8")
    _, faults = resolve(file)
    (fault,) = (one for one in faults if one.rule == "unknown-key")
    assert fault.what == "the ai-toolkit trainer takes no such file."


def test_a_picture_without_a_caption_is_named(tmp_path: Path) -> None:
    first = planned(tmp_path)
    (tmp_path / "datasets/maya/40_maya_char/001.txt").unlink()
    again = make_plan(first.resolved, (), run_dir=first.run_dir, machine=CUDA)
    fault = refused(again)["aitk-no-caption"]
    assert "001.png" in str(fault)


def test_every_text_comes_back_from_a_yaml_reader_as_it_was_meant() -> None:
    texts = ["yes", "1e-4", "a: b", "- #", "o'\"\\", "ü 😀", "\t\n", "\x85\u2028\x7f", "", "null"]
    meant: dict[str, Any] = {
        "one": {"texts": texts, "numbers": [1e-06, 1.0, 3, True, None], "none": {}}
    }
    meant |= {"two": [{"a": [1, 2], "b": {"c": "d"}}, {"a": []}]}
    text = yaml_text(meant)
    assert yaml.safe_load(text) == meant
    assert "- '1e-4'" in text, "ai-toolkit's own loader would take it for a number"
    assert list(replaced({"a": ["b", {"c": "x ${HOME} y"}], "d": "[name]"})) == [
        ("a.c", "${HOME}"),
        ("d", "[name]"),
    ]


def test_every_key_that_its_source_looks_up_is_known() -> None:
    known, own = options("ai-toolkit", "run.py"), sections("ai-toolkit")
    assert {"ema_decay", "qtype", "switch_boundary_every", "timestep_type"} <= set(known)
    assert all(name in known for names in own.values() for name in names)
    assert known["ema_decay"].default is None, "unset is no EMA at all"
    assert known["max_step_saves_to_keep"].default == 5


def test_names_that_count_from_zero_say_the_true_step() -> None:
    name = "maya_000000249_high_noise.safetensors"
    parsed = CheckpointName.parse(name, "maya")
    assert parsed
    assert (parsed.step, parsed.part, parsed.kind, str(parsed)) == (250, "high_noise", "step", name)
    assert str(CheckpointName.parse("maya_low_noise.safetensors", "maya")) == (
        "maya_low_noise.safetensors"
    )


def test_a_step_is_told_with_its_own_loss_and_a_nought_is_nan() -> None:
    def frame(count: int, loss: str) -> bytes:
        return f"maya:  33%|##  | {count}/3 [00:04<00:05,  1.42s/it, lr: 1.0e-03 loss: {loss}]".encode()

    reader = AiToolkitText(3)
    frames = [(0, "5.0e-01"), (1, "5.0e-01"), (1, "0.000e+00"), (2, "0.000e+00"), (2, "1e-1")]
    events = [one for count, loss in frames for one in reader.feed(frame(count, loss))]
    events += reader.feed(frame(3, "1e-1")) + reader.finish()
    steps = [(one.step, one.loss) for one in events if one.kind == "step"]
    assert steps[0] == (1, 0.5)
    assert steps[1][0] == 2
    assert math.isnan(steps[1][1] or 0)
    assert steps[2] == (3, 0.1)


def small(root: Path, preset: str = "flux-aitk", /, **sets: Any) -> Plan:
    few = {"max_train_steps": 6, "save_every_n_steps": 2, "lr_scheduler": "constant"}
    return planned(root, preset, **{**few, "lr_warmup_steps": 0, **sets})


def test_a_run_is_done_with_its_files_under_their_true_steps(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(tmp_path)
    before = sorted((tmp_path / "datasets").rglob("*"))
    outcome = ran(plan, monkeypatch)
    assert (outcome.state, outcome.ending.step, outcome.ending.exit_code) == ("done", 6, 0), (
        outcome.ending.reason
    )
    record = read_record(plan.run_dir)
    assert sorted((one.path, one.step, one.kind) for one in record.checkpoints) == [
        ("output/maya.safetensors", 6, "final"),
        ("output/maya_000000002.safetensors", 3, "step"),
        ("output/maya_000000004.safetensors", 5, "step"),
    ]
    assert [(one.path, one.step, one.prompt) for one in record.samples] == [
        (f"output/sample/1764316800123__{step:09d}_{prompt}.png", step, prompt)
        for step in (2, 4)
        for prompt in (0, 1, 2)
    ]
    assert [(one.name, one.step) for one in plan.steps.checkpoints] == [
        ("maya_000000002.safetensors", 3),
        ("maya_000000004.safetensors", 5),
        ("maya.safetensors", 6),
    ]
    losses = [row["loss"] for row in progress_rows(plan.run_dir)]
    assert losses == pytest.approx([1.0, 0.5, 0.333, 0.25, 0.2, 0.167], rel=1e-2)
    assert sorted((tmp_path / "datasets").rglob("*")) == before, "nothing beside the pictures"
    assert "seed 42" in (plan.run_dir / "log.txt").read_text(encoding="utf-8")


def test_both_experts_are_judged(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(tmp_path, "wan22-aitk")
    assert ran(plan, monkeypatch).state == "done"
    paths = {one.path: one.step for one in read_record(plan.run_dir).checkpoints}
    assert paths["output/maya_000000002_low_noise.safetensors"] == 3
    assert paths["output/maya_high_noise.safetensors"] == 6


@pytest.mark.slow
def test_a_leftover_of_its_name_cannot_win_because_each_run_has_a_folder_of_its_own(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(tmp_path)
    assert ran(plan, monkeypatch).state == "done"
    second = make_plan(plan.resolved, (), run_dir=plan.run_dir.with_name("2"), machine=CUDA)
    assert ran(second, monkeypatch).state == "done"
    assert "RESUMING" not in (second.run_dir / "log.txt").read_text(encoding="utf-8")


def test_a_hidden_nan_is_told_as_failed(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ran(small(tmp_path), monkeypatch, LOSSES="0.5 0 0 0 0 0", PAUSE="0.05")
    assert (outcome.state, outcome.ending.nan) == ("failed", True)
    assert "NaN" in outcome.ending.reason


def test_an_error_is_told_as_failed(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = ran(small(tmp_path), monkeypatch, FAIL_AT="3")
    assert (outcome.state, outcome.ending.exit_code) == ("failed", 1)


@pytest.mark.slow
def test_a_stop_is_told_as_stopped_although_it_exits_with_0(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(tmp_path, max_train_steps=600, save_every_n_steps=0)

    def stop(event: Event) -> None:
        if event.kind == "step":
            (plan.run_dir / STOP_REQUEST).write_text('{"mode": "now"}', encoding="utf-8")

    monkeypatch.setenv("LOSSES", " ".join(["0.5"] * 600))
    monkeypatch.setenv("PAUSE", "0.05")
    outcome = train(sound(plan), emit=stop)
    assert (outcome.state, outcome.ending.exit_code) == ("stopped", 0)


@pytest.mark.slow
def test_a_run_that_died_goes_on_from_its_last_save_under_the_same_numbers(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(tmp_path)
    assert ran(plan, monkeypatch, FAIL_AT="5").state == "failed"
    older = plan.run_dir / "output/maya_000000002.safetensors"
    older.touch()  # it alone would begin with the file that was changed last
    monkeypatch.delenv("FAIL_AT")
    outcome = resume_run(plan.run_dir)
    record = read_record(plan.run_dir)
    assert (outcome.state, outcome.ending.step) == ("done", 6)
    log = (plan.run_dir / "log.txt").read_text(encoding="utf-8")
    assert f"lora path from config: {older.with_name('maya_000000004.safetensors')}" in log
    assert "optimizer.pt: step 4" in log
    assert (record.part.from_step, record.part.inexact) == (5, (ANEW, AVERAGED))
    paths = {one.path: one.step for one in record.checkpoints if not one.fault}
    assert paths == {
        "output/maya_000000002.safetensors": 3,
        "output/maya_000000004.safetensors": 5,
        "output/maya.safetensors": 6,
    }
    assert all((plan.run_dir / path).is_file() for path in paths)


def test_a_lora_that_was_saved_without_its_optimiser_is_not_gone_on_from(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = small(tmp_path, max_train_steps=8)
    assert ran(plan, monkeypatch, FAIL_AT="5").state == "failed"
    output = plan.run_dir / "output"
    shutil.copyfile(output / "maya_000000004.safetensors", output / "maya_000000006.safetensors")
    state = newest_state(plan.run_dir, read_record(plan.run_dir))
    assert (state.step, state.path.name) == (5, "maya_000000004.safetensors")
    (output / "optimizer.pt").write_bytes(b"PK cut short")
    with pytest.raises(LorakitError, match="no intact state") as caught:
        newest_state(plan.run_dir, read_record(plan.run_dir))
    assert "--set save_every_n_steps=" in caught.value.hint  # it has no save_state
