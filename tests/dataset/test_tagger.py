"""Tags by a real ONNX model, made here: it answers with the mean colour of the picture, so every probability is known."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from lorakit.cli.main import main
from lorakit.dataset.captions.models import TAGGERS, open_tagger, tagger_repository
from lorakit.dataset.captions.tagger import (
    CHARACTER,
    GENERAL,
    Tag,
    TagChoice,
    Tagger,
    chosen,
    read_tags,
    square,
)
from lorakit.errors import LorakitError, RecipeError, SetupError

SIDE = 32
TAGS = (
    "9,general",
    "0,blue_sky",
    "0,green_grass",
    "0,red_scarf",
    "4,some_hero",
    "0,upper_body",
    "0,^_^",
    "4,nobody",
)
# Each output is a weighted sum of mean blue, green, red (0 to 1) plus a constant.
WEIGHTS = (
    (0, 0, 0, 0.99),
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 0.9),
    (0, 0, 0, 0.6),
    (0, 0, 0, 0.36),
    (0, 0, 0, 0.8),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Mean over height and width, then one matrix: [batch, side, side, 3] -> [batch, tags], as the v3 taggers."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, numbers = onnx.helper, onnx.TensorProto.FLOAT
    folder = tmp_path / "tagger"
    folder.mkdir()
    matrix = [WEIGHTS[tag][colour] / 255 for colour in range(3) for tag in range(len(TAGS))]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2], keepdims=0),
            helper.make_node("MatMul", ["mean", "matrix"], ["sum"]),
            helper.make_node("Add", ["sum", "constant"], ["output"]),
        ],
        "mean colour",
        [helper.make_tensor_value_info("input", numbers, ["batch", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("output", numbers, ["batch", len(TAGS)])],
        [
            helper.make_tensor("matrix", numbers, [3, len(TAGS)], matrix),
            helper.make_tensor("constant", numbers, [len(TAGS)], [row[3] for row in WEIGHTS]),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    lines = [
        f"{number},{line.split(',')[1]},{line.split(',')[0]},1" for number, line in enumerate(TAGS)
    ]
    (folder / "selected_tags.csv").write_text(
        "tag_id,name,category,count\n" + "\n".join(lines) + "\n"
    )
    return folder


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "fox" / "10_fox_kit"
    folder.mkdir(parents=True)
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255)), ("own", (0, 255, 0))):
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")
    (folder / "own.txt").write_text("fox_kit, mine\n")
    return folder


def caption(*words: str) -> list[str]:
    return ["dataset", "caption", "fox", "--tagger", "wd", "--model", "tagger", *words]


def test_images_without_a_caption_get_tags_and_the_others_keep_theirs(
    model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(caption("--write")) == 0
    assert (dataset / "red.txt").read_text() == "fox_kit, some hero, red scarf, upper body, ^_^\n"
    assert (dataset / "blue.txt").read_text() == "fox_kit, some hero, blue sky, upper body, ^_^\n"
    assert (dataset / "own.txt").read_text() == "fox_kit, mine\n"
    told = capsys.readouterr().err
    assert "Kept: 1 caption, as it is there already; --overwrite tags it too." in told
    assert hashlib.sha256((model / "model.onnx").read_bytes()).hexdigest() in told


def test_nothing_is_written_before_write_and_undo_takes_tags_back(
    model: Path, dataset: Path
) -> None:
    assert main(caption()) == 0
    assert not (dataset / "red.txt").exists()
    assert main(caption("--write", "--overwrite")) == 0
    assert (dataset / "own.txt").read_text() == "fox_kit, some hero, green grass, upper body, ^_^\n"
    assert main(["dataset", "caption", "fox", "--undo"]) == 0
    assert (dataset / "own.txt").read_text() == "fox_kit, mine\n"
    assert not (dataset / "red.txt").exists()


def test_the_history_says_which_model_at_which_thresholds(
    model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(caption("--write", "--general", "0.5"))
    main(["dataset", "caption", "fox", "--history"])
    told = capsys.readouterr().out
    assert hashlib.sha256((model / "model.onnx").read_bytes()).hexdigest() in told
    assert "general 0.5, character 0.85" in told


def test_a_template_orders_the_tags_and_edits_come_after(model: Path, dataset: Path) -> None:
    pattern = "{trigger}, {shot}, {rest}"
    assert (
        main(
            caption(
                "--write",
                "--from-tags",
                pattern,
                "--drop-character-tags",
                "--remove",
                "^_^",
                "--add",
                "soft light",
            )
        )
        == 0
    )
    assert (dataset / "red.txt").read_text() == "fox_kit, soft light, upper body, red scarf\n"


def test_dropped_tags_and_underscores(
    model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            caption(
                "--write", "--underscores", "keep", "--drop", "some hero", "--drop", "upperbody"
            )
        )
        == 0
    )
    assert (dataset / "blue.txt").read_text() == "fox_kit, blue_sky, upper_body, ^_^\n"
    assert (
        "--drop upperbody: the tagger knows no such tag. Did you mean upper body?"
        in capsys.readouterr().err
    )


def test_what_was_seen_once_is_not_reckoned_again(
    model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(dataset.glob("*.png"))
    first = list(Tagger(open_tagger(str(model))).look(paths))
    again = Tagger(open_tagger(str(model)))
    monkeypatch.setattr(again, "_run", lambda path: pytest.fail(f"{path} was reckoned again"))
    assert list(again.look(paths)) == first
    Image.new("RGB", (50, 50), "white").save(paths[0])
    with pytest.raises(pytest.fail.Exception):
        list(again.look(paths))


@pytest.mark.parametrize(
    ("size", "grey"), [((64, 64), False), ((64, 16), False), ((7, 900), False), ((30, 30), True)]
)
def test_pictures_become_white_squares_in_bgr(
    tmp_path: Path, size: tuple[int, int], grey: bool
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", size, 255).save(path) if grey else Image.new("RGB", size, (255, 128, 0)).save(
        path
    )
    pixels = square(path, 32)
    assert (pixels.shape, str(pixels.dtype)) == ((32, 32, 3), "float32")
    assert pixels[16, 16].tolist() == [255, 255, 255] if grey else [0, 128, 255]
    assert pixels[0, 0].tolist() == (
        [255, 255, 255] if size[0] != size[1] or grey else [0, 128, 255]
    )


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert square(tmp_path / "a.png", 8).min() == 255


def test_characters_come_first_and_ratings_never() -> None:
    tags = [Tag("safe", 9), Tag("long_hair", GENERAL), Tag("hero", CHARACTER), Tag("hat", GENERAL)]
    likely = [(0, 0.99), (1, 0.5), (2, 0.9), (3, 0.8)]
    assert chosen(likely, tags, TagChoice()) == ["hero", "hat", "long hair"]
    assert chosen(likely, tags, TagChoice(general=0.6, character=0.95)) == ["hat"]
    assert chosen(likely, tags, TagChoice(drop=frozenset({"Long Hair", "hero"}))) == ["hat"]
    with pytest.raises(RecipeError, match="--general 2: a threshold is between"):
        TagChoice(general=2)


@pytest.mark.parametrize(
    ("asked", "repo", "revision"),
    [
        ("wd-vit", TAGGERS["wd-vit"], None),
        ("wd-swinv2@abc123", TAGGERS["wd-swinv2"], "abc123"),
        ("me/mine@v1.0", "me/mine", "v1.0"),
    ],
)
def test_short_names_and_revisions(asked: str, repo: str, revision: str | None) -> None:
    assert tagger_repository(asked) == (repo, revision)


def test_a_mistyped_model_names_the_nearest_and_a_half_folder_what_is_missing(
    tmp_path: Path,
) -> None:
    with pytest.raises(RecipeError, match=r"Did you mean wd-swinv2\?"):
        open_tagger("wd-swin2")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(SetupError, match=r"has no selected_tags\.csv"):
        open_tagger(str(tmp_path))


def test_another_model_than_the_pinned_one_is_refused(model: Path) -> None:
    with pytest.raises(LorakitError, match="nothing was tagged"):
        open_tagger(str(model), expected_sha256="00" * 32)


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SetupError, match=r"wd-vit-tagger-v3 at abc could not be fetched") as told:
        open_tagger("wd-vit@abc")
    assert "put model.onnx and selected_tags.csv into a folder" in told.value.hint


def test_a_model_that_is_none_and_a_list_that_does_not_fit(
    model: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (model / "selected_tags.csv").open("a") as file:
        file.write("99,one_more,0,1\n")
    assert main(caption()) == 1
    assert "gives 8 numbers, selected_tags.csv names 9 tags" in capsys.readouterr().err
    (model / "model.onnx").write_bytes(b"no model")
    assert main(caption()) == 1
    assert "not an ONNX model that onnxruntime can open" in capsys.readouterr().err
    (model / "selected_tags.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SetupError, match="not the tag list of a WD tagger"):
        read_tags(model / "selected_tags.csv")


def test_without_onnxruntime_the_message_is_the_command_to_install_it(
    model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(caption()) == 1
    assert 'pip install "lorakit[tag]"' in capsys.readouterr().err


def test_tagger_options_without_a_tagger_or_a_model(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "caption", "fox", "--overwrite", "--sort"]) == 1
    assert "--overwrite: only with --tagger wd, kohya, florence2 or blip" in capsys.readouterr().err
    assert main(["dataset", "caption", "fox", "--tagger", "wd"]) == 1
    assert "which model?" in capsys.readouterr().err


STAND_IN = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for image in sorted(folder.iterdir()):
    assert image.is_symlink(), image
    image.with_suffix(".txt").write_text(f"1girl, {image.resolve().stem} hair")
pathlib.Path(__file__).with_name("argv.json").write_text(json.dumps(sys.argv[2:]))
"""


def test_sd_scripts_own_tagger_sees_links_and_its_captions_go_through_the_same_diff(
    tmp_path: Path,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkout = tmp_path / "scripts"
    (checkout / "finetune").mkdir(parents=True)
    (checkout / "train_network.py").write_text("")
    (checkout / "finetune" / "tag_images_by_wd14_tagger.py").write_text(STAND_IN)
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS", str(checkout))
    monkeypatch.setenv("LORAKIT_SD_SCRIPTS_PYTHON", sys.executable)
    words = [
        "dataset",
        "caption",
        "fox",
        "--tagger",
        "kohya",
        "--model",
        "wd-vit",
        "--drop",
        "1boy",
    ]
    assert main(words) == 0
    assert sorted(os.listdir(dataset)) == ["blue.png", "own.png", "own.txt", "red.png"]
    assert main([*words, "--write"]) == 0
    assert (dataset / "red.txt").read_text() == "fox_kit, 1girl, red hair\n"
    assert (dataset / "own.txt").read_text() == "fox_kit, mine\n"
    argv = json.loads((checkout / "finetune" / "argv.json").read_text())
    assert {
        "--onnx",
        "--repo_id=SmilingWolf/wd-vit-tagger-v3",
        "--general_threshold=0.35",
        "--remove_underscore",
        "--undesired_tags=1boy",
    } <= set(argv)
    (checkout / "finetune" / "tag_images_by_wd14_tagger.py").write_text(
        "raise SystemExit('no module named onnx')"
    )
    assert main([*words, "--overwrite"]) == 1
    told = capsys.readouterr().err
    assert "no module named onnx" in told and "The command was: " in told


@pytest.mark.real
def test_sd_scripts_script_knows_every_option_we_give_it(sd_scripts: Path, tmp_path: Path) -> None:
    from lorakit.trainers.kohya.tagger import command

    text = (sd_scripts / "finetune" / "tag_images_by_wd14_tagger.py").read_text()
    argv = command(Path("python"), sd_scripts, tmp_path, "wd-vit", TagChoice(drop=frozenset({"x"})))
    for word in argv[3:]:
        assert f'"{word.partition("=")[0]}"' in text, word


def test_a_list_of_tags_that_is_a_pipe_or_a_folder_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for path, word in ((tmp_path / "pipe.csv", "pipe"), (tmp_path, "folder")):
        with pytest.raises(SetupError, match=f"is a {word}"):
            read_tags(path)
