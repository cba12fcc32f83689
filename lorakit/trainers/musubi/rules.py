"""What musubi-tuner asserts, forbids or silently gets wrong, as far as settings and the machine
alone decide it.
"""

from collections.abc import Iterator

from lorakit.errors import Fault
from lorakit.trainers.rule import Case, Finder, apart, needs, on_cuda, swaps_at_most, unwanted

ATTENTION = ("sdpa", "flash_attn", "xformers", "flash3", "sage_attn")
WAN = ("wan21", "wan22")


def options_needed(case: Case) -> Iterator[Fault]:
    if not case.text("optimizer_type"):
        what = "is not set, and musubi-tuner has no optimiser of its own accord."
        hint = 'Write optimizer_type = "AdamW8bit", or "AdamW" where bitsandbytes is not installed.'
        yield case.fault("optimizer_type", what, hint, "musubi-optimizer")
    if not case.is_set("learning_rate"):
        what = "is not set, and the script's own 2e-6 teaches a LoRA nothing."
        yield case.fault("learning_rate", what, "Write learning_rate = 1e-4.", "musubi-rate")
    if not any(map(case.flag, ATTENTION)):
        what = "no attention is chosen, and the script stops without one."
        yield case.fault("sdpa", what, "Write sdpa = true.", "musubi-attention")
    dev = case.family == "flux2" and case.text("model_version") == "dev"
    if dev and case.flag("fp8_text_encoder"):
        what = "is not for dev: its text encoder is Mistral 3."
        yield case.fault("fp8_text_encoder", what, "Take it out.", "musubi-fp8-text")
    module = case.network_module.removeprefix("musubi_tuner.")
    if module not in {case.about.network_module, "networks.loha", "networks.lokr"}:
        what = f"{case.value('network_module')} is not made for this family."
        hint = "Leave network_module out, or write networks.loha or networks.lokr."
        yield case.fault("network_module", what, hint, "musubi-module")


def wan(case: Case) -> Iterator[Fault]:
    if case.family not in WAN:
        return
    task, border = case.text("task"), 900 if case.text("task").startswith("i2v") else 875
    if (case.machine.accelerator, case.precision) == ("cpu", "bf16"):
        what, hint = "bf16 fails on a CPU in Wan's model.", 'Set mixed_precision = "no".'
        yield case.warning("mixed_precision", what, hint, "musubi-cpu-wan")
    expert = task.endswith("A14B") and not case.is_set("dit_high_noise")
    low, high = case.integer("min_timestep"), case.integer("max_timestep")
    if expert and not (case.is_set("min_timestep") and case.is_set("max_timestep")):
        what = (
            "one expert of Wan 2.2 would be trained on all timesteps, also those it never sees in"
        )
        hint = (
            "Text to video: 875 and 1000 for high noise, 0 and 875 for low (image to video: 900)."
        )
        yield case.fault("min_timestep", f"{what} use.", hint, "musubi-expert-range")
    elif expert and (low, high) not in {(0, border), (border, 1000)}:
        what = "the experts change places at 875 (text to video) or 900 (image to video)."
        hint = "Then min_timestep and max_timestep are 0 and 875, or 875 and 1000."
        yield case.warning("min_timestep", what, hint, "musubi-expert-border")
    if task.startswith("i2v-14B") and not case.is_set("clip"):
        what = "is not set, and Wan 2.1's image to video reads the first frame through it."
        yield case.fault("clip", what, "Name the CLIP weights: [model] clip = ....", "musubi-clip")


def lora_file(case: Case) -> Iterator[Fault]:
    if not case.is_set("network_alpha") and case.rank > 1:
        what = "is not set: the script's 1 divides the rate by the rank."
        hint = "Write network_alpha = network_dim."
        yield case.warning("network_alpha", what, hint, "musubi-alpha")
    if case.text("save_precision") in {"fp32", "float"}:
        what = "writes files twice as large as bf16, and no program uses the difference."
        hint = 'Write save_precision = "bf16".'
        yield case.warning("save_precision", what, hint, "musubi-fp32-file")


RULES: tuple[Finder, ...] = (
    unwanted(
        "musubi-sage",
        "sage_attn",
        "cannot train: SageAttention has no backward pass.",
        "Write sdpa = true instead.",
    ),
    needs("musubi-fp8", "fp8_scaled", "fp8_base"),
    needs("musubi-fp8-krea", "fp8_base", "fp8_scaled", families=("krea2",)),
    apart("musubi-turbo-swap", "turbo_dit", "blocks_to_swap", families=("krea2",)),
    unwanted(
        "musubi-vae-type",
        "vae_dtype",
        "Qwen-Image's latent cacher stops at it.",
        "Take it out.",
        families=("qwen_image",),
    ),
    # One block less than there are, or what the model's own rule leaves.
    swaps_at_most("musubi-swap-too-many", {"qwen_image": 59, "flux_kontext": 35}),
    on_cuda("musubi-swap-device", "blocks_to_swap"),
    apart("musubi-offload", "offload_inactive_dit", "blocks_to_swap", families=WAN),
    *(options_needed, wan, lora_file),
)
