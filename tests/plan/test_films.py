"""Films for Wan: which pieces are trained, how many steps that makes, and what is refused before anything starts."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import toml
import yaml
from films import film
from plan_cases import folder
from plans_by_hand import FAKES

from lorakit.cli.main import main
from lorakit.dataset.check.stats import stats_of
from lorakit.dataset.films import FilmRules
from lorakit.dataset.scan import scan
from lorakit.pictures import film as reader
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve
from lorakit.trainers.base import Command, Work
from lorakit.trainers.musubi import caches

RECIPE = """
family = "{family}"
trainer = "{trainer}"
name = "fox"
trigger = "fox"
[model]
{weights}
[dataset]
path = "datasets/fox"
{dataset}
[train]
resolution = "128"
network_dim = 4
network_alpha = 4
learning_rate = 1e-4
optimizer_type = "AdamW"
mixed_precision = "no"
max_train_epochs = 2
{train}
"""


def plan(root: Path, dataset: str, train: str = "", family: str = "wan21", trainer: str = "musubi") -> Plan:  # fmt: skip
    file = root / "recipes/fox.toml"
    file.parent.mkdir(exist_ok=True)
    weights = "\n".join(f'{key} = "models/{key}.safetensors"' for key in ("base", "vae", "t5"))
    weights = 'base = "models/wan"' if trainer == "ai-toolkit" else weights
    text = RECIPE.format(family=family, trainer=trainer, dataset=dataset, train=train, weights=weights)  # fmt: skip
    if trainer == "ai-toolkit":
        text = text.replace("max_train_epochs = 2", "max_train_steps = 10")
    file.write_text(text, encoding="utf-8")
    return make_plan(*resolve(file), run_dir=root / "runs/fox/1")


def told(plan: Plan) -> dict[str, str]:
    return {fault.rule: f"{fault.where}: {fault.advice}" for fault in plan.faults}


PIECES: list[tuple[dict[str, Any], int, list[tuple[int, int]]]] = [
    ({"target_frames": [9, 17]}, 25, [(0, 9), (0, 17)]),
    ({"target_frames": [9, 33]}, 25, [(0, 9)]),
    ({"target_frames": [9], "frame_extraction": "chunk"}, 25, [(0, 9), (9, 9)]),
    ({"target_frames": [17], "frame_extraction": "slide", "frame_stride": 3}, 25, [(0, 17), (3, 17), (6, 17)]),
    ({"target_frames": [17], "frame_extraction": "uniform", "frame_sample": 4}, 25, [(0, 17), (2, 17), (5, 17), (8, 17)]),
    ({"target_frames": [25], "frame_extraction": "uniform", "frame_sample": 4}, 25, [(0, 25)]),
    ({"frame_extraction": "full"}, 24, [(0, 21)]),
    ({"frame_extraction": "full", "max_frames": 9}, 24, [(0, 9)]),
    ({"target_frames": [17], "source_fps": 30.0}, 32, [(0, 17)]),
    ({"target_frames": [17], "source_fps": 30.0}, 31, []),
    ({"target_frames": [17], "source_fps": 8.0}, 60, []),  # its index goes on by two
]  # fmt: skip


@pytest.mark.parametrize(("words", "frames", "pieces"), PIECES)
def test_pieces_are_those_of_musubis_own_dataset(
    words: dict[str, Any], frames: int, pieces: list[tuple[int, int]]
) -> None:
    assert FilmRules.said(words).pieces(frames) == pieces


def test_each_piece_of_a_film_is_a_sample_and_pictures_stand_beside_them(tmp_path: Path) -> None:
    film(tmp_path / "datasets/fox/10_fox/a.mp4", 25)
    film(tmp_path / "datasets/fox/10_fox/b.webm", 13)
    folder(tmp_path / "datasets/fox/10_fox", [(128, 96)])
    planned = plan(tmp_path, "target_frames = [9, 17]")
    assert [(one.frames, one.draws) for one in planned.steps.buckets] == [(0, 10), (9, 20), (17, 10)]  # fmt: skip
    assert (planned.steps.train_images, planned.steps.total) == (40, 80)
    assert planned.steps.formula.startswith("10 x 4 = 40 samples")
    pictures, films = toml.loads(planned.files["dataset.toml"])["datasets"][::-1][::-1]
    assert "image_directory" in pictures
    assert (films["video_directory"], films["target_frames"]) == (str(tmp_path / "datasets/fox/10_fox"), [9, 17])  # fmt: skip
    assert pictures["cache_directory"] != films["cache_directory"]
    assert "target_frames" not in pictures


def test_a_folder_has_its_own_words_for_its_films(tmp_path: Path) -> None:
    film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    film(tmp_path / "datasets/fox/2_fox/b.mp4", 40, fps=24)
    own = '[dataset.subset."2_fox"]\nsource_fps = 24\nframe_extraction = "chunk"'
    planned = plan(tmp_path, f"target_frames = [9]\n{own}")
    first, second = toml.loads(planned.files["dataset.toml"])["datasets"]
    assert "source_fps" not in first
    assert (second["source_fps"], second["frame_extraction"]) == (24.0, "chunk")
    assert isinstance(second["source_fps"], float)
    assert planned.steps.batches == 1 + 2 * 3  # 40 frames at 24 are 27 at 16
    assert "film-rate" not in told(planned)


@pytest.mark.parametrize(
    ("dataset", "rule", "said"),
    [
        ("target_frames = [16]", "film-frames", "16 is not 4N+1, which is what Wan makes. Write 17."),
        ("target_frames = [18]", "film-frames", "Write 17."),
        ('target_frames = [0]\nframe_extraction = "chunk"', "film-frames", "Write 1."),
        ("", "film-frames", "is not set: of each film one frame alone would be trained."),
        ("target_frames = [33]", "film-short", "has 25 frames; the shortest piece has 33"),
        ("target_frames = [9]\nsource_fps = 24", "film-rate", "has 16 frames a second and is read as if it had 24"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_films_is_refused(
    tmp_path: Path, dataset: str, rule: str, said: str
) -> None:
    film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    assert said in told(plan(tmp_path, dataset))[rule]


def test_image_to_video_needs_more_than_its_first_frame_to_train_and_one_to_draw(
    tmp_path: Path,
) -> None:
    film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    folder(tmp_path / "datasets/fox/1_still", [(128, 96)])
    sample = '\ntask = "i2v-14B"\n[sample]\nprompts = ["fox{}"]'
    planned = plan(tmp_path, "target_frames = [9]", sample.format(""))
    found = told(planned)
    assert "000.png is one frame" in found["musubi-i2v-frames"]
    assert "without a first frame" in found["musubi-i2v-prompt"]
    right = plan(tmp_path, "target_frames = [9]", sample.format(" --i first.png --f 17"))
    assert "musubi-i2v-prompt" not in told(right)
    (prompt,) = toml.loads(right.files["prompts.toml"])["prompt"]["subset"]
    assert (prompt["image_path"], prompt["frame_count"]) == (str(tmp_path / "first.png"), 17)


def test_films_in_batches_are_refused_without_buckets(tmp_path: Path) -> None:
    film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    several = "train_batch_size = 2\nenable_bucket = "
    assert "musubi-film-buckets" in told(plan(tmp_path, "target_frames = [9]", f"{several}false"))
    assert "musubi-film-buckets" not in told(
        plan(tmp_path, "target_frames = [9]", f"{several}true")
    )


def test_only_wan_is_trained_on_films(tmp_path: Path) -> None:
    film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    found = told(plan(tmp_path, "target_frames = [9]", family="zimage"))
    assert "zimage is not trained on such data." in found["not-such-data"]
    assert "is a film, and this model is trained on pictures" in found["film"]


def test_films_that_cannot_be_read_are_all_named(tmp_path: Path) -> None:
    pytest.importorskip("av", reason='pip install "lorakit[video]"')
    place = tmp_path / "datasets/fox/1_fox"
    whole = film(place / "a.mp4", 25).read_bytes()
    (place / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (place / "text.mov").write_text("no film", encoding="utf-8")
    (place / "Odd.Mp4").write_bytes(whole)
    for name in ("cut", "text", "Odd"):
        (place / f"{name}.txt").write_text("fox", encoding="utf-8")
    faults = scan(place.parent).faults
    assert [(fault.rule, Path(fault.where).name) for fault in faults if fault.severity == "error"] == [
        ("extension-case", "Odd.Mp4"),
        ("undecodable", "cut.mp4"),
        ("undecodable", "text.mov"),
    ]  # fmt: skip
    assert "cannot be decoded: Invalid data found" in faults[1].what


def test_frames_are_those_that_can_be_decoded_whatever_the_container_says(tmp_path: Path) -> None:
    pytest.importorskip("av", reason='pip install "lorakit[video]"')
    for suffix in (".mp4", ".webm", ".mov", ".mkv", ".avi"):
        path = film(tmp_path / f"a{suffix}", 25, fps=24)
        assert reader.read_film(path) == (128, 96, 25, 24.0, False)


def test_without_a_reader_it_is_said_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fox/1_fox/a.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"unread")
    monkeypatch.setattr(reader, "find_spec", lambda _: None)
    (fault,) = [one for one in scan(tmp_path / "fox").faults if one.rule == "header"]
    assert 'pip install "lorakit[video]"' in fault.what


def test_films_are_counted_among_the_data_and_their_pixels_are_not_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film(tmp_path / "fox/1_fox/a.mp4", 25)
    folder(tmp_path / "fox/1_fox", [(128, 96)], captions=True)
    (stats,) = stats_of(scan(tmp_path / "fox")).subsets
    assert (stats.images, stats.captions) == (2, 2)
    main(["dataset", "check", str(tmp_path / "fox")])
    out = capsys.readouterr().out
    assert "a.mp4" not in out


def test_an_edited_film_is_cached_again_and_each_piece_has_its_cache(tmp_path: Path) -> None:
    path = film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    planned = plan(tmp_path, "target_frames = [9, 17]")
    work = Work(planned.run_dir, "wan21", {}, planned.run_dir / "output", "fox")
    planned.run_dir.mkdir(parents=True)
    (planned.run_dir / "dataset.toml").write_text(planned.files["dataset.toml"], encoding="utf-8")
    (table,) = toml.loads(planned.files["dataset.toml"])["datasets"]
    cache = Path(table["cache_directory"])
    cache.mkdir(parents=True)
    latents, texts = Command(("cache",), caches.LATENTS), Command(("cache",), caches.TEXTS)
    assert not caches.needless(latents, work)
    (cache / "a_00000-009_0144x0112_wan.safetensors").write_bytes(b"cached")
    assert "it left no latents of" in caches.fault_after(latents, work)
    (cache / "a_00000-017_0144x0112_wan.safetensors").write_bytes(b"cached")
    (cache / "a_wan_te.safetensors").write_bytes(b"cached")
    assert caches.fault_after(latents, work) == ""
    assert not caches.needless(texts, work)
    assert caches.fault_after(texts, work) == ""
    assert caches.needless(latents, work)
    film(path, 33)
    assert not caches.needless(latents, work)
    assert caches.needless(texts, work)


def test_plan_shows_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("LORAKIT_MUSUBI", str(FAKES / "musubi_tuner"))
    monkeypatch.setenv("LORAKIT_MUSUBI_PYTHON", sys.executable)
    film(tmp_path / "datasets/fox/1_fox/a.mp4", 25)
    plan(tmp_path, "target_frames = [9]")
    main(["plan", str(tmp_path / "recipes/fox.toml")])
    assert "144 x 112, 9 frames" in capsys.readouterr().out


def test_a_plan_of_pictures_imports_no_reader_of_films(tmp_path: Path) -> None:
    folder(tmp_path / "datasets/fox/1_fox", [(128, 96)])
    before = "av" in sys.modules
    plan(tmp_path, "")
    assert ("av" in sys.modules) == before or not find_spec("av")


def test_ai_toolkit_gets_one_number_of_frames_and_the_films_themselves(tmp_path: Path) -> None:
    film(tmp_path / "datasets/fox/2_fox/a.mp4", 25)
    planned = plan(tmp_path, "target_frames = [17]", family="wan22", trainer="ai-toolkit")
    (process,) = yaml.safe_load(planned.files["ai-toolkit.yaml"])["config"]["process"]
    assert process["datasets"][0]["num_frames"] == 17
    assert [one.frames for one in planned.steps.buckets] == [17]
    several = 'target_frames = [9, 17]\nframe_extraction = "chunk"'
    found = told(plan(tmp_path, several, family="wan22", trainer="ai-toolkit"))
    assert "frame_extraction: ai-toolkit has no such setting" in found["aitk-subset"]
    assert "spreads one number of frames over a whole film" in found["aitk-films"]
    other = told(plan(tmp_path, "", "num_frames = 9", family="wan22", trainer="ai-toolkit"))
    assert "Use [dataset] target_frames." in other["ours"]
