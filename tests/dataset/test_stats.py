from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from lorakit.cli.main import main
from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.dataset.check.stats import stats_of
from lorakit.dataset.scan import scan


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for folder, count in (("40_maya", 7), ("20_maya_body", 3)):
        (tmp_path / folder).mkdir()
        for number in range(count):
            Image.new("RGB", (600 + 10 * number, 800)).save(tmp_path / folder / f"{number}.png")
            (tmp_path / folder / f"{number}.txt").write_text(
                "maya, " + ("waist" if "body" in folder else "smiling") + "\n"
            )
    (tmp_path / "40_maya" / "0.txt").write_text("maya, " + "word " * 90)
    return tmp_path


def test_shares_are_of_what_an_epoch_draws(dataset: Path) -> None:
    shares = {subset.name: round(subset.share, 3) for subset in stats_of(scan(dataset)).subsets}
    assert shares == {"20_maya_body": round(60 / 340, 3), "40_maya": round(280 / 340, 3)}


def test_tags_are_counted_per_caption_and_subset(dataset: Path) -> None:
    stats = stats_of(scan(dataset))
    assert stats.tags[0] == ("maya", 10, (3, 7))
    assert ("waist", 3, (3, 0)) in stats.tags


def test_long_captions_are_counted_with_the_real_tokenizer(dataset: Path) -> None:
    stats = stats_of(scan(dataset))
    assert stats.too_long == 1
    assert next(s for s in stats.subsets if s.name == "40_maya").tokens[2] == 92


def test_buckets_are_the_plans(dataset: Path) -> None:
    stats = stats_of(scan(dataset), Chooser(BucketRules((512, 512))))
    assert sum(count for _, count in stats.buckets) == 10
    assert stats.buckets[0][0] == (448, 576)


def test_the_command_gives_json(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "stats", str(dataset), "--json"]) == 0
    assert {subset["name"] for subset in json.loads(capsys.readouterr().out)["subsets"]} == {
        "40_maya",
        "20_maya_body",
    }
