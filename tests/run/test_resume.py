"""Going on: the arithmetic of all cases, and whole resumed runs of stand-ins that count as sd-scripts and the embedded trainer do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import toml
from hypothesis import given
from hypothesis import strategies as st

from lorakit.cli.main import main
from lorakit.errors import LorakitError
from lorakit.events import Event
from lorakit.run.resume.adopt import close_dead_run
from lorakit.run.resume.stages import resume_run
from lorakit.run.train import train
from lorakit.runs.find import progress_rows
from lorakit.runs.ledger import Ledger
from lorakit.runs.record import Ending, read_record
from lorakit.runs.states import states_in
from lorakit.trainers import tokenizers
from lorakit.trainers.base import AT_MOST, Continuation, Paused
from lorakit.trainers.kohya.trainer import Kohya
from lorakit.trainers.run_files import changed_toml
from lorakit.weights.finite import inspect


class Shape(NamedTuple):
    """The numbers of a run that decide how it goes on."""

    total: int
    per_epoch: int
    accumulation: int = 1
    save_every: int | None = None

    def continued(self, step: int) -> Continuation:
        total, per_epoch, accumulation, save_every = self
        at = Paused(step, total, per_epoch, accumulation)
        return Kohya().continuation(at, {"save_every_n_steps": save_every})


def script(shape: Shape, step: int, changes: dict[str, Any]) -> tuple[int, list[int]]:
    """What train_network.py does with these settings, told by the rules of its resume code: true last step, true steps of its saves."""
    accumulation, batches = shape.accumulation, shape.per_epoch * shape.accumulation
    epochs = -(-shape.total // shape.per_epoch)
    initial = changes["initial_step"]
    if changes.get("skip_until_initial_step"):
        first, count = initial // shape.per_epoch, initial - initial // shape.per_epoch * batches
        to_run = (epochs - first) * batches - count
    else:
        first, count = initial // shape.per_epoch, 0
        to_run = (epochs - first) * batches
    every, true, saves = changes.get("save_every_n_steps", shape.save_every), step, []
    for _ in range(to_run // accumulation):
        count, true = count + 1, true + 1
        if every and count % every == 0:
            saves.append(true)
        if count >= shape.total:
            break
    return true, saves


shapes = st.builds(
    lambda per_epoch, epochs, short, accumulation, every: Shape(
        max(2, per_epoch * epochs - short % per_epoch), per_epoch, accumulation, every
    ),
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(0, 40),
    st.integers(1, 4),
    st.none() | st.integers(1, 30),
)


@given(shapes, st.data())
def test_whatever_the_numbers_the_last_step_is_the_planned_one(
    shape: Shape, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, shape.total - 1))
    how = shape.continued(step)
    reaches, saves = script(shape, step, dict(how.changes))
    if how.stop_after:
        assert how.stop_after == shape.total
        assert shape.total in saves  # there lorakit ends it
    else:
        assert reaches == shape.total
    assert how.bar_offset == step
    assert len([save for save in saves if save <= shape.total]) <= AT_MOST * (
        shape.total // (shape.save_every or shape.total) + 1
    )


@given(shapes, st.data())
def test_planned_checkpoints_are_made_unless_it_says_otherwise(
    shape: Shape, data: st.DataObject
) -> None:
    step = data.draw(st.integers(1, shape.total - 1))
    how = shape.continued(step)
    _, saves = script(shape, step, dict(how.changes))
    planned = [
        true
        for true in range(step + 1, shape.total + 1)
        if shape.save_every and true % shape.save_every == 0
    ]
    assert set(planned) <= set(saves) or any("checkpoints" in text for text in how.inexact)


def test_between_two_epochs_nothing_is_skipped() -> None:
    how = Shape(12, 4).continued(4)
    assert (
        how.changes["initial_step"],
        how.changes["skip_until_initial_step"],
        how.offset,
        how.stop_after,
    ) == (4, None, 4, 0)


def test_inside_an_epoch_without_accumulation_batches_are_skipped() -> None:
    how = Shape(12, 4, 1, 6).continued(6)
    assert (how.changes["skip_until_initial_step"], how.offset, how.bar_offset) == (True, 4, 6)
    assert any("some of its images come twice" in text for text in how.inexact)


def test_inside_an_epoch_with_accumulation_the_epoch_begins_again_and_that_is_said() -> None:
    how = Shape(12, 4, 2, 6).continued(6)
    assert (how.changes["skip_until_initial_step"], how.offset, how.stop_after) == (None, 6, 12)
    assert any("begins again with its first image" in text for text in how.inexact)


def test_settings_are_changed_as_kohya_reads_them(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(
        'learning_rate = 1e-5\n[saving]\nsave_last_n_steps = 2\noutput_dir = "a"\nnetwork_args = ["x=1"]\n'
    )
    text = changed_toml(
        tmp_path / "train.toml",
        {"output_dir": "b", "save_last_n_steps": None, "skip_until_initial_step": True},
    )
    assert toml.loads(text) == {
        "learning_rate": 1e-5,
        "output_dir": "b",
        "network_args": ["x=1"],
        "skip_until_initial_step": True,
    }


@pytest.fixture
def kohya_like(make_plan: Any, project: Path) -> Any:
    """A plan whose trainer reads train.toml and counts after a resume as train_network.py does."""

    def make(
        *,
        steps: int,
        per_epoch: int,
        every: int | None = None,
        pause: float = 0.0,
        accumulation: int = 1,
        hold_at: str = "",
    ) -> Any:
        base = make_plan(steps=steps)
        settings = {
            "output_dir": str(base.run_dir / "output"),
            "output_name": "fox",
            "max_train_steps": steps,
            "batches": per_epoch * accumulation,
            "pause": pause,
            "gradient_accumulation_steps": accumulation,
            "save_every_n_epochs": 1,
            "save_state": True,
            "hold_at": hold_at,
            **({"save_every_n_steps": every} if every else {}),
        }
        fake = Path(base.argv[1]).with_name("resumes_like_kohya.py")
        plan = make_plan(
            steps=steps,
            per_epoch=per_epoch,
            train=settings,
            argv=[sys.executable, str(fake), str(base.run_dir / "train.toml")],
        )
        counted = type(plan.steps)(**{**vars(plan.steps), "accumulation": accumulation})
        return type(plan)(
            **{**vars(plan), "files": {"train.toml": toml.dumps(settings)}, "steps": counted}
        )

    return make


def ctrl_c_at(step: int) -> Any:
    pressed: list[int] = []

    def emit(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= step and not pressed:
            pressed.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    return emit


def interrupted_at(plan: Any, step: int) -> None:
    assert train(plan, emit=ctrl_c_at(step)).state == "interrupted"


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("steps", "per_epoch", "every", "accumulation"),
    [(24, 8, None, 1), (24, 8, 4, 1), (21, 8, 4, 1), (24, 8, 6, 2), (20, 8, 5, 1), (23, 8, 4, 2)],
)
def test_a_resumed_run_ends_with_the_planned_step_and_continuous_names(
    kohya_like: Any, steps: int, per_epoch: int, every: int | None, accumulation: int
) -> None:
    plan = kohya_like(
        steps=steps, per_epoch=per_epoch, every=every, accumulation=accumulation, hold_at="15"
    )
    interrupted_at(plan, 14)
    notes: list[str] = []
    outcome = resume_run(
        plan.run_dir,
        emit=lambda event: notes.append(event.text or "") if event.kind == "note" else None,
    )
    assert (outcome.state, outcome.ending.step, outcome.ending.reason) == ("done", steps, "")
    output = plan.run_dir / "output"
    for path in output.glob("*.safetensors"):
        counted = inspect(path).steps
        if "-step" in path.stem or path.stem == "fox":
            assert counted == (steps if path.stem == "fox" else int(path.stem[-8:])), path.name
        elif accumulation == 1:  # else an epoch was begun again and ends later
            assert counted == per_epoch * int(path.stem[-6:]), path.name
    assert [row["step"] for row in progress_rows(plan.run_dir)] == list(range(1, steps + 1))
    record = read_record(plan.run_dir)
    assert record.parts[0].last_step == steps
    assert all((plan.run_dir / entry.path).exists() for entry in record.checkpoints + record.states)
    assert all((plan.run_dir / entry.path).exists() for entry in record.samples)
    drawn = sorted(one.step or 0 for one in record.samples)
    assert drawn == list(range(per_epoch, steps, per_epoch))
    assert any(note.startswith("exact: weights, optimiser") for note in notes)
    assert any(note.startswith("not exact: ") for note in notes)
    # the learning rate that the stand-in wrote at each step is a function of the true step alone
    rates = dict(line.split() for line in (output / "rates.txt").read_text().splitlines())
    assert {int(step): float(rate) for step, rate in rates.items() if int(step) <= steps} == {
        step: pytest.approx(1 - (step - 1) / steps) for step in range(1, steps + 1)
    }


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_it_can_be_interrupted_and_resumed_again(kohya_like: Any) -> None:
    plan = kohya_like(steps=32, per_epoch=8, every=4, hold_at="11,23")
    interrupted_at(plan, 10)

    assert resume_run(plan.run_dir, emit=ctrl_c_at(22)).state == "interrupted"
    outcome = resume_run(plan.run_dir)
    assert (outcome.state, outcome.ending.step) == ("done", 32)
    record = read_record(plan.run_dir)
    first, second = (part.from_step for part in record.parts)
    assert (first, second) == (8, 20)
    assert sorted(entry.step or 0 for entry in record.checkpoints if entry.kind == "step") == [
        4,
        8,
        12,
        16,
        20,
        24,
        28,
        32,
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_part_inside_the_first_epoch_is_gathered_like_any_other(kohya_like: Any) -> None:
    """Its file names need no correction, so nothing but the place differs."""
    plan = kohya_like(steps=32, per_epoch=32, every=4, hold_at="6,14")
    interrupted_at(plan, 5)
    outcome = resume_run(plan.run_dir, emit=ctrl_c_at(13))
    assert outcome.state == "interrupted"
    assert "fox-step00000012.safetensors" in {path.name for path in outcome.saved}
    assert resume_run(plan.run_dir).state == "done"
    assert [part.from_step for part in read_record(plan.run_dir).parts] == [4, 12]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_resumed_part_asked_to_stop_ends_at_a_planned_checkpoint(kohya_like: Any) -> None:
    """Going on from step 8 the script saves every 2 steps, so that it meets the planned 12; what it saves between is not kept."""
    plan = kohya_like(steps=24, per_epoch=8, every=6, hold_at="11")
    interrupted_at(plan, 10)
    slower = (plan.run_dir / "train.toml").read_text().replace("pause = 0.0", "pause = 0.15")
    (plan.run_dir / "train.toml").write_text(slower)
    ledger = Ledger(plan.run_dir)
    ledger.update(files={"train.toml": hashlib.sha256(slower.encode()).hexdigest()})

    def stop(event: Event) -> None:
        if event.kind == "started":
            (plan.run_dir / "stop.json").write_text('{"mode": "save"}')

    outcome = resume_run(plan.run_dir, emit=stop)
    assert outcome.state == "stopped"
    assert [path.name for path in outcome.saved] == ["fox-step00000012.safetensors"]
    assert states_in(plan.run_dir / "output", "fox", per_epoch=8)[-1].step == 12


@pytest.mark.usefixtures("quick")
def test_a_half_written_state_is_passed_over(kohya_like: Any) -> None:
    plan = kohya_like(steps=24, per_epoch=8, every=3, hold_at="15")
    interrupted_at(plan, 14)
    *_, before, newest = states_in(plan.run_dir / "output", "fox", per_epoch=8)
    (newest.path / "optimizer.bin").write_bytes(b"")
    notes: list[str] = []
    outcome = resume_run(plan.run_dir, emit=lambda event: notes.append(event.text or ""))
    assert outcome.state == "done"
    assert f"going on from step {before.step} ({before.path.name})" in notes


@pytest.mark.slow
def test_the_embedded_trainer_goes_on_by_itself(make_plan: Any) -> None:
    made = make_plan("saves_when_asked.py", steps=100, pause=0.02, trainer="embedded")
    plan = replace(made, weights=())  # there is no such file to be hashed
    interrupted_at(plan, 5)
    ledger = Ledger(plan.run_dir)
    ledger.update(outcome=replace(ledger.record.outcome, duration_s=3600.0))
    outcome = resume_run(plan.run_dir)
    assert (outcome.state, outcome.ending.step) == ("done", 100)
    assert 3600 < read_record(plan.run_dir).outcome.duration_s < 3700, "of all parts"
    assert [row["step"] for row in progress_rows(plan.run_dir)] == list(range(1, 101))
    record = read_record(plan.run_dir)
    assert record.parts[0].exact == ("every byte, on the same kind of device",)


def test_a_launch_finds_its_tokenizers_although_the_cache_was_emptied(make_plan: Any) -> None:
    place = tokenizers.folder()
    plan = make_plan(steps=2, train={"tokenizer_cache_dir": str(place)})
    shutil.rmtree(place, ignore_errors=True)
    assert train(plan).state == "done"
    assert (place / "openai_clip-vit-large-patch14" / "merges.txt").is_file()


def test_a_run_whose_project_was_moved_does_not_go_on_in_the_old_place(
    make_plan: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = make_plan("saves_when_asked.py", steps=100, pause=0.02, trainer="embedded")
    plan = replace(made, weights=())
    interrupted_at(plan, 5)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "runs" / "maya" / plan.run_dir.name
    shutil.copytree(plan.run_dir, elsewhere)
    before = (elsewhere / "record.json").read_bytes()
    with pytest.raises(LorakitError, match=r"began in [\s\S]*Move it back"):
        resume_run(elsewhere)
    assert (elsewhere / "record.json").read_bytes() == before


def test_what_cannot_be_resumed_says_why(
    make_plan: Any,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project)
    plan = make_plan(steps=2)
    train(plan)
    with pytest.raises(LorakitError, match="is done: 2 of 2 steps"):
        resume_run(plan.run_dir)
    shutil.rmtree(plan.run_dir)
    train(make_plan("out_of_memory.py", steps=2))
    before = signal.getsignal(signal.SIGPIPE)
    assert main(["resume"]) == 1
    signal.signal(signal.SIGPIPE, before)
    assert "has no intact state to go on from." in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_the_record_keeps_the_secrets_out_and_the_rest_of_the_environment_in(
    kohya_like: Any,
) -> None:
    plan = kohya_like(steps=24, per_epoch=8, hold_at="11")
    plan = type(plan)(
        **{**vars(plan), "env": {"TOKENIZERS_PARALLELISM": "false", "WANDB_API_KEY": "k"}}
    )
    interrupted_at(plan, 10)
    assert json.loads((plan.run_dir / "record.json").read_text())["env"] == {
        "TOKENIZERS_PARALLELISM": "false",
        "WANDB_API_KEY": "(not recorded)",
    }
    assert resume_run(plan.run_dir).state == "done"


@pytest.mark.slow
def test_a_resumed_run_that_ended_unseen_has_its_new_lora(make_plan: Any) -> None:
    made = make_plan("saves_when_asked.py", steps=20, pause=0.02, trainer="embedded")
    plan = replace(made, weights=())
    interrupted_at(plan, 5)
    time.sleep(1.1)  # a record's times are whole seconds
    assert resume_run(plan.run_dir).ok
    ledger = Ledger(plan.run_dir)
    ledger.update(state="running", outcome=Ending(), supervisor=ledger.record.process)
    close_dead_run(plan.run_dir)
    assert read_record(plan.run_dir).state == "done"
