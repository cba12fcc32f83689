"""A rehearsal changes what it says it changes, leaves the dataset alone, and asks for nothing that need not be there yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lorakit.cli.main import main
from lorakit.dataset.scan import scan
from lorakit.errors import RecipeError, SetupError
from lorakit.files import write_atomic
from lorakit.machine import Gpu, Machine
from lorakit.recipe.model import Resolved
from lorakit.recipe.resolve import resolve
from lorakit.rehearse import standin
from lorakit.rehearse.rehearse import (
    draw_dataset,
    link_dataset,
    made_small,
    one_sample,
    possible_here,
    prepare,
    spread,
    tells_the_time,
)

CPU = Machine("Linux", "x86_64", 4, 32 << 30, ())
TINY = {"conv.weight": (2, 2)}


@pytest.fixture(autouse=True)
def tiny_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in standin.FILES:
        monkeypatch.setitem(standin.FILES, name, standin.StandIn(lambda: TINY, "F16"))


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Resolved]:
    from PIL import Image

    for folder, count in (("10_ball", 5), ("2_toy", 3)):
        for number in range(count):
            path = tmp_path / "data" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (600 + 50 * number, 700)).save(path)
            path.with_suffix(".txt").write_text("ball, drawn", encoding="utf-8")

    def made(text: str = "", train: str = "") -> Resolved:
        write_atomic(
            tmp_path / "ball.toml",
            f"""
family = "sd15"
trainer = "embedded"
trigger = "ball"
{text}
[model]
base = "models/not-there.safetensors"
vae = "models/vae.safetensors"
[dataset]
path = "data"
[sample]
prompts = ["{{trigger}} in the sun --w 900", "{{trigger}} at night"]
every_n_epochs = 1
width = 512
[train]
network_dim = 8
network_alpha = 4
learning_rate = 1e-4
max_train_epochs = 10
save_every_n_epochs = 1
gradient_accumulation_steps = 4
lr_scheduler = "cosine"
enable_bucket = true
lr_warmup_steps = 100
save_state = true
{train}
""",
        )
        resolved, faults = resolve(tmp_path / "ball.toml")
        assert [fault for fault in faults if fault.severity == "error"] == []
        return resolved

    return made


def small(resolved: Resolved, place: Path) -> Resolved:
    return made_small(resolved, place, {"base": place / "x"}, steps=2, resolution=100, machine=CPU)


def test_what_takes_long_is_made_small_and_the_rest_stays(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    resolved = project()
    changed = small(resolved, tmp_path / "r")
    differ = {
        key for key in {**resolved.train, **changed.train} if resolved.get(key) != changed.get(key)
    }
    assert differ == {
        "max_train_epochs",
        "max_train_steps",
        "save_every_n_epochs",
        "gradient_accumulation_steps",
        "lr_warmup_steps",
        "save_state",
        "resolution",
        "min_bucket_reso",
        "max_bucket_reso",
        "output_name",
    }
    assert changed.get("resolution") == "64"
    assert (changed.get("network_dim"), changed.get("lr_scheduler")) == (8, "cosine")
    assert set(changed.model) == {"base"}
    assert {setting.source for key, setting in changed.train.items() if key in differ} == {
        "rehearsal"
    }


def test_one_small_sample_is_drawn_at_the_last_step(project: Callable[..., Resolved]) -> None:
    sample = {key: setting.value for key, setting in one_sample(project().sample, 2, 64).items()}
    assert sample == {
        "prompts": ["ball in the sun"],
        "every_n_steps": 2,
        "width": 64,
        "height": 64,
        "steps": 2,
    }
    assert one_sample({}, 2, 64) == {}


def test_a_few_images_of_every_folder_are_linked_with_their_captions(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    project()
    facts = scan(tmp_path / "data")
    link_dataset(facts, tmp_path / "r" / "dataset", tmp_path / "r" / "reg")
    files = sorted(
        str(path.relative_to(tmp_path / "r"))
        for path in (tmp_path / "r").rglob("*")
        if path.is_file()
    )
    assert len(files) == 12
    assert all((tmp_path / "r" / file).is_symlink() for file in files)
    assert {Path(file).parent.name for file in files} == {"10_ball", "2_toy"}
    assert not (tmp_path / "r" / "reg").exists()


def test_where_links_are_refused_files_are_copied(
    project: Callable[..., Resolved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError

    project()
    monkeypatch.setattr(os, "symlink", refused)
    link_dataset(scan(tmp_path / "data"), tmp_path / "dataset", tmp_path / "reg")
    assert (tmp_path / "dataset" / "10_ball" / "0.txt").read_text(encoding="utf-8") == "ball, drawn"


def test_the_widest_and_the_tallest_image_are_among_the_few(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    project()
    subset = next(
        subset for subset in scan(tmp_path / "data").subsets if subset.path.name == "10_ball"
    )
    assert [image.path.stem for image in spread(subset, 3)] == ["0", "2", "4"]


def test_weights_that_are_not_downloaded_yet_are_no_obstacle(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    plan = prepare(project(), (), tmp_path / "r", machine=CPU)
    assert plan.steps.total == 2
    assert plan.weights[0].path.is_relative_to(standin.folder())
    assert plan.run_dir == tmp_path / "r" / "run"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


def test_what_would_stop_the_real_run_stops_the_rehearsal(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        prepare(project(train="save_every_n_steps = 0\n"), (), tmp_path / "r", machine=CPU)
    assert any("save_every_n_steps" in fault.where for fault in caught.value.faults)


def test_a_family_without_stand_ins_says_which_have_some(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    from dataclasses import replace

    with pytest.raises(SetupError, match="sd3"):
        prepare(replace(project(), family="sd3"), (), tmp_path / "r", machine=CPU)


@pytest.mark.parametrize("words", [["--steps", "0"], ["--resolution", "32"]])
def test_senseless_numbers_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rehearse", "x", *words]) == 1
    assert "at least" in capsys.readouterr().err


def test_keep_never_writes_into_a_folder_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rehearse", "x", "--keep", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_nothing_is_left_behind_after_a_rehearsal_that_failed(
    project: Callable[..., Resolved],
    tmp_path: Path,
    own_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project(train="save_every_n_steps = 0\n")
    assert main(["rehearse", str(tmp_path / "ball.toml")]) == 1
    assert "save_every_n_steps" in capsys.readouterr().err
    assert list((own_home / ".cache" / "lorakit" / "rehearsals").iterdir()) == []


FRESH = Path(__file__).parents[2] / "recipes"


LARGE = ("portrait-best54", "sage-flux", "maya")  # stand-ins of SDXL and FLUX take seconds


@pytest.mark.parametrize(
    "name", ["robin", "sage", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_an_example_recipe_of_a_fresh_clone_can_be_rehearsed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No weights, no pictures, no tokenizer, no sd-scripts."""
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / f"{name}.toml"
    recipe.write_text((FRESH / recipe.name).read_text(encoding="utf-8"), encoding="utf-8")
    resolved, faults = resolve(recipe, sets=["trainer=embedded"])
    asked = resolved.get("optimizer_type")
    told: list[str] = []
    plan = prepare(resolved, faults, tmp_path / "r", machine=CPU, say=told.append)
    assert plan.dataset.image_count >= 6
    assert plan.steps.total == 2
    assert any("six neutral pictures" in one for one in told)
    replaced = [one for one in told if one.startswith("Replaced for this rehearsal alone")]
    assert len(replaced) == (asked == "AdamW8bit")
    assert all("optimizer_type = AdamW8bit by AdamW" in one for one in replaced)
    assert resolved.get("optimizer_type") == asked
    assert [path.name for path in tmp_path.iterdir()] == ["recipes", "r"] or not (
        tmp_path / "datasets"
    ).exists()


@pytest.mark.parametrize(
    ("device", "asked", "done"),
    [
        ("cpu", "optimizer_type = 'PagedLion8bit'", {"optimizer_type": "AdamW"}),
        ("cpu", "mixed_precision = 'fp16'", {"mixed_precision": "bf16"}),
        ("mps", "mixed_precision = 'bf16'", {"mixed_precision": "no"}),
        ("mps", "fp8_base = true", {"fp8_base": False}),
        ("cuda", "optimizer_type = 'AdamW8bit'", {}),
        ("cpu", "optimizer_type = 'AdamW'", {}),
    ],
)
def test_what_this_machine_cannot_do_is_replaced_by_the_nearest_it_can(
    project: Callable[..., Resolved], device: str, asked: str, done: dict[str, object]
) -> None:
    gpu = (Gpu("RTX 4090", 24 << 30),) if device == "cuda" else ()
    system = ("Darwin", "arm64") if device == "mps" else ("Linux", "x86_64")
    before = project(train=f"{asked}\n")
    after, told = possible_here(before, Machine(*system, 4, 32 << 30, gpu))
    changed = {key: one.value for key, one in after.train.items() if one != before.train.get(key)}
    assert changed == done
    assert bool(told) == bool(done)


def test_drawn_pictures_have_several_shapes_and_captions(tmp_path: Path) -> None:
    draw_dataset(tmp_path / "d", ["10_ball"], "ball", ".caption")
    (subset,) = scan(tmp_path / "d", caption_extension=".caption").subsets
    assert len(subset.images) == 6
    assert len({(one.width, one.height) for one in subset.images}) > 2
    assert subset.captioned == 6
    assert (tmp_path / "d/10_ball/0.caption").read_text(encoding="utf-8").startswith("ball, ")


def test_a_dataset_whose_pictures_are_in_the_wrong_place_is_still_refused(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    resolved = project()
    for folder in ("10_ball", "2_toy"):
        (tmp_path / "data" / folder).rename(tmp_path / "data" / folder.partition("_")[2])
    with pytest.raises(RecipeError):
        prepare(resolved, (), tmp_path / "r", machine=CPU)


def test_flux_by_the_embedded_trainer_brings_a_tokenizer_for_t5(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers")
    from tokenizers import Tokenizer

    folder = standin.t5_tokenizer()
    found = Tokenizer.from_file(str(folder / "google_t5-v1_1-xxl" / "tokenizer.json"))
    ids = found.encode("a red ball, 3 kg").ids
    assert ids[-1] == 1
    assert len(ids) > 5
    assert 2 not in ids


def test_the_time_of_a_rehearsal_is_kept_only_where_it_tells_something(
    project: Callable[..., Resolved], tmp_path: Path
) -> None:
    resolved = project(train='resolution = "64"\nmax_bucket_reso = 256\nmin_bucket_reso = 64\n')
    at_size = prepare(resolved, (), tmp_path / "a", machine=CPU, steps=6, resolution=64)
    assert tells_the_time(at_size, resolved)
    too_few = prepare(resolved, (), tmp_path / "b", machine=CPU, steps=2, resolution=64)
    assert not tells_the_time(too_few, resolved)
    smaller = prepare(project(), (), tmp_path / "c", machine=CPU, steps=6, resolution=64)
    assert not tells_the_time(smaller, project())
