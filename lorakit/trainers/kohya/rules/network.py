"""The network: its module, rank, alpha and arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lorakit.errors import Fault, did_you_mean
from lorakit.trainers.rule import UNET, Case, Rule, warning

LORAPLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
DROPOUT = ("rank_dropout", "module_dropout")
BLOCKS = (
    *("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"),
    *("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"),
)
REGEX = ("network_reg_dims", "network_reg_lrs")
CONV = ("conv_dim", "conv_alpha")
OFT = ("enable_all_linear", "enable_conv")

FLUX_DIMS = (
    *("img_attn_dim", "txt_attn_dim", "img_mlp_dim", "txt_mlp_dim", "img_mod_dim", "txt_mod_dim"),
    *("single_dim", "single_mod_dim", "in_dims"),
)
FLUX_BLOCKS = ("train_blocks", "train_double_block_indices", "train_single_block_indices")
SD3_DIMS = (
    *("context_attn_dim", "context_mlp_dim", "context_mod_dim"),
    *("x_attn_dim", "x_mlp_dim", "x_mod_dim", "emb_dims", "train_block_indices"),
)
LUMINA_DIMS = ("attn_dim", "mlp_dim", "mod_dim", "refiner_dim", "embedder_dims", "train_blocks")
GGPO = ("ggpo_beta", "ggpo_sigma")
T5 = ("split_qkv", "train_t5xxl", "verbose")


@dataclass(frozen=True)
class Module:
    families: tuple[str, ...]
    words: tuple[str, ...]  # what it reads from network_args; it ignores the rest silently


MODULES: Mapping[str, Module] = {
    "networks.lora": Module(UNET, (*CONV, *DROPOUT, *BLOCKS, *LORAPLUS)),
    "networks.lora_fa": Module(UNET, (*CONV, *DROPOUT, *BLOCKS)),
    "networks.dylora": Module(UNET, (*CONV, "unit", *LORAPLUS)),
    "networks.oft": Module(UNET, OFT),
    "networks.lora_flux": Module(
        ("flux",), (*CONV, *DROPOUT, *LORAPLUS, *REGEX, *FLUX_DIMS, *FLUX_BLOCKS, *GGPO, *T5)
    ),
    "networks.oft_flux": Module(("flux",), OFT),
    "networks.lora_sd3": Module(("sd3",), (*CONV, *DROPOUT, *LORAPLUS, *SD3_DIMS, *T5)),
    "networks.lora_lumina": Module(
        ("lumina",), (*CONV, *DROPOUT, *LORAPLUS, *LUMINA_DIMS, "split_qkv", "verbose")
    ),
    "networks.lora_hunyuan_image": Module(
        ("hunyuan_image",), (*CONV, *DROPOUT, *LORAPLUS, *REGEX, *GGPO, "split_qkv", "verbose")
    ),
    "networks.lora_anima": Module(
        ("anima",),
        (
            *(*DROPOUT, *LORAPLUS, *REGEX, "exclude_patterns", "include_patterns"),
            *("train_llm_adapter", "verbose"),
        ),
    ),
}
SWITCHES = ("split_qkv", "train_t5xxl", "verbose", "train_llm_adapter")  # exactly True or False


def fitting_module(case: Case) -> Iterator[Fault]:
    name = case.network_module
    known = MODULES.get(name)
    own = [one for one, about in MODULES.items() if case.family in about.families]
    use = f"Use {own[0]}."
    if known is None and name.startswith("networks."):
        what, hint = f"sd-scripts has no {name}.", did_you_mean(name, own) or use
        yield case.fault("network_module", what, hint, "network-module")
    elif known is not None and case.family not in known.families:
        what = f"{name} is for {' and '.join(known.families)}."
        yield case.fault("network_module", what, use, "network-module")


def network_words(case: Case) -> Iterator[Fault]:
    name, option = case.network_module, "network_args"
    known = MODULES.get(name)
    for word in case.words(option):
        key, equals, text = word.partition("=")
        if not equals or key != key.strip() or not key:
            what, hint = f'"{word}" is not of the form name=value.', "No spaces around the sign."
            yield case.fault(option, what, hint, "network-args-form")
        elif known and key not in known.words:
            what = f"{name} does not read {key}; it would be ignored silently."
            yield case.fault(option, what, did_you_mean(key, known.words), "network-args-unknown")
        elif key in SWITCHES and text not in {"True", "False"}:
            what = f"{key} must be exactly True or False; {text!r} counts as False."
            hint = f'Write "{key}={text.lower() == "true"}".'
            yield case.fault(option, what, hint, "network-args-switch")


RULES = (
    warning(
        "rank-unset",
        "network_dim",
        lambda c: not c.is_set("network_dim") and not c.flag("dim_from_weights"),
        "unset: the script would take 4.",
        "Set network_dim, e.g. 16.",
    ),
    warning(
        "alpha-unset",
        "network_alpha",
        lambda c: not c.is_set("network_alpha") and not c.flag("dim_from_weights"),
        "unset: the script's 1 makes a weak LoRA at any larger rank.",
        "Set network_alpha to network_dim or half of it.",
    ),
    Rule(
        "rank-positive",
        "network_dim",
        lambda c: c.is_set("network_dim") and c.number("network_dim") < 1,
        "{value} is not a valid rank.",
        "Write 1 or more, e.g. 16.",
    ),
    Rule(
        "alpha-positive",
        "network_alpha",
        lambda c: c.is_set("network_alpha") and c.number("network_alpha") < 0,
        "{value} is not a valid alpha.",
        "Write a number of 0 or more; 0 means the rank.",
    ),
    Rule(
        "dropout-share",
        "network_dropout",
        lambda c: not 0 <= c.number("network_dropout") < 1,
        "{value} is not a valid share.",
        "Write a share such as 0.1.",
    ),
    Rule(
        "weights-rank",
        "dim_from_weights",
        lambda c: (
            c.flag("dim_from_weights")
            and not (c.is_set("network_weights") or "network_weights" in c.resolved.model)
        ),
        "needs network_weights to take the rank from.",
        "Name network_weights in [model], or set network_dim.",
    ),
)
FINDERS = (fitting_module, network_words)
