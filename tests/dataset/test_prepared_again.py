"""What the manifest of `prepare` knows about files that were moved, prepared twice, or prepared otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.dataset.build.fit import Fit, Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import Manifest
from lorakit.dataset.build.prepare import PrepareOutcome, prepare

Photo = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, photo: Photo) -> Path:
    for number in range(3):
        photo(tmp_path / f"photos/{number}.png", (96, 80), number)
    return tmp_path / "photos"


def prepared(root: Path, photos: Path, trigger: str, fit: Fit = "none") -> PrepareOutcome:
    return prepare(root, jobs_of(root, Settings(fit, (64, 64)), source=photos, trigger=trigger))


def test_the_same_photos_in_two_subsets_stay_in_both(tmp_path: Path, photos: Path) -> None:
    root = tmp_path / "data"
    prepared(root, photos, "fox")
    prepared(root, photos, "kit")
    assert sorted(path.relative_to(root).as_posix() for path in root.glob("10_*/*")) == [
        f"10_{trigger}/{number}.jpg" for trigger in ("fox", "kit") for number in range(3)
    ]


def test_a_folder_renamed_by_hand_is_known_again_and_its_twin_keeps_its_own(
    tmp_path: Path, photos: Path
) -> None:
    root = tmp_path / "data"
    for trigger in ("fox", "kit"):
        prepared(root, photos, trigger)
    (root / "10_kit").rename(root / "12_kit")
    for trigger in ("kit", "fox"):
        outcome = prepared(root, photos, trigger)
        assert (outcome.made, outcome.kept, len(outcome.unchanged)) == ([], [], 3)
    assert sorted({Path(name).parent.name for name in Manifest(root).entries}) == [
        "10_fox",
        "12_kit",
    ]
