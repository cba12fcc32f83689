"""Numbers and charts: read from what a run leaves, smoothed without lag, thinned without losing a spike, drawn inside their frame."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lorakit.report.advice import advise
from lorakit.report.curves import Line, charts, ticks
from lorakit.report.gallery import spread
from lorakit.report.series import Numbers, read_numbers, read_scalars, smoothed, thinned
from lorakit.runs.record import Record

LOSS = tuple((step, 1 / step) for step in range(1, 2001))


def varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def event(tag: str, step: int, value: float) -> bytes:
    """One framed message as tensorboard's writer makes it; checksums are not read."""
    entry = b"\x0a" + varint(len(tag)) + tag.encode() + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + varint(len(entry)) + entry
    body = (
        b"\x09"
        + struct.pack("<d", 1.5)
        + b"\x10"
        + varint(step)
        + b"\x2a"
        + varint(len(summary))
        + summary
    )
    return struct.pack("<Q", len(body)) + b"\0\0\0\0" + body + b"\0\0\0\0"


def log(folder: Path, points: list[tuple[str, int, float]]) -> None:
    folder.mkdir(parents=True)
    (folder / "events.out.tfevents.1").write_bytes(b"".join(event(*point) for point in points))


def record(**more: Any) -> Record:
    return Record.from_json({"trainer": {"name": "embedded"}, **more})


def test_tensorboards_files_are_read_up_to_a_half_written_end(tmp_path: Path) -> None:
    folder = tmp_path / "logs" / "x" / "network_train"
    folder.mkdir(parents=True)
    whole = event("lr/unet", 1, 0.5) + event("lr/unet", 300, 0.25) + event("loss/current", 300, 2.0)
    (folder / "events.out.tfevents.1.a").write_bytes(whole + event("lr/unet", 301, 9.0)[:-20])
    (folder / "events.out.tfevents.2.b").write_bytes(
        struct.pack("<Q", 7) + b"\0\0\0\0" + b"\xff" * 30
    )
    assert read_scalars(tmp_path / "logs") == {
        "lr/unet": [(1, 0.5), (300, 0.25)],
        "loss/current": [(300, 2.0)],
    }


@pytest.mark.slow
def test_tensorboards_own_writer_is_understood(tmp_path: Path) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(tmp_path)) as writer:
        for step in (1, 2, 1000):
            writer.add_scalar("lr/unet", step / 4, global_step=step)
        writer.add_text("note", "no scalar")
    assert read_scalars(tmp_path)["lr/unet"] == [(1, 0.25), (2, 0.5), (1000, 250.0)]


def test_rates_come_from_tensorboard_by_name_and_by_step(tmp_path: Path) -> None:
    points = [
        ("lr/unet", 0, 0.1),
        ("lr/unet", 1, 0.1),
        ("lr/unet", 2, 0.2),
        ("lr/group1", 2, 0.2),
        ("lr/textencoder", 2, 0.05),
    ]
    log(tmp_path / "logs" / "20260101", points)
    found = read_numbers(tmp_path, record())
    assert [
        (name, [(step, round(value, 3)) for step, value in points])
        for name, points in found.rates.items()
    ] == [("textencoder", [(2, 0.05)]), ("unet", [(1, 0.1), (2, 0.2)])]


def test_each_launch_of_a_resumed_run_counts_on_and_the_later_word_is_true(tmp_path: Path) -> None:
    """The first launch died after step 5; a second one, at once; the third went on from step 3 and skipped a batch."""
    points = [(tag, step, 0.5) for step in (1, 2, 3, 4, 5) for tag in ("lr/unet", "loss/current")]
    log(tmp_path / "logs" / "20260101120000", points)
    log(
        tmp_path / "logs" / "20260102120000",
        [(tag, step, 0.25) for step in (2, 3) for tag in ("lr/unet", "loss/current")],
    )
    (tmp_path / "progress.jsonl").write_text(
        "".join(f'{{"step": {step}, "loss": 0.1}}\n' for step in range(1, 6))
    )
    parts = [
        {"started": "2026-01-01T13:00:00+02:00", "offset": 1, "bar_offset": 1},
        {"started": "2026-01-02T11:59:50+02:00", "offset": 2, "bar_offset": 3},
    ]
    found = read_numbers(tmp_path, record(trainer={"name": "kohya"}, parts=parts))
    assert found.rates["unet"] == ((1, 0.5), (2, 0.5), (3, 0.5), (4, 0.25), (5, 0.25))
    assert found.loss == found.rates["unet"]


def test_the_loss_of_sd_scripts_is_each_steps_own_and_not_the_printed_mean(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.5}\n')
    log(
        tmp_path / "logs" / "20260101",
        [
            ("loss/current", 0, 9.0),
            ("loss/current", 1, 0.5),
            ("loss/current", 1, 0.25),
            ("loss/current", 2, 0.125),
        ],
    )
    assert read_numbers(tmp_path, record(trainer={"name": "kohya"})).loss == (
        (1, 0.375),
        (2, 0.125),
    )
    assert read_numbers(tmp_path, record(trainer={"name": "embedded"})).loss == ((1, 0.5), (2, 0.5))


def test_loss_rate_and_validation_come_from_the_trainers_own_lines(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "loss": 0.5, "lr": 0.1},
        {"step": 2, "loss": None, "lr": 0.1},
        {"step": 3, "loss": 0.25, "lr": 0.05},
    ]
    (tmp_path / "progress.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows) + '{"step": 4, "lo'
    )
    (tmp_path / "events.jsonl").write_text(
        '{"event": "validation", "step": 2, "loss": 0.75}\n{"event": "validation", "step": 3, "loss": null}\n{"ev'
    )
    found = read_numbers(tmp_path, record())
    assert found.loss == ((1, 0.5), (3, 0.25))
    assert found.lost == 1
    assert found.validation == ((2, 0.75),)
    assert found.rates["learning rate"] == ((1, 0.1), (2, 0.1), (3, 0.05))


def test_validation_of_sd_scripts_comes_from_the_full_bars_of_its_log(tmp_path: Path) -> None:
    bar = "steps:  50%|#####     | 5/10 [00:05<00:05,  1.00it/s, avr_loss=0.3]"
    held = "validation steps: 100%|##########| 4/4 [00:01<00:00,  4.00it/s, val_avg_loss=0.42, timestep=800]"
    (tmp_path / "log.txt").write_text(f"{bar}\r{held}\n")
    settings = {"train": {"validation_split": {"value": 0.1}}}
    assert read_numbers(tmp_path, record(settings=settings)).validation == ((5, 0.42),)


def test_smoothing_keeps_a_straight_line_straight() -> None:
    line = [(step, 2.0 * step) for step in range(200)]
    assert all(abs(value - 2.0 * step) < 1e-9 for step, value in smoothed(line)[10:-10])
    assert smoothed([(1, 5.0)]) == ((1, 5.0),)


def test_thinning_keeps_the_highest_and_the_lowest_point() -> None:
    points = [(step, 1.0) for step in range(5000)]
    points[1234], points[4321] = (1234, 9.0), (4321, -9.0)
    kept = thinned(points, 700)
    assert len(kept) <= 700
    assert {(1234, 9.0), (4321, -9.0)} <= set(kept)
    assert list(kept) == sorted(kept)


@given(some.floats(-1e6, 1e6), some.floats(1e-6, 1e6), some.integers(2, 12))
def test_ticks_lie_inside_and_are_not_many(low: float, span: float, about: int) -> None:
    found = ticks(low, low + span, about)
    slack = 1e-6 * max(abs(low), span)
    assert all(low - slack <= value <= low + span + slack for value in found)
    assert len(found) <= 2.6 * about + 2


def test_a_chart_is_xml_with_axes_in_words_and_every_point_inside_the_picture() -> None:
    lines = [
        Line("every <step>", LOSS, "raw"),
        Line("mean", smoothed(LOSS), "smooth"),
        Line("held", ((10, 0.4),), "validation", dots=True),
    ]
    text = charts(lines, "loss", 'loss "falls" <fast>', last_step=4000, marks=(1000, 9999))
    key, root, _ = ET.fromstring(f"<div>{text}</div>")
    assert "every <step>" in "".join(key.itertext())
    assert root.get("aria-label") == 'loss "falls" <fast>'
    words = [element.text for element in root.iter("text")]
    assert {"step", "loss", "1000", "4000"} <= set(words)
    smooth = next(path for path in root.iter("path") if path.get("class") == "line smooth")
    places = [tuple(map(float, place.split())) for place in str(smooth.get("d"))[1:].split("L")]
    assert all(62 <= x <= 1088 and 12 <= y <= 280 for x, y in places)
    assert len([path for path in root.iter("path") if path.get("class") == "mark"]) == 1
    assert len(text) < 80_000


@pytest.mark.parametrize(
    "points", [[(1, 0.5)], [(5, 0.0), (6, 0.0)], [(1, -3.0), (2, 1e9)], [(0, 1e-9), (1, 1e-9)]]
)
def test_odd_numbers_make_a_chart_too(points: list[tuple[int, float]]) -> None:
    text = charts([Line("x", points, "smooth")], "loss", "x")
    assert "nan" not in text and ET.fromstring(f"<p>{text}</p>") is not None
    assert charts([], "loss", "x") == ""


def test_an_even_choice_has_both_ends() -> None:
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(3, 200) == [0, 1, 2]
    assert spread(9, 1) == [8]
    assert spread(9, 0) == []


def test_validation_that_rose_again_names_the_nearest_checkpoint() -> None:
    numbers = Numbers(LOSS, validation=((100, 0.5), (200, 0.4), (300, 0.5)))
    saved = [
        {"path": "output/fox-000001.safetensors", "step": 90},
        {"path": "output/fox-000002.safetensors", "step": 190},
    ]
    said = advise(record(checkpoints=saved), "done", "fox/x", numbers)
    assert said[0].severity == "warning"
    assert "lowest at step 200 (0.4) and ended at 0.5" in said[0].text
    assert "fox-000002.safetensors" in said[0].text
    assert said[-1].command == "lorakit sheet fox/x"


@pytest.mark.parametrize(
    ("state", "rule", "fault", "can"),
    [
        ("interrupted", "", None, True),
        ("failed", "killed", None, True),
        ("failed", "nan", None, False),
        ("dead", "", "cut short", False),
        ("done", "", None, False),
    ],
)
def test_going_on_is_advised_where_it_can_help(
    state: str, rule: str, fault: str | None, can: bool
) -> None:
    outcome = {"diagnosis": {"cause": "x", "rule": rule}} if rule else {}
    found = advise(
        record(outcome=outcome, states=[{"path": "a", "fault": fault}]), state, "fox/x", Numbers()
    )
    assert any(one.command == "lorakit resume fox/x" for one in found) == can


def test_a_failure_comes_first_with_its_remedy() -> None:
    outcome = {
        "diagnosis": {
            "cause": "the GPU ran out of memory",
            "evidence": "CUDA out of memory",
            "remedy": "lorakit train fox",
        }
    }
    said = advise(
        record(outcome=outcome, warnings=[{"rule": "slow", "text": "3 s a step"}]),
        "failed",
        "fox/x",
        Numbers(lost=2),
    )
    assert [one.severity for one in said] == ["error", "error", "warning"]
    assert said[0].text == "The GPU ran out of memory. The line that says so: CUDA out of memory"
    assert said[0].command == "lorakit train fox"


@pytest.mark.parametrize(("values", "from_zero"), [((0.9, 1.0), False), ((0.1, 1.0), True)])
def test_the_axis_starts_at_zero_only_where_the_curve_comes_near_it(
    values: tuple[float, float], *, from_zero: bool
) -> None:
    drawn = charts([Line("a", tuple(enumerate(values, 1)), "smooth")], "loss", "a")
    assert ('text-anchor="end">0</text>' in drawn) == from_zero
