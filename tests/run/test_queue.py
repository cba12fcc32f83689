"""The queue survives restarts, hand edits and two hands at once."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lorakit.cli.queue.run import go_on
from lorakit.errors import LorakitError
from lorakit.processes import Identity
from lorakit.run import queue
from lorakit.run.resume.adopt import close_dead_run
from lorakit.run.train import own_run


def recipe(root: Path, name: str) -> Path:
    path = root / "recipes" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text('preset = "sd15"\n')
    return path


def states(root: Path) -> list[tuple[int, str, str]]:
    return [(item.number, item.recipe, item.state) for item in queue.listed(root)]


def test_what_was_added_is_there_with_its_settings(tmp_path: Path) -> None:
    queue.add(tmp_path, recipe(tmp_path, "fox"), sets=["network_dim=8"], unsets=["vae"])
    item = queue.listed(tmp_path)[0]
    assert (item.number, item.recipe, item.sets, item.unsets, item.state) == (
        1,
        "recipes/fox.toml",
        ("network_dim=8",),
        ("vae",),
        "waiting",
    )


def test_work_goes_past_a_failed_one_and_keeps_the_order(tmp_path: Path) -> None:
    for name in "abc":
        queue.add(tmp_path, recipe(tmp_path, name))
    queue.work(
        tmp_path,
        lambda item: ("failed" if item.recipe.endswith("b.toml") else "done", "runs/x"),
        go_on=lambda: True,
    )
    assert states(tmp_path) == [
        (1, "recipes/a.toml", "done"),
        (2, "recipes/b.toml", "failed"),
        (3, "recipes/c.toml", "done"),
    ]
    assert queue.take(tmp_path) is None


def test_an_error_of_ours_leaves_the_item_failed_not_running(tmp_path: Path) -> None:
    queue.add(tmp_path, recipe(tmp_path, "fox"))

    def breaks(item: queue.Waiting) -> tuple[str, str]:
        raise RuntimeError(item.recipe)

    with pytest.raises(RuntimeError):
        queue.work(tmp_path, breaks, go_on=lambda: True)
    assert states(tmp_path) == [(1, "recipes/fox.toml", "failed")]


def test_what_a_restart_cut_off_is_taken_again(tmp_path: Path) -> None:
    queue.add(tmp_path, recipe(tmp_path, "fox"))
    assert queue.take(tmp_path) is not None
    assert queue.take(tmp_path) is None  # its worker, this process, lives
    data = json.loads(queue.path_of(tmp_path).read_text())
    data["queue"][0]["worker"]["boot_id"] = "the boot before"
    queue.path_of(tmp_path).write_text(json.dumps(data))
    again = queue.take(tmp_path)
    assert again is not None
    assert again.number == 1


def test_the_running_one_is_not_removed(tmp_path: Path) -> None:
    queue.add(tmp_path, recipe(tmp_path, "fox"))
    queue.take(tmp_path)
    with pytest.raises(LorakitError, match="Number 1 is running"):
        queue.remove(tmp_path, [1])


def test_removing_and_clearing(tmp_path: Path) -> None:
    for name in "abc":
        queue.add(tmp_path, recipe(tmp_path, name))
    queue.change(tmp_path, 1, state="done", worker=None)
    assert [item.number for item in queue.remove(tmp_path, [2])] == [2]
    assert queue.clear_ended(tmp_path) == 1
    assert states(tmp_path) == [(3, "recipes/c.toml", "waiting")]
    with pytest.raises(LorakitError, match="no number 9"):
        queue.remove(tmp_path, [9])


def test_many_hands_at_once_lose_nothing(tmp_path: Path) -> None:
    path = recipe(tmp_path, "fox")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: queue.add(tmp_path, path), range(30)))
    assert [item.number for item in queue.listed(tmp_path)] == list(range(1, 31))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"schema": 1}',
        '{"schema": 1, "queue": [{"tea": 1}]}',
        '{"schema": "x", "queue": []}',
    ],
)
def test_a_queue_edited_into_nonsense_is_a_clear_error(tmp_path: Path, text: str) -> None:
    queue.path_of(tmp_path).parent.mkdir()
    queue.path_of(tmp_path).write_text(text)
    with pytest.raises(LorakitError, match=r"queue\.json:? (makes no sense|is not JSON) any more"):
        queue.add(tmp_path, recipe(tmp_path, "fox"))
    assert queue.path_of(tmp_path).read_text() == text


def test_a_recipe_gets_the_next_turn_or_the_one_before_another(tmp_path: Path) -> None:
    for name in "abcd":
        queue.add(tmp_path, recipe(tmp_path, name))
    running = queue.take(tmp_path)
    assert running is not None
    assert [item.number for item in queue.move(tmp_path, 4)] == [4, 2, 3]
    assert [item.number for item in queue.move(tmp_path, 3, before=2)] == [4, 3, 2]
    assert [item.number for item in queue.move(tmp_path, 2, before=2)] == [4, 3, 2]
    taken = queue.take(tmp_path)
    assert taken is not None
    assert taken.number == 4
    for number, before in ((1, 0), (9, 0), (2, 1)):
        with pytest.raises(LorakitError, match="does not wait in the queue"):
            queue.move(tmp_path, number, before=before)


def left_by_a_killed_queue(root: Path, state: str) -> Path:
    """A run that its queue had begun, and that somebody else has had in hand since."""
    run = root / "runs" / "fox" / "20260101-120000"
    run.mkdir(parents=True, exist_ok=True)
    me = Identity.of(os.getpid()).to_json()
    data = {"schema": 1, "name": "fox", "state": state, "supervisor": me}
    (run / "record.json").write_text(json.dumps({**data, "outcome": {"step": 9, "total": 9}}))
    return run


@pytest.mark.parametrize("state", ["done", "stopped", "failed"])
def test_what_somebody_else_has_brought_to_its_end_is_not_trained_again(
    state: str, tmp_path: Path
) -> None:
    outcome = go_on(left_by_a_killed_queue(tmp_path, state), as_json=False)
    assert outcome is not None
    assert (outcome.state, outcome.ending.step) == (state, 9)


def test_a_run_that_somebody_else_has_in_hand_is_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, taken = left_by_a_killed_queue(tmp_path, "running"), threading.Event()

    def resume() -> None:
        with own_run(run, "lorakit resume"):
            taken.set()
            time.sleep(0.3)
            left_by_a_killed_queue(tmp_path, "done")

    owner = threading.Thread(target=resume)
    owner.start()
    assert taken.wait(10)
    outcome = go_on(run, as_json=False)
    owner.join()
    assert outcome is not None
    assert outcome.state == "done"
    assert "waiting for lorakit resume" in capsys.readouterr().err


def test_a_run_that_is_gone_begins_anew_and_leaves_no_folder(tmp_path: Path) -> None:
    gone = tmp_path / "runs/fox/20260101-120000"
    assert go_on(gone, as_json=False) is None
    assert not gone.exists()


def test_a_run_whose_death_is_written_down_already_is_not_closed_again(tmp_path: Path) -> None:
    run_dir = left_by_a_killed_queue(tmp_path, "dead")
    before = (run_dir / "record.json").read_bytes()
    close_dead_run(run_dir)
    assert (run_dir / "record.json").read_bytes() == before
