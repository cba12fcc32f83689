from __future__ import annotations

from pathlib import Path

import pytest

from lorakit import tomllib
from lorakit.dataset.facts import DatasetFacts, SubsetFacts
from lorakit.dataset.share.kohya_toml import do_copies, read_toml, to_toml
from lorakit.errors import Fault


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Two subsets of one image and caption each; the second is for regularisation."""
    for name in ("fox", "woman"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(name.encode())
        (tmp_path / name / "a.caption").write_text(f"{name}, standing")
    path = tmp_path / "their.toml"
    path.write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "fox"\nnum_repeats = 7\n'
        '[[datasets.subsets]]\nimage_dir = "woman"\nis_reg = true\nclass_tokens = "lady"\n'
    )
    return path


def clashes(path: Path) -> tuple[list[tuple[str, ...]], list[Fault]]:
    root = path.parent / "data"
    copies, faults = read_toml(path, root=root, reg=path.parent / "reg", caption_extension=".txt")
    named = [tuple(one.relative_to(path.parent).as_posix() for one in copy) for copy in copies]
    return named, faults


def test_every_image_goes_to_its_folder_with_its_caption_renamed(theirs: Path) -> None:
    assert clashes(theirs) == (
        [
            ("fox/a.png", "data/7_fox/a.png"),
            ("fox/a.caption", "data/7_fox/a.txt"),
            ("woman/a.png", "reg/1_lady/a.png"),
            ("woman/a.caption", "reg/1_lady/a.txt"),
        ],
        [],
    )


def test_copies_are_counted_and_a_second_time_there_are_none(theirs: Path) -> None:
    copies, _ = read_toml(
        theirs, root=theirs.parent / "data", reg=theirs.parent / "reg", caption_extension=".txt"
    )
    assert [do_copies(copies), do_copies(copies)] == [4, 0]
    assert (theirs.parent / "data/7_fox/a.txt").read_text() == "fox, standing"


def test_something_else_in_the_place_is_named_and_the_same_file_is_no_fault(theirs: Path) -> None:
    there = theirs.parent / "data/7_fox/a.png"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"fox")
    assert clashes(theirs)[1] == []
    there.write_bytes(b"another fox")
    assert [
        (fault.where, "would take the place of" in fault.what) for fault in clashes(theirs)[1]
    ] == [(str(there), True)]


def test_two_images_for_one_place_are_named(theirs: Path) -> None:
    theirs.write_text(
        theirs.read_text().replace(
            'is_reg = true\nclass_tokens = "lady"', 'num_repeats = 7\nclass_tokens = "fox"'
        )
    )
    assert {Path(fault.where).name for fault in clashes(theirs)[1]} == {"a.png", "a.txt"}


def test_only_regularisation_subsets_are_written_as_such(tmp_path: Path) -> None:
    facts = DatasetFacts(
        tmp_path,
        (
            SubsetFacts(tmp_path / "7_fox", 7, "fox", ()),
            SubsetFacts(tmp_path / "1_w", 1, "w", (), is_reg=True),
        ),
    )
    subsets = tomllib.loads(to_toml(facts, ".txt", {"batch_size": 2}))["datasets"][0]["subsets"]
    assert [
        (subset["num_repeats"], subset["class_tokens"], subset.get("is_reg")) for subset in subsets
    ] == [(7, "fox", None), (1, "w", True)]
