"""The real musubi-tuner, really training: a Z-Image whose constants are shrunk from outside, random weights, this CPU."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path
from typing import Any

import pytest
from drawn_images import draw
from plan_cases import weights
from without_lorakit import numbers_of, run_script

from lorakit.catalogue.options import options
from lorakit.catalogue.parsers import MUSUBI_SCRIPTS, read_musubi
from lorakit.cli.main import main
from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.proc import ask
from lorakit.report.series import read_numbers, read_scalars
from lorakit.runs.find import run_dirs
from lorakit.runs.record import Record, read_record
from lorakit.weights.identify import sniff
from lorakit.weights.safetensors import read_header

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
TOY = HERE / "musubi_toy"
RECIPE = """
family = "zimage"
name = "fox"
trigger = "zxfox"
[model]
base = "models/base.safetensors"
vae = "models/vae.safetensors"
text_encoder = "models/text_encoder.safetensors"
[dataset]
path = "datasets/fox"
[train]
resolution = "128"
network_dim = 4
network_alpha = 4
optimizer_type = "AdamW"
learning_rate = 1e-3
lr_scheduler = "cosine"
lr_warmup_steps = 2
max_train_steps = 8
save_every_n_steps = 4
save_every_n_epochs = 1
save_state = true
max_data_loader_n_workers = 1
seed = 5
[launch]
num_cpu_threads = 1
env = {env}
"""


def python() -> str:
    return os.environ["LORAKIT_MUSUBI_PYTHON"]


@pytest.fixture(scope="module")
def made() -> dict[str, Path]:
    """The toy's weights and tokenizer, made once."""
    return {}


@pytest.fixture
def toy(
    musubi_tuner: Path,
    made: dict[str, Path],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A project with a recipe over no pictures yet."""
    path = os.pathsep.join((str(TOY), str(musubi_tuner / "src")))
    monkeypatch.setenv("PYTHONPATH", path)
    if not made:
        made["place"] = tmp_path_factory.mktemp("toy")
        words = [python(), str(TOY / "make.py"), *(str(made["place"] / one) for one in ("models", "hub"))]  # fmt: skip
        answer = ask(words, timeout_s=300, cwd=tmp_path)
        assert answer.code == 0, answer.err[-3000:]
    monkeypatch.setenv("HF_HUB_CACHE", str(made["place"] / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "models").symlink_to(made["place"] / "models")
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    return tmp_path


def write(root: Path, **more: str) -> Path:
    """The recipe, with what goes into its environment."""
    env = {"PYTHONPATH": os.environ["PYTHONPATH"], **more}
    said = ", ".join(f'{key} = "{value}"' for key, value in env.items())
    file = root / "recipes/fox.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(RECIPE.replace("{env}", f"{{ {said} }}"), encoding="utf-8")
    return file


def runs(root: Path) -> list[tuple[Path, Record]]:
    return [(place, read_record(place)) for place in sorted(run_dirs(root))]


def files_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


# Static.


def test_every_option_of_every_parser_is_known(musubi_tuner: Path) -> None:
    read = read_musubi(musubi_tuner)
    for script in MUSUBI_SCRIPTS:
        theirs, ours = read["scripts"][script], options("musubi", script)
        assert set(theirs) <= set(ours), script


def test_buckets_are_those_of_its_own_selector(musubi_tuner: Path, tmp_path: Path) -> None:
    chance = random.Random(7)
    asked: list[tuple[tuple[int, int], bool, list[list[int]]]] = []
    for resolution in [(1024, 1024), (512, 512), (960, 544), (300, 300), (1328, 1328)]:
        for no_upscale in (False, True):
            sizes = [[chance.randint(16, 4000), chance.randint(16, 4000)] for _ in range(100)]
            asked.append((resolution, no_upscale, sizes))
    words = [python(), str(HERE / "musubi_probe.py"), "zi"]
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    env = {"PYTHONPATH": str(musubi_tuner / "src")}
    answer = ask([*words, str(tmp_path / "asked.json")], timeout_s=300, cwd=tmp_path, env=env)
    assert answer.code == 0, answer.err[-3000:]
    for (resolution, no_upscale, sizes), theirs in zip(asked, json.loads(answer.out), strict=True):
        rules = BucketRules(resolution, step=16, no_upscale=no_upscale, by_area=True)
        chooser = Chooser(rules)
        assert [list(chooser.choose(wide, high).bucket) for wide, high in sizes] == theirs


def test_each_transformer_is_known_by_the_names_of_its_weights(
    musubi_tuner: Path, tmp_path: Path
) -> None:
    env = {"PYTHONPATH": os.pathsep.join((str(TOY), str(musubi_tuner / "src")))}
    answer = ask([python(), str(HERE / "musubi_keys_probe.py")], timeout_s=300, cwd=tmp_path, env=env)  # fmt: skip
    assert answer.code == 0, answer.err[-3000:]
    known = json.loads(answer.out.splitlines()[-1])  # the scripts say something as they are read
    assert len(known) == 8
    for family, names in known.items():
        path = weights(tmp_path / "base.safetensors", dict.fromkeys(names, ("BF16", (1,))))
        assert sniff(path).family == family.partition(" ")[0], family


# Trained.


@pytest.mark.slow
def test_trained_as_planned_and_the_pictures_are_untouched(toy: Path) -> None:
    draw(toy / "datasets/fox/2_zxfox", [(128, 128), (160, 96)])
    draw(toy / "datasets/fox/1_toy", [(128, 128)], caption="a toy, drawn")
    before = files_of(toy / "datasets")
    prompts = ["sample.prompts=['a fox']", "sample.every_n_steps=4", "sample.steps=2"]
    sizes = ["sample.width=64", "sample.height=64"]
    words = [f"--set={one}" for one in (*prompts, *sizes)]
    assert main(["train", str(toy / "recipes/fox.toml"), *words]) == 0
    ((place, record),) = runs(toy)
    assert files_of(toy / "datasets") == before
    assert [one.state for one in record.commands] == ["done", "done", "done"]
    assert (record.state, record.outcome.step, record.outcome.judged_by) == ("done", 8, "files")
    log = (place / "log.txt").read_text(encoding="utf-8", errors="replace")
    assert f"num batches per epoch / 1epochのバッチ数: {record.steps.per_epoch}" in log
    assert "total optimization steps / 学習ステップ数: 8" in log
    planned = {one.name for one in record.steps.checkpoints}
    assert {path.name for path in (place / "output").iterdir()} - {"sample"} == planned
    assert not [one for one in record.states if one.fault]
    assert not [one for one in record.checkpoints if one.fault]
    # It draws again at an epoch's end where that is a step of drawing, too.
    assert sorted((one.step, one.prompt) for one in record.samples) == [(4, 0), (8, 0), (8, 0)]
    header = read_header(place / "output/fox.safetensors")
    expected = {
        "ss_steps": "8",
        "ss_max_train_steps": "8",
        "ss_network_dim": "4",
        "ss_network_module": "networks.lora_zimage",
        "ss_seed": "5",
        "ss_num_batches_per_epoch": str(record.steps.per_epoch),
        "ss_num_epochs": str(record.steps.epochs),
        "modelspec.architecture": "Z-Image/lora",
    }
    assert {key: header.metadata.get(key) for key in expected} == expected
    layers = {name.split(".")[0] for name in header.tensors}
    assert {name.split(".", 1)[1] for name in header.tensors} == {
        "alpha",
        "lora_down.weight",
        "lora_up.weight",
    }
    assert len(layers) == 2 * 7  # the toy's two layers, as in the full model's


@pytest.mark.slow
def test_an_exported_folder_trains_the_same_lora_without_lorakit(
    toy: Path, musubi_tuner: Path
) -> None:
    draw(toy / "datasets/fox/2_zxfox", [(128, 128), (160, 96)])
    assert main(["export", "recipes/fox.toml", "--to", "musubi"]) == 0
    place = toy / "exports/fox"
    own = {name: os.environ[name] for name in ("PYTHONPATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE")}
    run_script(place, Path(python()), MUSUBI=str(musubi_tuner), **own)
    assert main(["train", "recipes/fox.toml"]) == 0
    ((run_dir, record),) = runs(toy)
    planned = {one.name for one in record.steps.checkpoints}
    assert {path.name for path in (place / "output").iterdir()} - {"sample"} == planned
    ours, theirs = (one / "output/fox.safetensors" for one in (run_dir, place))
    assert read_header(theirs).tensors == read_header(ours).tensors
    assert numbers_of(theirs) == numbers_of(ours)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "border"), [("t2v-A14B", 875), ("i2v-A14B", 900)])
def test_both_experts_of_wan_are_trained_on_films_as_planned(
    toy: Path, task: str, border: int
) -> None:
    """From text also on a picture, a film of one frame; from a first frame there must be more."""
    pytest.importorskip("av", reason='pip install "lorakit[video]"')
    from films import film

    place = toy / "datasets/fox/2_zxfox"
    film(place / "a.mp4", 25, size=(96, 64))
    film(place / "b.webm", 13, size=(64, 96))
    pictures = [(96, 64)] if task == "t2v-A14B" else []
    draw(place, pictures)
    before = files_of(toy / "datasets")
    file = toy / "recipes/fox.toml"
    file.write_text(wan_recipe(file.read_text(encoding="utf-8"), task, border), encoding="utf-8")
    assert main(["train", str(file)]) == 0
    ((place, record),) = runs(toy)
    assert files_of(toy / "datasets") == before
    steps = 2 * (2 + 2 + len(pictures))  # two films, two pieces each
    assert (record.state, record.steps.total) == ("done", 2 * steps)
    assert [one.folder for one in record.stages] == ["1-high", "2-low"]
    base = "wan" if task == "t2v-A14B" else "wan_i2v"
    expected = {
        "1-high": ("fox_high", f"{base}_high.safetensors", f"{border},1000"),
        "2-low": ("fox_low", f"{base}_low.safetensors", f"0,{border}"),
    }
    for stage, told in expected.items():
        assert expert(place / stage, steps, pictures) == told


def expert(place: Path, steps: int, pictures: list[tuple[int, int]]) -> tuple[str, str, str]:
    """Trained as planned; what its LoRA is called, and says of its base and timesteps."""
    record = read_record(place)
    assert [one.state for one in record.commands] == ["done", "done", "done"]
    assert record.outcome.step == record.steps.total == steps
    assert {path.name for path in (place / "cache").rglob("*_wan.safetensors")} == {
        *("000_0096x0064_wan.safetensors" for _ in pictures),
        *(f"a_00000-0{length}_0096x0064_wan.safetensors" for length in ("05", "13")),
        *(f"b_00000-0{length}_0064x0096_wan.safetensors" for length in ("05", "13")),
    }
    planned = {one.name for one in record.steps.checkpoints}
    assert {path.name for path in (place / "output").iterdir()} - {"sample"} == planned
    (lora,) = place.glob("output/fox_*[a-z].safetensors")
    metadata = read_header(lora).metadata
    assert metadata["ss_steps"] == str(steps)
    return lora.stem, metadata["ss_sd_model_name"], metadata["modelspec.timestep_range"]


def wan_recipe(text: str, task: str, border: int) -> str:
    """The same for the toy's Wan 2.2, a stage for each expert; bf16 fails on a CPU there."""
    for name in ("vae", "text_encoder"):
        key, own = ("vae", "wan_vae") if name == "vae" else ("t5", "wan_t5")
        text = text.replace(f'{name} = "models/{name}.', f'{key} = "models/{own}.')
    base = "wan" if task == "t2v-A14B" else "wan_i2v"
    text = text.replace('base = "models/base.', f'base = "models/{base}_low.')
    text = text.replace('"zimage"', '"wan22"').replace('resolution = "128"', 'resolution = "96,64"')
    text = text.replace('path = "datasets/fox"', 'path = "datasets/fox"\ntarget_frames = [5, 13]')
    own = f'task = "{task}"\nmixed_precision = "no"\nvae_dtype = "float32"'
    text = text.replace("max_train_steps = 8", f"max_train_epochs = 1\n{own}")
    for name, low, high in (("high", border, 1000), ("low", 0, border)):
        text += f"""
[[stage]]
name = "{name}"
[stage.model]
base = "models/{base}_{name}.safetensors"
[stage.train]
output_name = "fox_{name}"
min_timestep = {low}
max_timestep = {high}
"""
    return text


@pytest.mark.slow
def test_resumed_its_rates_and_losses_are_those_of_the_run_left_in_peace(toy: Path) -> None:
    draw(toy / "datasets/fox/4_zxfox", [(128, 128)])
    assert main(["train", str(toy / "recipes/fox.toml")]) == 0
    write(toy, TOY_DIES_AFTER="6")
    assert main(["train", str(toy / "recipes/fox.toml")]) == 4
    write(toy)
    assert main(["resume", "latest"]) == 0
    (peace, whole), (other, record) = runs(toy)
    assert (record.state, record.part.from_step, record.outcome.step) == ("done", 4, 8)
    assert [one.state for one in record.commands] == ["skipped", "skipped", "done"]
    (expected, rates), (losses, others) = (numbers(*one) for one in ((peace, whole), (other, record)))  # fmt: skip
    assert sorted(expected) == list(range(1, 9))
    later = range(5, 9)  # the power cut takes what tensorboard had not written yet
    assert [losses[step] for step in later] == [
        pytest.approx(expected[step], abs=1e-6) for step in later
    ]
    assert rates == {step: pytest.approx(rate_at(step), rel=1e-5) for step in range(1, 9)}
    assert [others[step] for step in later] == [rates[step] for step in later]
    names = {path.name for path in (peace / "output").iterdir()}
    assert {path.name for path in (other / "output").iterdir()} == names
    for name in sorted(name for name in names if name.endswith(".safetensors")):
        one, two = (read_header(place / "output" / name).metadata for place in (peace, other))
        for key in ("ss_steps", "ss_epoch", "ss_max_train_steps", "ss_num_epochs"):
            assert one[key] == two[key], (name, key)


def numbers(place: Path, record: Record) -> tuple[dict[int, float], dict[int, Any]]:
    """Losses and learning rates by true step."""
    rates: dict[int, float] = {}
    for part in sorted((place / "logs").iterdir()):
        offset = record.part.offset if record.parts and part != min((place / "logs").iterdir()) else 0  # fmt: skip
        scalars = read_scalars(part)
        (name,) = [key for key in scalars if key.startswith("lr/") and "d*lr" not in key][:1]
        rates |= {step + offset: rate for step, rate in scalars[name] if step}
    return dict(read_numbers(place, record).loss), rates


def rate_at(step: int, total: int = 8, warmup: int = 2) -> float:
    """Of the schedule after so many updates."""
    if step < warmup:
        return 1e-3 * step / warmup
    return 1e-3 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


# Provoked: each of these ends musubi-tuner with exit code 0, or trains what is not there any more.


@pytest.mark.slow
def test_nan_has_failed_although_the_exit_code_is_0(toy: Path) -> None:
    draw(toy / "datasets/fox/1_zxfox", [(128, 128)])
    words = ["--past-nan", "--set=learning_rate=1e30", "--set=lr_scheduler=constant"]
    assert main(["train", str(toy / "recipes/fox.toml"), *words, "--set=lr_warmup_steps=0"]) == 4
    ((_, record),) = runs(toy)
    assert (record.state, record.outcome.nan) == ("failed", True)


@pytest.mark.slow
def test_a_picture_whose_body_is_broken_fails_under_the_cachers_name(toy: Path) -> None:
    draw(toy / "datasets/fox/1_zxfox", [(128, 128), (128, 128)])
    broken = toy / "datasets/fox/1_zxfox/001.png"
    broken.write_bytes(broken.read_bytes()[:60])  # its header is sound
    assert main(["train", str(toy / "recipes/fox.toml")]) in {1, 4}
    for _, record in runs(toy):  # none, where the plan has seen it
        assert record.outcome.reason.startswith("latents (1 of 3) failed")


@pytest.mark.slow
def test_what_was_edited_or_removed_is_not_trained_from_an_old_cache(toy: Path) -> None:
    from safetensors import safe_open

    place = toy / "datasets/fox/2_zxfox"
    draw(place, [(128, 128), (128, 128)])
    write(toy, TOY_DIES_AFTER="6")
    assert main(["train", str(toy / "recipes/fox.toml")]) == 4
    write(toy)
    (place / "000.txt").write_text("zxfox, edited", encoding="utf-8")
    for name in ("001.png", "001.txt"):
        (place / name).unlink()
    assert main(["resume", "latest", "--anyway"]) == 0
    ((run_dir, record),) = runs(toy)
    assert [one.state for one in record.commands] == ["done", "done", "done"]
    caches = sorted((run_dir / "cache").rglob("*.safetensors"))
    assert [path.name for path in caches] == [
        "000_0128x0128_zi.safetensors",
        "000_zi_te.safetensors",
    ]
    with safe_open(caches[1], framework="numpy") as file:
        assert file.metadata()["caption1"] == "zxfox, edited"
