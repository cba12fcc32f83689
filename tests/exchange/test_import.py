"""Other people's files as recipes: every value accounted for, nothing executed, whatever cannot be read told in a sentence."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from plan_cases import folder, weights

from lorakit import tomllib
from lorakit.cli.main import main
from lorakit.errors import LorakitError
from lorakit.exchange.read import read_thing
from lorakit.exchange.take import TakenOver, take_over
from lorakit.json_text import leaves

KOHYA = """
[model]
pretrained_model_name_or_path = "C:\\\\models\\\\sdxl.safetensors"
[train]
network_module = "networks.lora"
network_dim = 16
netwrok_alpha = 8
lr_warmup_steps = 0.1
optimizer_args = ["weight_decay=0.1"]
output_dir = "out"
output_name = "her fox"
huggingface_token = "hf_secret"
max_token_length = 225
t5xxl_max_token_length = 512
"""
GUI = {
    "LoRA_type": "LyCORIS/LoHa",
    "sdxl": True,
    "flux1_checkbox": False,
    "pretrained_model_name_or_path": "stabilityai/stable-diffusion-xl-base-1.0",
    "max_resolution": "1024,1024",
    "epoch": "8",
    "max_train_steps": "",
    "learning_rate": "0.0003",
    "unet_lr": 0.0003,
    "text_encoder_lr": 0,
    "lr_scheduler": "cosine",
    "lr_warmup": 10,
    "network_dim": "16",
    "conv_dim": 4,
    "use_tucker": False,
    "optimizer": "AdamW8bit",
    "optimizer_args": "weight_decay=0.05 betas=0.9,0.99",
    "xformers": "sdpa",
    "max_grad_norm": 0,
    "sdxl_no_half_vae": True,
    "flux1_t5xxl": "x.safetensors",
    "sample_prompts": "a fox\n# no\na fox running --w 512",
    "model_list": "custom",
    "num_processes": 1,
    "dynamo_backend": "no",
    "seed": "1234",
    "additional_parameters": "--multires_noise_iterations=6 --log_prefix 'a b'",
}
TOOLKIT = """
job: extension
config:
  name: maya_flux
  process:
    - type: sd_trainer
      trigger_word: maya_char
      network: {type: lora, linear: 16, linear_alpha: 8}
      save: {dtype: float16, save_every: 250}
      datasets:
        - {folder_path: "/data/10_maya_char", caption_ext: txt, resolution: [512, 768], num_repeats: 1}
      train: {batch_size: 1, steps: 2000, lr: 1e-4, optimizer: adamw8bit, train_text_encoder: false, dtype: bf16, timestep_type: sigmoid, madeup: 3}
      model: {name_or_path: black-forest-labs/FLUX.1-dev, arch: flux, quantize: true}
      sample: {sample_every: 250, prompts: ["[trigger], portrait"], seed: 42}
meta: {name: "[name]", version: '1.0'}
"""


def taken(thing: Path | str, root: Path, **more: str) -> TakenOver:
    return take_over(read_thing(str(thing), root), root, **more)


def fates(found: TakenOver) -> dict[str, tuple[str, str]]:
    return {one.source: (one.done, one.text) for one in found.fates}


def recipe(found: TakenOver) -> dict[str, Any]:
    return tomllib.loads(found.text())


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_kohya_config_keeps_its_values_and_says_what_it_drops(tmp_path: Path) -> None:
    found = taken(write(tmp_path / "her.toml", KOHYA), tmp_path)
    told, made = fates(found), recipe(found)
    assert made["train"] == {
        "network_module": "networks.lora",
        "network_dim": 16,
        "lr_warmup_steps": 0.1,
        "optimizer_args": ["weight_decay=0.1"],
        "max_token_length": 225,
    }
    assert made["model"] == {"base": "C:\\models\\sdxl.safetensors"}
    assert (made["name"], made["family"]) == ("her-fox", "sdxl")
    assert told["train.netwrok_alpha"] == (
        "dropped",
        "sd-scripts has none such. Did you mean network_alpha?",
    )
    assert told["train.t5xxl_max_token_length"][1] == "sdxl has no such option."
    assert told["train.output_dir"][1].startswith("lorakit gives every run a folder")
    assert told["train.huggingface_token"] == ("dropped", "use the environment variable HF_TOKEN.")
    assert "hf_secret" not in str(found.fates)
    assert len(found.fates) == 11


def test_kohya_sss_window_is_read_as_it_would_have_trained(tmp_path: Path) -> None:
    found = taken(write(tmp_path / "gui.json", json.dumps(GUI)), tmp_path)
    told, train = fates(found), recipe(found)["train"]
    assert train == {
        "network_module": "lycoris.kohya",
        "resolution": "1024,1024",
        "max_train_epochs": 8,
        "learning_rate": 0.0003,
        "unet_lr": 0.0003,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 0.1,
        "network_dim": 16,
        "network_args": ["algo=loha", "conv_dim=4"],
        "optimizer_type": "AdamW8bit",
        "optimizer_args": ["weight_decay=0.05", "betas=0.9,0.99"],
        "sdpa": True,
        "no_half_vae": True,
        "seed": 1234,
        "network_train_unet_only": True,
        "multires_noise_iterations": 6,
        "log_prefix": "a b",
    }
    assert told["max_grad_norm"][0] == "dropped" and "hands on nothing" in told["max_grad_norm"][1]
    assert recipe(found)["sample"]["prompts"] == ["a fox", "a fox running --w 512"]
    assert recipe(found)["model"]["base"] == "hf:stabilityai/stable-diffusion-xl-base-1.0"
    assert set(GUI) <= set(told)


def test_an_ai_toolkit_config_becomes_kohyas_words(tmp_path: Path) -> None:
    found = taken(write(tmp_path / "x.yaml", TOOLKIT), tmp_path)
    told, made = fates(found), recipe(found)
    assert made["trigger"] == "maya_char" and made["dataset"]["path"] == "/data"
    assert made["train"]["learning_rate"] == 1e-4 and made["train"]["optimizer_type"] == "AdamW8bit"
    assert (made["trainer"], made["model"]["base"]) == (
        "ai-toolkit",
        "hf:black-forest-labs/FLUX.1-dev",
    )
    assert made["dataset"]["resolutions"] == [512, 768]
    assert made["dataset"]["subset"] == {"10_maya_char": {"num_repeats": 1}}
    train = made["train"]
    assert (train["fp8_base"], train["timestep_type"]) == (True, "sigmoid")
    assert (train["enable_bucket"], train["gradient_checkpointing"]) == (True, True), "its defaults"
    assert made["sample"]["prompts"] == ["{trigger}, portrait"]
    assert told["config.process.0.train.madeup"][0] == "dropped"
    import yaml

    assert [path for path, _ in leaves(yaml.safe_load(TOOLKIT))] == [
        one.source for one in found.fates if "unsaid" not in one.source
    ]


def test_an_ai_toolkit_config_of_a_family_that_it_alone_knows_is_put_in_kohyas_words(
    tmp_path: Path,
) -> None:
    text = TOOLKIT.replace("arch: flux", "is_v3: true")
    made = recipe(taken(write(tmp_path / "x.yaml", text), tmp_path))
    assert (made["family"], "trainer" in made) == ("sd3", False)
    assert made["train"]["network_train_unet_only"] is True
    assert "fp8_base" not in made["train"] and "enable_bucket" not in made["train"]


def test_a_start_script_of_ai_toolkits_is_read_with_its_config_and_its_seed(tmp_path: Path) -> None:
    write(tmp_path / "config" / "x.yaml", TOOLKIT)
    script = write(tmp_path / "go.sh", "cd /workspace\nSEED=7 python run.py config/x.yaml\n")
    made = recipe(taken(script, tmp_path))
    assert (made["name"], made["train"]["seed"]) == ("maya_flux", 7)
    assert (
        recipe(taken("python ai-toolkit/run.py config/x.yaml", tmp_path))["trigger"] == "maya_char"
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x {job: 1}\nb: *x\n", "anchor or a tag"),
        ("a: !!python/object/apply:os.system ['touch owned']\n", "anchor or a tag"),
        ("a: [" * 3000, "not valid YAML|nested too deeply"),
        ("a: [b\n", "not valid YAML"),
        ("- 1\n", "could be a config"),
    ],
)
def test_a_yaml_that_tries_something_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LorakitError, match=told):
        read_thing(str(write(tmp_path / "x.yaml", text)), tmp_path)
    assert not (tmp_path / "owned").exists()


FLUXGYM = """#!/bin/bash
OUT="outputs/maya"
accelerate launch \\
  --mixed_precision bf16 \\
  --num_cpu_threads_per_process 1 \\
  sd-scripts/flux_train_network.py \\
  --pretrained_model_name_or_path "models/unet/flux1-dev.sft" \\
  --clip_l "models/clip/clip_l.safetensors" \\
  --t5xxl "models/clip/t5xxl_fp16.safetensors" \\
  --ae "models/vae/ae.sft" \\
  --sdpa --seed 42 --network_module networks.lora_flux --network_dim 4 \\
  --optimizer_args "relative_step=False" "scale_parameter=False" \\
  --lr_scheduler constant_with_warmup \\
  --learning_rate=8e-4 \\
  --max_train_epochs $(cat epochs; touch owned) \\
  --dataset_config "dataset.toml" \\
  --output_dir "$OUT" --output_name maya \\
  --network_args "train_blocks=single" --guidance_scale 1.0 $EXTRA
"""
DATASET = """
[general]
shuffle_caption = false
caption_extension = '.txt'
keep_tokens = 1
[[datasets]]
resolution = 512
batch_size = 1
keep_tokens = 1
  [[datasets.subsets]]
  image_dir = '{}'
  class_tokens = 'maya_char'
  num_repeats = 10
"""


def test_fluxgyms_script_is_read_with_its_dataset_and_nothing_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dataset.toml", DATASET.format("datasets/10_maya_char"))
    found = taken(write(tmp_path / "train.sh", FLUXGYM), tmp_path)
    told, made = fates(found), recipe(found)
    assert not (tmp_path / "owned").exists()
    assert told["--max_train_epochs"] == (
        "dropped",
        "the shell would compute it; lorakit executes nothing. Write its value into the recipe.",
    )
    assert told["--output_dir"][0] == "dropped" and made["name"] == "maya"
    assert (made["family"], made["trigger"]) == ("flux", "maya_char")
    assert made["model"] == {
        "base": "models/unet/flux1-dev.sft",
        "clip_l": "models/clip/clip_l.safetensors",
        "t5xxl": "models/clip/t5xxl_fp16.safetensors",
        "ae": "models/vae/ae.sft",
    }
    assert made["dataset"] == {"caption_extension": ".txt", "path": "datasets"}
    assert made["train"]["optimizer_args"] == ["relative_step=False", "scale_parameter=False"]
    assert made["train"]["learning_rate"] == 8e-4 and made["train"]["keep_tokens"] == 1
    pasted = taken(FLUXGYM.partition("sd-scripts/")[2], tmp_path)
    assert recipe(pasted)["train"]["network_dim"] == 4


def test_a_windows_script_keeps_its_backslashes_and_variables(tmp_path: Path) -> None:
    text = 'set MODEL="D:\\models\\sdxl base.safetensors"\r\naccelerate launch sdxl_train_network.py ^\r\n  --pretrained_model_name_or_path=%MODEL% ^\r\n  --network_dim=8 --train_data_dir=D:\\data\\maya\r\n'
    made = recipe(taken(write(tmp_path / "t.bat", text), tmp_path))
    assert made["family"] == "sdxl" and made["train"] == {"network_dim": 8}
    assert made["dataset"]["path"] == "D:\\data\\maya"


def test_a_flat_folder_stays_and_is_the_dataset_itself(tmp_path: Path) -> None:
    found = taken(write(tmp_path / "d.toml", DATASET.format("pictures")), tmp_path, family="flux")
    made = recipe(found)["dataset"]
    assert made["path"] == "pictures"
    assert made["subset"]["pictures"]["num_repeats"] >= 1
    text = TOOLKIT.replace("/data/10_maya_char", "/data/maya").replace("repeats: 1", "repeats: 4")
    made = recipe(taken(write(tmp_path / "aitk.yaml", text), tmp_path))["dataset"]
    assert (made["path"], made["subset"]) == ("/data/maya", {"maya": {"num_repeats": 4}})
    text = '[[datasets]]\nimage_directory = "/d/fox"\nnum_repeats = 3\ncache_directory = "/d/c"\n'
    made = recipe(taken(write(tmp_path / "m.toml", text), tmp_path, family="wan22"))["dataset"]
    assert (made["path"], made["subset"]) == ("/d/fox", {"fox": {"num_repeats": 3}})


def test_a_folder_as_it_lies_is_taken_over_with_its_trigger(tmp_path: Path) -> None:
    folder(tmp_path / "data" / "10_maya_char", [(512, 512)])
    text = 'pretrained_model_name_or_path = "x.safetensors"\ntrain_data_dir = "data"\nnetwork_dim = 4\n'
    before = sorted(tmp_path.rglob("*"))
    made = recipe(taken(write(tmp_path / "her.toml", text), tmp_path))
    assert made["trigger"] == "maya_char" and made["dataset"] == {"path": "data"}
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "her.toml"])


def test_a_loras_own_metadata_become_a_recipe(tmp_path: Path) -> None:
    said = {
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_sd_model_name": "noob.safetensors",
        "ss_optimizer": "bitsandbytes.optim.adamw.AdamW8bit(weight_decay=0.1,betas=(0.9, 0.99))",
        "ss_learning_rate": "0.0001",
        "ss_network_dim": "16",
        "ss_network_args": '{"conv_dim": "4"}',
        "ss_resolution": "(1024, 1024)",
        "ss_gradient_checkpointing": "True",
        "ss_text_encoder_lr": "None",
        "ss_steps": "1200",
        "ss_tag_frequency": '{"10_maya_char": {"maya_char": 20, "smiling": 3}}',
    }
    path = weights(
        tmp_path / "m.safetensors",
        {
            "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": ("F16", (16, 8)),
            "lora_unet_input_blocks_4_1_proj_in.lora_up.weight": ("F16", (8, 16)),
        },
        said,
    )
    made = recipe(taken(path, tmp_path))
    assert (made["family"], made["trigger"], made["model"]["base"]) == (
        "sdxl",
        "maya_char",
        "noob.safetensors",
    )
    assert made["train"] == {
        "optimizer_type": "AdamW8bit",
        "optimizer_args": ["weight_decay=0.1", "betas=0.9,0.99"],
        "learning_rate": 1e-4,
        "network_dim": 16,
        "network_args": ["conv_dim=4"],
        "resolution": "1024,1024",
        "gradient_checkpointing": True,
    }


def test_a_family_that_lorakit_lacks_is_reported_and_no_recipe_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = 'dit = "z.safetensors"\nnetwork_module = "networks.lora_zimage"\nnetwork_dim = 32\nlearning_rate = 1e-4\ntimestep_sampling = "shift"\n'
    write(tmp_path / "z.toml", text)
    code = main(["import", str(tmp_path / "z.toml"), "--dir", str(tmp_path)])
    told = capsys.readouterr()
    if code:  # until somebody adds it
        assert "no family for 'zimage' yet" in told.err and "5 values" in told.out
        assert not (tmp_path / "recipes").exists()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("big.toml", "# " + "x" * 10_000_000, "more than 4.2 MB is not read"),
        ("deep.json", "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("deep.toml", "a = " + "[" * 500 + "]" * 500, "nested too deeply"),
        ("broken.toml", "a = = 1", "cannot be read"),
        ("other.toml", "[tool]\nx = 1", "no setting that lorakit knows"),
        ("quote.sh", 'python train_network.py --seed "1', "never closed"),
        ("five.toml", "[[datasets]]\nsubsets = 5", "no setting that lorakit knows"),
        ("texts.toml", "[[datasets]]\nsubsets = ['a']", "no setting that lorakit knows"),
        ("none.toml", "datasets = []", "nothing in it could be taken over"),
        ("empty.sh", "echo hello", "no training command"),
        ("x.ckpt", "PK", "pickled"),
    ],
)
def test_what_cannot_be_read_is_told_at_once(
    name: str, text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / name, text)
    began = time.perf_counter()
    assert main(["import", str(tmp_path / name), "--dir", str(tmp_path)]) == 1
    print(f"{time.perf_counter() - began:.2f} s")
    assert told in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_an_import_writes_one_recipe_and_overwrites_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write(tmp_path / "her.toml", KOHYA)
    assert main(["import", str(config), "--dir", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert (
        "11 values, 6 kept, 2 translated, 3 dropped" in told.out.replace("4 dropped", "3 dropped")
        or "11 values" in told.out
    )
    assert "Next: lorakit plan" in told.err
    assert main(["import", str(config), "--dir", str(tmp_path)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_pasted_top_level_keys_get_an_answer_that_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path / "recipes" / "her.toml",
        'preset = "sdxl"\nnetwork_dim = 16\nlearning_rate = 1e-4\nseed = 1\n',
    )
    assert main(["plan", "recipes/her.toml"]) == 1
    told = capsys.readouterr().err
    assert (
        "her.toml:2 network_dim, learning_rate, seed: these are top-level kohya keys; they belong under [train]: lorakit import recipes/her.toml"
        in told
    )


def test_settings_that_only_count_tokens_are_no_secrets() -> None:
    from lorakit.private import HIDDEN, shown

    counted: Mapping[str, Any] = {
        "keep_tokens": 1,
        "max_token_length": 225,
        "t5xxl_max_token_length": 512,
        "token_warmup_min": 1,
        "class_tokens": "x",
    }
    assert [shown("train", key, value) for key, value in counted.items()] == list(counted.values())
    assert shown("train", "huggingface_token", "x") == HIDDEN


ODD: tuple[Any, ...] = (
    None,
    "",
    "abc",
    -1,
    1e308,
    True,
    [],
    [1, "a"],
    [[1]],
    {},
    {"a": {"b": [1]}},
    [{"a": 1}],
    "\x00\u202e",
    "$(x)",
)


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_value_of_a_kind_that_nobody_expects_is_answered_too(odd: Any, tmp_path: Path) -> None:
    import yaml

    tables: dict[str, Any] = {
        "gui": GUI,
        "toolkit": yaml.safe_load(TOOLKIT),
        "onetrainer": {
            "training_method": "LORA",
            "model_type": "FLUX_DEV_1",
            "learning_rate": 1,
            "resolution": "768",
            "optimizer": {"optimizer": "ADAMW"},
            "text_encoder": {"train": False},
        },
        "kohya": {
            "network_dim": 4,
            "resolution": "512",
            "sample_prompts": "x",
            "dataset_config": "d",
            "optimizer_args": ["a=1"],
        },
        "dataset": {
            "general": {"keep_tokens": 1},
            "datasets": [
                {
                    "resolution": 512,
                    "subsets": [{"image_dir": "x/3_a", "num_repeats": 3, "is_reg": False}],
                }
            ],
        },
    }
    for name, table in tables.items():
        for place, _ in list(leaves(table)):
            changed = json.loads(json.dumps(table))
            holder, *rest = changed, *place.split(".")
            for step in rest[:-1]:
                holder = holder[int(step) if isinstance(holder, list) else step]
            holder[rest[-1]] = odd
            path = write(tmp_path / f"{name}.json", json.dumps(changed))
            try:
                found = taken(path, tmp_path)
                tomllib.loads(found.text())
            except LorakitError:
                continue
            missing = {one for one, _ in leaves(changed)} - {one.source for one in found.fates}
            assert not missing, (name, place, odd)
