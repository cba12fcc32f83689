"""caption, rank, select and bundle as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorakit.cli.main import main
from lorakit.files import owner_mark


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "maya" / "40_maya_char"
    folder.mkdir(parents=True)
    for number in range(3):
        tiles = np.random.default_rng(number).integers(20, 235, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(tiles).resize((300, 300), Image.Resampling.NEAREST).save(
            folder / f"{number}.png"
        )
        (folder / f"{number}.txt").write_text(f"smiling, photo {number}\n")
    return tmp_path / "maya"


def test_a_caption_edit_is_shown_first_and_written_only_when_asked(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["dataset", "caption", "maya", "--trigger-first", "--replace", "photo=picture"]) == 0
    )
    out = capsys.readouterr()
    assert "  - smiling, photo 0\n  + maya_char, smiling, picture 0" in out.out
    assert "3 captions would change" in out.err
    assert (dataset / "40_maya_char" / "0.txt").read_text() == "smiling, photo 0\n"
    assert main(["dataset", "caption", "maya", "--trigger-first", "--write"]) == 0
    assert (dataset / "40_maya_char" / "0.txt").read_text() == "maya_char, smiling, photo 0\n"
    assert main(["dataset", "caption", "maya", "--undo"]) == 0
    assert (dataset / "40_maya_char" / "0.txt").read_text() == "smiling, photo 0\n"


def test_the_history_names_each_step_by_the_words_that_were_typed(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["dataset", "caption", "maya", "--trigger-first", "--write"])
    assert main(["dataset", "caption", "maya", "--history"]) == 0
    assert capsys.readouterr().out.endswith("+00:00 maya --trigger-first --write\n")


def test_an_unknown_subset_names_the_nearest(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "caption", "maya", "--sort", "--subset", "40_maya_chr"]) == 1
    assert "Did you mean 40_maya_char?" in capsys.readouterr().err


def test_no_edit_at_all_is_said_so(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "caption", "maya"]) == 1
    assert "No edit was asked for" in capsys.readouterr().err


def test_rank_then_select_makes_a_new_version(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "rank", "maya"]) == 0
    capsys.readouterr()
    assert (dataset / "40_maya_char_ranking.json").exists()
    (tmp_path / "mine.csv").write_text("file,score\n2.png,100\n1.png,1\n")
    assert (
        main(
            [
                "dataset",
                "select",
                "maya",
                "--per-category",
                "2",
                "--scores",
                "mine.csv",
                "--min-score",
                "2",
                "--to",
                "v2",
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["averages"]["40_maya_char"][0] == 2
    assert sorted(path.name for path in (tmp_path / "v2" / "40_maya_char").glob("*.png")) == [
        "40_maya_char_selected_01.png",
        "40_maya_char_selected_02.png",
    ]


def test_a_bundle_goes_there_and_is_proven(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "bundle", "maya"]) == 0
    assert main(["dataset", "bundle", "verify", "maya.zip", "--unpack", "there"]) == 0
    assert "6 files as bundled, byte for byte" in capsys.readouterr().err
    assert len(list((tmp_path / "there" / "40_maya_char").iterdir())) == 6
    data = bytearray((tmp_path / "maya.zip").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "maya.zip").write_bytes(data)
    assert main(["dataset", "bundle", "verify", "maya.zip"]) == 1


def test_what_a_killed_command_left_half_written_goes_with_the_next_one_that_writes(
    dataset: Path,
) -> None:
    gone = f"{2**22 + 1}-1-{owner_mark().rpartition('-')[2]}"  # no process has such a number
    places = [dataset / "40_maya_char", dataset / "7_elsewhere", dataset / "originals/maya"]
    left = [place / f".1.txt.{gone}.abcdefgh.tmp" for place in places]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ha", encoding="utf-8")
    assert main(["dataset", "caption", "maya", "--trigger-first"]) == 0
    assert all(path.exists() for path in left)  # who only looks changes nothing
    assert main(["dataset", "caption", "maya", "--remove", "nothing", "--write"]) == 0
    assert not any(path.exists() for path in left)
