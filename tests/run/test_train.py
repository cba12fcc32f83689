"""train: a folder, a record, a launch, and an end that is judged by what lies there."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.explain import lines_about
from lorakit.errors import LorakitError, SetupError
from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.recipe.model import Setting
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import train
from lorakit.runs.find import progress_rows
from lorakit.runs.opening import FolderTaken
from lorakit.runs.outcome import Outcome, failure
from lorakit.runs.ran_from import MachineRank
from lorakit.runs.record import Record, read_record
from lorakit.runs.registry import rows_of_runs
from lorakit.trainers.base import Trainer


def outcome_and_record(plan: Plan, **options: Any) -> tuple[Outcome, Record]:
    outcome = train(plan, **options)
    return outcome, read_record(plan.run_dir)


def interrupt_at(step: int, number: int = signal.SIGINT, again: int | None = None) -> Any:
    """An `emit` that sends this process a signal once the run has got to that step."""
    sent: list[int] = []

    def report(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= step and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
            if again is not None:
                threading.Timer(0.2, os.kill, (os.getpid(), again)).start()

    return report


def test_a_good_run_is_done_and_its_record_says_from_what(make_plan: Any) -> None:
    plan = make_plan(steps=4, env={"SAVE_EVERY": "2", "HF_TOKEN": "hf_secret"})
    outcome, record = outcome_and_record(plan)
    assert (outcome.state, outcome.ending.step, outcome.ending.exit_code) == ("done", 4, 0)
    assert outcome.lora == plan.run_dir / "output" / "fox.safetensors"
    assert record.state == "done"
    assert record.command == plan.argv
    assert record.settings["train"]["learning_rate"] == Setting(1e-4, "test")
    assert record.dataset.digest
    assert [(c.path, c.step, c.kind, c.finite) for c in record.checkpoints] == [
        ("output/fox-step00000002.safetensors", 2, "step", True),
        ("output/fox-step00000004.safetensors", 4, "step", True),
        ("output/fox.safetensors", 4, "final", True),
    ]
    assert all(
        re.fullmatch(r"[0-9a-f]{64}", digest or "")
        for c in record.checkpoints
        for digest in (c.sha256, c.tensors_sha256)
    )
    assert "hf_secret" not in (plan.run_dir / "record.json").read_text()
    assert (plan.run_dir / "train.toml").read_text() == "learning_rate = 1e-4\n"


def test_every_step_is_in_progress_jsonl_with_its_own_loss(make_plan: Any) -> None:
    plan = make_plan(steps=4)
    train(plan)
    assert [(row["step"], row["epoch"], row["loss"]) for row in progress_rows(plan.run_dir)] == [
        (1, 1, 1.0),
        (2, 1, 0.5),
        (3, 1, 0.333),
        (4, 1, 0.25),
    ]


def test_the_record_is_open_before_the_trainer_runs(make_plan: Any, project: Path) -> None:
    seen = project / "seen.json"
    script = f"import pathlib, time; time.sleep(0.2); pathlib.Path({str(seen)!r}).write_bytes(pathlib.Path('runs/fox/20260101-120000/record.json').read_bytes())"
    plan = make_plan(argv=[os.sys.executable, "-c", script])  # type: ignore[attr-defined]
    train(plan)
    data = json.loads(seen.read_text())
    assert (data["state"], data["supervisor"]["pid"]) == ("running", os.getpid())
    assert data["process"]["pid"] == data["process"]["pgid"] != os.getpid()
    assert data["process"]["started"] and data["process"]["boot_id"]


def test_the_dataset_list_names_every_image_with_its_caption(make_plan: Any) -> None:
    plan = make_plan()
    train(plan)
    rows = json.loads((plan.run_dir / "dataset.json").read_text())
    assert [(row["image"], row["caption"]) for row in rows] == [
        ("10_fox/a.png", "fox, in the snow")
    ]


def test_the_phases_come_in_order(make_plan: Any) -> None:
    events: list[Event] = []
    train(make_plan(), emit=events.append)
    assert [event.text for event in events if event.kind == "phase"] == [
        "caching",
        "preparing",
        "training",
        "saving",
    ]
    assert events[0].kind == "started"
    assert events[-1].kind == "ended"


@pytest.mark.parametrize(
    ("fake", "reason", "rule"),
    [
        ("out_of_memory.py", "the script ended with exit code 1", "gpu-memory"),
        (
            "no_images.py",
            "the script ended with exit code 0, but fox.safetensors does not exist",
            "no-images",
        ),
        ("dies_silently.py", "the script ended with signal 9 (SIGKILL)", "killed"),
        ("fills_disk.py", "the script ended with exit code 1", "disk-full"),
    ],
)
def test_a_bad_end_is_failed_with_reason_and_cause(
    make_plan: Any, fake: str, reason: str, rule: str
) -> None:
    outcome, record = outcome_and_record(make_plan(fake))
    assert (outcome.state, outcome.ending.reason.partition(";")[0]) == ("failed", reason)
    assert record.outcome.diagnosis and record.outcome.diagnosis.rule == rule
    text = str(failure(outcome))
    assert f"The complete log: {outcome.log}" in text
    assert "Remedy: " in text


def test_a_nan_lora_is_never_done(make_plan: Any) -> None:
    outcome, record = outcome_and_record(make_plan("nan_lora.py", env={"QUIET": "1"}))
    assert outcome.state == "failed"
    assert "NaN or infinity in 2 of 2 tensors" in outcome.ending.reason
    assert record.outcome.nan is True


def test_a_nan_loss_ends_the_run_early_and_says_so(make_plan: Any) -> None:
    events: list[Event] = []
    outcome, _ = outcome_and_record(
        make_plan("nan_lora.py", steps=400, pause=0.02), emit=events.append
    )
    assert outcome.state == "failed"
    assert 3 < (outcome.ending.step or 0) < 100
    assert outcome.ending.reason.startswith("the loss became NaN at step")
    assert [event.rule for event in events if event.kind == "warning"] == ["nan"]
    assert outcome.ending.diagnosis is not None
    assert outcome.ending.diagnosis.remedy.endswith("--set learning_rate=2.5e-05")


def test_past_nan_lets_it_go_on_but_not_become_good(make_plan: Any) -> None:
    outcome, _ = outcome_and_record(make_plan("nan_lora.py", steps=12), past_nan=True)
    assert (outcome.state, outcome.ending.exit_code) == ("failed", 0)


def test_too_few_steps_are_not_done(make_plan: Any) -> None:
    plan = make_plan(steps=4)
    outcome = train(
        Plan(**{**vars(plan), "steps": type(plan.steps)(**{**vars(plan.steps), "total": 8})})
    )
    assert outcome.ending.reason.endswith("fox.safetensors was trained for 4 steps; planned: 8")


def test_where_the_disk_orders_the_reg_folders_the_scripts_own_count_is_believed(
    make_plan: Any,
) -> None:
    plan = make_plan("trains.py", steps=9)
    steps = type(plan.steps)(**{**vars(plan.steps), "total": 8})
    settings = {**plan.settings, "reg_data_dir": Setting("reg", "plan")}
    outcome = train(Plan(**{**vars(plan), "steps": steps, "settings": settings}))
    assert (outcome.state, outcome.ending.step, outcome.ending.total) == ("done", 9, 9)


@pytest.mark.parametrize(
    ("fake", "state"), [("no_images.py", "done"), ("dies_silently.py", "failed")]
)
def test_another_machine_than_the_first_is_judged_by_its_exit_code(
    make_plan: Any, fake: str, state: str
) -> None:
    plan = make_plan(fake)
    launch = {"machines": Setting(2, "recipe"), "machine_rank": Setting(1, "recipe")}
    outcome, record = outcome_and_record(
        replace(plan, resolved=replace(plan.resolved, launch=launch))
    )
    assert (outcome.state, outcome.lora, record.state) == (state, None, state)
    assert (record.machine, record.outcome.judged_by) == (MachineRank(1, 2), "exit code")
    if state == "done":
        assert "this machine did its part" in lines_about(outcome.run_dir, record, 1)[0]
        assert rows_of_runs(plan.resolved.root) == []


def test_a_run_over_several_machines_by_sd_scripts_is_not_resumed_and_the_way_out_is_told(
    make_plan: Any,
) -> None:
    plan = make_plan("dies_silently.py")
    train(replace(plan, resolved=replace(plan.resolved, launch={"machines": Setting(2, "recipe")})))
    with pytest.raises(
        LorakitError,
        match="ran on 2 machines, and sd-scripts saves its state on the first one only",
    ) as refused:
        resume_run(plan.run_dir)
    assert "--set model.network_weights=LORA" in refused.value.hint


def test_noise_in_the_output_harms_nothing_and_the_log_keeps_every_byte(make_plan: Any) -> None:
    plan = make_plan("prints_noise.py", steps=3)
    outcome = train(plan)
    assert outcome.state == "done"
    log = (plan.run_dir / "log.txt").read_bytes()
    assert b"broken \xff\xfe\xc3 bytes\n" in log
    assert b"x" * 1_000_000 in log
    assert [row["step"] for row in progress_rows(plan.run_dir)] == [1, 2, 3]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_lorakit_ends_the_run_and_says_what_was_saved(
    make_plan: Any, number: int
) -> None:
    plan = make_plan(steps=500, pause=0.02, env={"SAVE_EVERY": "2"})
    outcome, record = outcome_and_record(plan, emit=interrupt_at(3, number))
    assert (outcome.state, outcome.ending.asked_by) == ("interrupted", number)
    assert outcome.saved[0].name == "fox-step00000002.safetensors"
    assert record.state == "interrupted"


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("fake", "rungs"), [("ignores_interrupt.py", 0.3), ("ignores_everything.py", 0.6)]
)
def test_the_ladder_is_climbed_as_far_as_needed(make_plan: Any, fake: str, rungs: float) -> None:
    began = time.monotonic()
    outcome, _ = outcome_and_record(make_plan(fake, steps=500, pause=0.02), emit=interrupt_at(2))
    assert outcome.state == "interrupted"
    assert time.monotonic() - began >= rungs


def test_a_second_ctrl_c_goes_straight_to_kill(
    make_plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "PATIENCE", (60.0, 60.0))
    began = time.monotonic()
    plan = make_plan("ignores_everything.py", steps=500, pause=0.02)
    outcome = train(plan, emit=interrupt_at(2, again=signal.SIGINT))
    assert outcome.state == "interrupted"
    assert time.monotonic() - began < 60  # the first rung alone would have waited that long


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_the_embedded_trainer_saves_before_it_ends(make_plan: Any, number: int, code: int) -> None:
    plan = make_plan("saves_when_asked.py", steps=500, pause=0.02, trainer="embedded")
    outcome, record = outcome_and_record(plan, emit=interrupt_at(3, number))
    assert (outcome.state, outcome.ending.exit_code) == ("interrupted", code)
    assert [path.name for path in outcome.saved] == ["fox.safetensors"]
    assert record.states[0].step == outcome.ending.step
    assert record.states[0].fault is None


def test_an_interrupt_that_somebody_else_sent_is_an_interrupt_and_no_failure(
    make_plan: Any,
) -> None:
    def from_outside(event: Event) -> None:
        if event.kind == "step" and event.step == 3:
            record = read_record(plan.run_dir)
            os.kill(int(record.process.pid), signal.SIGINT)  # the trainer itself, past lorakit

    plan = make_plan("saves_when_asked.py", steps=500, pause=0.02, trainer="embedded")
    outcome = train(plan, emit=from_outside)
    assert outcome.state == "interrupted"
    assert "from outside" in outcome.ending.reason


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_launcher_that_dies_leaves_no_trainer_behind(
    make_plan: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorakit.run.watch.supervise.ORPHAN_S", 0.2)
    for number, more in enumerate(([], ["--own-session"])):
        plan = make_plan("orphan_maker.py", run=f"20260101-12000{number}", env={"DIE": "1"})
        argv = [*plan.argv[:2], "trains.py", plan.argv[2], "fox", "1000", "0.02", *more]
        outcome = train(make_plan(argv=argv, run=plan.run_dir.name, env={"DIE": "1"}, steps=1000))
        assert outcome.ending.reason.startswith(
            "the launcher ended (signal 9 (SIGKILL)) and left the trainer running"
        )


def test_the_trainers_own_end_is_read_through_the_launcher(make_plan: Any) -> None:
    plan = make_plan("orphan_maker.py")
    outcome = train(make_plan(argv=[*plan.argv[:2], "dies_silently.py", *plan.argv[2:]]))
    assert (outcome.ending.signal, outcome.ending.exit_code) == (signal.SIGKILL, None)


def test_a_run_folder_is_never_reused(make_plan: Any) -> None:
    train(make_plan())
    with pytest.raises(FolderTaken, match="holds another run"):
        train(make_plan())


def test_a_folder_that_another_start_has_just_made_is_not_shared(make_plan: Any) -> None:
    plan = make_plan()
    plan.run_dir.mkdir(parents=True)
    with pytest.raises(FolderTaken):
        train(plan)
    assert not list(plan.run_dir.iterdir())


def test_a_program_that_is_not_there_is_a_setup_error_and_the_record_says_failed(
    make_plan: Any,
) -> None:
    plan = make_plan(argv=["/no/such/python"])
    with pytest.raises(
        SetupError, match="/no/such/python: No such file or directory; nothing was started"
    ):
        train(plan)
    assert read_record(plan.run_dir).state == "failed"


def test_a_file_with_an_old_clock_still_counts_as_new(make_plan: Any, project: Path) -> None:
    plan = make_plan(steps=2)
    lora = str(plan.run_dir / "output" / "fox.safetensors")
    script = "; ".join(
        [
            "import runpy, sys, os",
            f"sys.argv = {list(plan.argv[1:])!r}",
            f"sys.path.insert(0, {str(Path(plan.argv[1]).parent)!r})",
            "runpy.run_path(sys.argv[0])",
            f"os.utime({lora!r}, (1, 1))",
        ]
    )
    assert train(make_plan(steps=2, argv=[plan.argv[0], "-c", script])).state == "done"


def test_a_teller_whose_terminal_is_gone_does_not_end_the_training(make_plan: Any) -> None:
    def gone(event: Event) -> None:
        raise OSError(5, "Input/output error")

    assert train(make_plan(), emit=gone).state == "done"


@pytest.mark.slow
def test_a_run_folder_that_is_deleted_meanwhile_ends_in_an_outcome_not_a_traceback(
    make_plan: Any,
) -> None:
    import shutil

    plan = make_plan(steps=30, pause=0.02)

    def report(event: Event) -> None:
        if event.step == 2:
            shutil.rmtree(plan.run_dir)

    assert train(plan, emit=report).state in {"done", "failed"}


def test_two_runs_on_one_device_are_told_of_each_other(make_plan: Any) -> None:
    from lorakit.run.train import hold_device

    events: list[Event] = []
    with hold_device(Path("runs/other/x"), events.append) as held:
        assert held
        assert train(make_plan(), emit=events.append).state == "done"
    assert [event.rule for event in events if event.kind == "warning"] == ["shared"]
