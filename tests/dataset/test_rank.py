from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lorakit.cli.main import main
from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import Arrangement, SubsetPlan, arrange, read_arrangement
from lorakit.dataset.build.prepare import prepare
from lorakit.dataset.choose import rank
from lorakit.dataset.choose.rank import Ranked
from lorakit.errors import RecipeError


def drawn(seed: int, side: int = 600) -> Image.Image:
    tiles = np.random.default_rng(seed).integers(20, 235, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(tiles).resize((side, side), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    originals = tmp_path_factory.mktemp("drawn") / "originals"
    for category in ("faces", "bodies"):
        folder = originals / category
        folder.mkdir(parents=True)
        for number in range(5):
            picture = drawn(number + 50 * (category == "bodies"))
            picture.filter(ImageFilter.GaussianBlur(number * 3)).save(folder / f"{number}.png")
            (folder / f"{number}.txt").write_text(f"{category} {number}")
    drawn(0, 150).save(originals / "faces" / "twin.jpg", quality=90)
    (originals / "faces" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    return originals


@pytest.fixture
def dataset(drawn_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(drawn_once, tmp_path / "set" / "originals")
    return tmp_path / "set"


def test_sharp_pictures_come_before_blurred_ones_and_broken_ones_last(dataset: Path) -> None:
    faces = rank.by_category(rank.rank(dataset))["faces"]
    assert [Path(item.file).name for item in faces if "twin" not in item.file] == [
        "0.png",
        "1.png",
        "2.png",
        "3.png",
        "4.png",
        "broken.png",
    ]
    assert faces[-1].score == 0
    assert "cannot be decoded" in faces[-1].faults[0]


def test_rankings_are_written_per_category_and_read_back(dataset: Path) -> None:
    ranked = rank.rank(dataset)
    paths = rank.write_rankings(dataset, ranked)
    assert [path.name for path in paths] == ["bodies_ranking.json", "faces_ranking.json"]
    assert rank.read_scores(paths[1])["originals/faces/0.png"] == next(
        r.score for r in ranked if r.file.endswith("faces/0.png")
    )


def test_a_near_duplicate_is_left_out_by_name_and_the_reason_is_told(dataset: Path) -> None:
    selection = rank.select(rank.rank(dataset), per_category=3)
    reasons = {
        Path(item.file).name: why for item, why in selection.left_out if item.category == "faces"
    }
    assert reasons["twin.jpg"] == "near-duplicate of originals/faces/0.png"
    assert "3 better ones" in reasons["4.png"]
    assert {name: count for name, (count, _) in selection.averages().items()} == {
        "bodies": 3,
        "faces": 3,
    }


def test_diverse_prefers_an_unlike_picture_to_a_slightly_better_like_one() -> None:
    ranked = [
        Ranked("a/1.png", 95, dhash="0" * 16),
        Ranked("a/2.png", 94, dhash="0" * 13 + "3ff"),
        Ranked("a/3.png", 90, dhash="f" * 16),
    ]
    assert [r.file for r in rank.select(ranked, per_category=2).chosen] == ["a/1.png", "a/2.png"]
    assert [r.file for r in rank.select(ranked, per_category=2, diverse=True).chosen] == [
        "a/1.png",
        "a/3.png",
    ]


def test_what_is_below_the_bar_is_left_out_even_when_places_are_free() -> None:
    selection = rank.select(
        [Ranked("a/1.png", 87.9), Ranked("a/2.png", 88)], per_category=18, min_score=88
    )
    assert [item.file for item in selection.chosen] == ["a/2.png"]
    assert selection.left_out[0][1] == "score 87.9 is below 88"


def test_given_scores_win_and_unmatched_ones_are_named(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("file, score\n4.png, 99\nnobody.png, 50\n")
    ranked, faults = rank.with_scores([Ranked("originals/faces/4.png", 10)], rank.read_scores(path))
    assert ranked[0].score == 99
    assert [fault.where for fault in faults] == ["nobody.png"]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "file,score\nx.png,high\n"])
def test_a_csv_that_is_no_list_of_scores_is_told_as_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    if text:
        with pytest.raises(RecipeError, match="columns file,score"):
            rank.read_scores(tmp_path / "x.csv")
    else:
        assert rank.read_scores(tmp_path / "x.csv") == {}


def test_the_selection_is_a_new_dataset_and_the_old_one_is_untouched(
    dataset: Path, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    selection = rank.select(rank.rank(dataset), per_category=2)
    rank.copy_selection(dataset, selection, tmp_path / "v2")
    said = json.loads((tmp_path / "v2" / "selection.json").read_text())
    origin = said["files"]
    assert sorted(origin) == [
        f"originals/{c}/{c}_selected_0{n}.png" for c in ("bodies", "faces") for n in (1, 2)
    ]
    new = tmp_path / "v2" / "originals" / "faces" / "faces_selected_01.png"
    assert (
        new.read_bytes() == (dataset / origin["originals/faces/faces_selected_01.png"]).read_bytes()
    )
    assert new.with_suffix(".txt").read_text().startswith("faces")
    assert said["averages"]["faces"][0] == 2
    assert {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()} == before
    with pytest.raises(RecipeError, match="exists already"):
        rank.copy_selection(dataset, selection, tmp_path / "v2")


def test_the_empty_folder_that_new_makes_takes_the_selection(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    selection = rank.select(rank.rank(dataset), per_category=2)
    rank.copy_selection(dataset, selection, tmp_path / "v2")
    assert (tmp_path / "v2" / "originals").is_dir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecipeError, match="exists already"):
        rank.copy_selection(dataset, selection, tmp_path / "link")


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no pictures"):
        rank.rank(tmp_path)


def test_a_selection_keeps_repeats_tags_and_captions_of_every_extension(
    dataset: Path, tmp_path: Path
) -> None:
    own = {"faces": SubsetPlan(40, "faces"), "bodies": SubsetPlan(20, "bodies")}
    arrange(dataset, Arrangement(own))
    for caption in (dataset / "originals/bodies").glob("*.txt"):
        caption.rename(caption.with_suffix(".caption"))
    rank.copy_selection(dataset, rank.select(rank.rank(dataset), per_category=1), tmp_path / "v2")
    assert read_arrangement(tmp_path / "v2").subsets == {
        "faces": SubsetPlan(40, "faces"),
        "bodies": SubsetPlan(20, "bodies"),
    }
    assert (
        (tmp_path / "v2/originals/bodies/bodies_selected_01.caption")
        .read_text()
        .startswith("bodies")
    )


def test_every_kind_of_picture_that_prepare_takes_is_ranked(dataset: Path) -> None:
    for number, suffix in enumerate((".gif", ".tiff", ".PNG")):
        drawn(90 + number).save(dataset / "originals" / "faces" / f"other{number}{suffix}")
    assert sum("other" in item.file and item.score > 0 for item in rank.rank(dataset)) == 3


@pytest.mark.parametrize("score", ["nan", "inf"])
def test_a_score_that_is_no_number_is_refused(tmp_path: Path, score: str) -> None:
    (tmp_path / "x.csv").write_text(f"file,score\nx.png,{score}\n")
    with pytest.raises(RecipeError, match="not a score"):
        rank.read_scores(tmp_path / "x.csv")


def test_a_caption_written_after_prepare_goes_with_the_selection(
    dataset: Path, tmp_path: Path
) -> None:
    prepare(dataset, jobs_of(dataset, Settings("none")))
    for caption in dataset.glob("10_faces/*.txt"):
        caption.write_text(f"worked on for an hour, {caption.stem}")
    rank.copy_selection(dataset, rank.select(rank.rank(dataset), per_category=2), tmp_path / "v2")
    captions = sorted(path.read_text() for path in (tmp_path / "v2/originals/faces").glob("*.txt"))
    assert captions == ["worked on for an hour, 0", "worked on for an hour, 1"]


def test_a_second_selection_finds_the_captions_of_the_first_by_what_the_pictures_show(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for caption in dataset.rglob("*.txt"):
        caption.unlink()
    words = ["dataset", "select", str(dataset), "--per-category"]
    assert main([*words, "2", "--to", str(tmp_path / "v1")]) == 0
    assert "4 pictures, none of them with a caption" in capsys.readouterr().err
    prepare(tmp_path / "v1", jobs_of(tmp_path / "v1", Settings("none")))
    for number, picture in enumerate(sorted((tmp_path / "v1").glob("10_*/*.jpg"))):
        picture.with_suffix(".txt").write_text(f"written by hand {number}\n")
    drawn(77).save(dataset / "originals/faces/aaa_better.png")
    assert main([*words, "3", "--to", str(tmp_path / "v1.1")]) == 0
    assert "6 pictures, 4 of them with a caption" in capsys.readouterr().err
    new = {path.read_text() for path in (tmp_path / "v1.1").rglob("*.txt")}
    assert new == {f"written by hand {number}\n" for number in range(4)}


def test_words_that_somebody_wrote_win_over_words_that_came_along(
    dataset: Path, tmp_path: Path
) -> None:
    prepare(dataset, jobs_of(dataset, Settings("none")))
    rank.copy_selection(dataset, rank.select(rank.rank(dataset), per_category=1), tmp_path / "v1")
    prepare(tmp_path / "v1", jobs_of(tmp_path / "v1", Settings("none")))
    for caption in (tmp_path / "v1").glob("10_*/*.txt"):
        caption.write_text("written by hand")
    for caption in dataset.rglob("*.txt"):
        os.utime(caption)
    rank.copy_selection(dataset, rank.select(rank.rank(dataset), per_category=1), tmp_path / "v2")
    new = [path.read_text() for path in (tmp_path / "v2/originals").rglob("*.txt")]
    assert new == ["written by hand"] * 2


def test_what_is_left_out_is_summed_up_by_reason(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dataset", "select", str(dataset), "--per-category", "2", "--dry-run"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "near-duplicate" in told
    assert "twin.jpg" not in told
    assert len(told.splitlines()) < 10
    assert main([*words, "--all"]) == 0
    assert "twin.jpg" in capsys.readouterr().out
