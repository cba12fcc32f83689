"""Where a rule begins and where it ends: the values on both sides of each border that decides about a picture or a caption."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import SubsetPlan
from lorakit.dataset.build.originals import add
from lorakit.dataset.captions import edit as captions
from lorakit.dataset.check import CheckSettings, balance_faults
from lorakit.dataset.check.captions import caption_faults
from lorakit.dataset.check.measures import scores
from lorakit.dataset.check.model import Look
from lorakit.dataset.check.pictures import picture_faults
from lorakit.dataset.check.stats import stats_of
from lorakit.dataset.choose import rank
from lorakit.dataset.choose.rank import Ranked
from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.dataset.review.session import ReviewSession
from lorakit.dataset.scan import scan

Photo = Callable[..., Path]
ROOT = Path("data")
CLEAN = Look(width=1024, height=1024, sharpness=200, brightness=0.5, contrast=0.6)


def dataset(*subsets: tuple[str, int, Sequence[str]]) -> DatasetFacts:
    """Folder, repeats and captions; nothing lies on the disk."""
    return DatasetFacts(
        ROOT,
        tuple(
            SubsetFacts(
                ROOT / name,
                repeats,
                name,
                tuple(
                    ImageFacts(
                        ROOT / name / f"{number}.png",
                        512,
                        512,
                        ROOT / name / f"{number}.txt",
                        number,
                        0,
                        caption,
                    )
                    for number, caption in enumerate(texts)
                ),
            )
            for name, repeats, texts in subsets
        ),
    )


def test_a_subset_with_hardly_any_draws_is_named_even_when_none_has_nearly_all() -> None:
    facts = dataset(("a", 10, ["x"] * 10), ("b", 10, ["x"] * 10), ("c", 1, ["x"] * 6))
    assert [Path(fault.where).name for fault in balance_faults(facts) if fault.rule == "share"] == [
        "c"
    ]


@pytest.mark.parametrize(("count", "told"), [(8, 0), (9, 1)])
def test_an_outfit_in_more_than_four_fifths_of_the_captions_is_named(count: int, told: int) -> None:
    texts = [
        f"fox, {'red dress' if number < count else 'a coat'}, place {number}"
        for number in range(10)
    ]
    assert (
        sum(
            "red dress" in fault.what
            for fault in caption_faults(dataset(("a", 1, texts)), CheckSettings("fox"))
            if fault.rule == "bleed"
        )
        == told
    )


def test_a_caption_much_shorter_than_the_others_is_named() -> None:
    texts = [
        f"fox, number {number} in a long row, with some words, and more" for number in range(5)
    ] + ["fox, a"]
    faults = [
        fault
        for fault in caption_faults(dataset(("a", 1, texts)), CheckSettings("fox"))
        if fault.rule == "caption-structure"
    ]
    assert [Path(fault.where).name for fault in faults] == ["5.txt"]


@pytest.mark.parametrize(("grey", "told"), [(0, 0), (2, 2), (3, 0), (4, 0)])
def test_grey_pictures_are_named_only_where_they_are_not_the_most(grey: int, told: int) -> None:
    facts = dataset(("a", 1, ["x"] * 4))
    looks = {
        image.path: Look(
            kind="png",
            contrast=0.5,
            sharpness=100,
            brightness=0.5,
            dhash=number * 0x1111_1111,
            grey=number < grey,
        )
        for number, image in enumerate(facts.subsets[0].images)
    }
    assert (
        sum(fault.rule == "grey" for fault in picture_faults(facts, looks, CheckSettings(), {}))
        == told
    )


@pytest.mark.parametrize(("side", "taken"), [(63, 0), (64, 1)])
def test_a_side_of_64_pixels_is_enough(tmp_path: Path, photo: Photo, side: int, taken: int) -> None:
    assert (
        len(
            add(
                tmp_path / "data", SubsetPlan(1, "fox"), [photo(tmp_path / "a.png", (200, side))]
            ).added
        )
        == taken
    )


def test_what_a_mac_puts_into_an_archive_is_passed_over(tmp_path: Path, photo: Photo) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(photo(tmp_path / "a.png", (80, 80), 1), "a.png")
        archive.write(photo(tmp_path / "b.png", (80, 80), 2), "__MACOSX/b.png")
    outcome = add(tmp_path / "data", SubsetPlan(1, "fox"), [tmp_path / "a.zip"])
    assert [Path(item.source).name for item in outcome.added] == ["a.zip!a.png"]
    assert not outcome.refused


@pytest.mark.parametrize(("last", "taken"), [("3f", 1), ("7f", 2)])
def test_six_bits_make_a_twin_and_seven_do_not(last: str, taken: int) -> None:
    ranked = [Ranked("a/1.png", 95, dhash="0" * 16), Ranked("a/2.png", 94, dhash="0" * 14 + last)]
    assert len(rank.select(ranked, per_category=2).chosen) == taken


def test_a_picture_that_resembles_no_other_is_wholly_unique(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "originals/a/1.png", (96, 96))
    assert rank.rank(tmp_path)[0].parts["uniqueness"] == 100


@pytest.mark.parametrize("worse", [{"noise": 14.0}, {"blocks": 2.2}])
def test_grain_alone_and_blocks_alone_each_take_all_cleanness(worse: dict[str, Any]) -> None:
    assert scores(CLEAN)["cleanness"] == 100
    assert scores(replace(CLEAN, **worse))["cleanness"] == pytest.approx(0)


def test_sorting_leaves_the_first_part_where_it_is() -> None:
    assert captions.sort("fox, c, A, b") == "fox, A, b, c"


def test_a_save_of_what_is_there_already_is_no_conflict(tmp_path: Path, photo: Photo) -> None:
    photo(tmp_path / "1_fox/a.png", (80, 80), caption="fox, new")
    assert (
        ReviewSession(scan(tmp_path)).save(0, "fox, new", seen="fox, old", done=True)["caption"]
        == "fox, new"
    )


@pytest.mark.parametrize(("words", "told"), [(75, 0), (76, 1)])
def test_75_tokens_are_not_too_long(tmp_path: Path, photo: Photo, words: int, told: int) -> None:
    photo(tmp_path / "1_fox/a.png", (80, 80), caption="cat " * words)
    assert stats_of(scan(tmp_path)).too_long == told


def test_folders_of_originals_made_by_hand_say_repeats_and_tokens_by_their_names(
    tmp_path: Path, photo: Photo
) -> None:
    for number, name in enumerate(("3_cat", "4_", "dog", "dog/more", "dog/.hidden")):
        photo(tmp_path / "data/originals" / name / "a.png", (80, 80), number)
    targets = [
        job.target.relative_to(tmp_path / "data").as_posix()
        for job in jobs_of(tmp_path / "data", Settings("none"), trigger="fox")
    ]
    assert targets == ["3_cat/a.jpg", "4_fox/a.jpg", "10_dog/a.jpg", "10_dog/a-2.jpg"]
