"""Number formats: what the scripts assert and what a device can do."""

from __future__ import annotations

from lorakit.trainers.rule import FLOW, Case, Rule, warning


def own_vae(case: Case) -> bool:
    return "vae" in case.resolved.model or case.is_set("vae")


RULES = (
    Rule(
        "full-fp16",
        "full_fp16",
        lambda c: c.flag("full_fp16") and c.precision != "fp16",
        'needs mixed_precision = "fp16".',
        "Set both or neither.",
    ),
    Rule(
        "full-bf16",
        "full_bf16",
        lambda c: c.flag("full_bf16") and c.precision != "bf16",
        'needs mixed_precision = "bf16".',
        "Set both or neither.",
    ),
    Rule(
        "full-both",
        "full_bf16",
        lambda c: c.flag("full_fp16") and c.flag("full_bf16"),
        "cannot be combined with full_fp16.",
        "Keep one.",
    ),
    Rule(
        "fp8-precision",
        "fp8_base",
        lambda c: c.flag("fp8_base") and c.precision == "no",
        'needs mixed_precision = "bf16" (or "fp16").',
        'Set mixed_precision = "bf16".',
    ),
    Rule(
        "fp8-unet-precision",
        "fp8_base_unet",
        lambda c: c.flag("fp8_base_unet") and c.precision == "no",
        'needs mixed_precision = "bf16" (or "fp16").',
        'Set mixed_precision = "bf16".',
    ),
    Rule(
        "fp8-device",
        "fp8_base",
        lambda c: (c.flag("fp8_base") or c.flag("fp8_base_unet")) and not c.cuda,
        "needs a CUDA card; this machine has none.",
        "Remove fp8_base and fp8_base_unet here.",
    ),
    warning(
        "fp8-unsupported",
        "fp8_base",
        lambda c: c.flag("fp8_base") or c.flag("fp8_base_unet"),
        "this family's script does not support it.",
        "Remove it.",
        families=("anima",),
    ),
    warning(
        "fp8-scaled",
        "fp8_base",
        lambda c: (c.flag("fp8_base") or c.flag("fp8_base_unet")) and not c.flag("fp8_scaled"),
        "this family's script wants fp8_scaled instead.",
        "Set fp8_scaled = true.",
        families=("hunyuan_image",),
    ),
    Rule(
        "fp16-device",
        "mixed_precision",
        lambda c: c.precision == "fp16" and c.machine.accelerator == "mps",
        "accelerate refuses fp16 on a Mac's GPU.",
        'Set mixed_precision = "no".',
    ),
    Rule(
        "fp16-on-cpu",
        "mixed_precision",
        lambda c: c.precision == "fp16" and c.machine.accelerator == "cpu",
        "fp16 fails at the first step on a CPU.",
        'Set mixed_precision = "bf16" or "no".',
    ),
    Rule(
        "bf16-on-mps",
        "mixed_precision",
        lambda c: c.precision == "bf16" and c.machine.accelerator == "mps",
        "accelerate refuses bf16 on a Mac's GPU.",
        'Set mixed_precision = "no".',
    ),
    Rule(
        "fp8-mode",
        "mixed_precision",
        lambda c: c.precision == "fp8",
        "the training scripts know no, fp16 and bf16 only.",
        'Set mixed_precision = "bf16"; fp8_base = true stores the base in fp8.',
    ),
    warning(
        "fp32-on-cuda",
        "mixed_precision",
        lambda c: c.precision == "no" and c.cuda,
        "trains in 32 bits: twice the memory, a fraction of the speed.",
        'Set mixed_precision = "bf16" (or "fp16" on older cards).',
    ),
    Rule(
        "sdxl-vae-nan",
        "no_half_vae",
        lambda c: c.precision == "fp16" and not c.flag("no_half_vae") and not own_vae(c),
        "SDXL's own VAE gives NaN in fp16, and the script trains on it silently.",
        "Set no_half_vae = true, or name the fp16-safe VAE as vae in [model].",
        families=("sdxl",),
    ),
    warning(
        "fp16-flow",
        "mixed_precision",
        lambda c: c.precision == "fp16",
        "this family is made for bf16; fp16 overflows easily.",
        'Set mixed_precision = "bf16".',
        families=FLOW,
    ),
)
