"""The score puts pictures in the order in which they were worsened: tools/quality_set.py, smaller."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from lorakit.cli.main import main
from lorakit.dataset.check.looks import look
from lorakit.dataset.choose import rank as ranking

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import quality_set as rendered


@pytest.mark.parametrize("name", ["jpeg", "blur", "bars"])
def test_worse_pictures_score_less(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = rendered.scene(1, (480, 640))
    monkeypatch.setattr(rendered, "scene", lambda _seed: small)
    rendered.write_ladders(tmp_path, 1, iter([name]))
    scores = [*rendered.scores_of(tmp_path).values()]
    assert rendered.spearman(scores) >= 0.9
    if name == "jpeg":
        assert scores[1] > scores[-1] + 25  # quality 90, quality 5


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_a_telephones_screen_is_known_by_its_bars(tmp_path: Path, *, dark: bool) -> None:
    scene = rendered.scene(3, (480, 640))
    scene.save(tmp_path / "photo.png", compress_level=1)
    rendered.screenshot(scene, dark=dark).save(tmp_path / "shot.png", compress_level=1)
    assert look(tmp_path / "photo.png").bars == 0
    assert look(tmp_path / "shot.png").bars > 0.05
    photo, shot = ranking.rank(tmp_path)
    assert Path(photo.file).name == "photo.png"
    assert shot.score < photo.score / 2


def test_a_plain_background_is_no_bar(tmp_path: Path) -> None:
    studio = Image.new("RGB", (600, 800), "#f4f4f4")
    ImageDraw.Draw(studio).ellipse((150, 100, 450, 700), fill="#9a5b3c")
    studio.save(tmp_path / "a.png")
    assert look(tmp_path / "a.png").bars == 0


def test_of_two_alike_only_the_worse_one_loses(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    scene = rendered.scene(5, (480, 640))
    scene.save(tmp_path / "one/good.png")
    (alone,) = ranking.rank(tmp_path / "one")
    rendered.scaled(scene, 0.5).save(tmp_path / "one/worse.jpg", quality=60)
    good, worse = ranking.rank(tmp_path / "one")
    assert good.score == alone.score
    assert worse.parts["uniqueness"] == 0


@pytest.mark.parametrize(("said", "names"), [("50%", "cd"), ("0%", "abcd"), ("60", "d")])
def test_the_line_is_drawn_as_a_share_or_as_a_score(
    tmp_path: Path, said: str, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data/fox").mkdir(parents=True)
    for number, name in enumerate("abcd"):
        rendered.scene(number, (200, 160)).save(tmp_path / f"data/fox/{name}.png")
    (tmp_path / "mine.csv").write_text("file,score\na.png,10\nb.png,20\nc.png,30\nd.png,90\n")
    words = ["--per-category", "9", "--scores", str(tmp_path / "mine.csv"), "--min-score", said]
    data = tmp_path / "data"
    assert main(["dataset", "select", str(data), *words, "--to", str(tmp_path / "v2")]) == 0
    assert len(list((tmp_path / "v2").rglob("*.png"))) == len(names)


@pytest.mark.parametrize("said", ["good", "101", "-1%"])
def test_a_line_that_is_none_is_refused(
    tmp_path: Path, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["dataset", "select", str(tmp_path), "--per-category", "1", f"--min-score={said}"])
        == 1
    )
    assert "such as 30%" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.slow
def test_every_ladder_of_the_set_is_in_order_and_guide_four_gets_its_54() -> None:
    found, margins = rendered.correlations(range(1))
    assert {name: min(values) for name, values in found.items() if min(values) < 0.9} == {}
    assert min(margins) > 25
    assert rendered.best_screenshot(4) >= 0.5
    assert {count for count, _ in rendered.guide_four(0.3).values()} == {18}
