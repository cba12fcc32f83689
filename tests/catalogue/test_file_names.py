"""kohya's file names: what is read is written again the same, and nothing else is read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorakit.catalogue.file_names import CheckpointName, SampleName

STEMS = st.text(
    st.characters(exclude_characters="/\0", categories=("L", "N", "P", "S", "Zs")), min_size=1
)
COUNTS = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("name", "meant", "kind"),
    [
        ("maya-000004.safetensors", CheckpointName("maya", epoch=4), "epoch"),
        ("maya-step00000040.safetensors", CheckpointName("maya", step=40), "step"),
        ("maya-step00000040-state", CheckpointName("maya", step=40, state=True), "step"),
        ("maya-000004-state", CheckpointName("maya", epoch=4, state=True), "epoch"),
        ("maya-state", CheckpointName("maya", state=True), "final"),
        ("maya-best.safetensors", CheckpointName("maya", best=True), "best"),
        ("ma.y_a-04.safetensors", CheckpointName("ma.y_a-04"), "final"),
    ],
)
def test_a_checkpoints_name_says_what_made_it_due(
    name: str, meant: CheckpointName, kind: str
) -> None:
    assert CheckpointName.parse(name) == meant
    assert (str(meant), meant.kind) == (name, kind)


@pytest.mark.slow
@given(STEMS, COUNTS, st.booleans())
def test_every_checkpoint_name_is_read_as_it_was_written(
    stem: str, count: int, state: bool
) -> None:
    last = CheckpointName(stem, state=state)
    for name in (last, last.at_step(count), last.at_epoch(count), replace(last, best=True)):
        assert CheckpointName.parse(str(name), stem) == name
        assert str(CheckpointName.parse(str(name))) == str(name)


@given(STEMS, COUNTS, st.integers(0, 200), st.none() | st.integers(0, 2**32))
def test_every_sample_name_is_read_as_it_was_written(
    stem: str, count: int, prompt: int, seed: int | None
) -> None:
    drawn = SampleName(stem, prompt, "20260101120000", seed=seed)
    for name in (replace(drawn, epoch=count), replace(drawn, step=count)):
        assert SampleName.parse(str(name), stem) == name
        assert SampleName.parse(str(name)) == name


def test_a_run_may_be_called_like_another_runs_epoch() -> None:
    assert CheckpointName.parse("maya-000004.safetensors", "maya-000004") == CheckpointName(
        "maya-000004"
    )
    assert CheckpointName.parse("maya-000004-000002-state", "maya-000004") == CheckpointName(
        "maya-000004", epoch=2, state=True
    )


@pytest.mark.parametrize(
    "name", ["maya2-000004.safetensors", "may.safetensors", "maya-step4-state"]
)
def test_another_runs_files_are_not_taken_for_this_ones(name: str) -> None:
    assert CheckpointName.parse(name, "maya") is None


@pytest.mark.parametrize("name", ["maya.ckpt", "maya-000004", "optimizer.bin", "maya-000004.txt"])
def test_what_is_no_lora_and_no_state_has_no_such_name(name: str) -> None:
    assert CheckpointName.parse(name) is None


@pytest.mark.parametrize(
    "name", ["maya_000020_00.png", "maya_20_00_20260101120000.png", "maya-000020_00_20260101.jpg"]
)
def test_other_pictures_are_not_samples(name: str) -> None:
    assert SampleName.parse(name) is None


def test_a_renumbered_file_keeps_the_rest_of_its_name() -> None:
    name = CheckpointName.parse("maya-step00000040-state")
    assert name is not None
    assert name.step is not None
    assert str(name.at_step(name.step + 60)) == "maya-step00000100-state"
    assert CheckpointName("maya", epoch=4).as_state().at_step(8) == CheckpointName(
        "maya", step=8, state=True
    )


@pytest.mark.parametrize(
    ("name", "seed", "end"),
    [
        ("maya_000250_01_20260101120000_42_000.png", 42, "_000.png"),
        ("maya_e000002_01_20260101120000_0_000.png", 0, "_000.png"),
        ("maya_e000002_01_20260101120000_000.png", None, "_000.png"),
        ("maya_000250_01_20260101120000_42.mp4", 42, ".mp4"),
        ("maya_000250_01_20260101120000_100.png", 100, ".png"),
    ],
)
def test_musubis_samples_and_films_are_read_and_written_as_they_are(
    name: str, seed: int | None, end: str
) -> None:
    parsed = SampleName.parse(name, "maya")
    assert parsed
    assert (parsed.seed, parsed.end, parsed.prompt) == (seed, end, 1)
    assert str(parsed) == name
