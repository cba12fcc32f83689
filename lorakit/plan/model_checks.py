"""Are the files of weights what the recipe takes them for? From their headers alone; sd-scripts
would load most mistakes without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved
from lorakit.weights.identify import PICKLED, Sniffed, sniff
from lorakit.weights.reference import WeightFile
from lorakit.weights.safetensors import HeaderError, read_header

BASE = "pretrained_model_name_or_path"
WHOLE = {"checkpoint", "diffusers"}
NAMES = {
    "lora": "a LoRA",
    "vae": "a VAE",
    "text_encoder": "a text encoder",
    "embedding": "a textual-inversion embedding",
    "controlnet": "a ControlNet",
    "unet": "a U-Net alone",
}
# What the other files of a family must be: option -> (kind, family or variant).
PARTS = {
    "clip_l": ("text_encoder", "clip_l"),
    "t5xxl": ("text_encoder", "t5xxl"),
    "ae": ("vae", "flux"),
    "vae": ("vae", ""),
}
TITLES = {"sd2": "Stable Diffusion 2", **{name: family.title for name, family in FAMILIES.items()}}


def weight_faults(resolved: Resolved, weights: Sequence[WeightFile]) -> Iterator[Fault]:
    """For every file that is here."""
    for weight in weights:
        if not weight.present:
            if (
                weight.reference and weight.path.suffix.lower() in PICKLED
            ):  # told before gigabytes are fetched
                yield from _pickle(resolved, weight.path)
            continue
        found = sniff(weight.path)
        where = f"{weight.path}"
        if found.kind == "broken":
            again = "Fetch or copy it again." if "cut short" in found.problem else ""
            yield Fault(where, f"{found.problem}.", again, "model-broken")
        elif found.kind == "pickle":
            yield from _pickle(resolved, weight.path)
        elif weight.option == BASE:
            yield from base_faults(resolved, found)
        elif weight.option in PARTS:
            yield from _part(weight.option, found)
    if "network_weights" in resolved.train:
        yield from start_faults(resolved, Path(read.text(resolved, "network_weights")))


def base_faults(resolved: Resolved, found: Sniffed) -> Iterator[Fault]:
    where = str(found.path)
    family = FAMILIES[resolved.family]
    if found.kind in NAMES:
        yield Fault(
            where,
            f"is {NAMES[found.kind]}, not a base model.",
            f"[model] base takes {family.weights[0].what}.",
            "model-is-part",
        )
        return
    if found.kind not in WHOLE or not found.family:
        yield Fault(
            where,
            "its layers are of no model known here; whether it fits shows when it loads.",
            "",
            "model-unknown",
            "warning",
        )
        return
    if found.family != resolved.family and not (
        found.family == "sd2" and resolved.family == "sd15"
    ):
        right = f'family = "{found.family}"' if found.family in FAMILIES else ""
        yield Fault(
            where,
            f"is a {TITLES.get(found.family, found.family)} model; the recipe trains"
            f" {family.title}.",
            f"Take a preset with {right}, or another base." if right else "Take another base.",
            "model-family",
        )
        return
    yield from _kind_of_sd(resolved, found)
    yield from _flux_kind(resolved, found)
    if resolved.family in {"sd15", "sdxl"}:
        yield from _missing_parts(resolved, found)


def start_faults(resolved: Resolved, path: Path) -> Iterator[Fault]:
    """network_weights: the LoRA to go on from."""
    if not path.exists():
        yield Fault(
            str(path),
            "there is no such file to start from (network_weights).",
            "",
            "start-not-there",
        )
        return
    found = sniff(path)
    if found.kind != "lora":
        told = NAMES.get(found.kind, "not a LoRA")
        yield Fault(
            str(path),
            f"is {told}; network_weights takes a LoRA.",
            found.problem,
            "start-is-no-lora",
        )
        return
    if found.family and found.family != resolved.family:
        yield Fault(
            str(path),
            f"is a LoRA for {TITLES.get(found.family, found.family)}; the recipe trains"
            f" {TITLES[resolved.family]}.",
            "",
            "start-family",
        )
    rank = _rank(path)
    wanted = read.whole(resolved, "network_dim", 4)
    if rank and rank != wanted and not read.flag(resolved, "dim_from_weights"):
        yield Fault(
            str(path),
            f"has rank {rank}, the recipe says network_dim = {wanted}: loading would fail.",
            f"Set network_dim = {rank}, or dim_from_weights = true.",
            "start-rank",
        )


def _kind_of_sd(resolved: Resolved, found: Sniffed) -> Iterator[Fault]:
    where = str(found.path)
    if found.variant in {"inpaint", "edit", "refiner"}:
        yield Fault(
            where,
            f"is an {found.variant} model; its layers do not fit the training script.".replace(
                "an refiner", "a refiner"
            ),
            "Take the ordinary base.",
            "model-variant",
        )
    if found.family == "sd2" and not read.flag(resolved, "v2"):
        yield Fault(where, "is a Stable Diffusion 2 model.", "Set v2 = true.", "model-v2")
    if found.family == "sd15" and read.flag(resolved, "v2"):
        yield Fault(
            where, "is a Stable Diffusion 1 model, but v2 = true.", "Remove v2.", "model-v2"
        )
    if found.v_prediction and not read.flag(resolved, "v_parameterization"):
        yield Fault(
            where,
            "is a v-prediction model; trained as if it predicted noise, the LoRA would be useless.",
            "Set v_parameterization = true and zero_terminal_snr = true.",
            "model-v-prediction",
        )


def _flux_kind(resolved: Resolved, found: Sniffed) -> Iterator[Fault]:
    if resolved.family != "flux":
        return
    where = str(found.path)
    chroma = read.text(resolved, "model_type", "flux") == "chroma"
    if found.variant == "chroma" and not chroma:
        yield Fault(
            where,
            "is a Chroma model.",
            'Set model_type = "chroma", apply_t5_attn_mask = true and guidance_scale = 0.0.',
            "model-chroma",
        )
    if found.variant in {"dev", "schnell"} and chroma:
        yield Fault(
            where,
            'is a FLUX model, but model_type = "chroma".',
            "Remove model_type.",
            "model-chroma",
        )
    if found.fp8 == "e5m2":
        yield Fault(
            where,
            "is stored as fp8 e5m2; the script loads only e4m3fn.",
            "Take the e4m3fn file, or the bf16 one.",
            "model-fp8",
        )
    if found.kind == "diffusers" or found.variant.startswith("diffusers"):
        yield Fault(
            where,
            "is in diffusers form, which sd-scripts' documentation calls unsupported.",
            "Take the single original file.",
            "model-diffusers",
            "warning",
        )


def _missing_parts(resolved: Resolved, found: Sniffed) -> Iterator[Fault]:
    if not found.has_vae and not resolved.get("vae"):
        yield Fault(
            str(found.path),
            "has no VAE inside.",
            "Name one as vae in [model], or take the full checkpoint.",
            "model-no-vae",
        )
    if not found.has_text:
        yield Fault(
            str(found.path),
            "has no text encoder inside.",
            "Take the full checkpoint.",
            "model-no-text",
        )
    if found.fp8:
        yield Fault(
            str(found.path),
            f"is stored as fp8 {found.fp8}, which this family's script is not made for.",
            "Take the fp16 file.",
            "model-fp8",
            "warning",
        )


def _part(option: str, found: Sniffed) -> Iterator[Fault]:
    kind, which = PARTS[option]
    if option == "vae" and found.kind in WHOLE and found.has_vae:
        return  # the script takes the VAE out of a whole model
    fits = found.kind == kind and which in {"", found.family, found.variant}
    if option == "vae" and found.kind == "vae" and found.family == "flux":
        fits = False
    if not fits and found.kind != "unknown":
        told = " ".join(
            filter(
                None, (NAMES.get(found.kind, "a base model"), f"({found.variant or found.family})")
            )
        )
        yield Fault(
            str(found.path),
            f"is {told.removesuffix(' ()')}; {option} takes something else.",
            _wanted(option),
            "part-is-other",
        )


def _wanted(option: str) -> str:
    return {
        "clip_l": "It wants clip_l.safetensors.",
        "t5xxl": "It wants t5xxl_fp16.safetensors (or the fp8 one).",
        "ae": "It wants ae.safetensors.",
        "vae": "It wants an SD VAE with 4 latent channels.",
    }[option]


def _pickle(resolved: Resolved, path: Path) -> Iterator[Fault]:
    allowed = resolved.model.get("allow_pickle")
    if allowed and allowed.value is True:
        yield Fault(
            str(path),
            "is a pickled file: loading it runs whatever code is in it.",
            "allow_pickle lets it.",
            "model-pickle-allowed",
            "warning",
        )
    else:
        yield Fault(
            str(path),
            "is a pickled file, and loading one runs whatever code is in it.",
            "Take the .safetensors file, or set allow_pickle = true in [model] if you trust it.",
            "model-pickle",
        )


def _rank(path: Path) -> int:
    """Of the first low-rank factor; 0 where there is none."""
    try:
        header = read_header(path)
    except HeaderError:
        return 0
    return next(
        (
            tensor.shape[0]
            for name, tensor in header.tensors.items()
            if name.endswith("lora_down.weight") and tensor.shape
        ),
        0,
    )
