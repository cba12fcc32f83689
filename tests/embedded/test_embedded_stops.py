"""Stopping: signals, kills, numbers that are not finite, several processes. Real processes where the operating system is part of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lorakit.files import owner_mark
from lorakit.trainers.embedded import EXIT_NAN, SCRIPTS

LONG = {
    "max_train_epochs": None,
    "max_train_steps": 60,
    "save_every_n_steps": 2,
    "save_state": True,
}


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    train: Callable[..., Any],
) -> None:
    outcome = train(
        learning_rate=1e30, max_train_steps=5, max_train_epochs=None, save_every_n_steps=1
    )
    assert outcome.code == EXIT_NAN
    event = outcome.of("nan")[0]
    assert event["step"] == 2
    assert event["files"][0].endswith(".png")
    assert "step 2: the loss is not a finite number" in outcome.said
    assert "the last checkpoint is good" in outcome.said
    assert "a lower learning rate" in outcome.said
    assert outcome.files == ["fox-step00000001.safetensors"]
    assert all(tensor.isfinite().all() for tensor in outcome.tensors("-step00000001").values())
    assert outcome.events[-1]["reason"] == "nan"


def test_no_checkpoint_is_called_good_where_there_is_none(train: Callable[..., Any]) -> None:
    outcome = train(learning_rate=1e30, max_train_steps=5, max_train_epochs=None)
    assert outcome.code == EXIT_NAN
    assert "nothing had been saved before" in outcome.said
    assert "checkpoint is good" not in outcome.said


def test_weights_that_do_not_fit_the_precision_are_never_written(train: Callable[..., Any]) -> None:
    outcome = train(
        learning_rate=1e6, max_train_steps=1, max_train_epochs=None, save_precision="fp16"
    )
    assert outcome.code == 4
    assert "holds numbers that are not finite in fp16" in outcome.said
    assert not outcome.folder.exists() or outcome.files == []


class Script:
    """The real script in a process group of its own."""

    def __init__(self, words: list[str], folder: Path, *, launcher: tuple[str, ...] = ()) -> None:
        self.events = folder / "events.jsonl"
        self.log = folder / "log.txt"
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "LORAKIT_EVENTS": str(self.events),
            "ACCELERATE_USE_CPU": "true",
        }
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, *launcher, str(SCRIPTS["sd15"]), *words],
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def until_step(self, step: int) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and self.child.poll() is None:
            if any(
                event["event"] == "step" and event["step"] >= step for event in self.read_events()
            ):
                return
            time.sleep(0.01)
        raise AssertionError(self.log.read_text(encoding="utf-8", errors="replace")[-2000:])

    def read_events(self) -> list[dict[str, Any]]:
        if not self.events.exists():
            return []
        return [
            json.loads(line)
            for line in self.events.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]

    def send(self, number: int) -> None:
        os.killpg(self.child.pid, number)


@pytest.fixture
def start(tiny: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[..., Script]]:
    from toy_runs import arguments, draw_pictures

    data = tmp_path / "data"
    draw_pictures(data / "2_zwx")
    started: list[Script] = []

    def run(out: Path, *, launcher: tuple[str, ...] = (), **options: Any) -> Script:
        folder = tmp_path / f"run{len(started)}"
        folder.mkdir()
        script = Script(
            arguments(tiny("sd15"), data, out, "sd15", {**LONG, **options}),
            folder,
            launcher=launcher,
        )
        started.append(script)
        return script

    yield run
    for script in started:
        if script.child.poll() is None:
            script.send(signal.SIGKILL)
            script.child.wait()


@pytest.fixture
def in_peace(
    start: Callable[..., Script], tiny: Callable[[str], Path], tmp_path: Path
) -> Callable[..., Path]:
    """What `start` would make, trained in this process to its end."""
    from toy_runs import arguments

    from lorakit.embedded.main import main

    def run(**options: Any) -> Path:
        out = tmp_path / "whole"
        words = arguments(tiny("sd15"), tmp_path / "data", out, "sd15", {**LONG, **options})
        assert main("sd15", words) == 0
        return out / "fox.safetensors"

    return run


def digest(path: Path) -> bytes:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(path)
    return b"".join(
        name.encode() + tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes()
        for name in sorted(tensors)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_the_step_saves_everything_and_the_rest_can_be_resumed(
    start: Callable[..., Script],
    in_peace: Callable[..., Path],
    tmp_path: Path,
    number: int,
    code: int,
    reason: str,
) -> None:
    script = start(tmp_path / "out", save_every_n_steps=50)
    script.until_step(3)
    script.send(number)
    assert script.child.wait(60) == code
    end = script.read_events()[-1]
    assert (end["event"], end["reason"]) == ("end", reason)
    mark = f"fox-step{end['step']:08d}"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{mark}-state",
        f"{mark}.safetensors",
    ]
    rest = start(tmp_path / "out", save_every_n_steps=50, resume=tmp_path / "out" / f"{mark}-state")
    assert rest.child.wait(120) == 0
    assert digest(tmp_path / "out" / "fox.safetensors") == digest(in_peace())


@pytest.mark.slow
def test_a_second_signal_ends_at_once(start: Callable[..., Script], tmp_path: Path) -> None:
    # One step of a thousand accumulated batches: the first signal alone would wait long.
    script = start(tmp_path / "out", gradient_accumulation_steps=8, max_train_steps=1000)
    script.until_step(1)
    script.child.send_signal(signal.SIGSTOP)
    script.send(signal.SIGINT)
    script.send(signal.SIGTERM)
    script.child.send_signal(signal.SIGCONT)
    assert script.child.wait(20) in (130, 143)


@pytest.mark.slow
def test_whatever_is_killed_leaves_intact_files_and_ends_where_the_unkilled_run_ends(
    start: Callable[..., Script], in_peace: Callable[..., Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    wanted = int(os.environ.get("KILLS", "6"))
    steps = 10 * wanted
    (out := tmp_path / "out").mkdir()  # the first kill may come before the first file
    chance = random.Random(5)
    kills = 0
    for _ in range(wanted + 1):
        states = sorted(out.glob("fox-step*-state"))
        script = start(out, max_train_steps=steps, **({"resume": states[-1]} if states else {}))
        if kills < wanted:
            if not states or int(states[-1].name[8:16]) < steps:
                script.until_step(1)
            time.sleep(chance.uniform(0.0, 0.25))
            script.send(signal.SIGKILL)
            script.child.wait()
            kills += 1
            for path in (path for path in out.iterdir() if not path.name.startswith(".")):
                load_file(path / "optimizer.safetensors" if path.is_dir() else path)
        else:
            assert script.child.wait(120) == 0
            break
    assert digest(out / "fox.safetensors") == digest(in_peace(max_train_steps=steps))


@pytest.mark.slow
def test_what_a_kill_left_half_written_goes_and_a_state_that_stepped_aside_comes_back(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    whole = train(save_state=True, save_every_n_steps=4)
    out = whole.folder
    dead, ours = f"4194305-1-{owner_mark().split('-')[2]}", owner_mark()
    left = [
        f".fox.safetensors.{dead}.a1b2c3d4.tmp",
        f".fox-step00000004-state.{dead}.a1b2c3_4/model.safetensors",
        f"sample/.fox_e000001_00_20260101000000_1.png.{dead}.abcdefgh.tmp",
    ]
    under_way = f".fox2.safetensors.{ours}.a1b2c3d4.tmp"
    foreign = [under_way, ".gitignore", ".fox.backup", "fox.safetensors.tmp"]
    for name in (*left, *foreign):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("half", encoding="utf-8")
    aside = out / f".fox-step00000004-state.{dead}.old.a1b2c3d4"
    aside.mkdir()
    (out / "fox-step00000004-state").rename(aside / "fox-step00000004-state")
    rest = train(
        out=out, save_state=True, save_every_n_steps=4, resume=out / "fox-step00000004-state"
    )
    assert rest.code == 0, rest.said
    assert rest.digest() == whole.digest()
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == [
        ".fox.backup",
        under_way,
        ".gitignore",
    ]
    assert list((out / "sample").iterdir()) == []


@pytest.mark.slow
def test_processes_agree_on_the_mean_of_their_gradients() -> None:
    program = (
        "import argparse, torch; from lorakit.embedded.training.world import enter; "
        "place = enter(argparse.Namespace(ddp_timeout=1, mixed_precision=None)); part = torch.tensor([2.0 + 2 * place.rank]); "
        "place.average([part]); assert part.item() == 3.0, part; assert place.highest(place.rank) == 1; place.close()"
    )
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "--no-python",
        sys.executable,
        "-c",
        program,
    ]
    done = subprocess.run(
        launcher,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_two_processes_share_the_work_and_resume_exactly(
    start: Callable[..., Script], tmp_path: Path
) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    options = {
        "max_train_steps": 6,
        "max_train_epochs": None,
        "save_every_n_steps": 2,
        "gradient_accumulation_steps": 2,
    }
    whole = start(tmp_path / "whole", launcher=launcher, **options)
    assert whole.child.wait(120) == 0, whole.log.read_text()
    said = whole.log.read_text(encoding="utf-8")
    assert "  num batches per epoch: 4\n" in said  # eight batches, two processes
    assert said.count("model saved.") == 1
    rest = start(
        tmp_path / "rest",
        launcher=launcher,
        **options,
        resume=tmp_path / "whole" / "fox-step00000004-state",
    )
    assert rest.child.wait(120) == 0
    assert digest(tmp_path / "rest" / "fox.safetensors") == digest(
        tmp_path / "whole" / "fox.safetensors"
    )


@pytest.mark.slow
def test_accelerate_launches_it_as_it_launches_kohyas(
    start: Callable[..., Script], tmp_path: Path
) -> None:
    launcher = (
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "1",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    )
    script = start(tmp_path / "out", launcher=launcher, max_train_steps=2)
    assert script.child.wait(120) == 0, script.log.read_text()
    assert (tmp_path / "out" / "fox.safetensors").is_file()
