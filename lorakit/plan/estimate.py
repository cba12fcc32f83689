"""What a run will need: LoRA, states, caches, disk at its fullest, an honest range of memory; and
whether that fits.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from lorakit.errors import RecipeError
from lorakit.families import FAMILIES
from lorakit.families.family import Size
from lorakit.machine import Machine
from lorakit.plan.foreseen import Checkpoint, Estimate
from lorakit.plan.model import Steps, Verdict
from lorakit.recipe import presets
from lorakit.recipe.model import Resolved, Section
from lorakit.recipe.options import Options
from lorakit.recipe.reading import preset_values
from lorakit.weights import anatomy, sizes
from lorakit.weights.sizes import BaseShapes, LoraLayer, Shapes, base_of, covered, usual

GB = 1_000_000_000
ENTRY_BYTES = 125  # of one tensor in the header of a LoRA file, with its name and offsets
METADATA_BYTES = 8_000  # ss_* and modelspec; tag frequencies add to it
HALF = {"fp16": 2, "bf16": 2, "float16": 2, "bfloat16": 2}
FEW_BITS = {"fp8": 1, "int8": 1, "nf4": 0.5 + 4 / 64}  # a weight, by frozen_linear
# The most blocks that can be swapped, and so many hold all weights: SDXL's transformers 82 %.
SWAPPED = {"flux": (35, 57.0), "sdxl": (11, 11 / 0.82)}
SAMPLE_BYTES_PER_PIXEL = 1.6  # a PNG of a photo
NETWORKS = {"networks.lora", "networks.lora_flux", "networks.dylora", "networks.lora_fa"}
MEASURED_FAMILIES = {"sd15", "sdxl", "flux"}
UNETS = {"sd15": anatomy.SD15, "sdxl": anatomy.SDXL}
CLIP_L, CLIP_G = (768, 12, 3072), (1280, 32, 5120)
CLIPS = {"sd15": (CLIP_L,), "sdxl": (CLIP_L, CLIP_G), "flux": (CLIP_L,)}
NO_STEPS = Steps((), 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, (), (), "")
BELOW_A_RECIPE = ("preset ", "family ")  # how the sources of such settings begin


class Spread(NamedTuple):
    """From the sum of what is counted to a range: factors of it and of the activations, and bytes
    for the device's own context, work space and what the allocator holds back.
    """

    base: tuple[float, float]
    pictures: tuple[float, float]
    beside: tuple[float, float]


ROUGH = Spread((1.0, 1.1), (0.7, 1.5), (0.5 * GB, 3.1 * GB))
# Both trainers on one H100, peaks by the driver's count: tests/plan/test_memory_measured.py.
MEASURED = Spread((1.0, 1.0), (0.9, 1.1), (1.7 * GB, 3.1 * GB))


def estimate(options: Options, steps: Steps, device: str = "cuda") -> Estimate:
    """Bytes; zeros where the family's layers are not known here. `device`: cuda, mps or cpu."""
    parts = lora_layers(options)
    data = sum(weights for _, weights in parts)
    header = 3 * len(parts) * ENTRY_BYTES + METADATA_BYTES
    lora = data_bytes(options, parts) + header if parts else 0
    state = int(data * 4 * (1.5 if _in_8_bits(options) else 3))
    cache = cache_bytes(options, steps)
    width, height = options.resolution
    picture = int(len(options.prompts) * width * height * SAMPLE_BYTES_PER_PIXEL)
    samples = len(steps.sample_steps) * picture
    measured = device == "cuda" and _like_the_measured(options)
    low, high = memory(options, data, MEASURED if measured else ROUGH)
    return Estimate(
        lora_bytes=lora,
        state_bytes=state,
        cache_bytes=cache,
        disk_bytes=peak(steps.checkpoints, lora, state) + cache + samples,
        memory_low=low,
        memory_high=high,
        basis=_basis(options, measured=measured),
    )


def lora_layers(options: Options) -> list[tuple[LoraLayer, int]]:
    """Each with the count of its numbers, alpha left out; none where nothing is known."""
    if options.network_module not in NETWORKS or not options.about.size:
        return []
    network, base = options.arguments("network_args"), _base(options)
    found = _linear_layers(options, network, base)
    conv_rank = int(network["conv_dim"]) if network.get("conv_dim", "").isdigit() else 0
    if conv_rank and options.family in UNETS and _trains_unet(options):
        found += _of_unet(options, base, sizes.RESIDUAL)
    rank = options.rank
    return [(layer, layer.weights(conv_rank if layer.kernel > 1 else rank)) for layer in found]


def data_bytes(options: Options, parts: Sequence[tuple[LoraLayer, int]]) -> int:
    """Bytes of the tensors alone, exact: the factors and one alpha for each module."""
    return (sum(weights for _, weights in parts) + len(parts)) * _save_bytes(options)


def peak(checkpoints: Sequence[Checkpoint], lora: int, state: int) -> int:
    """Checkpoints and states at their fullest: what is kept, and what is about to be removed."""
    waiting = {one.kind: one for one in checkpoints if not one.kept}  # one of each kind at a time
    there = [*(one for one in checkpoints if one.kept), *waiting.values()]
    return sum(state + lora if one.kind == "state" else lora for one in there)


def cache_bytes(options: Options, steps: Steps) -> int:
    size = options.about.size
    if size is None:
        return 0
    areas = {
        (image.path, bucket.width, bucket.height): (bucket.width // 8) * (bucket.height // 8)
        for bucket in steps.buckets
        for image in bucket.images
    }
    total = 0
    if options.flag("cache_latents_to_disk"):
        flips = 2 if options.flag("flip_aug") else 1
        total += flips * size.latent_channels * 4 * sum(areas.values())
    if options.flag("cache_text_encoder_outputs_to_disk"):
        total += size.text_bytes * len({path for path, *_ in areas})
    return total


def memory(options: Options, lora_weights: int, spread: Spread) -> tuple[int, int]:
    """Low and high, in bytes, of the device that trains."""
    size = size_of(options)
    if size is None:
        return 0, 0
    width = HALF.get(options.precision, 4)
    blocks, most = options.integer("blocks_to_swap"), SWAPPED.get(options.family, (0, 1.0))
    swapped = min(blocks, most[0]) / most[1]
    held = FEW_BITS.get(options.text("frozen_linear"), 1 if options.fp8 else width)
    weights = size.unet * held * (1 - swapped)
    if not (options.flag("cache_text_encoder_outputs") and options.flag("network_train_unet_only")):
        weights += size.text * (1 if options.flag("fp8_base") else width)
    if not options.caches_latents:
        weights += size.vae * width
    gigabytes = size.checkpointed_gb if options.flag("gradient_checkpointing") else size.plain_gb
    side, usual = options.resolution, options.about.default_resolution
    pictures = gigabytes * GB * (width / 2) ** 0.5 * options.batch_size
    pictures *= side[0] * side[1] / usual**2
    base = weights + lora_weights * (4 + (6 if _in_8_bits(options) else 12))
    low, high = (
        int(base * of_base + pictures * of_pictures + beside)
        for of_base, of_pictures, beside in zip(*spread, strict=True)
    )
    return low, high


def size_of(options: Options) -> Size | None:
    """The family's, or that of a smaller base."""
    size, base = options.about.size, _base(options)
    if size is None or base is None:
        return size
    narrow = base.unet["conv_in.weight"][0] / UNETS[options.family].channels[0]
    return replace(
        size,
        unet=_count(base.unet),
        text=sum(map(_count, base.texts)),
        vae=_count(base.vae),
        plain_gb=size.plain_gb * narrow,
        checkpointed_gb=size.checkpointed_gb * narrow,
    )


def _like_the_measured(options: Options) -> bool:
    """A plain LoRA of the U-Net or transformer, half precision, the usual size, all cached."""
    side, usual = options.resolution, options.about.default_resolution
    return (
        options.family in MEASURED_FAMILIES
        and options.precision in HALF
        and side[0] * side[1] == usual**2
        and options.caches_latents
        and options.flag("network_train_unet_only")
        and options.network_module in NETWORKS
        and not options.integer("blocks_to_swap")
        and not options.text("frozen_linear")
        and size_of(options) == options.about.size
    )


def _count(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes.values()))


def _base(options: Options) -> BaseShapes | None:
    path = options.text("pretrained_model_name_or_path")
    return base_of(Path(path)) if path and options.family in UNETS else None


def _linear_layers(
    options: Options, network: dict[str, str], base: BaseShapes | None
) -> list[LoraLayer]:
    found: list[LoraLayer] = []
    if _trains_unet(options) and options.family in UNETS:
        found += _of_unet(options, base, sizes.TRANSFORMER)
    elif _trains_unet(options):
        blocks = sizes.FLUX.get(network.get("train_blocks", "all"), sizes.FLUX["all"])
        found += usual(blocks, anatomy.flux)
    if options.flag("network_train_unet_only"):
        return found
    if base:
        return [*found, *(one for text in base.texts for one in covered(sizes.CLIP, text.items()))]
    for clip in CLIPS[options.family]:
        found += usual(sizes.CLIP, anatomy.clip, *clip)
    if options.family == "flux" and network.get("train_t5xxl") == "True":
        found += usual(sizes.T5, anatomy.t5xxl)
    return found


def _of_unet(options: Options, base: BaseShapes | None, wanted: re.Pattern[str]) -> sizes.Layers:
    if base:
        return covered(wanted, base.unet.items())
    return usual(wanted, anatomy.unet, UNETS[options.family])


def _trains_unet(options: Options) -> bool:
    return not options.flag("network_train_text_encoder_only")


def _in_8_bits(options: Options) -> bool:
    return "8bit" in options.text("optimizer_type").lower()


def _save_bytes(options: Options) -> int:
    precision = options.text("save_precision")
    if not precision and (options.flag("full_bf16") or options.flag("full_fp16")):
        return 2
    return HALF.get(precision, 4)


def _basis(options: Options, *, measured: bool) -> str:
    if not options.about.size:
        return f"not known for {options.family}"
    if measured:
        return "by count of weights, LoRA, pixels and batch; measured on an H100 with both trainers"
    parts = (
        "weights by count and number format, LoRA with its optimiser state, activations by pixels"
        " and batch"
    )
    if options.family == "flux" and options.integer("blocks_to_swap"):
        return (
            f"rough: {parts}; sd-scripts' own table says 16 GB with some blocks swapped, 12 GB with"
            " 16, 10 GB with 22, 8 GB with 28"
        )
    return f"rough: {parts}; not measured"


class Fitting(NamedTuple):
    preset: presets.Preset
    needs: Estimate
    verdict: Verdict


def verdict(options: Options, needs: Estimate, machine: Machine) -> Verdict:
    """For the plan of one recipe; where it does not fit, with the largest preset that would."""
    found = Verdict.of(needs, machine.trains_on)
    if found.word != "does not fit":
        return found
    resolved = options.resolved
    own = {
        key: one
        for key, one in resolved.train.items()
        if not one.source.startswith(BELOW_A_RECIPE) and resolved.preset
    }
    others = fitting(machine, resolved.root, family=resolved.family, own=own)
    fit = [one.preset.name for one in others if one.verdict.word == "fits"]
    may = [one.preset.name for one in others if one.verdict.word == "may fit"]
    # the largest that fits, else the smallest that may
    better = f"{fit[-1]} would" if fit else f"{may[0]} might" if may else ""
    return replace(found, better=better)


def fitting(
    machine: Machine, root: Path, *, family: str = "", own: Section | None = None
) -> list[Fitting]:
    """Every readable preset (of a family), by what it needs, `own` settings over each."""
    found = list[Fitting]()
    for name in presets.names(root):
        try:
            page = presets.read(name, root)
            if page.family not in FAMILIES or (family and page.family != family):
                continue
            sections, _ = preset_values(page)
        except RecipeError:
            continue
        alone = Resolved(
            file=root / f"{page.name}.toml",
            root=root,
            name=page.name,
            trigger="",
            preset=page.name,
            family=page.family,
            trainer=page.trainer,
            train={**sections["train"], **(own or {})},
        )
        needs = estimate(Options(alone), NO_STEPS, machine.accelerator)
        found.append(Fitting(page, needs, Verdict.of(needs, machine.trains_on)))
    return sorted(found, key=lambda one: (one.needs.memory_high, one.preset.name))
