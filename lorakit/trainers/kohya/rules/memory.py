"""Attention, block swap, checkpointing and data-loader workers."""

from __future__ import annotations

from lorakit.trainers.rule import FLOW, UNET, Case, Rule, warning

ATTENTION = ("mem_eff_attn", "xformers", "sdpa")  # the scripts' order of preference
MOST_SWAPPED = {
    "flux": 35,
    "hunyuan_image": 37,
}  # both keep two double and two single blocks in place


def swaps(case: Case) -> bool:
    return case.number("blocks_to_swap") > 0


def attentions(case: Case) -> int:
    return sum(case.flag(key) for key in ATTENTION)


RULES = (
    Rule(
        "swap-offload",
        "blocks_to_swap",
        lambda c: swaps(c) and c.flag("cpu_offload_checkpointing"),
        "cannot be combined with cpu_offload_checkpointing.",
        "Keep one.",
        families=FLOW,
    ),
    Rule(
        "swap-too-many",
        "blocks_to_swap",
        lambda c: c.number("blocks_to_swap") > MOST_SWAPPED.get(c.family, 1000),
        "{value} is more than the model can spare.",
        "The most is 35 for FLUX (dev, schnell) and 37 for HunyuanImage.",
        families=tuple(MOST_SWAPPED),
    ),
    Rule(
        "swap-device",
        "blocks_to_swap",
        lambda c: swaps(c) and not c.cuda,
        "needs a CUDA card; this machine has none.",
        "Remove blocks_to_swap here.",
        families=FLOW,
    ),
    Rule(
        "swap-unsloth",
        "unsloth_offload_checkpointing",
        lambda c: (
            c.flag("unsloth_offload_checkpointing")
            and (swaps(c) or c.flag("cpu_offload_checkpointing"))
        ),
        "cannot be combined with blocks_to_swap or cpu_offload_checkpointing.",
        "Keep one.",
        families=("anima",),
    ),
    warning(
        "split-mode",
        "split_mode",
        lambda c: c.flag("split_mode"),
        "is deprecated.",
        "Write blocks_to_swap = 18 instead.",
        families=("flux",),
    ),
    Rule(
        "offload-unet",
        "cpu_offload_checkpointing",
        lambda c: c.flag("cpu_offload_checkpointing") and c.flag("gradient_checkpointing"),
        "the U-Net of this family cannot do it: the script ends with a TypeError after loading the"
        " model.",
        "Remove cpu_offload_checkpointing.",
        families=(*UNET, "sd3"),
    ),
    warning(
        "offload-idle",
        "cpu_offload_checkpointing",
        lambda c: c.flag("cpu_offload_checkpointing") and not c.flag("gradient_checkpointing"),
        "has no effect without gradient_checkpointing.",
        "Set gradient_checkpointing = true.",
    ),
    Rule(
        "xformers-device",
        "xformers",
        lambda c: c.flag("xformers") and not c.cuda,
        "needs a CUDA card; this machine has none.",
        "Use sdpa = true instead.",
    ),
    warning(
        "attention-plain",
        "sdpa",
        lambda c: attentions(c) == 0,
        "off: plain attention is slower and takes far more memory.",
        "Set sdpa = true.",
        families=UNET,
    ),
    warning(
        "attention-several",
        "sdpa",
        lambda c: attentions(c) > 1,
        "one of several kinds of attention: mem_eff_attn wins over xformers, xformers over sdpa.",
        "Keep one.",
        families=UNET,
    ),
    warning(
        "attention-ignored",
        "xformers",
        lambda c: c.flag("xformers") or c.flag("mem_eff_attn"),
        "this family's script always uses torch's own attention.",
        "Remove it.",
        families=("flux",),
    ),
    Rule(
        "workers-persistent",
        "persistent_data_loader_workers",
        lambda c: (
            c.flag("persistent_data_loader_workers") and c.number("max_data_loader_n_workers") == 0
        ),
        "needs at least one worker; the script ends with a ValueError after loading the model.",
        "Set max_data_loader_n_workers = 1, or remove it.",
    ),
    warning(
        "workers-spawned",
        "max_data_loader_n_workers",
        lambda c: (
            c.number("max_data_loader_n_workers") > 2
            and not c.flag("persistent_data_loader_workers")
            and c.machine.system != "Linux"
        ),
        "{value} workers are started anew at every epoch here, each for some 6 s and 0.9 GB.",
        "Set max_data_loader_n_workers = 2 or less, or persistent_data_loader_workers = true.",
    ),
    warning(
        "lowram-highvram",
        "lowram",
        lambda c: c.flag("lowram") and c.flag("highvram"),
        "contradicts highvram.",
        "Keep one.",
    ),
)
