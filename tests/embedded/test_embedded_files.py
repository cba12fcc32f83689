"""What a run writes: names, keys, shapes and metadata as kohya's, and that the catalogue is what the code does."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_runs import draw_pictures

from lorakit.embedded.network.metadata import base_hashes
from lorakit.trainers.embedded import SCRIPTS


def test_every_script_exists_and_needs_no_torch_to_be_named() -> None:
    assert {family: path.name for family, path in SCRIPTS.items()} == {
        "sd15": "train_network.py",
        "sdxl": "sdxl_train_network.py",
        "flux": "flux_train_network.py",
    }
    assert all(path.is_file() for path in SCRIPTS.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "keys"),
    [
        (
            "sd15",
            {
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
                "lora_te_text_model_encoder_layers_0_mlp_fc1",
                "lora_unet_up_blocks_1_attentions_0_proj_in",
            },
        ),
        (
            "sdxl",
            {
                "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q",
                "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
                "lora_te2_text_model_encoder_layers_1_mlp_fc2",
                "lora_unet_middle_block_1_proj_in",
            },
        ),
        (
            "flux",
            {
                "lora_unet_double_blocks_0_img_attn_qkv",
                "lora_unet_single_blocks_0_linear1",
                "lora_te1_text_model_encoder_layers_0_mlp_fc1",
                "lora_unet_single_blocks_0_modulation_lin",
            },
        ),
    ],
)
def test_keys_carry_kohyas_names(train: Callable[..., Any], family: str, keys: set[str]) -> None:
    tensors = train(
        family, network_train_unet_only=False, max_train_steps=1, max_train_epochs=None
    ).tensors()
    names = {key.split(".")[0] for key in tensors}
    assert keys <= names
    for name in names:
        down, up = tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"]
        assert down.shape[0] == up.shape[1] == 4
        assert float(tensors[f"{name}.alpha"]) == 2.0


@pytest.mark.slow
def test_conv_layers_join_when_conv_dim_asks_for_them(train: Callable[..., Any]) -> None:
    tensors = train(
        network_args=["conv_dim=2", "conv_alpha=1"], max_train_steps=1, max_train_epochs=None
    ).tensors()
    down = tensors["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"]
    assert tuple(down.shape[:1]) + tuple(down.shape[2:]) == (2, 3, 3)
    assert tensors["lora_unet_down_blocks_0_resnets_0_time_emb_proj.lora_down.weight"].shape[0] == 4
    assert "lora_unet_down_blocks_0_downsamplers_0_conv.alpha" in tensors


@pytest.mark.slow
def test_files_and_states_are_named_and_removed_as_kohya_does(train: Callable[..., Any]) -> None:
    outcome = train(
        max_train_epochs=3,
        save_every_n_epochs=1,
        save_last_n_epochs=1,
        save_every_n_steps=5,
        save_last_n_steps=5,
        save_state=True,
    )
    assert outcome.files == [
        "fox-000002-state",
        "fox-000002.safetensors",
        "fox-state",
        "fox-step00000015-state",
        "fox-step00000015.safetensors",
        "fox-step00000020-state",
        "fox-step00000020.safetensors",
        "fox.safetensors",
    ]
    assert outcome.metadata("-000002")["ss_epoch"] == "2"
    assert outcome.metadata("-step00000020")["ss_epoch"] == "2"
    assert outcome.metadata()["ss_steps"] == "24"


@pytest.mark.slow
def test_states_may_be_kept_longer_than_files(train: Callable[..., Any]) -> None:
    outcome = train(
        save_every_n_steps=2, save_last_n_steps=2, save_last_n_steps_state=4, save_state=True
    )
    assert [name for name in outcome.files if "step" in name] == [
        "fox-step00000004-state",
        "fox-step00000006-state",
        "fox-step00000006.safetensors",
        "fox-step00000008-state",
        "fox-step00000008.safetensors",
    ]


@pytest.mark.slow
def test_a_run_resumed_from_an_epochs_end_does_not_end_that_epoch_again(
    train: Callable[..., Any],
) -> None:
    whole = train(
        max_train_epochs=2,
        save_every_n_epochs=1,
        save_state=True,
        validation_split=0.25,
        validation_seed=1,
    )
    rest = train(
        max_train_epochs=2,
        save_every_n_epochs=1,
        save_state=True,
        validation_split=0.25,
        validation_seed=1,
        resume=whole.folder / "fox-000001-state",
    )
    assert rest.digest() == whole.digest()
    assert "fox-000001.safetensors" not in rest.files
    assert rest.of("validation") == [
        {**event, "time": again["time"]}
        for event, again in zip(whole.of("validation")[1:], rest.of("validation"), strict=True)
    ]


@pytest.mark.slow
def test_a_ratio_of_epochs_says_how_many_are_kept(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    draw_pictures(tmp_path / "one" / "1_zwx", 1)
    outcome = train(data_dir=tmp_path / "one", max_train_epochs=4, save_n_epoch_ratio=2)
    assert outcome.files == ["fox-000002.safetensors", "fox.safetensors"]


@pytest.mark.slow
def test_metadata_says_what_happened(train: Callable[..., Any], tmp_path: Path) -> None:
    said = train(
        max_train_epochs=1,
        min_snr_gamma=5,
        metadata_author="the fox project",
        save_precision="fp16",
    ).metadata()
    assert (said["ss_base_model_version"], said["modelspec.prediction_type"]) == (
        "sd_v1",
        "epsilon",
    )
    other = train(
        max_train_epochs=None,
        max_train_steps=1,
        v_parameterization=True,
        cache_latents_to_disk=True,
        cache_latents=False,
    ).metadata()
    assert (
        other["ss_base_model_version"],
        other["modelspec.prediction_type"],
        other["ss_cache_latents"],
    ) == ("sd_v1_v", "v", "True")
    assert said["ss_num_train_images"] == "8"
    assert said["ss_num_batches_per_epoch"] == "8"
    assert said["ss_min_snr_gamma"] == "5.0"
    assert said["ss_optimizer"] == "torch.optim.adamw.AdamW"
    assert json.loads(said["ss_dataset_dirs"]) == {"2_zwx": {"n_repeats": 2, "img_count": 4}}
    assert json.loads(said["ss_tag_frequency"])["2_zwx"]["zwx"] == 4
    assert json.loads(said["ss_datasets"])[0]["bucket_info"]["buckets"]["0"]["count"] == 8
    assert said["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert said["modelspec.resolution"] == "64x64"
    assert said["modelspec.author"] == "the fox project"
    assert len(said["sshs_model_hash"]) == 64


@pytest.mark.slow
def test_hashes_are_those_that_the_web_uis_compute(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = train(max_train_epochs=None, max_train_steps=1)
    whole = (outcome.folder / "fox.safetensors").read_bytes()
    weights = whole[8 + int.from_bytes(whole[:8], "little") :]
    assert outcome.metadata()["sshs_model_hash"] == hashlib.sha256(weights).hexdigest()
    base = tmp_path / "base.safetensors"
    base.write_bytes(random.Random(1).randbytes(0x120000))
    part = base.read_bytes()[0x100000:0x110000]
    assert base_hashes({"sd_model": str(base), "vae": None}) == {
        "ss_sd_model_hash": hashlib.sha256(part).hexdigest()[:8],
        "ss_new_sd_model_hash": hashlib.sha256(base.read_bytes()).hexdigest(),
    }


@pytest.mark.slow
def test_no_metadata_keeps_only_what_loaders_need(train: Callable[..., Any]) -> None:
    said = train(max_train_steps=1, max_train_epochs=None, no_metadata=True).metadata()
    assert {key for key in said if key.startswith("ss_")} == {
        "ss_v2",
        "ss_base_model_version",
        "ss_network_module",
        "ss_network_dim",
        "ss_network_alpha",
    }


@pytest.mark.slow
def test_the_lines_and_the_bar_are_the_ones_that_followers_read(train: Callable[..., Any]) -> None:
    said = train(max_train_epochs=1).said
    for line in (
        "accelerator device: cpu",
        "override steps. steps for 1 epochs is: 8",
        "running training",
        "  num train images * repeats: 8",
        "  num batches per epoch: 8",
        "  num epochs: 1",
        "  gradient accumulation steps = 1",
        "  total optimization steps: 8",
        "\nepoch 1/1\n",
        "\nsaving checkpoint: ",
        "model saved.",
    ):
        assert line in said
    assert "steps: 100%" in said
    assert "8/8 [" in said
    assert "avr_loss=" in said


@pytest.mark.slow
def test_events_tell_phases_steps_and_files(train: Callable[..., Any]) -> None:
    outcome = train(max_train_steps=2, max_train_epochs=None, save_every_n_steps=1)
    assert [event["phase"] for event in outcome.of("phase")] == [
        "caching",
        "caching",
        "loading",
        "training",
    ]
    assert [(event["step"], event["epoch"], event["lr"]) for event in outcome.of("step")] == [
        (1, 1, 0.001),
        (2, 1, 0.001),
    ]
    assert [(Path(event["path"]).name, event["kind"]) for event in outcome.of("saved")] == [
        ("fox-step00000001.safetensors", "step"),
        ("fox-step00000002.safetensors", "step"),
        ("fox.safetensors", "final"),
    ]
    assert outcome.events[-1] == {**outcome.events[-1], "event": "end", "reason": "done", "step": 2}
