"""Every shipped page resolves, says where its numbers come from, and sets only what the run will use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lorakit.catalogue.options import options
from lorakit.families import FAMILIES
from lorakit.machine import Gpu, Machine
from lorakit.recipe import presets
from lorakit.recipe.reading import preset_values
from lorakit.recipe.resolve import resolve
from lorakit.recipe.schema import ABOUT, PROPOSED
from lorakit.trainers.table import trainer

SHIPPED = (
    "anima",
    "chroma",
    "flux",
    "flux-12gb",
    "flux-16gb",
    "flux-8gb",
    "flux-kontext",
    "flux2",
    "flux2-klein-4b",
    "flux2-klein-9b",
    "hunyuan-image",
    "krea2",
    "lumina2",
    "qwen-image",
    "qwen-image-12gb",
    "qwen-image-24gb",
    "qwen-image-edit",
    "sd15",
    "sd15-anime",
    "sd15-cpu",
    "sd15-mps",
    "sd15-mps-fast",
    "sd35",
    "sdxl",
    "sdxl-12gb",
    "sdxl-3d-render",
    "sdxl-anime",
    "sdxl-video-ready",
    "wan21",
    "wan22",
    "wan22-films",
    "zimage",
)
IN_REPO = Path(__file__).parents[2] / "recipes"
every_page = pytest.mark.parametrize("name", SHIPPED)


def test_the_shelf_is_complete() -> None:
    assert set(SHIPPED) <= set(presets.names())


@every_page
def test_a_page_resolves_without_a_word_of_complaint(name: str, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(f'preset = "{name}"\ntrigger = "x_char"\n', encoding="utf-8")
    assert resolve(file)[1] == ()


@every_page
def test_a_page_says_everything_about_itself(name: str) -> None:
    about = presets.read(name).about
    assert set(about) - set(PROPOSED) == set(ABOUT)
    assert all(about.values())


@every_page
def test_rate_rank_and_alpha_stand_together_on_the_page_itself(name: str) -> None:
    train = presets.read(name).sections["train"]
    assert {"learning_rate", "network_dim", "network_alpha"} <= set(train)


@every_page
def test_a_page_leaves_nothing_to_the_scripts_bad_defaults(name: str) -> None:
    sections, _ = preset_values(presets.read(name))
    train = {key: setting.value for key, setting in sections["train"].items()}
    assert ("max_train_epochs" in train) != ("max_train_steps" in train)
    assert sections["dataset"]["caption_extension"].value == ".txt"
    assert {
        "mixed_precision",
        "save_precision",
        "seed",
        "optimizer_type",
        "lr_scheduler",
        "resolution",
        "train_batch_size",
    } <= set(train)
    assert train["max_data_loader_n_workers"] <= 2
    side = int(train["resolution"].split(",")[0])
    assert train.get("max_bucket_reso", 2 * side) >= 1.5 * side
    assert not (
        train.get("persistent_data_loader_workers") and train["max_data_loader_n_workers"] == 0
    )


@every_page
def test_a_page_sets_no_option_that_its_script_does_not_have(name: str) -> None:
    page = presets.read(name)
    sections, faults = preset_values(page)
    assert not faults
    family = FAMILIES[page.family]
    assert set(sections["train"]) <= set(options(family.trainers[0], family.script))


@every_page
def test_what_cannot_work_is_not_asked_for(name: str) -> None:
    sections, _ = preset_values(presets.read(name))
    train = {key: setting.value for key, setting in sections["train"].items()}
    if train.get("cache_text_encoder_outputs"):
        assert train["network_train_unet_only"]
        assert not {
            "shuffle_caption",
            "caption_dropout_rate",
            "caption_tag_dropout_rate",
            "token_warmup_step",
        } & set(train)
    if "mps" in name or "cpu" in name:
        assert train["mixed_precision"] == "no"
        assert "8bit" not in train["optimizer_type"]
    if presets.read(name).family == "flux" and name != "chroma":
        assert not {"sdpa", "xformers", "min_snr_gamma", "split_mode"} & set(
            train
        )  # ignored, or deprecated, by that script
        assert (
            train["guidance_scale"],
            train["timestep_sampling"],
            train["model_prediction_type"],
        ) == (1.0, "flux_shift", "raw")
    elif not FAMILIES[presets.read(name).family].flow:
        assert train["sdpa"]


@every_page
def test_every_line_of_a_page_fits_a_screen(name: str) -> None:
    assert max(map(len, presets.read(name).text.splitlines())) <= 140


def test_a_page_extends_one_other_at_most_and_says_which() -> None:
    page = presets.read("sdxl-12gb")
    assert page.base is not None
    assert page.base.name == "sdxl"
    sections, _ = preset_values(page)
    assert sections["train"]["gradient_accumulation_steps"].source == "preset sdxl-12gb"
    assert sections["train"]["min_snr_gamma"].source == "preset sdxl"


def own_page(root: Path, name: str, text: str) -> None:
    (root / "presets").mkdir(exist_ok=True)
    (root / "presets" / f"{name}.toml").write_text(text, encoding="utf-8")


def faults_of(root: Path, preset: str) -> str:
    file = root / "x.toml"
    file.write_text(f'preset = "{preset}"\ntrigger = "x_char"\n', encoding="utf-8")
    return "\n".join(f"{fault.severity}: {fault}" for fault in resolve(file)[1])


def test_a_projects_own_page_wins_and_says_so(tmp_path: Path) -> None:
    own_page(tmp_path, "sdxl", '[about]\nfamily = "sdxl"\n[train]\nnetwork_dim = 4\n')
    assert "note: presets/sdxl.toml: is used instead of the shipped preset" in faults_of(
        tmp_path, "sdxl"
    )
    assert resolve(tmp_path / "x.toml")[0].get("network_dim") == 4


def test_a_page_extended_twice_over_is_refused(tmp_path: Path) -> None:
    own_page(tmp_path, "deep", 'extends = "sdxl-12gb"\n[about]\ntitle = "x"\n')
    assert "error: presets/deep.toml:1 extends: sdxl-12gb extends sdxl itself" in faults_of(
        tmp_path, "deep"
    )


@pytest.mark.parametrize(
    ("name", "page", "told"),
    [
        (
            "sdxl",
            'extends = "sdxl"\n[about]\nfamily = "sdxl"\n',
            "presets/sdxl.toml:1 extends: a page cannot extend itself. Give this one another name.",
        ),
        (
            "mine",
            'extends = 3\n[about]\nfamily = "sdxl"\n',
            'presets/mine.toml:1 extends: takes a text, not 3. Write extends = "3".',
        ),
    ],
)
def test_a_page_extends_a_page_of_another_name(
    tmp_path: Path, name: str, page: str, told: str
) -> None:
    own_page(tmp_path, name, page)
    assert f"error: {told}" in faults_of(tmp_path, name)


def test_two_pages_that_extend_each_other_end_somewhere(tmp_path: Path) -> None:
    own_page(tmp_path, "here", 'extends = "there"\n[about]\nfamily = "sdxl"\n')
    own_page(tmp_path, "there", 'extends = "here"\n[about]\nfamily = "sdxl"\n')
    assert (
        "there extends here itself; one step is the most, so that it can be followed."
        in faults_of(tmp_path, "here")
    )


def test_a_page_that_hides_a_shipped_one_says_so_also_when_it_extends_another(
    tmp_path: Path,
) -> None:
    own_page(tmp_path, "sdxl-12gb", 'extends = "sdxl"\n[about]\ntitle = "x"\n')
    assert "is used instead of the shipped preset of that name." in faults_of(tmp_path, "sdxl-12gb")


def test_a_page_that_extends_nothing_known_names_the_nearest(tmp_path: Path) -> None:
    own_page(tmp_path, "mine", 'extends = "sdlx"\n[about]\nfamily = "sdxl"\n')
    assert "no preset is called 'sdlx'. Did you mean sdxl?" in faults_of(tmp_path, "mine")


def test_a_fault_on_a_page_is_told_with_the_pages_line(tmp_path: Path) -> None:
    own_page(
        tmp_path,
        "mine",
        '[about]\nfamily = "sdxl"\ntitel = "x"\nunset = []\n[train]\nnetwrok_dim = 4\n',
    )
    told = faults_of(tmp_path, "mine")
    assert "presets/mine.toml:6 [train] netwrok_dim" in told
    assert "presets/mine.toml:3 [about] titel: [about] has no such key. Did you mean title?" in told
    assert "unset stands above the first [section]." in told


@pytest.mark.parametrize("file", sorted(IN_REPO.glob("*.toml")), ids=lambda file: file.stem)
def test_every_example_recipe_resolves_without_a_word_of_complaint(file: Path) -> None:
    assert not [fault for fault in resolve(file)[1] if fault.rule != "hub"]


def test_no_page_and_no_example_holds_a_path_of_somebodys_machine() -> None:
    for file in (*presets.shipped_dir().glob("*.toml"), *IN_REPO.glob("*.toml")):
        assert not re.search(r"/home/|/Users/|C:\\|/root/", file.read_text(encoding="utf-8")), file


MAC = Machine("Darwin", "arm64", 10, 64 << 30, ())
NO_CARD = Machine("Linux", "x86_64", 8, 32 << 30, ())


@every_page
def test_a_page_breaks_no_rule_of_the_scripts_on_the_machine_it_is_for(
    name: str, tmp_path: Path
) -> None:
    gigabytes = int(name.rsplit("-", 1)[1].removesuffix("gb")) if name.endswith("gb") else 24
    card = Machine("Linux", "x86_64", 16, 64 << 30, (Gpu("a card", gigabytes << 30),))
    machine = MAC if "mps" in name else NO_CARD if "cpu" in name else card
    file = tmp_path / "x.toml"
    file.write_text(
        f'preset = "{name}"\ntrigger = "x_char"\n[model]\nbase = "a.safetensors"\n',
        encoding="utf-8",
    )
    resolved, _ = resolve(file)
    assert trainer(resolved.trainer).check(resolved, machine) == []
