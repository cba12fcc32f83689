"""What a run will need: the LoRA's size from its rank, states, caches, disk at its fullest, and an
honest range of memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lorakit.plan.model import Checkpoint, Estimate, Steps
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved
from lorakit.weights import anatomy, layers
from lorakit.weights.layers import Layer
from lorakit.weights.sizes import Base, base_of

GB = 1_000_000_000
ENTRY_BYTES = 125  # of one tensor in the header of a LoRA file, with its name and offsets
METADATA_BYTES = 8_000  # ss_* and modelspec; tag frequencies add to it
HALF = {"fp16": 2, "bf16": 2, "float16": 2, "bfloat16": 2}
SAMPLE_BYTES_PER_PIXEL = 1.6  # a PNG of a photo


@dataclass(frozen=True)
class Size:
    """Of a family's parts, in parameters; and how much activations take for one picture at its
    usual resolution, in GB.
    """

    unet: float
    text: float
    vae: float
    plain_gb: float  # activations without gradient checkpointing
    checkpointed_gb: float
    latent_channels: int
    text_bytes: int  # of one cached text-encoder output


UNETS = {"sd15": anatomy.SD15, "sdxl": anatomy.SDXL}
CLIP_L, CLIP_G = (768, 12, 3072), (1280, 32, 5120)
CLIPS = {"sd15": (CLIP_L,), "sdxl": (CLIP_L, CLIP_G), "flux": (CLIP_L,)}
SIZES = {
    "sd15": Size(0.86e9, 0.123e9, 0.084e9, 3.0, 0.7, 4, 0),
    "sdxl": Size(2.57e9, 0.818e9, 0.084e9, 9.0, 1.6, 4, 77 * 2048 * 4 + 1280 * 4),
    "flux": Size(11.9e9, 4.89e9, 0.084e9, 28.0, 3.5, 16, 512 * (4096 + 3 + 1) * 4 + 768 * 4),
}


def estimate(resolved: Resolved, steps: Steps) -> Estimate:
    """Bytes; zeros where the family's layers are not known here."""
    parts = lora_layers(resolved)
    data = sum(weights for _, weights in parts)
    lora = lora_data_bytes(resolved) + 3 * len(parts) * ENTRY_BYTES + METADATA_BYTES if parts else 0
    state = int(data * 4 * (1.5 if "8bit" in read.text(resolved, "optimizer_type").lower() else 3))
    cache = cache_bytes(resolved, steps)
    samples = len(steps.sample_steps) * _sample_bytes(resolved)
    low, high = memory(resolved, data)
    return Estimate(
        lora_bytes=lora,
        state_bytes=state,
        cache_bytes=cache,
        disk_bytes=peak(steps.checkpoints, lora, state) + cache + samples,
        memory_low=low,
        memory_high=high,
        basis=_basis(resolved),
    )


def lora_layers(resolved: Resolved) -> list[tuple[Layer, int]]:
    """Every module of the LoRA with the count of its numbers, alpha left out. Empty for a family
    or network that is not known here.
    """
    module = read.text(resolved, "network_module", "networks.lora")
    if (
        module not in {"networks.lora", "networks.lora_flux", "networks.dylora", "networks.lora_fa"}
        or resolved.family not in SIZES
    ):
        return []
    rank = read.whole(resolved, "network_dim", 4)
    network = read.arguments(resolved, "network_args")
    base = _base(resolved)
    linear = _linear_layers(resolved, network, base)
    convolutions: list[Layer] = []
    unet = base.unet if base else UNETS.get(resolved.family)
    conv_rank = int(network["conv_dim"]) if network.get("conv_dim", "").isdigit() else 0
    if unet and conv_rank and _trains_unet(resolved):
        convolutions = list(layers.conv_layers(unet))
    return [
        (layer, layer.weights(conv_rank if layer.kernel > 1 else rank))
        for layer in [*linear, *convolutions]
    ]


def lora_data_bytes(resolved: Resolved) -> int:
    """Bytes of the tensors alone, exact: the factors and one alpha for each module."""
    parts = lora_layers(resolved)
    return (sum(weights for _, weights in parts) + len(parts)) * _save_bytes(resolved)


def peak(checkpoints: Sequence[Checkpoint], lora: int, state: int) -> int:
    """Bytes of checkpoints and states at their fullest: what is kept, and beside it what is about
    to be removed.
    """

    def bytes_of(found: Iterable[Checkpoint]) -> int:
        return sum(state + lora if one.kind == "state" else lora for one in found)

    passing = [one for one in checkpoints if not one.kept]
    waiting = {one.kind: one for one in passing}.values()  # one of each kind at a time, roughly
    return bytes_of(one for one in checkpoints if one.kept) + bytes_of(waiting)


def cache_bytes(resolved: Resolved, steps: Steps) -> int:
    size = SIZES.get(resolved.family)
    if size is None:
        return 0
    images = {
        image.path: (bucket.width, bucket.height)
        for bucket in steps.buckets
        for image in bucket.images
    }
    total = 0
    if read.flag(resolved, "cache_latents_to_disk"):
        flips = 2 if read.flag(resolved, "flip_aug") else 1
        total += sum(
            flips * size.latent_channels * (width // 8) * (height // 8) * 4
            for width, height in images.values()
        )
    if read.flag(resolved, "cache_text_encoder_outputs_to_disk"):
        total += size.text_bytes * len(images)
    return total


def memory(resolved: Resolved, lora_weights: int) -> tuple[int, int]:
    """Low and high, in bytes, of the device that trains."""
    size = size_of(resolved)
    if size is None:
        return 0, 0
    precision = read.text(resolved, "mixed_precision", "no")
    width = HALF.get(precision, 4)
    unet_width = (
        1 if read.flag(resolved, "fp8_base") or read.flag(resolved, "fp8_base_unet") else width
    )
    swapped = (
        min(read.whole(resolved, "blocks_to_swap", 0), 35) / 57
        if resolved.family == "flux"
        else 0.0
    )
    text_gone = read.flag(resolved, "cache_text_encoder_outputs") and read.flag(
        resolved, "network_train_unet_only"
    )
    weights = size.unet * unet_width * (1 - swapped) + (
        0 if text_gone else size.text * (1 if read.flag(resolved, "fp8_base") else width)
    )
    vae = (
        0
        if read.flag(resolved, "cache_latents") or read.flag(resolved, "cache_latents_to_disk")
        else size.vae * width
    )
    optimiser = 6 if "8bit" in read.text(resolved, "optimizer_type").lower() else 12
    picture = (
        (size.checkpointed_gb if read.flag(resolved, "gradient_checkpointing") else size.plain_gb)
        * GB
        * (width / 2) ** 0.5
    )
    side = read.resolution(resolved)
    usual = {"sd15": 512}.get(resolved.family, 1024) ** 2
    pictures = picture * read.whole(resolved, "train_batch_size", 1) * side[0] * side[1] / usual
    base = weights + vae + lora_weights * (4 + optimiser)
    return int(base + 0.7 * pictures + 0.5 * GB), int(base * 1.1 + 1.5 * pictures + 2.0 * GB)


def size_of(resolved: Resolved) -> Size | None:
    """The family's, or that of a smaller base."""
    size, base = SIZES.get(resolved.family), _base(resolved)
    if size is None or base is None or not base.unet_count:
        return size
    narrow = base.unet.channels[0] / UNETS[resolved.family].channels[0]
    return replace(
        size,
        unet=base.unet_count,
        text=base.text_count,
        vae=base.vae_count,
        plain_gb=size.plain_gb * narrow,
        checkpointed_gb=size.checkpointed_gb * narrow,
    )


def _base(resolved: Resolved) -> Base | None:
    path = read.text(resolved, "pretrained_model_name_or_path")
    return base_of(Path(path)) if path and resolved.family in UNETS else None


def _linear_layers(resolved: Resolved, network: dict[str, str], base: Base | None) -> list[Layer]:
    found: list[Layer] = []
    if _trains_unet(resolved):
        found += (
            layers.unet_layers(base.unet if base else UNETS[resolved.family])
            if resolved.family in UNETS
            else layers.flux_layers(network.get("train_blocks", "all"))
        )
    if not read.flag(resolved, "network_train_unet_only"):
        for clip in base.clips if base else CLIPS[resolved.family]:
            found += layers.clip_layers(*clip)
        found += (
            layers.t5_layers()
            if resolved.family == "flux" and network.get("train_t5xxl") == "True"
            else ()
        )
    return found


def _trains_unet(resolved: Resolved) -> bool:
    return not read.flag(resolved, "network_train_text_encoder_only")


def _save_bytes(resolved: Resolved) -> int:
    precision = read.text(resolved, "save_precision")
    if not precision and (read.flag(resolved, "full_bf16") or read.flag(resolved, "full_fp16")):
        return 2
    return HALF.get(precision, 4)


def _sample_bytes(resolved: Resolved) -> int:
    setting = resolved.sample.get("prompts")
    count = len(setting.value) if setting and isinstance(setting.value, (list, tuple)) else 1
    width, height = read.resolution(resolved)
    return int(count * width * height * SAMPLE_BYTES_PER_PIXEL)


def _basis(resolved: Resolved) -> str:
    if resolved.family not in SIZES:
        return f"not known for {resolved.family}"
    parts = (
        "weights by count and number format, LoRA with its optimiser state, activations by pixels"
        " and batch"
    )
    if resolved.family == "flux" and read.whole(resolved, "blocks_to_swap", 0):
        return (
            f"rough: {parts}; sd-scripts' own table says 16 GB with some blocks swapped, 12 GB with"
            " 16, 10 GB with 22, 8 GB with 28"
        )
    return f"rough: {parts}; not measured on this machine"
