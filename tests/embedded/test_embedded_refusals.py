"""What is refused, all at once, by name, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lorakit.embedded import arguments
from lorakit.embedded.drawing.sample_prompts import Prompt, read_prompts
from lorakit.errors import RecipeError

LEAST = [
    "--pretrained_model_name_or_path",
    "x",
    "--network_module",
    "networks.lora",
    "--output_dir",
    "out",
    "--output_name",
    "fox",
]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = write(
        tmp_path / "train.toml",
        """
network_dim = 8
learning_rate = 1e-4
max_train_steps = 50
lr_scheduler = "linear"
[any_name]
lr_warmup_steps = 0.1
text_encoder_lr = 5e-5
""",
    )
    args = arguments.read(
        "train_network.py", [*LEAST, "--config_file", str(file), "--max_train_steps", "1600"]
    )
    assert (args.network_dim, args.learning_rate, args.max_train_steps, args.min_bucket_reso) == (
        8,
        1e-4,
        1600,
        256,
    )
    assert (args.lr_warmup_steps, args.text_encoder_lr) == (0.1, [5e-5])
    without_suffix = arguments.read(
        "train_network.py", [*LEAST, "--config_file", str(file.with_suffix(""))]
    )
    assert without_suffix.max_train_steps == 50


def test_every_fault_of_the_options_is_reported_at_once(tmp_path: Path) -> None:
    file = write(
        tmp_path / "train.toml",
        """
netwrok_dim = 8
network_dim = "16"
cache_latents = "false"
deepspeed = true
xformers = false
optimizer_args = "weight_decay=0.1"
""",
    )
    with pytest.raises(RecipeError) as caught:
        arguments.read(
            "train_network.py",
            [
                *LEAST,
                "--config_file",
                str(file),
                "--blocks_to_swap",
                "3",
                "--max_train_steps",
                "ten",
            ],
        )
    said = str(caught.value)
    assert f"{file} netwrok_dim: there is no such option. Did you mean network_dim?" in said
    assert 'network_dim: takes an integer, not the text "16".' in said
    assert 'cache_latents: takes true or false, not the text "false".' in said
    assert f"{file} deepspeed: the embedded trainer does not implement this option" in said
    assert "xformers" not in said  # stands at the value that does nothing
    assert "optimizer_args: takes a list" in said
    assert "blocks_to_swap" in said
    assert '--max_train_steps: takes an integer, not the text "ten".' in said


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            ["--cache_latents", "--random_crop"],
            "cached latents allow neither color_aug nor random_crop",
        ),
        (["--stochastic_rounding"], "stochastic_rounding: needs full_bf16"),
        (
            [
                *("--stochastic_rounding", "--full_bf16", "--mixed_precision", "bf16"),
                *("--optimizer_type", "Adafactor"),
            ],
            "stochastic_rounding: needs AdamW",
        ),
        (["--mixed_precision", "fp8"], "is not one of no, fp16, bf16"),
        (["--save_model_as", "ckpt"], "is not one of safetensors"),
        (
            ["--network_args", "conv_dims=4"],
            "network_args conv_dims: the embedded trainer does not know it. Did you mean conv_dim?",
        ),
        (["--cache_text_encoder_outputs"], "a text encoder that is trained cannot be cached"),
        (
            ["--cache_text_encoder_outputs", "--network_train_unet_only", "--shuffle_caption"],
            "every step would see another caption",
        ),
        (["--sample_every_n_steps", "5"], "sample_prompts: must be set"),
        (["--save_every_n_steps", "0"], "save_every_n_steps: 0 must be 1 or more"),
        (["--zero_terminal_snr"], "Set v_parameterization"),
        (["--ema_decay", "1.5"], "must be between 0 and 1"),
        (["--validation_split", "1.5"], "1.5 must be 0 or more, and less than 1"),
        (["--early_stop_patience", "2"], "need a validation loss"),
        (["--network_module", "networks.dylora"], "network_module"),
        (["--lr_scheduler", "cosin"], "Did you mean cosine?"),
        (["--lr_warmup_steps", "10"], "schedule 'constant' has no warm-up"),
        (
            ["--optimizer_type", "AdamWScheduleFree", "--lr_warmup_steps", "10"],
            "AdamWScheduleFree decides the learning rate by itself",
        ),
        (
            ["--lr_scheduler_type", "ExponentialLR", "--lr_warmup_steps", "10"],
            "ExponentialLR decides the learning rate by itself",
        ),
        (
            ["--lr_scheduler", "cosine", "--lr_scheduler_args", "last_epoch=3"],
            "has no effect on lr_scheduler = 'cosine'",
        ),
        (["--lr_scheduler", "piecewise_constant"], "needs step_rules"),
        (["--lr_scheduler", "polynomial", "--learning_rate", "1e-8"], "must begin above it"),
        (
            ["--lr_scheduler", "cosine", "--lr_warmup_steps", "100.0"],
            "Write lr_warmup_steps = 100 for steps",
        ),
        (["--optimizer_args", "weight_decay=high"], "the value as Python writes it"),
        (["--network_args", "conv_dim=big"], "network_args conv_dim: takes an integer, not 'big'."),
        (["--network_args", "rank_dropout=1.0"], "must be at least 0 and below 1"),
        (["--network_args", "conv_alpha=1"], "has no effect without conv_dim"),
        (["--network_args", "dropout=0.1"], "Write network_dropout"),
        (["--network_dim", "0"], "network_dim: 0 must be 1 or more"),
        (["--min_timestep", "600", "--max_timestep", "400"], "the smaller first"),
        (["--dim_from_weights"], "needs network_weights"),
        (["--text_encoder_lr", "1e-4", "2e-4"], "only the first of several rates"),
        *[
            (words, f"{words[0][2:]}: needs the package {package}")
            for words, package in (
                (["--optimizer_type", "PagedAdamW8bit"], "bitsandbytes"),
                (["--log_with", "wandb"], "wandb"),
            )
            if find_spec(package) is None
        ],
        (["--noise_offset_random_strength"], "needs noise_offset"),
        (
            ["--v_pred_like_loss", "0.5", "--v_parameterization"],
            "cannot be used with v_parameterization",
        ),
        (["--log_with", "tensorboard"], "needs logging_dir"),
        (
            ["--dataset_config", "d.toml", "--train_data_dir", "d"],
            "have no effect beside dataset_config",
        ),
        (["--dataset_repeats", "3", "--train_data_dir", "d"], "the folders' names say it"),
    ],
)
def test_values_and_combinations_that_cannot_work(options: list[str], fault: str) -> None:
    with pytest.raises(RecipeError) as caught:
        arguments.read("train_network.py", [*LEAST, *options])
    assert fault in str(caught.value)


def test_the_faults_of_a_dataset_file_are_reported_at_once(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    file = write(
        tmp_path / "dataset.toml",
        """
[general]
caption_extention = ".txt"
[[datasets]]
resolution = "big"
train_batch_size = 2
[[datasets.subsets]]
image_dir = "nowhere"
metadata_file = "x.json"
resize_interpolation = "spline"
[[datasets.subsets]]
num_repeats = 0
""",
    )
    said = train(dataset_config=file)
    assert said.code == 1
    for fault in (
        "caption_extention does not belong",
        'resolution: "big" is not a valid size',
        "train_batch_size does not",
        "metadata_file: the embedded trainer does not implement it",
        "image_dir is missing",
        "num_repeats: 0 must be at least 1",
        '"spline" is not one of lanczos',
        "Did you mean caption_extension?",
    ):
        assert (
            fault.replace(" does not belong", ": does not belong").replace(
                "train_batch_size does not", "train_batch_size: does not"
            )
            in said.said
        )


def test_broken_pictures_and_captions_are_named(train: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "2_zwx"
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "0.txt").write_bytes("für".encode("latin-1"))
    said = train()
    assert said.code == 1
    assert "broken.png" in said.said
    assert "0.txt: is not UTF-8" in said.said
    assert "2 problems; nothing was started." in said.said


def test_sizes_that_do_not_divide_into_latents_are_refused(train: Callable[..., Any]) -> None:
    assert (
        "72x72: both sides must be multiples of 16"
        in train("flux", resolution="72", enable_bucket=False).said
    )


def test_no_images_and_no_model_are_refused(train: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in train(data_dir=tmp_path / "empty").said
    assert "does not exist" in train(pretrained_model_name_or_path=tmp_path / "gone").said


def test_prompts_are_read_as_plans_write_them(tmp_path: Path) -> None:
    def prompts(text: str) -> list[Prompt]:
        return read_prompts(write(tmp_path / "p.toml", f"[prompt]\nwidth = 64\n{text}"))

    both = '[[prompt.subset]]\nprompt = "a"\n[[prompt.subset]]\nprompt = "b"\nwidth = 128\n'
    assert [(prompt.prompt, prompt.width) for prompt in prompts(both)] == [("a", 64), ("b", 128)]
    assert prompts('prompt = "a"\nseed = -1')[0].seed is None
    for text, said in (
        ('prompt = "a"\nzz = 3', "is not known"),
        ('prompt = "a"\nsample_sampler = "eulr"', "Did you mean euler"),
        ('prompt = "a"\nheight = "big"', "takes an integer, not the text"),
        ('prompt = "a"\nsample_steps = 0', "at least 1"),
        ("", "a prompt is missing"),
        ("[", "sample_prompts"),
    ):
        with pytest.raises(RecipeError, match=said):
            prompts(text)
    with pytest.raises(RecipeError, match="does not exist"):
        read_prompts(tmp_path / "gone.toml")
