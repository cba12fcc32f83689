"""The scripts' own asserts, refusals and silent no-ops, each caught from settings alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from lorakit import tomllib
from lorakit.catalogue.options import BOUNDS, options
from lorakit.families import FAMILIES, run_by
from lorakit.machine import Gpu, Machine
from lorakit.plan.complete import completed
from lorakit.plan.make import as_sent
from lorakit.plan.weights import weight_files
from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.trainers.kohya.rules import RULES, captions, launch, model
from lorakit.trainers.rule import Rule
from lorakit.trainers.table import trainer

CUDA = Machine("Linux", "x86_64", 8, 64 << 30, (Gpu("A card", 24 << 30),))
CPU = Machine("Linux", "x86_64", 8, 64 << 30, ())
MAC = Machine("Darwin", "arm64", 10, 64 << 30, ())

GOOD: dict[str, dict[str, Any]] = {
    "": {
        "network_dim": 16,
        "network_alpha": 8,
        "learning_rate": 1e-4,
        "max_train_epochs": 4,
        "resolution": "512",
        "mixed_precision": "bf16",
        "max_data_loader_n_workers": 0,
    },
    "sd15": {"sdpa": True},
    "sdxl": {"sdpa": True, "network_train_unet_only": True, "cache_text_encoder_outputs": True},
    "flux": {
        "network_train_unet_only": True,
        "cache_text_encoder_outputs": True,
        "guidance_scale": 1.0,
        "timestep_sampling": "flux_shift",
        "model_prediction_type": "raw",
    },
    "anima": {"network_train_unet_only": True},
}


def judge(
    family: str,
    machine: Machine = CUDA,
    *,
    sample: dict[str, Any] | None = None,
    launch: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    subset: dict[str, Any] | None = None,
    drop: tuple[str, ...] = (),
    **train: Any,
) -> dict[str, str]:
    settings = {**GOOD[""], **GOOD.get(family, {}), **train}
    resolved = Resolved(
        file=Path("/p/recipes/maya.toml"),
        root=Path("/p"),
        name="maya",
        trigger="maya",
        preset="",
        family=family,
        trainer="kohya",
        train={
            key: Setting(value, "preset x") for key, value in settings.items() if key not in drop
        },
        sample=said(sample),
        launch=said(launch),
        model=said(model),
        dataset=said({"subset": subset} if subset else None),
    )
    weights, _ = weight_files(Options(resolved))
    sent = as_sent(completed(Options(resolved), Path("/p/run"), weights), resolved)
    return {
        fault.rule: f"{fault.severity} {fault}" for fault in trainer("kohya").check(sent, machine)
    }


def said(section: dict[str, Any] | None) -> dict[str, Setting]:
    return {key: Setting(value, "recipes/maya.toml:9") for key, value in (section or {}).items()}


@pytest.mark.parametrize("family", run_by("kohya"))
def test_plain_good_settings_break_no_rule(family: str) -> None:
    assert judge(family) == {}


OFT_FLUX = {"network_module": "networks.oft_flux", "network_args": ["enable_conv=True"]}
# rule, family, machine, settings that break it and nothing else
BREAKS: list[tuple[str, str, Machine, dict[str, Any]]] = [
    ("text-cache-training", "sdxl", CUDA, {"network_train_unet_only": False}),
    (
        "text-cache-training",
        "anima",
        CUDA,
        {"cache_text_encoder_outputs_to_disk": True, "network_train_unet_only": False},
    ),
    ("text-cache-captions", "sdxl", CUDA, {"shuffle_caption": True}),
    ("text-cache-captions", "flux", CUDA, {"caption_dropout_rate": 0.05}),
    ("text-cache-captions", "flux", CUDA, {"subset": {"10_maya": {"token_warmup_step": 10}}}),
    ("text-cache-lost", "sdxl", CUDA, {"caption_prefix": "maya_char"}),
    ("text-cache-lost", "flux", CUDA, {"enable_wildcard": True}),
    ("text-cache-missing", "flux", CUDA, {"cache_text_encoder_outputs": False}),
    ("t5-training-cache", "flux", CUDA, {"network_args": ["train_t5xxl=True"]}),
    ("weighted-captions-ignored", "flux", CUDA, {"weighted_captions": True}),
    ("latent-cache-augment", "sd15", CUDA, {"cache_latents": True, "color_aug": True}),
    ("latent-cache-augment", "sd15", CUDA, {"cache_latents_to_disk": True, "random_crop": True}),
    ("keep-tokens-alone", "sd15", CUDA, {"keep_tokens": 1}),
    ("separator-in-caption", "sd15", CUDA, {"keep_tokens_separator": "|||"}),
    ("separator-rejoined", "sd15", CUDA, {"shuffle_caption": True, "caption_separator": ";"}),
    ("crop-range-form", "sd15", CUDA, {"face_crop_aug_range": "1.0"}),
    ("repeats-unused", "sd15", CUDA, {"dataset_repeats": 5}),
    ("buckets-off-crops", "sd15", CUDA, {"random_crop": True, "enable_bucket": True}),
    ("bucket-step", "sd15", CUDA, {"bucket_reso_steps": 32, "enable_bucket": True}),
    ("bucket-step", "sdxl", CUDA, {"bucket_reso_steps": 16, "enable_bucket": True}),
    ("bucket-bounds", "sd15", CUDA, {"enable_bucket": True, "min_bucket_reso": 576}),
    ("bucket-bounds", "sd15", CUDA, {"enable_bucket": True, "max_bucket_reso": 448}),
    (
        "bucket-bounds",
        "sd15",
        CUDA,
        {
            "enable_bucket": True,
            "resolution": "512,768",
            "min_bucket_reso": 576,
            "max_bucket_reso": 1536,
        },
    ),
    (
        "bucket-bounds",
        "sd15",
        CUDA,
        {"enable_bucket": True, "resolution": "512,768", "max_bucket_reso": 704},
    ),
    ("bucket-narrow", "sdxl", CUDA, {"enable_bucket": True, "resolution": "1024,1024"}),
    ("validation-share", "sd15", CUDA, {"validation_split": 2.0}),
    ("validation-share", "sd15", CUDA, {"validation_split": 1.0}),
    ("validation-share", "sd15", CUDA, {"validation_split": -0.1}),
    ("validation-on-mps", "sd15", MAC, {"validation_split": 0.1, "mixed_precision": "no"}),
    ("validation-idle", "sd15", CUDA, {"validate_every_n_steps": 50}),
    ("validation-idle", "sd15", CUDA, {"validate_every_n_epochs": 1}),
    ("full-fp16", "sd15", CUDA, {"full_fp16": True}),
    ("full-bf16", "sd15", CUDA, {"full_bf16": True, "mixed_precision": "fp16"}),
    ("full-both", "sd15", CUDA, {"full_bf16": True, "full_fp16": True}),
    ("fp8-precision", "flux", CUDA, {"fp8_base": True, "mixed_precision": "no"}),
    ("fp8-unet-precision", "flux", CUDA, {"fp8_base_unet": True, "mixed_precision": "no"}),
    ("fp8-device", "flux", CPU, {"fp8_base": True}),
    ("fp8-unsupported", "anima", CUDA, {"fp8_base": True}),
    ("fp8-unsupported", "anima", CUDA, {"fp8_base_unet": True}),
    ("fp8-scaled", "hunyuan_image", CUDA, {"fp8_base_unet": True}),
    ("fp8-scaled", "hunyuan_image", CUDA, {"fp8_base": True}),
    ("fp16-device", "sd15", MAC, {"mixed_precision": "fp16"}),
    ("fp16-on-cpu", "sd15", CPU, {"mixed_precision": "fp16"}),
    ("bf16-on-mps", "sd15", MAC, {}),
    ("fp32-on-cuda", "sd15", CUDA, {"mixed_precision": "no"}),
    ("sdxl-vae-nan", "sdxl", CUDA, {"mixed_precision": "fp16"}),
    ("fp16-flow", "flux", CUDA, {"mixed_precision": "fp16"}),
    ("swap-offload", "flux", CUDA, {"blocks_to_swap": 8, "cpu_offload_checkpointing": True}),
    ("swap-too-many", "flux", CUDA, {"blocks_to_swap": 36}),
    ("swap-device", "flux", CPU, {"blocks_to_swap": 8}),
    ("swap-unsloth", "anima", CUDA, {"unsloth_offload_checkpointing": True, "blocks_to_swap": 4}),
    ("split-mode", "flux", CUDA, {"split_mode": True}),
    (
        "offload-unet",
        "sdxl",
        CUDA,
        {"cpu_offload_checkpointing": True, "gradient_checkpointing": True},
    ),
    ("offload-idle", "flux", CUDA, {"cpu_offload_checkpointing": True}),
    ("offload-idle", "sd15", CUDA, {"cpu_offload_checkpointing": True}),
    ("xformers-device", "sd15", MAC, {"xformers": True, "sdpa": False, "mixed_precision": "no"}),
    ("attention-plain", "sd15", CUDA, {"sdpa": False}),
    ("attention-several", "sdxl", CUDA, {"mem_eff_attn": True}),
    ("attention-ignored", "flux", CUDA, {"mem_eff_attn": True}),
    (
        "workers-persistent",
        "sd15",
        CUDA,
        {"persistent_data_loader_workers": True, "max_data_loader_n_workers": 0},
    ),
    ("workers-spawned", "sd15", MAC, {"mixed_precision": "no", "max_data_loader_n_workers": 8}),
    ("lowram-highvram", "sd15", CUDA, {"lowram": True, "highvram": True}),
    ("flow-no-effect", "flux", CUDA, {"min_snr_gamma": 5.0}),
    ("v2-in-sdxl", "sdxl", CUDA, {"v2": True}),
    ("clip-skip-v2", "sd15", CUDA, {"v2": True, "clip_skip": 2}),
    ("clip-skip-sdxl", "sdxl", CUDA, {"clip_skip": 2}),
    ("adaptive-noise", "sd15", CUDA, {"adaptive_noise_scale": 0.1}),
    ("noise-random-alone", "sd15", CUDA, {"noise_offset_random_strength": True}),
    ("ip-noise-random-alone", "sd15", CUDA, {"ip_noise_gamma_random_strength": True}),
    ("v-pred-scale", "sd15", CUDA, {"scale_v_pred_loss_like_noise_pred": True}),
    ("v-pred-like", "sd15", CUDA, {"v_parameterization": True, "v_pred_like_loss": 0.5}),
    ("zero-snr", "sdxl", CUDA, {"zero_terminal_snr": True}),
    ("huber-idle", "sd15", CUDA, {"huber_c": 0.2}),
    ("timestep-range", "sd15", CUDA, {"min_timestep": 500, "max_timestep": 200}),
    ("chroma-mask", "flux", CUDA, {"model_type": "chroma", "guidance_scale": 0.0}),
    ("chroma-guidance", "flux", CUDA, {"model_type": "chroma", "apply_t5_attn_mask": True}),
    ("flux-guidance", "flux", CUDA, {"drop": ("guidance_scale",)}),
    ("flux-prediction", "flux", CUDA, {"drop": ("model_prediction_type",)}),
    ("flow-shift-idle", "flux", CUDA, {"discrete_flow_shift": 3.1}),
    ("weighting-idle", "flux", CUDA, {"weighting_scheme": "logit_normal"}),
    ("no-metadata", "sd15", CUDA, {"no_metadata": True}),
    ("upload-off", "sd15", CUDA, {"huggingface_repo_id": "me/it"}),
    ("upload-off", "sd15", CUDA, {"async_upload": True}),
    ("processes-device", "sd15", CUDA, {"launch": {"processes": 2}, "seed": 1}),
    ("processes-without-cards", "sd15", CPU, {"launch": {"processes": 2}, "seed": 1}),
    ("deepspeed-device", "sd15", CPU, {"launch": {"deepspeed": True}}),
    ("deepspeed-state", "sd15", CUDA, {"launch": {"deepspeed": True}, "save_state": True}),
    ("zero-idle", "sd15", CUDA, {"zero_stage": 3}),
    ("tracker-network", "sd15", CUDA, {"log_with": "wandb"}),
    ("debug-dataset", "sd15", CUDA, {"debug_dataset": True}),
    ("own-dataset-class", "sd15", CUDA, {"dataset_class": "my.Data"}),
    ("args-literal", "sd15", CUDA, {"optimizer_args": ["weight_decay=0.01", "amsgrad=true"]}),
    ("args-literal", "sd15", CUDA, {"lr_scheduler_args": ["a = 1"]}),
    ("optimizer-unknown", "sd15", CUDA, {"optimizer_type": "AdamW8bits"}),
    ("optimizer-twice", "sd15", CUDA, {"use_8bit_adam": True, "optimizer_type": "AdamW"}),
    ("optimizer-8bit-device", "sd15", CPU, {"optimizer_type": "AdamW8bit"}),
    (
        "optimizer-8bit-device",
        "sd15",
        MAC,
        {"optimizer_type": "PagedAdamW", "mixed_precision": "no"},
    ),
    ("optimizer-dadapt", "sd15", CUDA, {"optimizer_type": "DAdaptAdam", "learning_rate": 1.0}),
    ("optimizer-own-rate", "sd15", CUDA, {"optimizer_type": "Prodigy"}),
    ("optimizer-own-rate", "sd15", CUDA, {"optimizer_type": "prodigyplus.ProdigyPlusScheduleFree"}),
    ("masks-missing", "sd15", CUDA, {"masked_loss": True}),
    ("fused-adafactor", "sdxl", CUDA, {"fused_backward_pass": True}),
    (
        "fused-accumulation",
        "sdxl",
        CUDA,
        {
            "fused_backward_pass": True,
            "optimizer_type": "Adafactor",
            "gradient_accumulation_steps": 4,
        },
    ),
    ("adafactor-warmup", "sd15", CUDA, {"optimizer_type": "Adafactor", "lr_warmup_steps": 100}),
    ("rate-unset", "sd15", CUDA, {"drop": ("learning_rate",)}),
    ("rate-zero", "sd15", CUDA, {"unet_lr": 0.0, "text_encoder_lr": [0.0]}),
    (
        "train-only-both",
        "sd15",
        CUDA,
        {
            "network_train_unet_only": True,
            "network_train_text_encoder_only": True,
            "text_encoder_lr": [1e-5],
        },
    ),
    (
        "text-rate-unused",
        "sd15",
        CUDA,
        {"network_train_unet_only": True, "text_encoder_lr": [1e-5]},
    ),
    ("text-rate-first", "sd15", CUDA, {"text_encoder_lr": [1e-5, 2e-5]}),
    ("clip-rate-unset", "flux", CUDA, {"network_train_unet_only": False}),
    ("network-module", "flux", CUDA, {"network_module": "networks.lora"}),
    ("network-module", "sd15", CUDA, {"network_module": "networks.loar"}),
    ("network-foreign", "sd15", CUDA, {"network_module": "lycoris.kohya"}),
    ("network-args-form", "sd15", CUDA, {"network_args": ["conv_dim"]}),
    ("network-args-unknown", "sd15", CUDA, {"network_args": ["conv_dims=4"]}),
    ("network-args-switch", "flux", CUDA, {"network_args": ["split_qkv=true"]}),
    ("network-args-type", "sd15", CUDA, {"network_args": ["conv_dim=four"]}),
    ("network-args-type", "sd15", CUDA, {"network_args": ["block_dims=4,4"]}),
    ("network-args-type", "sdxl", CUDA, {"network_args": [f"block_dims={','.join(['4'] * 25)}"]}),
    ("network-args-type", "sd15", CUDA, {"network_args": ["down_lr_weight=bogus"]}),
    ("network-args-type", "sd15", CUDA, {"network_args": ["down_lr_weight=1.0"]}),
    ("network-args-type", "sd15", CUDA, {"network_args": ["mid_lr_weight=sine"]}),
    ("network-args-type", "sd15", CUDA, {"network_args": ["loraplus_lr_ratio=x"]}),
    ("network-args-type", "flux", CUDA, {"network_args": ["in_dims=4,4"]}),
    ("network-args-type", "flux", CUDA, {"network_args": ["train_blocks=both"]}),
    ("network-args-unknown", "flux", CUDA, OFT_FLUX),
    (
        "network-args-type",
        "sd15",
        CUDA,
        {"network_module": "networks.oft", "network_args": ["enable_conv=False"]},
    ),
    ("split-rank-dropout", "flux", CUDA, {"network_args": ["split_qkv=True", "rank_dropout=0.1"]}),
    ("anima-rank-dropout", "anima", CUDA, {"network_args": ["rank_dropout=0.1"]}),
    ("rank-unset", "sd15", CUDA, {"drop": ("network_dim",)}),
    ("alpha-unset", "sd15", CUDA, {"drop": ("network_alpha",)}),
    ("rank-positive", "sd15", CUDA, {"network_dim": 0}),
    ("alpha-positive", "sd15", CUDA, {"network_alpha": -1}),
    ("dropout-share", "sd15", CUDA, {"network_dropout": 1.5}),
    ("weights-rank", "sd15", CUDA, {"dim_from_weights": True}),
    ("sample-without-prompts", "sd15", CUDA, {"sample": {"every_n_epochs": 1}}),
    ("sample-never", "sd15", CUDA, {"sample": {"prompts": ["a"]}}),
    (
        "sample-interval",
        "sd15",
        CUDA,
        {"sample": {"prompts": ["a"], "every_n_epochs": 0, "at_first": True}},
    ),
    ("scheduler-unknown", "sd15", CUDA, {"lr_scheduler": "cosin"}),
    ("warmup-negative", "sd15", CUDA, {"lr_scheduler": "cosine", "lr_warmup_steps": -1}),
    ("warmup-constant", "sd15", CUDA, {"lr_warmup_steps": 100}),
    (
        "warmup-foreign",
        "sd15",
        CUDA,
        {"lr_warmup_steps": 100, "lr_scheduler_type": "CosineAnnealingLR"},
    ),
    ("min-lr-ratio", "sd15", CUDA, {"lr_scheduler": "cosine_with_min_lr"}),
    ("min-lr-idle", "sd15", CUDA, {"lr_scheduler": "cosine", "lr_scheduler_min_lr_ratio": 0.1}),
    ("adafactor-schedule", "sd15", CUDA, {"lr_scheduler": "adafactor:0.1"}),
    ("piecewise-steps", "sd15", CUDA, {"lr_scheduler": "piecewise_constant"}),
    ("plateau", "sd15", CUDA, {"lr_scheduler": "reduce_lr_on_plateau"}),
    ("restarts-idle", "sd15", CUDA, {"lr_scheduler": "cosine", "lr_scheduler_num_cycles": 3}),
    ("decay-idle", "sd15", CUDA, {"lr_scheduler": "cosine", "lr_decay_steps": 10}),
    (
        "schedule-free",
        "sd15",
        CUDA,
        {"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "cosine"},
    ),
    ("interval-zero", "sd15", CUDA, {"save_every_n_epochs": 0}),
    ("count-positive", "sd15", CUDA, {"max_train_epochs": 0}),
    ("seed-range", "sd15", CUDA, {"seed": -1}),
    ("seed-range", "sd15", CUDA, {"seed": 2**32}),
    ("rate-negative", "sd15", CUDA, {"learning_rate": -1e-4}),
    ("rate-negative", "sd15", CUDA, {"text_encoder_lr": [1e-5, -1e-5]}),
    ("workers-negative", "sd15", CUDA, {"max_data_loader_n_workers": -1}),
    ("cache-batch", "sd15", CUDA, {"vae_batch_size": 0, "cache_latents": True}),
    ("clip-skip-zero", "sd15", CUDA, {"clip_skip": 0}),
    ("timestep-bound", "sd15", CUDA, {"max_timestep": 1001}),
    ("negative-count", "sd15", CUDA, {"max_grad_norm": -1.0}),
    ("ratio-and-epochs", "sd15", CUDA, {"save_n_epoch_ratio": 2, "save_every_n_epochs": 1}),
    ("last-n-steps", "sd15", CUDA, {"save_every_n_steps": 100, "save_last_n_steps": 2}),
]
COMPANIONS = {  # rules that rightly speak together
    "full-both": {"full-fp16"},
    "train-only-both": {"rate-zero", "text-rate-unused"},
    "swap-offload": {"offload-idle"},
    "fp8-precision": {"fp32-on-cuda"},
    "fp8-unet-precision": {"fp32-on-cuda"},
    "rate-negative": {"text-rate-first"},
}


def names_of_cases() -> list[str]:
    """A rule's first case is called as the rule is (docs/silent-failures.md names it so), its others rule-2, rule-3."""
    rules = [rule for rule, *_ in BREAKS]
    earlier = [rules[:place].count(rule) for place, rule in enumerate(rules)]
    return [
        rule if not count else f"{rule}-{count + 1}"
        for rule, count in zip(rules, earlier, strict=True)
    ]


@pytest.mark.parametrize(("rule", "family", "machine", "settings"), BREAKS, ids=names_of_cases())
def test_each_rule_speaks_alone_when_it_is_broken(
    rule: str, family: str, machine: Machine, settings: dict[str, Any]
) -> None:
    found = judge(family, machine, **settings)
    assert rule in found
    assert set(found) - {rule} <= COMPANIONS.get(rule, set())


def test_cards_are_counted_against_the_processes_of_one_machine() -> None:
    assert judge("sd15", launch={"processes": 2, "machines": 2}, seed=1) == {}
    assert "processes-device" in judge("sd15", launch={"processes": 4, "machines": 2}, seed=1)


def test_every_rule_is_broken_by_one_of_these_cases() -> None:
    tried = {rule for rule, *_ in BREAKS}
    names = [rule.name for rule in RULES if isinstance(rule, Rule)]
    assert {*names, *(bound.rule for bound in BOUNDS)} <= tried
    assert len(RULES) - len(names) == 9, "a new finder needs a case of its own above"


def test_every_rule_speaks_of_an_option_its_families_have() -> None:
    outside = {"sample_prompts"}  # said in [sample]; the option is where the fault is shown
    for rule in (one for one in RULES if isinstance(one, Rule)):
        for family in rule.families or run_by("kohya"):
            known = options("kohya", FAMILIES[family].script)
            assert rule.key in known or rule.key in outside, (
                f"{rule.name}: {family} has no {rule.key}"
            )


def test_every_option_that_a_rule_asks_for_exists() -> None:
    """A rule that asks for a misspelt option would never speak, or always."""
    asking = {"flag", "is_set", "value", "number", "text", "words", "arguments", "everywhere"}
    asking |= {"anywhere", "where", "fault", "asks"}
    asked = {
        name
        for words in (
            *(bound.options for bound in BOUNDS),
            captions.FORBIDDEN,
            captions.LOST,
            captions.SPLITTERS,
            model.ATTENTION,
            *(
                names
                for one in tomllib.page(launch.__file__, "options.toml")["rule"]
                for names in (one["options"], one.get("beside", ()), one.get("without", ()))
            ),
        )
        for name in words
    }
    for path in Path(launch.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            words: list[ast.expr] = []
            if isinstance(node.func, ast.Attribute) and node.func.attr in asking:
                words = node.args[:1]
            asked |= {
                arg.value
                for arg in words
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            }
    known = {
        name for family in run_by("kohya").values() for name in options("kohya", family.script)
    }
    assert len(asked) > 90
    assert asked - known == set()


# What stands on the right side of a rule's edge.
EDGES: list[tuple[str, Machine, dict[str, Any]]] = [
    ("sd15", CUDA, {"lr_scheduler": "cosine", "lr_warmup_steps": 0.99}),
    ("sd15", CUDA, {"lr_scheduler": "cosine", "lr_warmup_steps": 1}),
    ("sd15", CUDA, {"lr_scheduler": "cosine", "lr_warmup_steps": 0}),
    ("sd15", CUDA, {"lr_scheduler": "adafactor", "optimizer_type": "Adafactor"}),
    (
        "sd15",
        CUDA,
        {
            "lr_scheduler": "warmup_stable_decay",
            "lr_scheduler_min_lr_ratio": 0.1,
            "lr_decay_steps": 10,
        },
    ),
    ("sd15", CUDA, {"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": 3}),
    ("sd15", CUDA, {"optimizer_type": "AdamWScheduleFree", "lr_scheduler": "constant"}),
    (
        "sd15",
        CUDA,
        {"lr_scheduler": "piecewise_constant", "lr_scheduler_args": ["step_rules='1:500,0.1'"]},
    ),
    ("sd15", CUDA, {"save_every_n_steps": 100, "save_last_n_steps": 100}),
    ("sd15", CUDA, {"save_last_n_steps": 2}),
    ("sd15", CUDA, {"save_n_epoch_ratio": 0, "save_every_n_epochs": 1}),
    ("sd15", CUDA, {"seed": 2**32 - 1}),
    ("sd15", CUDA, {"vae_batch_size": 0}),
    ("sd15", CUDA, {"training_comment": "", "console_log_file": "", "lr_scheduler_type": ""}),
    ("sdxl", CUDA, {"text_encoder_batch_size": 0}),
    ("sd15", CUDA, {"max_timestep": 1000, "min_timestep": 0}),
    ("sd15", CUDA, {"save_every_n_steps": 1, "validate_every_n_steps": 1, "validation_split": 0.1}),
    ("sd15", CUDA, {"skip_until_initial_step": True, "gradient_accumulation_steps": 1}),
    ("sd15", CUDA, {"train_batch_size": 1}),
    ("sd15", CUDA, {"network_dim": 1, "network_alpha": 0, "network_dropout": 0.99}),
    ("sd15", CUDA, {"max_train_epochs": 1}),
    (
        "sd15",
        CUDA,
        {
            "drop": ("network_dim", "network_alpha"),
            "dim_from_weights": True,
            "model": {"network_weights": "x.safetensors"},
        },
    ),
    ("sd15", CUDA, {"optimizer_type": "Prodigy", "learning_rate": 1.0}),
    ("sd15", CUDA, {"optimizer_type": "prodigy", "unet_lr": 1.0}),
    (
        "sd15",
        CUDA,
        {
            "optimizer_type": "Adafactor",
            "optimizer_args": ["relative_step=False"],
            "lr_warmup_steps": 9,
        },
    ),
    ("sd15", CUDA, {"optimizer_type": "adamw8bit"}),
    ("sd15", CUDA, {"optimizer_type": "torch.optim.AdamW"}),
    ("sd15", CUDA, {"optimizer_type": "NAdam"}),
    ("sdxl", CUDA, {"fused_backward_pass": True, "optimizer_type": "Adafactor"}),
    ("sd15", CUDA, {"text_encoder_lr": [1e-5]}),
    ("sd15", CUDA, {"unet_lr": 0.0, "text_encoder_lr": [1e-5]}),
    ("sd15", CUDA, {"unet_lr": 1e-4, "text_encoder_lr": 0}),
    ("sd15", CUDA, {"drop": ("learning_rate",), "unet_lr": 1e-4}),
    ("sd15", CUDA, {"text_encoder_lr": [1e-5, 1e-5]}),
    ("sd15", CUDA, {"optimizer_args": ["weight_decay=0.01", "betas=(0.9, 0.99)", "name='x'"]}),
    ("flux", CUDA, {"blocks_to_swap": 35}),
    ("hunyuan_image", CUDA, {"blocks_to_swap": 37}),
    ("flux", CUDA, {"cpu_offload_checkpointing": True, "gradient_checkpointing": True}),
    ("sd15", CUDA, {"xformers": True, "sdpa": False}),
    ("sd15", MAC, {"mixed_precision": "no", "max_data_loader_n_workers": 2}),
    ("sd15", CUDA, {"max_data_loader_n_workers": 8}),
    (
        "sd15",
        MAC,
        {
            "mixed_precision": "no",
            "max_data_loader_n_workers": 8,
            "persistent_data_loader_workers": True,
        },
    ),
    ("sd15", CUDA, {"persistent_data_loader_workers": True, "max_data_loader_n_workers": 1}),
    ("sd15", CUDA, {"enable_bucket": True, "min_bucket_reso": 512, "max_bucket_reso": 768}),
    ("sd15", CUDA, {"bucket_reso_steps": 128}),
    ("sd15", CUDA, {"bucket_reso_steps": 1}),
    ("sd15", CUDA, {"enable_bucket": True, "max_bucket_reso": 512, "bucket_no_upscale": True}),
    ("sdxl", CUDA, {"bucket_reso_steps": 32}),
    (
        "sd15",
        CUDA,
        {
            "enable_bucket": True,
            "resolution": "512,768",
            "min_bucket_reso": 512,
            "max_bucket_reso": 1152,
        },
    ),
    (
        "sd15",
        CUDA,
        {
            "keep_tokens": 1,
            "shuffle_caption": True,
            "keep_tokens_separator": "|||",
            "caption_separator": ", ",
        },
    ),
    ("sd15", CUDA, {"face_crop_aug_range": "1.0,2.0"}),
    ("sd15", CUDA, {"masked_loss": True, "alpha_mask": True}),
    (
        "sd15",
        CUDA,
        {"masked_loss": True, "subset": {"10_maya": {"conditioning_data_dir": "masks"}}},
    ),
    ("sd15", CUDA, {"validation_split": 0.0}),
    ("sd15", CUDA, {"validation_split": 0.99}),
    ("sd15", CUDA, {"min_timestep": 499, "max_timestep": 500}),
    ("sd15", CUDA, {"min_timestep": 500}),
    ("sd15", CUDA, {"loss_type": "huber", "huber_c": 0.2}),
    (
        "sd15",
        CUDA,
        {
            "v_parameterization": True,
            "zero_terminal_snr": True,
            "scale_v_pred_loss_like_noise_pred": True,
        },
    ),
    (
        "sd15",
        CUDA,
        {"noise_offset": 0.05, "adaptive_noise_scale": 0.1, "noise_offset_random_strength": True},
    ),
    ("flux", CUDA, {"model_type": "chroma", "apply_t5_attn_mask": True, "guidance_scale": 0.0}),
    ("flux", CUDA, {"timestep_sampling": "shift", "discrete_flow_shift": 3.1}),
    (
        "flux",
        CUDA,
        {
            "timestep_sampling": "sigma",
            "weighting_scheme": "logit_normal",
            "discrete_flow_shift": 3.0,
        },
    ),
    ("flux", CUDA, {"network_train_unet_only": False, "text_encoder_lr": [5e-5]}),
    ("flux", CUDA, {"network_args": ["train_t5xxl=False", "split_qkv=True"]}),
    ("flux", CUDA, {"min_snr_gamma": 0}),
    ("flux", CUDA, {"network_args": ["split_qkv=True", "module_dropout=0.1"]}),
    ("flux", CUDA, {"network_args": ["in_dims=[4, 4,4,4,4]", "rank_dropout=0.1"]}),
    ("anima", CUDA, {"network_args": ["train_llm_adapter=true", "verbose=False"]}),
    ("sd15", CUDA, {"network_args": [f"block_dims={','.join(['4'] * 25)}"]}),
    ("sdxl", CUDA, {"network_args": [f"block_dims={','.join(['4'] * 23)}"]}),
    ("sd15", CUDA, {"network_args": ["down_lr_weight=sine+0.5", "up_lr_weight=,0.5,1"]}),
    ("sdxl", CUDA, {"mixed_precision": "fp16", "no_half_vae": True}),
    ("sd15", CPU, {"mixed_precision": "bf16"}),
    ("sd15", CUDA, {"full_bf16": True}),
    ("sd15", CUDA, {"full_fp16": True, "mixed_precision": "fp16"}),
    ("flux", CUDA, {"fp8_base": True, "fp8_base_unet": True}),
    ("hunyuan_image", CUDA, {"fp8_base": True, "fp8_scaled": True}),
    ("sd15", CUDA, {"log_with": "tensorboard"}),
    ("sd15", CUDA, {"launch": {"processes": 1}}),
    ("sd15", CUDA, {"sample": {"prompts": ["a"], "every_n_epochs": 1}}),
    ("sd15", CUDA, {"sample": {"prompts": ["a"], "at_first": True}}),
    ("sd15", CUDA, {"sample": {"prompts": ["a"], "every_n_steps": 1}}),
    ("sd15", CUDA, {"cache_latents": True, "color_aug": False}),
    (
        "sd15",
        Machine("Linux", "x86_64", 8, 0, CUDA.gpus * 2),
        {"launch": {"processes": 2, "deepspeed": True}, "seed": 0, "zero_stage": 2},
    ),
]


@pytest.mark.parametrize(
    ("family", "machine", "settings"),
    EDGES,
    ids=[" ".join(f"{key}={value}" for key, value in case[2].items()) for case in EDGES],
)
def test_what_stands_on_the_right_side_of_an_edge_is_good(
    family: str, machine: Machine, settings: dict[str, Any]
) -> None:
    assert judge(family, machine, **settings) == {}


def test_a_fault_says_where_its_setting_came_from_and_what_to_do() -> None:
    found = judge("sd15", optimizer_type="AdamW8bits", optimizer_args=["amsgrad=true"])
    assert found["optimizer-unknown"].startswith(
        "error preset x [train] optimizer_type: no optimiser is called 'AdamW8bits'"
    )
    assert "Did you mean AdamW8bit?" in found["optimizer-unknown"]
    assert 'Write "amsgrad=True".' in found["args-literal"]


def test_an_unset_option_is_blamed_on_the_recipe() -> None:
    assert judge("sd15", drop=("learning_rate",))["rate-unset"].startswith(
        "error recipes/maya.toml [train] learning_rate: unset"
    )


def test_a_folder_of_its_own_settings_is_named() -> None:
    found = judge("sdxl", subset={"10_maya": {"shuffle_caption": True}})
    assert (
        "recipes/maya.toml:9 [dataset.subset.10_maya] shuffle_caption"
        in found["text-cache-captions"]
    )


def test_anima_may_drop_captions_while_text_is_cached() -> None:
    assert judge("anima", cache_text_encoder_outputs=True, caption_dropout_rate=0.1) == {}


def test_an_own_vae_stops_the_fear_of_sdxl_in_fp16() -> None:
    assert judge("sdxl", mixed_precision="fp16", model={"vae": "fix.safetensors"}) == {}


def test_schedule_free_optimisers_may_warm_up() -> None:
    assert judge("sd15", optimizer_type="AdamWScheduleFree", lr_warmup_steps=10) == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer_type": "Adamm"},
        {"lr_scheduler": "cosin"},
        {"lr_warmup_steps": 5},
        {"lr_scheduler": "cosine_with_min_lr"},
        {"optimizer_args": ["weight_decay=yes"]},
        {"masked_loss": True},
    ],
)
def test_what_the_embedded_trainer_finds_out_late_is_said_before_too(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("__init__", "optim/__init__", "optim/lr_scheduler"):  # a small torch to be asked
        file = tmp_path / "torch" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    train = {
        key: Setting(value, "recipe")
        for key, value in {"learning_rate": 1e-4, "network_dim": 4, **settings}.items()
    }
    recipe = Resolved(
        file=Path("fox.toml"),
        root=Path(),
        name="fox",
        trigger="fox",
        preset="",
        family="sd15",
        trainer="embedded",
        train=train,
    )
    assert [
        fault.where.partition("=")[0].split("]")[-1].split()[0]
        for fault in trainer("embedded").check(recipe, CPU)
    ] == [
        "lr_scheduler_min_lr_ratio"
        if settings == {"lr_scheduler": "cosine_with_min_lr"}
        else next(iter(settings))
    ]


OLD = Machine("Linux", "x86_64", 8, 64 << 30, (Gpu("An RTX 2080", 8 << 30, 7.5),))
NEW = Machine("Linux", "x86_64", 8, 64 << 30, (Gpu("An RTX 4090", 24 << 30, 8.9),))


@pytest.mark.parametrize(
    ("family", "machine", "settings", "rules"),
    [
        ("flux", CPU, {"frozen_linear": "nf4"}, ["few-bits-device"]),
        ("flux", OLD, {"frozen_linear": "fp8"}, ["few-bits-card"]),
        ("flux", OLD, {"frozen_linear": "int8"}, ["few-bits-card"]),
        ("flux", OLD, {"frozen_linear": "nf4"}, []),
        ("flux", NEW, {"frozen_linear": "fp8"}, []),
        ("flux", CUDA, {"frozen_linear": "fp8"}, []),  # a card of unknown kind
        ("sdxl", CPU, {"blocks_to_swap": 4, "gradient_checkpointing": True}, ["swap-device"]),
        ("sdxl", NEW, {"blocks_to_swap": 4, "gradient_checkpointing": True}, []),
        ("sd15", NEW, {"masked_loss": True}, ["masks-missing"]),
        ("sd15", NEW, {"alpha_mask": True}, []),
    ],
)
def test_what_the_embedded_trainer_needs_of_a_card_is_known_to_the_plan(
    family: str, machine: Machine, settings: dict[str, Any], rules: list[str]
) -> None:
    values = {**GOOD[""], **GOOD.get(family, {}), **settings}
    recipe = Resolved(
        file=Path("fox.toml"),
        root=Path(),
        name="fox",
        trigger="fox",
        preset="",
        family=family,
        trainer="embedded",
        train={key: Setting(value, "recipe") for key, value in values.items()},
    )
    assert [fault.rule for fault in trainer("embedded").check(recipe, machine)] == rules
