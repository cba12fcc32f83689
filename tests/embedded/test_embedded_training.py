"""What the options do to a training: regularisation images, precision, checkpointing, starting weights, datasets, rates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from toy_runs import draw_pictures  # noqa: E402

SHORT = {"max_train_steps": 2, "max_train_epochs": None}


@pytest.mark.slow
def test_reg_images_double_the_batches_and_weigh_what_the_recipe_says(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    draw_pictures(tmp_path / "reg" / "1_wall", 3)
    outcome = train(reg_data_dir=tmp_path / "reg")
    assert "  num train images * repeats: 8\n" in outcome.said
    assert "  num reg images: 3\n" in outcome.said
    assert "  num batches per epoch: 16\n" in outcome.said
    unweighted = train(reg_data_dir=tmp_path / "reg", prior_loss_weight=0.0)
    assert unweighted.digest() != outcome.digest()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_reg_images_without_weight_teach_nothing(
    train: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    draw_pictures(tmp_path / "reg" / "1_wall", 8)
    outcome = train(
        family, reg_data_dir=tmp_path / "reg", prior_loss_weight=0.0, max_train_epochs=1
    )
    assert {0.0} < {event["loss"] for event in outcome.of("step")}
    assert sum(event["loss"] == 0.0 for event in outcome.of("step")) == 8


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", pytest.param("sdxl", marks=pytest.mark.long), "flux"])
def test_gradient_checkpointing_changes_the_memory_not_the_result(
    train: Callable[..., Any], family: str
) -> None:
    options = {**SHORT, "network_train_unet_only": False, "network_dropout": 0.1}
    plain, checkpointed = (
        train(family, **options),
        train(family, **options, gradient_checkpointing=True),
    )
    for key, tensor in plain.tensors().items():
        torch.testing.assert_close(checkpointed.tensors()[key], tensor)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd15", "sdxl", pytest.param("flux", marks=pytest.mark.long)])
def test_bf16_trains_close_to_float32_and_twice_alike(
    train: Callable[..., Any], plain: Callable[..., Any], family: str
) -> None:
    options = {"max_train_epochs": 1, "mixed_precision": "bf16"}
    full, half, again = (plain(family), train(family, **options), train(family, **options))
    assert half.digest() == again.digest()
    assert half.of("step")[0]["loss"] == pytest.approx(full.of("step")[0]["loss"], rel=0.02)
    assert next(iter(half.tensors().values())).dtype == torch.float32
    saved = train(family, **options, full_bf16=True, save_precision="bf16")
    assert {tensor.dtype for tensor in saved.tensors().values()} == {torch.bfloat16}
    for one, other in zip(saved.of("step"), half.of("step"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.05)


@pytest.mark.slow
def test_fp16_trains_close_to_float32_and_resumes_exactly(
    train: Callable[..., Any], plain: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = plain()
    monkeypatch.setattr("lorakit.embedded.training.optimizers.GROWS_AFTER", 3)
    options = {"mixed_precision": "fp16", "save_every_n_steps": 4, "save_state": True}
    half = train(**options)
    assert half.of("step")[0]["loss"] == pytest.approx(full.of("step")[0]["loss"], rel=0.02)
    facts = json.loads(
        (half.folder / "fox-step00000004-state" / "train_state.json").read_text(encoding="utf-8")
    )
    assert facts["loss_scale"] == {"scale": 131072.0, "finite_steps": 1}
    assert train(**options, resume=half.folder / "fox-step00000004-state").digest() == half.digest()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sdxl", pytest.param("flux", marks=pytest.mark.long)])
def test_a_base_in_eight_bits_trains_close_to_the_wide_one(
    train: Callable[..., Any], family: str
) -> None:
    wide, narrow = (
        train(
            family,
            max_train_epochs=1,
            mixed_precision="bf16",
            gradient_checkpointing=True,
            fp8_base=on,
        )
        for on in (False, True)
    )
    assert narrow.code == 0, narrow.said
    assert narrow.digest() != wide.digest()
    assert narrow.of("step")[0]["loss"] == pytest.approx(wide.of("step")[0]["loss"], rel=0.1)
    assert narrow.metadata()["ss_fp8_base"] == "True"
    assert "needs mixed_precision" in train(family, fp8_base=True).said


@pytest.mark.slow
def test_network_weights_are_where_the_training_starts(
    train: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    first = plain()
    start = first.folder / "fox.safetensors"
    untouched = train(**SHORT, network_weights=start, learning_rate=1e-12)
    for key, tensor in first.tensors().items():
        torch.testing.assert_close(untouched.tensors()[key], tensor, atol=1e-6, rtol=1e-6)
    assert (
        "there is no such file"
        in train(**SHORT, network_weights=start.with_name("gone.safetensors")).said
    )
    other = train(**SHORT, network_weights=start, network_dim=16).said
    assert "lora_down.weight is (4, 16, 1, 1) there, and (16, 16, 1, 1) by the recipe. Set" in other
    other = train(**SHORT, network_weights=start, network_alpha=1).said
    assert ".alpha is 2 there, and 1 by the recipe. Set dim_from_weights" in other
    ranked = train(**SHORT, network_weights=start, dim_from_weights=True, network_dim=16)
    assert {
        tensor.shape[0]
        for key, tensor in ranked.tensors().items()
        if key.endswith("lora_down.weight")
    } == {4}


@pytest.mark.slow
def test_weights_of_another_model_are_refused(train: Callable[..., Any]) -> None:
    first = train("sdxl", **SHORT)
    other = train(
        "sd15", **SHORT, network_weights=first.folder / "fox.safetensors", dim_from_weights=True
    )
    assert other.code == 1
    assert "fits no layer of this model" in other.said


@pytest.mark.slow
def test_the_text_encoder_has_its_own_rate_and_a_rate_of_zero_leaves_it_alone(
    train: Callable[..., Any],
) -> None:
    outcome = train(network_train_unet_only=False, text_encoder_lr=[0.0])
    tensors = outcome.tensors()
    assert all(
        not bool(tensor.any())
        for key, tensor in tensors.items()
        if key.startswith("lora_te") and "lora_up" in key
    )
    assert any(
        bool(tensor.any())
        for key, tensor in tensors.items()
        if key.startswith("lora_unet") and "lora_up" in key
    )
    only_text = train(network_train_unet_only=False, network_train_text_encoder_only=True)
    assert {key[:7] for key in only_text.tensors()} == {"lora_te"}


@pytest.mark.slow
def test_lora_plus_gives_the_upper_half_its_own_rate(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    plain, plus = train(**SHORT), train(**SHORT, network_args=["loraplus_lr_ratio=4"])
    key = "lora_unet_down_blocks_0_attentions_0_proj_in"
    assert float(plus.tensors()[f"{key}.lora_up.weight"].abs().max()) > 2 * float(
        plain.tensors()[f"{key}.lora_up.weight"].abs().max()
    )


@pytest.mark.slow
def test_two_datasets_of_two_sizes_are_trained_in_one_run(
    train: Callable[..., Any], tmp_path: Path
) -> None:
    draw_pictures(tmp_path / "more", 3, wide=False)
    file = tmp_path / "dataset.toml"
    file.write_text(
        f"""
[general]
caption_extension = ".txt"
[[datasets]]
resolution = 64
batch_size = 2
[[datasets.subsets]]
image_dir = "{tmp_path / "data" / "2_zwx"}"
num_repeats = 2
flip_aug = true
[[datasets]]
resolution = [64, 128]
max_bucket_reso = 128
[[datasets.subsets]]
image_dir = "{tmp_path / "more"}"
class_tokens = "wall"
""",
        encoding="utf-8",
    )
    outcome = train(dataset_config=file)
    assert outcome.code == 0, outcome.said
    assert "  num train images * repeats: 11\n" in outcome.said
    assert "  batch size per device: 2, 1\n" in outcome.said
    assert "ss_datasets" in outcome.metadata()
    assert outcome.metadata()["modelspec.resolution"] == "64x64"


@pytest.mark.slow
def test_long_captions_skipped_layers_and_a_separate_vae_are_taken(
    train: Callable[..., Any], tiny: Callable[[str], Path]
) -> None:
    outcome = train(**SHORT, clip_skip=2, max_token_length=150, vae=tiny("sd15") / "vae")
    assert outcome.code == 0
    assert outcome.digest() != train(**SHORT).digest()
    assert outcome.metadata()["ss_vae_name"] == "vae"
    assert outcome.metadata()["modelspec.encoder_layer"] == "2"


PLAIN = {
    "optimizer_type": "SGDNesterov",
    "optimizer_args": ["momentum=0.0", "nesterov=False"],
    "max_grad_norm": 0.0,
}


def moved(outcome: Any) -> Any:
    """All that the upper halves, which start at 0, have become."""
    return torch.cat(
        [tensor.flatten() for key, tensor in sorted(outcome.tensors().items()) if "lora_up" in key]
    )


@pytest.mark.slow
def test_accumulated_batches_count_by_their_mean(train: Callable[..., Any]) -> None:
    """Without momentum, and with steps too small to change the next: eight steps go eight times as far as one of their mean."""
    alone, joined = (moved(train(**PLAIN, gradient_accumulation_steps=count)) for count in (1, 8))
    assert float((alone - 8 * joined).norm() / alone.norm()) < 1e-3


@pytest.mark.slow
def test_the_loss_scale_of_fp16_is_taken_out_again(train: Callable[..., Any]) -> None:
    one = {**PLAIN, "max_train_epochs": None, "max_train_steps": 1}
    full, half = moved(train(**one)), moved(train(**one, mixed_precision="fp16"))
    assert float((half - full).norm() / full.norm()) < 0.05


@pytest.mark.slow
def test_each_part_learns_at_its_own_rate(train: Callable[..., Any]) -> None:
    both = {
        **PLAIN,
        "max_train_epochs": None,
        "max_train_steps": 1,
        "network_train_unet_only": False,
    }
    plain, rated = train(**both), train(**both, unet_lr=3e-3, text_encoder_lr=[2e-3])
    for prefix, factor in (("lora_unet", 3.0), ("lora_te", 2.0)):
        one, other = (
            torch.cat(
                [
                    tensor.flatten()
                    for key, tensor in sorted(outcome.tensors().items())
                    if key.startswith(prefix) and "lora_up" in key
                ]
            )
            for outcome in (plain, rated)
        )
        torch.testing.assert_close(other, factor * one, rtol=1e-4, atol=0.0)


@pytest.mark.slow
def test_long_gradients_are_cut_to_the_limit_and_short_ones_are_left(
    train: Callable[..., Any],
) -> None:
    one = {**PLAIN, "max_train_epochs": None, "max_train_steps": 1}
    free = moved(train(**one))
    length = float(free.norm()) / 1e-3
    assert torch.equal(moved(train(**{**one, "max_grad_norm": 2 * length})), free)
    torch.testing.assert_close(
        moved(train(**{**one, "max_grad_norm": length / 4})), free / 4, rtol=1e-3, atol=0.0
    )


@pytest.mark.slow
def test_norms_are_kept_below_their_limit(train: Callable[..., Any]) -> None:
    outcome = train(learning_rate=0.5, scale_weight_norms=0.01)
    tensors = outcome.tensors()
    for name in {key.split(".")[0] for key in tensors}:
        product = (
            tensors[f"{name}.lora_up.weight"].flatten(1)
            @ tensors[f"{name}.lora_down.weight"].flatten(1)
            * 0.5
        )
        assert float(product.norm()) <= 0.01 + 1e-6
    assert "Keys Scaled=" in outcome.said


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"v_parameterization": True, "zero_terminal_snr": True},
        {"min_snr_gamma": 5, "noise_offset": 0.1, "adaptive_noise_scale": 0.05},
        {
            "multires_noise_iterations": 4,
            "ip_noise_gamma": 0.1,
            "ip_noise_gamma_random_strength": True,
        },
        {"loss_type": "huber"},
        {"loss_type": "smooth_l1", "huber_schedule": "exponential"},
        {"optimizer_type": "Adafactor"},
        {
            "optimizer_type": "Adafactor",
            "optimizer_args": ["relative_step=False", "scale_parameter=False"],
        },
        {"network_args": ["conv_dim=4", "conv_alpha=1", "rank_dropout=0.1", "module_dropout=0.1"]},
        {"min_timestep": 100, "max_timestep": 500},
    ],
)
def test_every_way_to_train_trains_and_repeats_itself(
    train: Callable[..., Any], plain: Callable[..., Any], options: dict[str, Any]
) -> None:
    first, second = train(**options), train(**options)
    assert first.code == 0, first.said
    assert first.digest() == second.digest() != plain().digest()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        *({"timestep_sampling": name} for name in ("uniform", "sigmoid", "shift", "flux_shift")),
        *({"weighting_scheme": name} for name in ("sigma_sqrt", "logit_normal", "mode", "cosmap")),
        {"model_prediction_type": "raw"},
        {"model_prediction_type": "additive"},
        {"guidance_scale": 1.0},
        {"apply_t5_attn_mask": True},
        {"network_args": ["train_blocks=single"]},
        {"network_args": ["single_dim=2", "img_mod_dim=0"]},
        {"t5xxl_max_token_length": 64},
    ],
)
def test_every_way_to_train_flux_trains_and_repeats_itself(
    train: Callable[..., Any], plain: Callable[..., Any], options: dict[str, Any]
) -> None:
    first, second = train("flux", **options), train("flux", **options)
    assert first.code == 0, first.said
    assert first.digest() == second.digest() != plain("flux").digest()


@pytest.mark.slow
def test_clip_learns_while_t5s_answers_are_cached(train: Callable[..., Any]) -> None:
    outcome = train("flux", network_train_unet_only=False, cache_text_encoder_outputs=True)
    plain = train("flux", network_train_unet_only=False)
    for key, tensor in plain.tensors().items():
        torch.testing.assert_close(outcome.tensors()[key], tensor)
