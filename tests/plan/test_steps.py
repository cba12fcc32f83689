from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from plan_cases import folder, recipe

from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.dataset.split import match_reg
from lorakit.errors import Fault
from lorakit.plan.model import Steps
from lorakit.plan.steps import count_steps, split_images
from lorakit.recipe.options import Options


def images(name: str, sizes: list[tuple[int, int]]) -> tuple[ImageFacts, ...]:
    return tuple(
        ImageFacts(Path(f"/data/{name}/{number:03d}.png"), width, height, None, 1, 1)
        for number, (width, height) in enumerate(sizes)
    )


def subset(name: str, sizes: list[tuple[int, int]], *, reg: bool = False) -> SubsetFacts:
    repeats, _, tokens = name.partition("_")
    return SubsetFacts(Path("/data") / name, int(repeats), tokens, images(name, sizes), is_reg=reg)


def counted(
    tmp_path: Path,
    *subsets: SubsetFacts,
    without: tuple[str, ...] = (),
    processes: int = 1,
    **train: object,
) -> tuple[Steps, list[Fault]]:
    resolved = recipe(tmp_path, train, without=without, launch={"processes": processes})
    return count_steps(Options(resolved), DatasetFacts(Path("/data"), subsets))


SQUARE = (512, 512)


def test_repeats_batches_accumulation_and_epochs_multiply_as_a_person_would(tmp_path: Path) -> None:
    steps, faults = counted(
        tmp_path,
        subset("40_maya", [SQUARE] * 70),
        subset("20_body", [SQUARE] * 30),
        gradient_accumulation_steps=4,
        max_train_epochs=8,
    )
    assert (
        steps.train_images,
        steps.batches,
        steps.steps_per_epoch,
        steps.total,
        steps.epochs,
    ) == (3400, 3400, 850, 6800, 8)
    assert (
        steps.formula
        == "40 x 70 + 20 x 30 = 3400 samples, / 1 = 3400 batches, / 4 accumulated = 850 steps, x 8 epochs = 6800 steps"
    )
    assert faults == []


def test_every_bucket_is_rounded_up_by_itself(tmp_path: Path) -> None:
    steps, _ = counted(
        tmp_path, subset("1_maya", [SQUARE, SQUARE, SQUARE, (512, 768)]), train_batch_size=2
    )
    assert [
        (bucket.width, bucket.height, bucket.draws, bucket.batches) for bucket in steps.buckets
    ] == [(384, 640, 1, 1), (512, 512, 3, 2)]
    assert steps.batches == 3
    assert "4 samples, / 2 = 3 batches (2 buckets, each rounded up)" in steps.formula


def test_processes_share_the_batches_and_the_last_round_is_filled(tmp_path: Path) -> None:
    steps, _ = counted(tmp_path, subset("10_maya", [SQUARE]), processes=3, max_train_epochs=2)
    assert (steps.batches, steps.batches_per_process, steps.total) == (10, 4, 8)
    assert "/ 3 processes = 4" in steps.formula


def test_without_epochs_the_step_limit_decides_and_the_cut_epoch_is_told(tmp_path: Path) -> None:
    steps, faults = counted(
        tmp_path,
        subset("10_maya", [SQUARE] * 3),
        without=("max_train_epochs",),
        max_train_steps=100,
    )
    assert (steps.total, steps.epochs) == (100, 4)
    assert steps.formula.endswith("; 100 steps = 4 epochs, the last one 10 of 30 steps")
    assert faults == []


def test_no_length_at_all_is_refused_because_the_script_would_do_1600(tmp_path: Path) -> None:
    steps, faults = counted(tmp_path, subset("10_maya", [SQUARE]), without=("max_train_epochs",))
    assert steps.total == 1600
    assert [fault.rule for fault in faults] == ["steps-unset"]
    assert "1600" in faults[0].what


def test_regularisation_images_are_repeated_until_they_match(tmp_path: Path) -> None:
    steps, _ = counted(
        tmp_path,
        subset("10_maya", [SQUARE]),
        subset("1_person", [SQUARE, SQUARE, SQUARE], reg=True),
    )
    assert (steps.train_images, steps.reg_images, steps.batches) == (10, 3, 20)
    assert "+ 10 regularisation = 20 samples" in steps.formula


def test_surplus_regularisation_images_are_left_out(tmp_path: Path) -> None:
    steps, _ = counted(
        tmp_path, subset("2_maya", [SQUARE]), subset("1_person", [SQUARE] * 9, reg=True)
    )
    assert (steps.reg_images, steps.batches) == (9, 4)
    assert sum(len(bucket.images) for bucket in steps.buckets) == 3


def test_a_folder_may_have_repeats_of_its_own(tmp_path: Path) -> None:
    resolved = recipe(tmp_path, dataset={"subset": {"10_maya": {"num_repeats": 3}}})
    steps, _ = count_steps(
        Options(resolved), DatasetFacts(Path("/data"), (subset("10_maya", [SQUARE] * 2),))
    )
    assert steps.train_images == 6


def test_validation_takes_images_away_and_repeats_none(tmp_path: Path) -> None:
    steps, faults = counted(
        tmp_path, subset("10_maya", [SQUARE] * 10), validation_split=0.2, validation_seed=1
    )
    assert (steps.train_images, steps.validation_images) == (80, 2)
    assert faults == []


def test_kohyas_rounding_may_put_one_image_into_both_parts_and_the_plan_says_so(
    tmp_path: Path,
) -> None:
    steps, faults = counted(
        tmp_path, subset("1_maya", [SQUARE] * 3), validation_split=0.5, validation_seed=1
    )
    assert steps.train_images + steps.validation_images == 4
    assert [(fault.rule, fault.severity) for fault in faults] == [("validation-overlap", "warning")]


def test_an_image_smaller_than_a_step_is_named_instead_of_a_division_by_zero(
    tmp_path: Path,
) -> None:
    steps, faults = counted(tmp_path, subset("1_maya", [SQUARE, (40, 600)]), bucket_no_upscale=True)
    assert [(fault.rule, Path(fault.where).name) for fault in faults] == [
        ("image-too-small", "001.png")
    ]
    assert steps.train_images == 2


def test_impossible_bucket_bounds_are_told_not_asserted(tmp_path: Path) -> None:
    steps, faults = counted(tmp_path, subset("1_maya", [SQUARE]), max_bucket_reso=256)
    assert steps.batches == 0
    assert steps.total == 0
    assert [fault.rule for fault in faults] == ["bucket-bounds"]


def test_no_images_count_to_nothing(tmp_path: Path) -> None:
    steps, _ = counted(tmp_path)
    assert (steps.batches, steps.total, steps.epochs, steps.checkpoints) == (0, 0, 0, ())


def test_the_scan_of_a_real_folder_counts_the_same(tmp_path: Path) -> None:
    from lorakit.dataset.scan import scan

    folder(tmp_path / "data" / "7_maya", [SQUARE] * 3)
    steps, _ = count_steps(Options(recipe(tmp_path)), scan(tmp_path / "data"))
    assert steps.train_images == 21


@given(some.lists(some.integers(1, 6), min_size=1, max_size=12), some.integers(0, 60))
def test_matching_equals_the_loop_that_the_script_runs(repeats: list[int], wanted: int) -> None:
    expected: dict[int, int] = {}
    count, first = 0, True
    while count < wanted:
        for place, own in enumerate(repeats):
            if first:
                expected[place] = own
                count += own
            else:
                expected[place] += 1
                count += 1
            if count >= wanted:
                break
        first = False
    made = match_reg(repeats, wanted)
    assert made == [expected.get(place, 0) for place in range(len(repeats))]


@given(
    batches=some.integers(1, 5000), processes=some.integers(1, 8), accumulation=some.integers(1, 16)
)
def test_rounding_once_or_twice_is_the_same(
    batches: int, processes: int, accumulation: int
) -> None:
    assert math.ceil(batches / processes / accumulation) == math.ceil(
        math.ceil(batches / processes) / accumulation
    )


def test_who_is_held_back_is_drawn_by_the_seed_as_the_script_draws_it(tmp_path: Path) -> None:
    ten = subset("1_maya", [SQUARE] * 10)
    split = split_images(
        Options(recipe(tmp_path, {"validation_split": 0.3, "validation_seed": 42})),
        DatasetFacts(Path("/data"), (ten,)),
    )
    assert [int(image.path.stem) for image in split.validation] == [
        4,
        0,
        1,
    ]  # random.seed(42), shuffled, the last three
    other = split_images(
        Options(recipe(tmp_path, {"validation_split": 0.3, "seed": 7})),
        DatasetFacts(Path("/data"), (ten,)),
    )
    assert {int(image.path.stem) for image in other.validation} != {4, 0, 1}


@pytest.mark.parametrize(
    ("train", "key"),
    [
        ({"max_train_epochs": 10**6}, "max_train_epochs"),
        ({"max_train_steps": 10**8}, "max_train_steps"),
    ],
)
def test_a_length_that_is_none_is_told_by_its_own_key(
    tmp_path: Path, train: dict[str, Any], key: str
) -> None:
    without = () if "max_train_epochs" in train else ("max_train_epochs",)
    _, (fault,) = counted(tmp_path, subset("11_maya", [SQUARE]), without=without, **train)
    assert fault.where == f"recipes/maya.toml [train] {key}"


def test_the_longest_run_is_ten_million_steps(tmp_path: Path) -> None:
    _, faults = counted(
        tmp_path,
        subset("1_maya", [SQUARE]),
        without=("max_train_epochs",),
        max_train_steps=10_000_000,
    )
    assert faults == []
    _, (fault,) = counted(
        tmp_path,
        subset("1_maya", [SQUARE]),
        without=("max_train_epochs",),
        max_train_steps=10_000_001,
    )
    assert (fault.rule, fault.where) == (
        "count-endless",
        "recipes/maya.toml [train] max_train_steps",
    )
    assert counted(tmp_path, subset("1_maya", [SQUARE]), max_train_epochs=1)[0].formula.endswith(
        "x 1 epoch = 1 step"
    )


@pytest.mark.parametrize(("trainer", "held", "overlap"), [("kohya", 2, 1), ("embedded", 1, 0)])
def test_the_plan_holds_out_what_its_own_trainer_will_hold_out(
    tmp_path: Path, trainer: str, held: int, overlap: int
) -> None:
    resolved = replace(recipe(tmp_path, {"validation_split": 0.3}), trainer=trainer)
    facts = DatasetFacts(Path("/data"), (subset("1_maya", [SQUARE] * 5),))
    steps, faults = count_steps(Options(resolved), facts)
    assert (steps.train_images, steps.validation_images) == (4, held)
    assert [fault.rule for fault in faults] == ["validation-overlap"] * overlap
