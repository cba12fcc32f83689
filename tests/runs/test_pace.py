"""How long a run will take, said before it starts, with how sure that is; and while it runs, from
its steps alone.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, sd15_base

from lorakit.cli.main import main
from lorakit.machine import Gpu, Machine, machine_named
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve
from lorakit.run.watch.follow import Follower
from lorakit.runs.find import last_progress, seconds_a_step
from lorakit.runs.opening import opening_record
from lorakit.runs.pace import expected, remember
from lorakit.runs.ran_from import RanOn, StepCounts, TrainerUsed
from lorakit.runs.record import Record

H100 = Machine("Linux", "x86_64", 16, 0, (Gpu("NVIDIA H100 80GB HBM3", 80_000_000_000),))
HERE = Machine("Linux", "x86_64", 16, 0, (Gpu("NVIDIA Odd 3000", 24_000_000_000),))
RECIPE = """
family = "sd15"
name = "maya"
[model]
base = "base.safetensors"
tokenizers = "tokenizers"
[dataset]
path = "data"
[train]
resolution = "512,512"
enable_bucket = true
max_train_epochs = 2
lr_scheduler = "cosine"
learning_rate = 1e-4
network_dim = 8
network_alpha = 4
"""


def planned(root: Path, train: str = "") -> Plan:
    sd15_base(root)
    folder(root / "data" / "10_maya_char", [(512, 512)] * 3)
    (root / "recipes").mkdir(exist_ok=True)
    (root / "recipes" / "maya.toml").write_text(f"{RECIPE}{train}\n", encoding="utf-8")
    resolved, faults = resolve(root / "recipes" / "maya.toml")
    return make_plan(resolved, faults, run_dir=root / "runs" / "new", machine=HERE)


def finished(plan: Plan, number: int, seconds: float, **changes: Any) -> None:
    """A run of this plan, with its record and nothing else."""
    run_dir = plan.resolved.root / "runs" / "maya" / f"20260101-12000{number}"
    run_dir.mkdir(parents=True)
    record = opening_record(plan)
    record = replace(
        record,
        state="done",
        platform=RanOn("Linux", "x86_64", 16, 0, ("NVIDIA Odd 3000",)),
        outcome=replace(record.outcome, seconds_a_step=seconds),
        **changes,
    )
    (run_dir / "record.json").write_text(json.dumps(record.to_json()), encoding="utf-8")


def test_three_runs_of_this_kind_here_say_how_long_the_next_takes(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    for number, seconds in enumerate((2.0, 1.0, 3.0)):
        finished(plan, number, seconds)
    assert plan.steps.total == 60
    found = expected(plan, HERE)
    assert found.seconds == 120
    assert str(found) == "about 2 min, from 3 runs here"


def test_runs_of_another_kind_or_machine_say_nothing(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    finished(plan, 0, 2.0, trainer=replace(opening_record(plan).trainer, name="embedded"))
    finished(plan, 1, 2.0, family="sdxl")
    other = planned(tmp_path, "train_batch_size = 3")
    finished(other, 2, 9.0)
    assert expected(plan, HERE).seconds is None
    assert expected(plan, machine_named("rtx3060")).seconds is None


def test_accumulated_batches_make_a_step_longer(tmp_path: Path) -> None:
    finished(planned(tmp_path), 0, 2.0)
    found = expected(planned(tmp_path, "gradient_accumulation_steps = 4"), HERE)
    assert found.seconds_a_step == 8.0


def test_a_rehearsal_of_full_size_is_the_next_best_source(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    remember(plan, HERE, 2.0)
    assert str(expected(plan, HERE)) == "about 2 min, from a rehearsal here"
    finished(plan, 0, 1.0)
    assert str(expected(plan, HERE)) == "about 1 min, from 1 run here"


def test_then_what_was_measured_on_such_a_card(tmp_path: Path) -> None:
    words = "network_train_unet_only = true\ncache_latents = true\nmixed_precision = 'bf16'"
    found = expected(planned(tmp_path, words), H100)
    assert found.seconds == pytest.approx(60 * 0.306)
    assert str(found) == "about 18 s, as measured on an H100"
    assert expected(planned(tmp_path, words), machine_named("h100")) == found
    larger = expected(planned(tmp_path, f"{words}\ntrain_batch_size = 2"), H100)
    assert str(larger).endswith("scaled by pixels from what was measured on an H100")


def test_unknown_is_an_answer_and_says_what_to_do(tmp_path: Path) -> None:
    said = str(expected(planned(tmp_path), HERE))
    assert (
        said
        == "unknown on NVIDIA Odd 3000: `lorakit rehearse maya --resolution 512 --steps 6` measures it"
    )


def test_the_plan_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "recipes/maya.toml", "--for", "rtx3060"]) == 0
    assert "\ntime       unknown on RTX 3060" in capsys.readouterr().out
    assert main(["plan", "recipes/maya.toml", "--for", "rtx3060", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["time"]["seconds"] is None


def test_a_pause_for_sampling_is_not_counted_as_a_step() -> None:
    steady = [(float(number), number) for number in range(1, 11)]
    paused = [(at + 100 * (step > 5), step) for at, step in steady]
    assert seconds_a_step(paused) == seconds_a_step(steady) == 1.0
    assert seconds_a_step(steady[:1]) == 0.0


def test_the_time_left_counts_steps_and_not_the_sampling_between(tmp_path: Path) -> None:
    record = Record(trainer=TrainerUsed("kohya"), steps=StepCounts(total=20))
    follower = Follower(tmp_path, record)
    log = tmp_path / "log.txt"
    events = []
    for step in range(1, 11):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"steps:  5%|5 | {step}/20 [00:01<00:09,  1.00s/it, avr_loss=0.1]\n")
        events += follower.poll(step + 100.0 * (step > 5))
    follower.finish(111.0)
    last = [event for event in events if event.kind == "step"][-1]
    assert last.eta_s == pytest.approx(10, rel=0.2)
    assert (last_progress(tmp_path).left_s(20) or 0) == pytest.approx(10, rel=0.2)
