"""runs, log, explain, stop and watch, as typed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from lorakit.cli.main import main
from lorakit.cli.watch import curve
from lorakit.events import Event
from lorakit.run.train import train
from lorakit.runs.find import live_state
from lorakit.runs.record import SavedState, read_record

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


@pytest.fixture(autouse=True)
def own_sigpipe() -> Any:
    """main() gives SIGPIPE back to the system, as a command should; the tests want theirs."""
    before = signal.getsignal(signal.SIGPIPE)
    yield
    signal.signal(signal.SIGPIPE, before)


def beside(plan: Any, *argv: str, at: int = 2) -> tuple[Any, list[int]]:
    """Train, and type a command meanwhile as another terminal would."""
    codes: list[int] = []
    threads: list[threading.Thread] = []

    def report(event: Event) -> None:
        if event.kind == "step" and (event.step or 0) >= at and not threads:
            threads.append(threading.Thread(target=lambda: codes.append(_typed(*argv))))
            threads[0].start()

    outcome = train(plan, emit=report)
    for thread in threads:
        thread.join(10)
    return outcome, codes


def _typed(*argv: str) -> int:
    from lorakit import cli
    from lorakit.cli.main import module_of, parser_for

    module = module_of(cli, argv[0])
    code: int = module.run(parser_for("lorakit", module).parse_args(argv[1:])) or 0
    return code


def test_runs_shows_every_run_with_its_state(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_plan(steps=2))
    train(make_plan("out_of_memory.py", steps=2, run="20260102-120000"))
    assert main(["runs"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["run", "state", "step", "loss", "left", "trainer", "age"]
    assert [row[:4] for row in rows[1:]] == [
        ["fox/20260101-120000", "done", "2/2", "0.5"],
        ["fox/20260102-120000", "failed", "1/2", "0.5"],
    ]


def test_runs_as_json_is_one_document(make_plan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train(make_plan(steps=2))
    assert main(["runs", "fox", "--json"]) == 0
    assert [
        (row["run"], row["state"], row["step"]) for row in json.loads(capsys.readouterr().out)
    ] == [("fox/20260101-120000", "done", 2)]


def test_no_runs_says_how_to_make_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "lorakit train RECIPE makes one" in capsys.readouterr().err


def test_log_shows_the_end_and_raw_shows_every_byte(
    make_plan: Any, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    plan = make_plan("prints_noise.py", steps=2)
    train(plan)
    assert main(["log", "fox", "-n", "1"]) == 0
    assert capfdbinary.readouterr().out == b"model saved.\n"
    assert main(["log", "--raw"]) == 0
    assert capfdbinary.readouterr().out == (plan.run_dir / "log.txt").read_bytes()


@pytest.mark.slow
def test_log_follows_until_the_run_ends(make_plan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    outcome, codes = beside(make_plan(steps=20, pause=0.03), "log", "-f")
    assert (outcome.state, codes) == ("done", [0])
    assert capsys.readouterr().out.splitlines()[-1] == "model saved."


def test_explain_gives_cause_evidence_and_remedy(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_plan("out_of_memory.py", steps=2))
    assert main(["explain"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("fox/20260101-120000: failed, the script ended with exit code 1\n")
    assert "\nEvidence: torch.OutOfMemoryError: CUDA out of memory." in out
    assert "\nRemedy: lorakit train recipes/fox.toml --set train_batch_size=1" in out
    assert main(["explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["diagnosis"]["rule"] == "gpu-memory"


@pytest.mark.slow
def test_stop_of_the_embedded_trainer_saves_and_ends(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, codes = beside(
        make_plan("saves_when_asked.py", steps=500, pause=0.02, trainer="embedded"), "stop"
    )
    assert (outcome.state, codes) == ("stopped", [0])
    assert [path.name for path in outcome.saved] == ["fox.safetensors"]
    assert "The trainer saves and ends." in capsys.readouterr().err


@pytest.mark.slow
def test_stop_of_kohya_waits_for_the_next_checkpoint_and_its_state(make_plan: Any) -> None:
    plan = make_plan(
        steps=500,
        pause=0.03,
        env={"SAVE_EVERY": "20", "SAVE_STATE": "1"},
        train={"save_state": True},
    )
    outcome, codes = beside(plan, "stop")
    assert (outcome.state, codes) == ("stopped", [0])
    assert [path.name for path in outcome.saved] == ["fox-step00000020.safetensors"]
    assert 20 <= outcome.ending.step < 40
    assert read_record(plan.run_dir).states == (SavedState("output/fox-step00000020-state", 20),)


def test_stop_now_says_what_is_lost(make_plan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    outcome, codes = beside(make_plan(steps=500, pause=0.03), "stop", "fox", "--now")
    assert (outcome.state, codes) == ("stopped", [0])
    assert " lost: nothing has been saved yet" in capsys.readouterr().err


def test_stop_of_a_run_that_has_ended_changes_nothing(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(steps=2)
    train(plan)
    before = (plan.run_dir / "record.json").read_bytes()
    assert main(["stop"]) == 0
    assert "is not running: done" in capsys.readouterr().err
    assert (plan.run_dir / "record.json").read_bytes() == before
    assert not (plan.run_dir / "stop.json").exists()


def test_a_record_with_somebody_elses_pid_stops_nobody(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(steps=2)
    train(plan)
    path = plan.run_dir / "record.json"
    data = json.loads(path.read_text()) | {"state": "running"}
    for key in ("process", "supervisor"):
        data[key] |= {"pid": os.getppid(), "started": "12345"}
    path.write_text(json.dumps(data))
    assert live_state(read_record(plan.run_dir)) == "dead"
    assert main(["stop", "--now"]) == 0
    assert "is not running: dead" in capsys.readouterr().err


@pytest.mark.slow
def test_watch_draws_the_curve_and_counts_memory(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome, codes = beside(make_plan(steps=60, pause=0.02), "watch", "--once", at=20)
    assert (outcome.state, codes) == ("done", [0])
    out = capsys.readouterr().out
    assert "fox/20260101-120000  running" in out
    assert "1 processes, " in out
    assert any("⠀" < character <= "⣿" for character in out)


@pytest.mark.slow
def test_watch_as_json_goes_on_until_the_end(
    make_plan: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorakit.cli.watch.EVERY_S", 0.1)
    _, codes = beside(make_plan(steps=30, pause=0.02), "watch", "--json")
    seen = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert codes == [0]
    assert (seen[0]["state"], seen[-1]["state"], seen[-1]["step"]) == ("running", "done", 30)


def test_a_run_deleted_under_a_watch_is_told_not_thrown(
    make_plan: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lorakit.cli.watch.EVERY_S", 0.05)
    plan = make_plan(steps=2)
    train(plan)
    path = plan.run_dir / "record.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"state": "running"})
    )  # as if it still ran, in this process
    threading.Timer(0.4, shutil.rmtree, (plan.run_dir,)).start()
    assert main(["watch"]) == 1
    assert "is gone" in capsys.readouterr().err


def test_a_broken_record_is_one_line_in_every_command(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(steps=2)
    train(plan)
    (plan.run_dir / "record.json").write_text("{nonsense")
    assert main(["runs"]) == 0
    assert "broken" in capsys.readouterr().out
    for command in ("log -f", "explain", "stop", "watch"):
        assert main(command.split()) == 1, command
        assert "is not JSON any more" in capsys.readouterr().err


NONSENSE: list[dict[str, Any]] = [
    {"files": None},
    {"settings": {"x": "y"}},
    {"settings": {"train": None}},
    {"settings": {"train": {"learning_rate": "x"}}},
    {"estimate": None, "supervisor": {}, "state": "running"},
    {"checkpoints": [{"step": "x"}]},
    {"checkpoints": [{"path": 3}]},
    {"outcome": {"diagnosis": "x"}},
    {"process": {"pid": "x"}, "supervisor": {}, "state": "running"},
    {"steps": {"total": "x"}},
    {"warnings": ["x"]},
    {"dataset": {"root": 3}},
    {"weights": [{}]},
    {"started": "x", "supervisor": {}, "state": "running"},
    {"parts": [{"output": 3}]},
    {"trainer": {"name": []}},
    {"stages": "x"},
    {"stages": [3]},
]


@pytest.mark.slow
def test_nonsense_anywhere_in_a_record_is_never_a_traceback(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(steps=2)
    train(plan)
    path = plan.run_dir / "record.json"
    sound = json.loads(path.read_text())
    for nonsense in NONSENSE:
        text = json.dumps({**sound, **nonsense})
        for command in (
            "runs",
            "runs --json",
            "watch --once",
            "log",
            "explain",
            "stop",
            "resume",
            "verify latest",
            "diff latest latest",
            "registry",
        ):
            path.write_text(text)
            assert main(command.split()) in {0, 1, 2, 4, 130}, (nonsense, command)
            assert "mistake of its own" not in capsys.readouterr().err, (nonsense, command)


@pytest.mark.parametrize("width", [40, 46, 80, 150])
def test_the_picture_fits_the_terminal(make_plan: Any, width: int) -> None:
    from lorakit.cli.watch import look, picture

    plan = make_plan(steps=60)
    train(plan)
    lines = picture(plan.run_dir, look(plan.run_dir), width)
    assert max(map(len, lines)) <= width
    assert any("60/60" in line for line in lines)
    assert any("█" in line for line in lines)


def test_a_run_that_died_is_shown_with_its_cause_and_the_next_command(
    make_plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan("dies_silently.py")
    train(plan)
    path = plan.run_dir / "record.json"
    data = json.loads(path.read_text()) | {"state": "running", "outcome": {}, "supervisor": {}}
    path.write_text(json.dumps(data))
    assert main(["runs"]) == 0
    said = capsys.readouterr()
    assert "dead" in said.out
    assert "it stopped silently, as a program does that is killed" in said.err
    assert (
        "lorakit explain fox/20260101-120000" in said.err
    )  # nothing was saved that it could go on from
    assert json.loads(path.read_text()) == data  # looking changes nothing
    data["process"]["boot_id"] = "the boot before"
    path.write_text(json.dumps(data))
    main(["runs"])
    assert "the machine was restarted during the run" in capsys.readouterr().err


def test_a_curve_has_its_ends_labelled() -> None:
    lines = curve([(step, 1 / step) for step in range(1, 41)], width=20, height=4)
    assert len(lines) == 5
    assert lines[0].startswith("    1 ")
    assert lines[3].startswith("0.025 ")
    assert lines[-1].split() == ["1", "40"]
    assert curve([(1, 0.5), (2, 0.5)])
