"""What lorakit exports it takes over again as the same plan, and the folder it writes stands alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from plan_cases import CUDA, folder, sd15_base, weights

from lorakit import tomllib
from lorakit.cli.main import main
from lorakit.families import FAMILIES
from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve

RECIPE = """
family = "sd15"
trigger = "maya_char"
notes = "hers"
[model]
base = "base.safetensors"
tokenizers = "tokenizers"
[dataset]
path = "datasets/maya"
[dataset.subset.10_maya_char]
keep_tokens = 1
[train]
network_dim = 8
network_alpha = 4
learning_rate = 1e-4
unet_lr = 2e-4
resolution = "512,768"
enable_bucket = true
max_train_epochs = 3
optimizer_type = "AdamW"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
shuffle_caption = true
sdpa = true
train_batch_size = 2
validation_split = 0.2
[sample]
every_n_epochs = 1
negative = "blurry"
steps = 20
prompts = ["{trigger}, portrait --w 640", "{trigger}, \\"quoted\\", running"]
[launch]
num_cpu_threads = 3
env = { SECRET_THING = "hush" }
"""


def project(root: Path) -> Path:
    sd15_base(root)
    folder(root / "datasets" / "maya" / "10_maya_char", [(512, 768), (768, 512), (640, 640)])
    folder(root / "datasets" / "maya" / "3_maya_char face", [(512, 512)])
    recipe = root / "recipes" / "maya.toml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE, encoding="utf-8")
    return recipe


def planned(recipe: Path, root: Path) -> Plan:
    resolved, faults = resolve(recipe)
    return make_plan(resolved, faults, run_dir=root / "run", machine=CUDA)


def said(plan: Plan) -> dict[str, Any]:
    return {
        name: tomllib.loads(text) for name, text in plan.files.items() if name.endswith(".toml")
    }


@pytest.mark.parametrize("sizes", ["", "resolutions = [512, 768]"])
def test_what_we_export_is_taken_over_as_the_same_plan(
    sizes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a project"
    root.mkdir()
    recipe = project(root)
    text = recipe.read_text(encoding="utf-8").replace("[dataset]", f"[dataset]\n{sizes}")
    recipe.write_text(text.replace('"512,768"', '"512"') if sizes else text, encoding="utf-8")
    monkeypatch.chdir(root)
    assert main(["export", "maya", "--to", "kohya", "--set", "launch.env.SECRET_THING=hush"]) == 0
    told = capsys.readouterr()
    assert "[launch] env SECRET_THING: its value is private" in told.err
    assert "notes: kept by lorakit alone" in told.err
    out = root / "exports" / "maya"
    texts = {file.name: file.read_text(encoding="utf-8") for file in out.iterdir()}
    assert sorted(texts) == [
        "accelerate.yaml",
        "dataset.toml",
        "prompts.toml",
        "train.sh",
        "train.toml",
    ]
    assert not any(str(root) in text or "hush" in text for text in texts.values())
    assert main(["import", str(out), "--name", "again"]) == 0
    first, second = planned(recipe, root), planned(root / "recipes" / "again.toml", root)
    names = {"output_name": "again"}
    assert said(second) == {**said(first), "train.toml": {**said(first)["train.toml"], **names}}
    assert second.argv == first.argv and second.steps.formula == first.steps.formula
    assert second.resolved.trigger == "maya_char"


def test_the_exported_script_runs_the_trainer_with_paths_that_lead_to_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "maya", "--to", "kohya"]) == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$PWD" "$@"\n')
    (tools / "python").chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SD_SCRIPTS": "/opt/sd scripts"}
    script = str(tmp_path / "exports" / "maya" / "train.sh")
    done = subprocess.run(["sh", script], capture_output=True, text=True, env=env, cwd="/")
    place, *words = done.stdout.splitlines()
    assert (
        words[:2] == ["-m", "accelerate.commands.launch"]
        and "/opt/sd scripts/train_network.py" in words
    )
    config = tomllib.loads((Path(place) / words[-1]).read_text(encoding="utf-8"))
    assert (Path(place) / config["pretrained_model_name_or_path"]).is_file()
    data = tomllib.loads((Path(place) / config["dataset_config"]).read_text(encoding="utf-8"))
    assert all((Path(place) / one["image_dir"]).is_dir() for one in data["datasets"][0]["subsets"])
    del env["SD_SCRIPTS"]
    done = subprocess.run(["sh", script], capture_output=True, text=True, env=env, cwd="/")
    assert done.returncode != 0 and "the folder of your checkout of sd-scripts" in done.stderr


@pytest.mark.slow
def test_lorakits_own_tokenizers_go_with_what_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = project(tmp_path)
    text = recipe.read_text(encoding="utf-8").replace('tokenizers = "tokenizers"', "")
    recipe.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exports/maya/tokenizers").mkdir(parents=True)
    assert main(["export", "maya", "--to", "kohya"]) == 1
    assert "tokenizers: is there already" in capsys.readouterr().err
    (tmp_path / "exports/maya/tokenizers").rmdir()
    assert main(["export", "maya", "--to", "kohya"]) == 0
    assert "tokenizer_cache_dir" not in capsys.readouterr().err
    place = tmp_path / "exports/maya"
    assert tomllib.read(place / "train.toml")["tokenizer_cache_dir"] == "tokenizers"
    assert (place / "tokenizers/openai_clip-vit-large-patch14/vocab.json").is_file()
    assert main(["import", str(place), "--name", "again"]) == 0
    again = said(planned(recipe.with_name("again.toml"), tmp_path))["train.toml"]
    assert again["tokenizer_cache_dir"] == (place / "tokenizers").as_posix()


def test_an_export_overwrites_nothing_and_knows_its_trainers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "maya", "--to", "kohya"]) == 0
    assert main(["export", "maya", "--to", "kohya"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert main(["export", "maya", "--to", "embedded"]) == 1
    assert "cannot write what 'embedded' reads" in capsys.readouterr().err


MUSUBI = """
family = "zimage"
trigger = "maya_char"
[model]
{weights}
[dataset]
path = "datasets/maya"
[train]
network_dim = 32
network_alpha = 32
learning_rate = 1e-4
max_train_epochs = 4
sdpa = true
optimizer_type = "adamw8bit"
timestep_sampling = "shift"
discrete_flow_shift = 2.0
mixed_precision = "bf16"
"""


@pytest.mark.parametrize("sizes", ["", "resolutions = [512, 768]"])
def test_a_recipe_of_musubis_goes_out_and_in_with_its_three_commands(
    sizes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [one.key for one in FAMILIES["zimage"].weights if one.required]
    for name in names:
        weights(
            tmp_path / f"{name}.safetensors", {"layers.0.attention.to_q.weight": ("BF16", (4, 4))}
        )
    folder(tmp_path / "datasets" / "maya" / "10_maya_char", [(512, 768), (768, 512)])
    folder(tmp_path / "datasets" / "maya" / "3_maya_char_face", [(512, 512)])
    recipe = tmp_path / "recipes" / "maya.toml"
    recipe.parent.mkdir()
    recipe.write_text(
        MUSUBI.format(
            weights="\n".join(f'{name} = "{name}.safetensors"' for name in names)
        ).replace("[dataset]", f"[dataset]\n{sizes}")
    )
    monkeypatch.chdir(tmp_path)
    assert main(["export", "maya", "--to", "musubi"]) == 0
    out = tmp_path / "exports" / "maya"
    script = (out / "train.sh").read_text(encoding="utf-8")
    assert script.count("\npython ") == 3 and str(tmp_path) not in script
    assert main(["import", str(out), "--name", "again"]) == 0
    first, second = (
        planned(recipe, tmp_path),
        planned(tmp_path / "recipes" / "again.toml", tmp_path),
    )
    assert second.resolved.family == "zimage" and second.resolved.trigger == "maya_char"
    ours, theirs = said(second), said(first)
    assert ours["dataset.toml"] == theirs["dataset.toml"]
    assert {**ours["train.toml"], "output_name": "maya"} == theirs["train.toml"]


AI_TOOLKIT = {
    "flux": """
preset = "flux-aitk"
[dataset]
path = "datasets/maya"
resolutions = [768, 1024]
[dataset.subset.10_maya_char]
num_repeats = 4
caption_dropout_rate = 0.2
[train]
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
max_train_steps = 40
save_every_n_steps = 10
[sample]
prompts = ["{trigger}, portrait --w 640 --n blurry", "{trigger}: running --d 7"]
""",
    "wan22": """
preset = "wan22-aitk"
[dataset]
path = "datasets/maya"
[train]
train_high_noise = false
ema_decay = 0.99
[sample]
prompts = []
""",
    "sd15": """
family = "sd15"
trainer = "ai-toolkit"
[dataset]
path = "datasets/maya"
[train]
network_dim = 4
learning_rate = 1e-3
resolution = "512"
enable_bucket = true
mixed_precision = "no"
save_precision = "float"
lr_scheduler = "constant_with_warmup"
lr_warmup_steps = 5
max_train_steps = 20
flip_aug = true
seed = 7
[sample]
every_n_steps = 5
at_first = true
prompts = ["{trigger}"]
""",
}


def toolkit_project(root: Path, family: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe for ai-toolkit, and a checkout of it that has a stand-in for its run.py."""
    checkout = root / "tools" / "ai toolkit"
    (checkout / "toolkit").mkdir(parents=True)
    (checkout / "toolkit" / "config_modules.py").touch()
    shutil.copy(Path(__file__).parents[1] / "fakes" / "ai_toolkit_run.py", checkout / "run.py")
    monkeypatch.setenv("LORAKIT_AI_TOOLKIT", str(checkout))
    monkeypatch.setenv("LORAKIT_AI_TOOLKIT_PYTHON", sys.executable)
    for name, sizes in (("10_maya_char", [(1024, 1024), (1200, 800)]), ("3_maya_char face", [])):
        folder(root / "datasets" / "maya" / name, sizes or [(1024, 1024)])
    base = "base.safetensors"
    if family == "sd15":
        sd15_base(root)
    else:
        base = "models/base"
        (root / base).mkdir(parents=True)
        (root / base / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    head = 'name = "maya"\ntrigger = "maya_char"\n'
    recipe = root / "recipes" / "maya.toml"
    recipe.parent.mkdir()
    text = f'{head}{AI_TOOLKIT[family]}[model]\nbase = "{base}"\n'
    recipe.write_text(text, encoding="utf-8")
    return recipe


@pytest.mark.parametrize("family", AI_TOOLKIT)
def test_a_recipe_of_ai_toolkits_goes_out_and_in_as_the_same_plan(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = toolkit_project(tmp_path, family, monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "maya", "--to", "ai-toolkit", "--for", "cuda:24"]) == 0
    assert "caches beside the pictures" in capsys.readouterr().err
    out = tmp_path / "exports" / "maya"
    assert sorted(one.name for one in out.iterdir()) == ["ai-toolkit.yaml", "train.sh"]
    assert not any(str(tmp_path) in one.read_text(encoding="utf-8") for one in out.iterdir())
    config = yaml.safe_load((out / "ai-toolkit.yaml").read_text(encoding="utf-8"))
    (process,) = config["config"]["process"]
    assert process["training_folder"] == "training"
    places = [out / one["folder_path"] for one in process["datasets"]]
    assert {one.resolve().name for one in places if one.is_dir()} == {
        "10_maya_char",
        "3_maya_char face",
    }
    assert (out / process["model"]["name_or_path"]).exists()
    assert main(["import", str(out), "--name", "again"]) == 0
    first, second = (planned(one, tmp_path) for one in (recipe, recipe.with_name("again.toml")))
    ours, theirs = (yaml.safe_load(one.files["ai-toolkit.yaml"]) for one in (second, first))
    assert ours["config"] == {**theirs["config"], "name": "again"}
    assert second.commands == first.commands and second.steps.formula == first.steps.formula
    assert (second.resolved.family, second.resolved.trigger) == (family, "maya_char")
    refused = {one.rule for one in second.faults if one.severity == "error"}
    assert refused <= {one.rule for one in first.faults}
    assert "said again" not in capsys.readouterr().out


def test_the_script_for_ai_toolkit_starts_it_with_the_seed_and_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkit_project(tmp_path, "sd15", monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "maya", "--to", "ai-toolkit", "--for", "cuda:24"]) == 0
    place = tmp_path / "exports" / "maya"
    (tmp_path / "tools" / "python").symlink_to(sys.executable)
    env = {
        **os.environ,
        "PATH": f"{tmp_path / 'tools'}:{os.environ['PATH']}",
        "AI_TOOLKIT": str(tmp_path / "tools" / "ai toolkit"),
    }
    done = subprocess.run(
        ["sh", str(place / "train.sh")], capture_output=True, text=True, env=env, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    assert (place / "training" / "maya" / "maya.safetensors").is_file()
    text = (place / "train.sh").read_text(encoding="utf-8")
    assert text.splitlines()[-1] == 'SEED=7 python "$AI_TOOLKIT/run.py" ai-toolkit.yaml'
