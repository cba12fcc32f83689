from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from operator import mul
from pathlib import Path

import pytest
from drawings import drawing
from hypothesis import given
from hypothesis import strategies as st

from lorakit import tomllib
from lorakit.cli.main import main
from lorakit.dataset.build.fit import Settings
from lorakit.dataset.build.jobs import jobs_of
from lorakit.dataset.build.manifest import SubsetPlan, read_arrangement
from lorakit.dataset.build.originals import add
from lorakit.dataset.build.prepare import prepare
from lorakit.dataset.build.subsets import apply, rename
from lorakit.dataset.scan import scan
from lorakit.dataset.split import balanced, solve
from lorakit.errors import RecipeError

Photo = Callable[..., Path]
NONE = Settings("none")


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 and 30 would be slow: 7 and 3 images, prepared."""
    place = tmp_path_factory.mktemp("prepared")
    for index in range(10):
        folder, name = ("a", "close" if index < 3 else "body") if index < 7 else ("b", "real")
        path = place / folder / f"{name}_{index % 7}.jpg"
        path.parent.mkdir(exist_ok=True)
        drawing((80, 64), index).save(path)
        path.with_suffix(".txt").write_text(f"maya_char, {folder} number {index}")
    root = place / "data"
    add(root, SubsetPlan(40, "maya_char"), [place / "a"])
    add(root, SubsetPlan(20, "maya_char", "realbody"), [place / "b"])
    prepare(root, jobs_of(root, NONE))
    return root


@pytest.fixture
def root(prepared_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prepared_once, tmp_path / "data"))


def layout(root: Path, *words: str) -> int:
    return main(["dataset", "layout", str(root), *words])


def write(root: Path, *words: str) -> int:
    return layout(root, *words, "--write")


def tree(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and ".lorakit" not in path.parts
    )


def names(root: Path) -> list[str]:
    return [subset.path.name for subset in scan(root).subsets]


def test_the_table_shows_the_arithmetic(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert layout(root, "--epochs", "8", "--batch", "4") == 0
    told = capsys.readouterr()
    assert "20 x 3 + 40 x 7 = 340 samples, / 4 = 85 steps, x 8 epochs = 680 steps" in told.err
    assert "40_maya_char                7" not in told.err
    assert [line.split()[:5] for line in told.out.splitlines()[1:]] == [
        ["20_maya_char_realbody", "20", "3", "3", "60"],
        ["40_maya_char", "40", "7", "7", "280"],
    ]


def test_repeats_are_set_by_name_remembered_and_undone(root: Path) -> None:
    before = tree(root)
    assert write(root, "--repeats", "maya_char=10", "--repeats", "20_maya_char_realbody=5") == 0
    assert names(root) == ["10_maya_char", "5_maya_char_realbody"]
    assert read_arrangement(root).subsets["maya_char"].repeats == 10
    outcome = prepare(root, jobs_of(root, NONE))
    assert (outcome.made, outcome.kept, len(outcome.unchanged)) == ([], [], 10)
    assert layout(root, "--undo") == 0
    assert tree(root) == before
    assert read_arrangement(root).subsets["maya_char"].repeats == 40
    assert layout(root, "--undo") == 1


def test_repeats_are_solved_for_steps_and_ratio(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        write(
            root,
            "--steps",
            "2000",
            "--epochs",
            "10",
            "--ratio",
            "maya_char_realbody=1",
            "maya_char=4",
        )
        == 0
    )
    assert "13 x 3 + 23 x 7 = 200 samples, x 10 epochs = 2000 steps" in capsys.readouterr().err
    assert names(root) == ["13_maya_char_realbody", "23_maya_char"]


@given(
    st.lists(st.tuples(st.integers(1, 200), st.floats(0.2, 9)), min_size=1, max_size=6),
    st.integers(50, 20_000),
)
def test_solved_repeats_are_whole_and_come_near(
    subsets: list[tuple[int, float]], draws: int
) -> None:
    images, ratio = [count for count, _ in subsets], [weight for _, weight in subsets]
    try:
        repeats = solve(images, draws, ratio)
    except RecipeError:
        assert draws > 10_000
        return
    assert min(repeats) >= 1
    assert abs(sum(map(mul, repeats, images)) - draws) <= sum(images)


def test_the_guides_two_folders_come_out_as_the_guide_has_them() -> None:
    assert solve([70, 30], 3400, [2800, 600]) == (40, 20)


@pytest.mark.parametrize(
    "words",
    [
        ["--ratio", "4:1"],
        ["--ratio", "maya_char=4"],
        ["--ratio", "maya_char=a", "maya_char_realbody=1"],
        ["--ratio", "maya_char=0", "maya_char_realbody=1"],
        ["--ratio", "maja_char=4", "maya_char_realbody=1"],
        ["--steps", "-5"],
        ["--repeats", "maya_char=0"],
        ["--repeats", "maja_char=3"],
        ["--repeats", "maya_char"],
        ["--rename", "maya_char=maya_char_realbody"],
        ["--rename", "maya_char=a/b"],
        ["--split", "maya_char=x:nothing*"],
        ["--rename", "maya_char=x", "--merge", "a=b"],
        ["--steps", "900000000"],
    ],
)
def test_what_cannot_be_is_refused_and_nothing_moves(root: Path, words: list[str]) -> None:
    before = tree(root)
    assert write(root, *words) == 1
    assert tree(root) == before


def test_rename_split_and_merge_keep_captions_and_are_known_to_prepare(root: Path) -> None:
    before = tree(root)
    (root / "40_maya_char/close_1_0080x0064_sd.npz").write_bytes(b"cache")
    assert write(root, "--split", "maya_char=maya_face:close_*") == 0
    assert sorted(path.name for path in (root / "40_maya_face").iterdir()) == [
        "close_0.jpg",
        "close_0.txt",
        "close_1.jpg",
        "close_1.txt",
        "close_1_0080x0064_sd.npz",
        "close_2.jpg",
        "close_2.txt",
    ]
    outcome = prepare(root, jobs_of(root, NONE))
    assert (outcome.made, outcome.kept) == ([], [])
    assert write(root, "--rename", "maya_face=maya_portrait") == 0
    assert "40_maya_portrait" in names(root)
    assert len(prepare(root, jobs_of(root, Settings("none", quality=90))).made) == 10
    assert names(root) == ["20_maya_char_realbody", "40_maya_char", "40_maya_portrait"]
    assert write(root, "--merge", "maya_portrait=maya_char") == 0
    assert names(root) == ["20_maya_char_realbody", "40_maya_char"]
    assert prepare(root, jobs_of(root, Settings("none", quality=90))).made == []
    (root / "40_maya_char/close_1_0080x0064_sd.npz").unlink()
    assert tree(root) == before


def test_a_clash_of_names_is_refused_before_anything_moves(root: Path, photo: Photo) -> None:
    photo(root / "20_maya_char_realbody/body_4.jpg", (80, 64), 90)
    before = tree(root)
    assert write(root, "--merge", "maya_char_realbody=maya_char", "--force") == 1
    assert tree(root) == before


def test_a_persons_own_folder_moves_only_when_forced(
    root: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(root / "5_own/x.jpg", (80, 64), 77)
    assert write(root, "--repeats", "own=9") == 1
    assert '[dataset.subset."5_own"]' in capsys.readouterr().err
    assert write(root, "--repeats", "own=9", "--force") == 0
    assert (root / "9_own/x.jpg").exists()


def test_a_step_is_shown_first_and_done_with_write(root: Path) -> None:
    before = tree(root)
    assert layout(root, "--rename", "maya_char=maya_v2") == 0
    assert tree(root) == before


def test_folders_become_toml_and_toml_becomes_folders(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data_reg/1_woman").mkdir(parents=True)
    assert layout(root, "--to-toml", str(tmp_path / "dataset.toml")) == 0
    data = tomllib.loads((tmp_path / "dataset.toml").read_text())
    assert [
        (Path(s["image_dir"]).name, s["num_repeats"], s["class_tokens"])
        for s in data["datasets"][0]["subsets"]
    ] == [("20_maya_char_realbody", 20, "maya_char_realbody"), ("40_maya_char", 40, "maya_char")]
    assert layout(root, "--to-toml", str(tmp_path / "dataset.toml")) == 1
    other = tmp_path / "other"
    assert write(other, "--from-toml", str(tmp_path / "dataset.toml")) == 0
    assert tree(other) == [name for name in tree(root) if not name.startswith("originals")]
    capsys.readouterr()
    assert write(other, "--from-toml", str(tmp_path / "dataset.toml"), "--json") == 0
    captured = capsys.readouterr()
    assert "0 files copied, 20 in all" in captured.err
    assert json.loads(captured.out)["subsets"][1]["draws"] == 280


def test_what_folders_cannot_say_is_told_and_what_cannot_be_read_stops(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "d.toml"
    toml.write_text(f"""[general]
caption_extension = ".txt"
flip_aug = true
[[datasets]]
resolution = 512
[[datasets.subsets]]
image_dir = "{root / "40_maya_char"}"
num_repeats = 3
class_tokens = "maya"
[[datasets.subsets]]
image_dir = "{root / "20_maya_char_realbody"}"
is_reg = true
class_tokens = "woman"
""")
    assert write(tmp_path / "new", "--from-toml", str(toml)) == 0
    assert "flip_aug, resolution" in capsys.readouterr().err
    assert (tmp_path / "new/3_maya/close_0.txt").exists()
    assert (tmp_path / "new_reg/1_woman/real_0.jpg").exists()
    toml.write_text(toml.read_text().replace("40_maya_char", "nowhere"))
    assert write(tmp_path / "newer", "--from-toml", str(toml)) == 1
    assert not (tmp_path / "newer").exists()


def test_a_reg_folder_is_made_beside_the_dataset(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(root, "--reg", "woman=1") == 0
    assert (root.parent / "data_reg/1_woman").is_dir()
    assert "reg_path" in capsys.readouterr().err


def test_one_step_after_another_needs_no_force_and_undo_leads_back_to_the_start(root: Path) -> None:
    before = tree(root)
    assert write(root, "--repeats", "maya_char=41") == 0
    assert write(root, "--rename", "maya_char=maya_v2") == 0
    assert write(root, "--split", "maya_v2=maya_face:close_*") == 0
    outcome = prepare(root, jobs_of(root, NONE))
    assert (outcome.made, outcome.kept, outcome.notes, len(outcome.unchanged)) == ([], [], [], 10)
    assert names(root) == ["20_maya_char_realbody", "41_maya_face", "41_maya_v2"]
    for _ in range(3):
        assert layout(root, "--undo") == 0
    assert tree(root) == before
    outcome = prepare(root, jobs_of(root, NONE))
    assert (outcome.made, len(outcome.unchanged)) == ([], 10)


def test_a_split_takes_the_caches_of_its_images_and_of_no_others(
    tmp_path: Path, photo: Photo
) -> None:
    folder = tmp_path / "10_fox"
    for name in ("img", "img_2", "img_2_b"):
        photo(folder / f"{name}.png", (80, 64), len(name))
        for cache in ("0080x0064_sd", "sd_te"):
            (folder / f"{name}_{cache}.npz").write_bytes(b"")
    assert write(tmp_path, "--split", "fox=face:img_2.png", "--force") == 0
    assert sorted(path.name for path in (tmp_path / "10_face").iterdir()) == [
        "img_2.png",
        "img_2_0080x0064_sd.npz",
        "img_2_sd_te.npz",
    ]


def test_a_dataset_toml_with_nonsense_in_it_is_refused_in_words(
    tmp_path: Path, photo: Photo, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(tmp_path / "in/a.png", (80, 64), 1)
    (tmp_path / "in/b.png").mkdir()
    their = tmp_path / "their.toml"
    their.write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "in"\nnum_repeats = "many"\n')
    assert write(tmp_path / "data", "--from-toml", str(their)) == 1
    assert "num_repeats = 'many' is not an integer" in capsys.readouterr().err
    their.write_text(their.read_text().replace('"many"', "3"))
    assert write(tmp_path / "data", "--from-toml", str(their)) == 0
    assert tree(tmp_path / "data") == ["3_in/a.png"]


def test_two_folders_may_exchange_their_names(tmp_path: Path, photo: Photo) -> None:
    for name, repeats in (("a", 10), ("b", 20)):
        photo(tmp_path / f"{repeats}_fox/{name}.png", (80, 64), repeats)
    assert write(tmp_path, "--repeats", "10_fox=20", "--repeats", "20_fox=10", "--force") == 0
    assert tree(tmp_path) == ["10_fox/b.png", "20_fox/a.png"]
    assert layout(tmp_path, "--undo") == 0
    assert tree(tmp_path) == ["10_fox/a.png", "20_fox/b.png"]


def test_a_ratio_is_by_name_and_asking_twice_changes_nothing(root: Path) -> None:
    ratio = ("--ratio", "maya_char=4", "maya_char_realbody=1")
    assert write(root, *ratio) == 0
    once = names(root)
    draws = {one.class_tokens: one.repeats * len(one.images) for one in scan(root).subsets}
    assert draws["maya_char"] / draws["maya_char_realbody"] == pytest.approx(4, rel=0.15)
    for _ in range(3):
        assert write(root, *ratio) == 0
        assert names(root) == once


@given(
    st.lists(
        st.tuples(st.integers(1, 90), st.integers(1, 40), st.integers(1, 9)), min_size=2, max_size=4
    )
)
def test_repeats_solved_for_a_ratio_are_solved_for_good(
    subsets: list[tuple[int, int, int]],
) -> None:
    images, repeats, ratio = (list(column) for column in zip(*subsets, strict=True))
    once = balanced(images, repeats, ratio)
    assert balanced(images, once, ratio) == once


def test_the_old_way_to_write_a_ratio_is_answered_with_the_names(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert layout(root, "--ratio", "4:1") == 1
    assert "--ratio maya_char_realbody=1 maya_char=1" in capsys.readouterr().err


def recipe_for(root: Path, more: str) -> Path:
    recipe = root.parent / "r.toml"
    recipe.write_text(
        f'preset = "sd15"\nname = "r"\ntrigger = "maya_char"\n[model]\nbase = "m.safetensors"\n'
        f'[dataset]\npath = "{root}"\n{more}'
    )
    return recipe


def test_the_recipes_own_words_about_a_folder_follow_it_and_come_back(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(
        root, "[dataset.subset.40_maya_char]  # mirror\nflip_aug = true\n[train]\nseed = 3\n"
    )
    before = recipe.read_text()
    words = ["dataset", "layout", str(recipe), "--repeats", "maya_char=10"]
    assert main(words) == 0
    assert "[dataset.subset.10_maya_char]" in capsys.readouterr().err
    assert recipe.read_text() == before
    assert main([*words, "--write"]) == 0
    assert recipe.read_text() == before.replace("40_maya_char", "10_maya_char")
    assert main(["dataset", "layout", str(recipe), "--undo"]) == 0
    assert recipe.read_text() == before
    assert names(root) == ["20_maya_char_realbody", "40_maya_char"]


@pytest.mark.parametrize(
    "words",
    [
        '[dataset.subset."40_maya_char"]\nflip_aug = true\n',
        "[dataset.subset.'40_maya_char']\nflip_aug = true\n",
        "[dataset.subset]\n40_maya_char = { flip_aug = true }\n",
        "[dataset.subset]\n40_maya_char.flip_aug = true\n40_maya_char.keep_tokens = 2\n",
    ],
)
def test_however_a_folder_is_spelt_in_the_recipe_its_name_is_changed(
    root: Path, words: str
) -> None:
    recipe = recipe_for(root, words)
    assert main(["dataset", "layout", str(recipe), "--rename", "maya_char=m_v2", "--write"]) == 0
    said = tomllib.loads(recipe.read_text())["dataset"]["subset"]
    assert list(said) == ["40_m_v2"]
    assert said["40_m_v2"]["flip_aug"] is True


def test_a_number_that_the_recipe_sets_is_changed_in_the_recipe(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(root, "[dataset.subset.40_maya_char]\nnum_repeats = 5\n")
    assert main(["dataset", "layout", str(recipe), "--repeats", "maya_char=10", "--write"]) == 1
    assert "num_repeats = 5" in capsys.readouterr().err
    assert "40_maya_char" in names(root)


def test_steps_that_the_recipe_fixes_are_honoured_and_said(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(root, "")
    recipe.write_text(recipe.read_text().replace('"sd15"', '"sd15-mps"'))  # max_train_steps = 1200
    words = ["dataset", "layout", str(recipe)]
    assert main([*words, "--ratio", "maya_char=4", "maya_char_realbody=1"]) == 0
    told = capsys.readouterr().err
    assert "1200 steps" in told
    assert "10 epochs" not in told
    assert main([*words, "--steps", "2000", "--write"]) == 1
    assert "max_train_steps = 1200" in capsys.readouterr().err
    assert main([*words, "--steps", "2000", "--epochs", "4", "--write"]) == 0


def test_the_epochs_of_the_recipe_are_honoured(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(root, "[train]\nmax_train_epochs = 5\ntrain_batch_size = 1\n")
    assert main(["dataset", "layout", str(recipe), "--steps", "1500"]) == 0
    assert "x 5 epochs" in capsys.readouterr().err


def test_a_name_that_was_taken_since_stays_and_nothing_has_moved(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = rename(root, "maya_char", "maya_face", "close_*")
    taken = root / step.moves[-1][1]
    taken.parent.mkdir()
    taken.write_text("somebody else's", encoding="utf-8")
    before = tree(root)
    with pytest.raises(RecipeError, match="nothing was moved"):
        apply(root, step)
    assert (tree(root), taken.read_text(encoding="utf-8")) == (before, "somebody else's")
    assert layout(root, "--undo") == 1
    assert "no layout step" in capsys.readouterr().err
