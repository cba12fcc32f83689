"""Runs with several stages: one run to everybody, a folder per stage, stopped and gone on with where it ended."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pace import until

from lorakit.cli.main import main
from lorakit.errors import LorakitError, SetupError
from lorakit.events import Event
from lorakit.plan.model import Plan
from lorakit.proof.pair import compare_runs
from lorakit.recipe.model import Setting
from lorakit.report.make import report_text
from lorakit.run.resume.adopt import close_dead_run
from lorakit.run.resume.next_command import next_command
from lorakit.run.resume.stages import resume_run, train_stages
from lorakit.runs.find import find_run, info, last_progress, progress_rows, run_dirs, stage_of
from lorakit.runs.outcome import Outcome
from lorakit.runs.record import read_record
from lorakit.runs.registry import rows_of_runs


@pytest.fixture
def plans(make_plan: Any) -> Any:
    """Faces in 4 steps, then all in 6, as stand-ins; options for one stage by its name."""

    def make(fake: str = "saves_when_asked.py", **own: dict[str, Any]) -> list[Plan]:
        common: dict[str, Any] = {"fake": fake, "trainer": "embedded"}
        made = [
            make_plan(
                **{
                    **common,
                    "steps": steps,
                    "run": f"20260101-120000/{number}-{name}",
                    **own.get(name, {}),
                }
            )
            for number, (name, steps) in enumerate((("faces", 4), ("all", 6)), 1)
        ]
        return [
            dataclasses.replace(plan, stage=name)
            for plan, name in zip(made, ("faces", "all"), strict=True)
        ]

    return make


def interrupt_at(step: int) -> Any:
    def emit(event: Event) -> None:
        if event.kind == "step" and event.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return emit


SLOW = {"steps": 60, "pause": 0.03}


def test_stages_run_in_order_as_one_run_whose_steps_count_through(
    plans: Any, project: Path
) -> None:
    events: list[Event] = []
    outcome = train_stages(plans(), emit=events.append)
    run_dir = project / "runs/fox/20260101-120000"
    assert (outcome.state, outcome.ending.step, outcome.ending.total, outcome.run_dir) == (
        "done",
        10,
        10,
        run_dir,
    )
    assert outcome.lora == run_dir / "2-all/output/fox.safetensors"
    record = read_record(run_dir)
    assert [(s.name, s.folder, s.state, s.first_step, s.total) for s in record.stages] == [
        ("faces", "1-faces", "done", 0, 4),
        ("all", "2-all", "done", 4, 6),
    ]
    assert [(c.path, c.step, c.stage) for c in record.checkpoints] == [
        ("1-faces/output/fox.safetensors", 4, "faces"),
        ("2-all/output/fox.safetensors", 10, "all"),
    ]
    assert all(c.sha256 for c in record.checkpoints)
    assert (record.state, record.steps.total, record.outcome.lora) == (
        "done",
        10,
        "2-all/output/fox.safetensors",
    )
    assert record.dataset.digest and read_record(run_dir / "2-all").state == "done"
    assert [(row["step"], round(row["loss"], 3)) for row in progress_rows(run_dir)][3:6] == [
        (4, 0.25),
        (5, 1.0),
        (6, 0.5),
    ]
    steps = [event for event in events if event.kind == "step"]
    assert {event.total for event in steps} == {10} and steps[-1].step == 10
    assert [event.text for event in events if event.kind == "note"] == [
        "stage faces (1 of 2)",
        "stage all (2 of 2)",
    ]
    assert [event.path for event in events if event.kind == "saved"] == [
        str(run_dir / f"{stage}/output/fox.safetensors") for stage in ("1-faces", "2-all")
    ]
    assert (
        [event.kind for event in events].count("started")
        == [event.kind for event in events].count("ended")
        == 1
    )


def test_everybody_sees_one_run(
    plans: Any, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_stages(plans())
    monkeypatch.chdir(project)
    assert [path.name for path in run_dirs(project)] == ["20260101-120000"]
    seen = info(find_run("fox", project))
    assert (seen.state, seen.step, seen.total, seen.reason) == ("done", 10, 10, "")
    assert [(row.run, row.steps) for row in rows_of_runs(project)] == [
        ("fox/20260101-120000", "10")
    ]
    assert find_run("fox/20260101-120000/1-faces", project).name == "1-faces"
    for words in (
        ["runs"],
        ["watch", "--once"],
        ["log"],
        ["explain"],
        ["note", "fox", "good", "--chosen", "fox.safetensors"],
        ["note", "fox/20260101-120000/1-faces", "seen from its stage too"],
    ):
        assert main(words) == 0, words
    assert "10/10" in capsys.readouterr().out
    assert "seen from its stage too" in (project / "REGISTRY.md").read_text()
    page = report_text(project / "runs/fox/20260101-120000")
    assert (
        page.count('class="line rate0"') == 2
        and "from 0.0001 at step 1 to 0.0001 at step 10" in page
    )
    assert 'href="1-faces/report.html"' in page and "4 steps; all: 6 steps" in page


def test_verify_looks_into_every_stage(
    plans: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorakit.proof.verify import verify_run

    train_stages(plans())
    run_dir = project / "runs/fox/20260101-120000"
    before = {one.key for one in verify_run(run_dir)}
    (run_dir / "1-faces/output/fox.safetensors").unlink()
    assert {one.key for one in verify_run(run_dir)} - before == {"1-faces: output/fox.safetensors"}


@pytest.mark.slow
def test_two_runs_are_compared_stage_by_stage(plans: Any, project: Path) -> None:
    """The run's own record holds the settings of its last stage and one digest; what differs is told by stage and file."""
    train_stages(plans())
    (project / "datasets/fox/10_fox/a.txt").write_text("fox, in the rain\n")
    later = "20260102-120000"
    train_stages(
        plans(
            faces={"run": f"{later}/1-faces", "train": {"learning_rate": 5e-5}},
            all={"run": f"{later}/2-all"},
        )
    )
    found = compare_runs(project / "runs/fox/20260101-120000", project / "runs/fox" / later)
    assert [one.key for one in found["settings"]] == ["stage faces.train.learning_rate"]
    assert [str(one) for one in found["data"]] == [
        f"stage {stage}.10_fox/a.png.caption: fox, in the snow -> fox, in the rain"
        for stage in ("faces", "all")
    ]


@pytest.mark.usefixtures("quick")
def test_a_stage_that_fails_ends_the_run_and_says_which(plans: Any, project: Path) -> None:
    outcome = train_stages(plans(faces={"fake": "out_of_memory.py", "trainer": "kohya"}))
    run_dir = project / "runs/fox/20260101-120000"
    assert (outcome.state, outcome.lora) == ("failed", None)
    assert outcome.ending.reason.startswith(
        "stage faces (1 of 2): the script ended with exit code 1"
    )
    assert outcome.log == run_dir / "1-faces/log.txt"
    record = read_record(run_dir)
    assert record.outcome.diagnosis and record.outcome.diagnosis.rule == "gpu-memory"
    assert [stage.state for stage in record.stages] == ["failed", "waiting"]
    assert not (run_dir / "2-all/log.txt").exists()
    assert read_record(run_dir / "2-all").dataset.digest, (
        "what it would train on is known all the same"
    )


@pytest.mark.slow
def test_a_run_stopped_in_its_first_stage_goes_on_there_and_then_with_the_next(
    plans: Any, project: Path
) -> None:
    run_dir = project / "runs/fox/20260101-120000"
    outcome = train_stages(plans(faces=SLOW), emit=interrupt_at(5))
    assert (outcome.state, outcome.ending.total) == ("interrupted", 66)
    assert outcome.ending.reason.startswith("stage faces (1 of 2): interrupted at step ")
    assert info(run_dir).state == "interrupted"
    events: list[Event] = []
    (project / "recipes/fox.toml").unlink()  # a run goes on as it was planned
    again = resume_run(run_dir, emit=events.append)
    assert (again.state, again.ending.step, again.lora) == (
        "done",
        66,
        run_dir / "2-all/output/fox.safetensors",
    )
    assert [row["step"] for row in progress_rows(run_dir)] == list(range(1, 67))
    assert any((event.text or "").startswith("going on from step ") for event in events), (
        "not anew: it had a state"
    )
    with pytest.raises(LorakitError, match="is done: every stage"):
        resume_run(run_dir)


@pytest.mark.slow
def test_a_run_stopped_in_its_second_stage_leaves_the_first_alone(
    plans: Any, project: Path
) -> None:
    run_dir = project / "runs/fox/20260101-120000"
    outcome = train_stages(plans(all=SLOW), emit=interrupt_at(9))
    assert outcome.ending.reason.startswith("stage all (2 of 2): interrupted")
    assert (outcome.ending.step or 0) >= 9 and outcome.log.parent.name == "2-all"
    stamp = (run_dir / "1-faces/output/fox.safetensors").stat().st_mtime_ns
    assert stage_of(run_dir).name == "2-all"
    assert resume_run(run_dir / "2-all").state == "done"
    assert (run_dir / "1-faces/output/fox.safetensors").stat().st_mtime_ns == stamp
    assert read_record(run_dir).state == "done"


@pytest.mark.usefixtures("quick")
def test_a_stage_that_saved_nothing_begins_again(plans: Any, project: Path) -> None:
    made = plans(faces={"fake": "dies_silently.py", "trainer": "kohya"})
    assert train_stages(made).state == "failed"
    run_dir = project / "runs/fox/20260101-120000"
    record = json.loads((run_dir / "1-faces/record.json").read_text())
    record["command"][1] = record["command"][1].replace("dies_silently", "trains")
    (run_dir / "1-faces/record.json").write_text(json.dumps(record))
    assert resume_run(run_dir).state == "done"


def test_a_run_whose_lorakit_died_is_dead_as_a_whole_and_can_go_on(
    plans: Any, project: Path
) -> None:
    run_dir = project / "runs/fox/20260101-120000"
    made = plans(faces=SLOW)
    if not os.fork():  # pragma: no cover (the child that is killed)
        os.setsid()
        train_stages(made)
        os._exit(0)
    until(lambda: last_progress(run_dir).step if run_dir.is_dir() else 0)
    supervisor, trainer = (read_record(run_dir).supervisor.pid, read_record(run_dir).process.pid)
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    assert info(run_dir).state == "unattended"
    os.killpg(trainer, signal.SIGKILL)
    until(lambda: info(run_dir).state != "unattended")
    assert info(run_dir).state == "dead"
    close_dead_run(run_dir)
    outcome = Outcome(run_dir, read_record(run_dir))
    assert outcome.state == "dead"
    assert outcome.ending.reason.startswith("stage faces (1 of 2): it ended at step ")
    assert read_record(run_dir).state == read_record(run_dir / "1-faces").state == "dead"


@pytest.mark.slow
def test_where_lorakit_died_in_a_stage_everybody_names_the_next_command(
    plans: Any, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While the trainer works on: watch. When its stage is done and the next has not begun, or when all is dead: resume."""
    monkeypatch.chdir(project)
    made = plans(faces={"steps": 40, "pause": 0.05})
    if not os.fork():  # pragma: no cover (the child that is killed)
        os.setsid()
        train_stages(made)
        os._exit(0)
    run_dir = project / "runs/fox/20260101-120000"
    until(lambda: last_progress(run_dir).step if run_dir.is_dir() else 0)
    supervisor = read_record(run_dir).supervisor.pid
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    main(["runs"])
    assert (
        "fox/20260101-120000: unattended: lorakit watch fox/20260101-120000\n"
        in capsys.readouterr().err
    )
    assert main(["watch"]) == 130  # to the end of the stage
    assert (
        "stage all (2 of 2) has not begun" in (said := capsys.readouterr().err).lower()
        and "lorakit resume fox/20260101-120000 goes on.\n" in said
    )
    main(["runs"])
    assert "has not begun: lorakit resume fox/20260101-120000\n" in capsys.readouterr().err
    main(["watch", "--once"])
    assert capsys.readouterr().out.endswith("next: lorakit resume fox/20260101-120000\n")
    assert main(["resume"]) == 0
    assert "not as it was planned" not in capsys.readouterr().err
    main(["runs"])
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quick")
def test_a_stage_that_died_before_it_saved_anything_begins_again(plans: Any, project: Path) -> None:
    """Its record says running: nobody was left to write down its end."""
    made = plans(faces={"fake": "dies_silently.py", "trainer": "kohya"})
    assert train_stages(made).state == "failed"
    run_dir = project / "runs/fox/20260101-120000"
    for path in (run_dir / "record.json", run_dir / "1-faces/record.json"):
        record = json.loads(path.read_text())
        record |= {
            "state": "running",
            "outcome": {},
            "command": [word.replace("dies_silently", "trains") for word in record["command"]],
        }
        path.write_text(json.dumps(record))
    record = json.loads((run_dir / "record.json").read_text())
    (run_dir / "record.json").write_text(json.dumps({**record, "supervisor": {}}))
    (run_dir / "1-faces/record.json").write_text(
        json.dumps({**json.loads((run_dir / "1-faces/record.json").read_text()), "supervisor": {}})
    )
    assert info(run_dir).state == "dead"
    assert next_command(run_dir, read_record(run_dir)) == "lorakit resume fox/20260101-120000"
    assert resume_run(run_dir).state == "done"


def test_a_lock_covers_every_stage_and_its_digest_is_the_runs(plans: Any, project: Path) -> None:
    from lorakit.proof import lock

    (project / "models").mkdir()
    (project / "models/base.safetensors").write_bytes(b"base")
    made = [
        dataclasses.replace(
            plan, settings={"learning_rate": Setting(rate, ""), "network_weights": Setting("x", "")}
        )
        for plan, rate in zip(plans(), (1e-4, 1e-5), strict=True)
    ]
    one = lock.lock_of_all(made)
    lock.lock_path(made[0].resolved.file).write_text(lock.text_of(one))
    assert one["options"] == {
        "faces": {"learning_rate": 1e-4, "network_weights": "x"},
        "all": {"learning_rate": 1e-5},
    }
    assert set(one["dataset"]["files"]) == {"faces/10_fox/a.png", "all/10_fox/a.png"}
    assert lock.require_locked(*made) == []
    train_stages(made)
    assert (
        read_record(project / "runs/fox/20260101-120000").dataset.digest == one["dataset"]["digest"]
    )
    (project / "datasets/fox/10_fox/a.txt").write_text("fox, by a lake\n")
    with pytest.raises(LorakitError, match="2 differences from fox.lock.toml; nothing was started"):
        lock.require_locked(*made)


def test_a_run_folder_that_is_taken_is_left_alone(plans: Any, project: Path) -> None:
    from lorakit.runs.opening import FolderTaken

    train_stages(plans())
    with pytest.raises(FolderTaken):
        train_stages(plans())


def test_a_stage_whose_files_cannot_be_written_is_a_setup_error(plans: Any) -> None:
    first, last = plans()
    broken = dataclasses.replace(last, files={"n" * 300: ""})
    with pytest.raises(SetupError, match="File name too long; nothing was started"):
        train_stages([first, broken])


@pytest.mark.slow
def test_two_real_stages_on_a_tiny_base(tmp_path: Path, python_at_once: Path) -> None:
    """The command itself: faces, then everything from the faces' LoRA; the second stage starts where the first one ended."""
    pytest.importorskip("torch")
    from PIL import Image
    from safetensors.numpy import load_file
    from tiny_bases import make_tiny

    make_tiny("sd15", tmp_path / "models" / "tiny")
    for folder, colour in (("faces/4_fox_kit", "red"), ("all/2_fox_kit", "blue")):
        (tmp_path / "datasets" / folder).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (64, 64), colour).save(
                tmp_path / "datasets" / folder / f"{number}.png"
            )
            (tmp_path / "datasets" / folder / f"{number}.txt").write_text("fox_kit, a wall\n")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "fox.toml").write_text(RECIPE.replace("PYTHON", str(python_at_once)))
    done = subprocess.run(
        [sys.executable, "-m", "lorakit", "train", "recipes/fox.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    (run_dir,) = (tmp_path / "runs" / "fox").iterdir()
    assert "stage everything (2 of 2)" in done.stderr and (run_dir / "report.html").is_file()
    first, last = (
        load_file(run_dir / stage / "output" / "fox.safetensors")
        for stage in ("1-faces", "2-everything")
    )
    assert "load network weights from" in (run_dir / "2-everything" / "log.txt").read_text(
        encoding="utf-8", errors="replace"
    )
    name = next(
        key for key in first if key.endswith("lora_up.weight") and abs(first[key]).max() > 0
    )
    moved = abs(last[name] - first[name]).max()
    assert 0 < moved < 0.5 * abs(first[name]).max(), (
        "a hundredth of the rate moves little: it started from the faces"
    )
    assert read_record(run_dir).state == "done"


RECIPE = """
preset  = "sd15-cpu"
name    = "fox"
trigger = "fox_kit"
trainer = "embedded"
unset   = ["train.validation_split", "train.validate_every_n_steps", "train.max_validation_steps", "train.lr_warmup_steps"]

[model]
base = "models/tiny"

[dataset]
path = "datasets/all"

[train]
resolution = "64"
min_bucket_reso = 64
max_bucket_reso = 128
network_dim = 4
network_alpha = 4
learning_rate = 1e-2
lr_scheduler = "constant"
sdpa = false

[launch]
python = "PYTHON"

[[stage]]
name = "faces"
[stage.dataset]
path = "datasets/faces"
[stage.train]
max_train_steps = 8

[[stage]]
name = "everything"
[stage.train]
max_train_steps = 4
learning_rate = 1e-4
"""
