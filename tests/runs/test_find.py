"""RUN may be a name, a date, a path or the latest; records that make no sense are said to make none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from lorakit.errors import LorakitError
from lorakit.processes import Identity, boot_id, start_time
from lorakit.runs.find import find_run, find_trained, info, last_progress, progress_rows, run_dirs
from lorakit.runs.folder import new_run_dir
from lorakit.runs.record import read_record


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in (
        "fox/20260101-120000",
        "fox/20260103-090000",
        "owl/20260102-080000",
        "owl/20260102-080000-2",
        "owl/20260102-080000-10",
    ):
        folder = tmp_path / "runs" / place
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(
            json.dumps(
                {"schema": 1, "state": "done", "name": folder.parent.name, "steps": {"total": 4}}
            )
        )
    (tmp_path / "runs" / "fox" / "notes").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("latest", "fox/20260103-090000"),
        ("fox", "fox/20260103-090000"),
        ("owl", "owl/20260102-080000-10"),
        ("fox/20260101-120000", "fox/20260101-120000"),
        ("runs/fox/20260101-120000/", "fox/20260101-120000"),
        ("20260102", "owl/20260102-080000-10"),
        ("2026-01-01", "fox/20260101-120000"),
        ("20260101-120000", "fox/20260101-120000"),
        ("recipes/owl.toml", "owl/20260102-080000-10"),
        ("fox/20260101", "fox/20260101-120000"),
    ],
)
def test_a_run_is_found_by_what_people_type(root: Path, word: str, place: str) -> None:
    assert find_run(word, root) == root / "runs" / place


def test_a_path_to_folder_or_record_is_that_run(root: Path) -> None:
    folder = root / "runs" / "fox" / "20260101-120000"
    assert find_run(str(folder), root) == folder
    assert find_run(str(folder / "record.json"), root) == folder


def test_latest_and_a_bare_name_mean_the_newest_run_with_a_lora_where_one_is_needed(
    root: Path,
) -> None:
    runs = root / "runs"
    assert find_trained("latest", root) == runs / "fox/20260103-090000"  # none has one
    for place in ("fox/20260101-120000", "owl/20260102-080000"):
        (runs / place / "output").mkdir()
        (runs / place / "output" / "a.safetensors").write_bytes(b"x")
    assert find_trained("latest", root) == runs / "owl/20260102-080000"
    assert find_trained("fox", root) == runs / "fox/20260101-120000"
    assert find_trained("recipes/owl.toml", root) == runs / "owl/20260102-080000"
    assert (
        find_trained("20260103", root) == runs / "fox/20260103-090000"
    )  # named: taken at its word


def test_an_unknown_run_names_the_nearest(root: Path) -> None:
    with pytest.raises(LorakitError, match=r"No run is called 'foxx'\. Did you mean fox\?"):
        find_run("foxx", root)


def test_where_there_are_no_runs_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(LorakitError, match="There are no runs under"):
        find_run("latest", tmp_path)


def test_a_second_start_in_the_same_second_gets_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-120000")
    first = new_run_dir(tmp_path, "fox")
    first.mkdir(parents=True)
    second = new_run_dir(tmp_path, "fox")
    assert (first.name, second.name) == ("20260101-120000", "20260101-120000-2")


def test_runs_come_oldest_first_and_two_comes_before_ten(root: Path) -> None:
    assert [path.name for path in run_dirs(root)] == [
        "20260101-120000",
        "20260102-080000",
        "20260102-080000-2",
        "20260102-080000-10",
        "20260103-090000",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON any more"),
        ("{", "is not JSON any more"),
        ("[]", "is not a record"),
        ('{"schema": "one"}', "is not a record"),
        ('{"schema": 99}', "was written by a newer lorakit"),
        ('{"schema": 1, "steps": "many"}', "steps is 'many', which no record holds"),
        ('{"schema": 1, "outcome": []}', "outcome is"),
        ("\x00\x01", "is not JSON any more"),
    ],
)
def test_a_record_edited_into_nonsense_is_a_clear_error_and_shown_as_broken(
    root: Path, text: str, message: str
) -> None:
    folder = root / "runs" / "fox" / "20260103-090000"
    (folder / "record.json").write_text(text)
    with pytest.raises(LorakitError, match=message):
        read_record(folder)
    assert info(folder).state == "broken"
    assert message in info(folder).reason


@pytest.mark.parametrize(
    "nonsense",
    [
        {"outcome": {"step": "many", "loss": "low"}},
        {"process": {"pid": "one"}, "state": "running"},
        {"started": "yesterday"},
        {"process": {"pid": 0}, "supervisor": {"pid": -1}, "state": "running"},
        {"steps": {"total": None}},
        {"steps": {"total": "x"}},
    ],
)
def test_nonsense_deeper_in_a_record_is_no_traceback(root: Path, nonsense: dict[str, Any]) -> None:
    folder = root / "runs" / "fox" / "20260103-090000"
    (folder / "record.json").write_text(json.dumps({"schema": 1, "state": "done", **nonsense}))
    assert info(folder).state in {"done", "dead", "broken"}


def test_a_run_whose_pid_now_belongs_to_another_program_is_dead(root: Path) -> None:
    import os

    folder = root / "runs" / "fox" / "20260103-090000"
    mine = {"pid": os.getpid(), "boot_id": boot_id(), "mark": ""}
    for started, state in ((start_time(os.getpid()), "running"), ("1", "dead")):
        (folder / "record.json").write_text(
            json.dumps({"schema": 1, "state": "running", "supervisor": mine | {"started": started}})
        )
        assert info(folder).state == state


def test_a_pid_of_another_boot_is_dead(root: Path) -> None:
    import os

    assert Identity.of(os.getpid()).alive
    assert not Identity(os.getpid(), start_time(os.getpid()) or "", "another boot").alive


def test_progress_is_read_from_its_end_and_half_a_line_is_passed_over(root: Path) -> None:
    folder = root / "runs" / "fox" / "20260103-090000"
    rows = [
        f'{{"step": {n}, "epoch": 1, "loss": 0.5, "seconds": {n * 2}.0}}\n' for n in range(1, 200)
    ]
    (folder / "progress.jsonl").write_text("".join(rows) + '{"step": 200, "lo')
    last = last_progress(folder)
    assert (last.step, last.rate_s) == (199, 2.0)
    assert len(list(progress_rows(folder))) == 199


def test_a_step_made_twice_counts_once_with_its_last_word(root: Path) -> None:
    folder = root / "runs" / "fox" / "20260103-090000"
    (folder / "progress.jsonl").write_text(
        '{"step": 2, "loss": 1}\n{"step": 1, "loss": 3}\n{"step": 2, "loss": 4}\n'
    )
    assert [(row["step"], row["loss"]) for row in progress_rows(folder)] == [(1, 3), (2, 4)]
