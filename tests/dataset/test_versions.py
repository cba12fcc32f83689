from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from lorakit.cli.main import main
from lorakit.dataset.scan import scan
from lorakit.dataset.share.versions import compare, version_of


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "v1" / "40_maya"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"maya, {number}\n")
    shutil.copytree(tmp_path / "v1", tmp_path / "v2")
    return tmp_path / "v1", tmp_path / "v2"


def test_equal_versions_have_no_difference(versions: tuple[Path, Path]) -> None:
    assert not compare(*(version_of(scan(root)) for root in versions))


def test_each_kind_of_change_is_told_once(versions: tuple[Path, Path]) -> None:
    folder = versions[1] / "40_maya"
    (folder / "0.png").rename(folder / "moved.png")
    (folder / "0.txt").rename(folder / "moved.txt")
    (folder / "1.txt").write_text("maya, red hat\n")
    Image.new("RGB", (64, 64), (9, 9, 9)).save(folder / "2.png")
    (folder / "3.png").unlink()
    (folder / "3.txt").unlink()
    Image.new("RGB", (64, 64), (0, 200, 0)).save(folder / "new.png")
    folder.rename(versions[1] / "20_maya")
    found = compare(*(version_of(scan(root)) for root in versions))
    assert found.renamed == (("maya/0.png", "maya/moved.png"),)
    assert found.recaptioned == (("maya/1.png", "maya, 1", "maya, red hat"),)
    assert found.changed == ("maya/2.png",)
    assert found.removed == ("maya/3.png",)
    assert found.added == ("maya/new.png",)
    assert found.repeats == (("maya", 40, 20),)


def test_one_caption_is_one_line_on_the_screen(
    versions: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (versions[1] / "40_maya" / "1.txt").write_text("maya, red hat\n")
    assert main(["dataset", "diff", str(versions[0]), str(versions[1])]) == 0
    assert capsys.readouterr().out == "recaptioned  maya/1.png\n  - maya, 1\n  + maya, red hat\n"
