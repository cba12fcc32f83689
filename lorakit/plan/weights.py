"""Which files of weights a recipe asks for, where they are, and whether they are what they are
taken for: sd-scripts loads most mistakes silently. From headers alone; fetches nothing.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lorakit.errors import Fault, Severity
from lorakit.families import FAMILIES
from lorakit.families.family import BASE
from lorakit.recipe.options import Options
from lorakit.weights.finite import number_fault
from lorakit.weights.identify import PICKLED, Sniffed, sniff
from lorakit.weights.reference import WeightFile, fetched_path

DIT = "dit"  # musubi-tuner's word for it
ALIKE = {"wan22": "wan21", "flux_kontext": "flux"}  # in their layers
COMPLETE = {"checkpoint", "diffusers"}
NAMES = {
    "lora": "a LoRA",
    "vae": "a VAE",
    "text_encoder": "a text encoder",
    "embedding": "a textual-inversion embedding",
    "controlnet": "a ControlNet",
    "unet": "a U-Net alone",
}
# What the other files of a family must be: option -> (kind, family or variant, in words).
PARTS = {
    "clip_l": ("text_encoder", "clip_l", "clip_l.safetensors"),
    "t5xxl": ("text_encoder", "t5xxl", "t5xxl_fp16.safetensors (or the fp8 one)"),
    "ae": ("vae", "flux", "ae.safetensors"),
    "vae": ("vae", "", "an SD VAE with 4 latent channels"),
}
TITLES = {"sd2": "Stable Diffusion 2", **{name: family.title for name, family in FAMILIES.items()}}


def weight_files(options: Options) -> tuple[tuple[WeightFile, ...], list[Fault]]:
    """All that the recipe names, and a fault for each that is missing or malformed."""
    found: list[WeightFile] = []
    faults: list[Fault] = []
    hashes = stated_hashes(options)

    def blame(key: str, what: str, hint: str, rule: str) -> None:
        severity: Severity = "note" if rule == "weights-to-fetch" else "error"
        faults.append(options.fault(key, what, hint, rule, severity, section="model"))

    for weight in options.about.weights:
        key = weight.key
        asked = str(options.said("model", key) or "")
        from_hub = asked.startswith("hf:")
        if not asked:
            option, value = weight.idle_with
            if weight.required and not (option and options.text(option) == value):
                hint = f'Write {key} = "path" or "hf:owner/repo/file".'
                blame(key, f"is not set: {weight.what}.", hint, "weights-missing")
            continue
        path = fetched_path(asked) if from_hub else options.resolved.path_of(asked)
        if path is None:
            hint = "Write hf:owner/repo/file@revision."
            blame(key, f"{asked!r} is not a valid hub reference.", hint, "hub-reference")
            continue
        here = path.exists()
        reference = asked if from_hub else ""
        found.append(WeightFile(weight.option, asked, path, reference, here, hashes.get(key, "")))
        if here:
            continue
        if from_hub:
            what = f"{asked} is fetched when training starts, and checked then."
            blame(key, what, "", "weights-to-fetch")
        else:
            what = f"there is no {path}."
            if os.path.islink(path):
                what = f"{path} is a link to {os.readlink(path)}, which cannot be reached."
            blame(key, what, f"It should be {weight.what}.", "weights-not-there")
    return tuple(found), faults


def stated_hashes(options: Options) -> dict[str, str]:
    """[model] sha256 by the keys of [model]; one text alone is the base's."""
    given = options.said("model", "sha256") or {}
    table = given if isinstance(given, dict) else {"base": given}
    return {key: str(value) for key, value in table.items()}


def weight_faults(options: Options, weights: Sequence[WeightFile]) -> Iterator[Fault]:
    """For every file that is here."""
    for weight in weights:
        path = weight.path
        if not weight.present:
            if weight.reference and path.suffix.lower() in PICKLED:  # before gigabytes are fetched
                yield _pickle(options, path)
            continue
        found = sniff(path)
        if found.kind == "broken":
            yield Fault(str(path), f"{found.problem}.", "", "model-broken")
        elif found.kind == "pickle":
            yield _pickle(options, path)
        elif weight.option == BASE:
            yield from base_faults(options, found)
        elif weight.option == DIT:
            yield from _dit_faults(options, found)
        elif weight.option in PARTS:
            yield from _part(options, weight.option, found)
    if options.is_set("network_weights"):
        yield from start_faults(options, Path(options.text("network_weights")))


def base_faults(options: Options, found: Sniffed) -> Iterator[Fault]:
    where, family = str(found.path), options.about
    if found.kind in NAMES:
        yield _part_as_base(options, found)
        return
    if found.kind not in COMPLETE or not found.family:
        what = "its layers fit no model known here; whether it works shows when it loads."
        yield Fault(where, what, "", "model-unknown", "warning")
        return
    if found.family not in {family.name, "sd2" if family.name == "sd15" else ""}:
        yield _other_family(options, found)
        return
    yield from _kind_of_sd(options, found)
    if family.name == "flux":
        yield from _flux_kind(options, found)
    if not family.flow:
        yield from _missing_parts(options, found)


def _dit_faults(options: Options, found: Sniffed) -> Iterator[Fault]:
    if found.kind in NAMES:
        yield _part_as_base(options, found)
    elif found.family and found.family != ALIKE.get(options.family, options.family):
        yield _other_family(options, found)


def _other_family(options: Options, found: Sniffed) -> Fault:
    hint = "Take another base."
    if found.family in FAMILIES:
        hint = f'Take a preset with family = "{found.family}", or another base.'
    title = TITLES.get(found.family, found.family)
    what = f"is a {title} model; the recipe trains {options.about.title}."
    return Fault(str(found.path), what, hint, "model-family")


def _part_as_base(options: Options, found: Sniffed) -> Fault:
    hint = f"[model] base takes {options.about.weights[0].what}."
    what = f"is {NAMES[found.kind]}, not a base model."
    return Fault(str(found.path), what, hint, "model-is-part")


def start_faults(options: Options, path: Path) -> Iterator[Fault]:
    """network_weights: the LoRA to go on from."""
    where = str(path)
    if not path.exists():
        what = "there is no such file to start from (network_weights)."
        yield Fault(where, what, "", "start-not-there")
        return
    found = sniff(path)
    if found.kind != "lora":
        what = f"is {NAMES.get(found.kind, 'not a LoRA')}; network_weights takes a LoRA."
        yield Fault(where, what, found.problem, "start-is-no-lora")
        return
    if found.family and found.family != options.family:
        title = TITLES.get(found.family, found.family)
        what = f"is a LoRA for {title}; the recipe trains {options.about.title}."
        yield Fault(where, what, "", "start-family")
    if problem := number_fault(path):
        hint = "Take another checkpoint, from before it broke."
        yield Fault(where, f"{problem}; nothing can be trained on from it.", hint, "start-numbers")
    tensors = found.header.tensors if found.header else {}
    downs = (one for key, one in tensors.items() if key.endswith("lora_down.weight"))
    rank = next((one.shape[0] for one in downs if one.shape), 0)
    if rank and rank != options.rank and not options.flag("dim_from_weights"):
        what = f"has rank {rank}, the recipe says network_dim = {options.rank}: loading would fail."
        hint = f"Set network_dim = {rank}, or dim_from_weights = true."
        yield Fault(where, what, hint, "start-rank")


def _kind_of_sd(options: Options, found: Sniffed) -> Iterator[Fault]:
    where = str(found.path)
    if found.variant in {"inpaint", "edit", "refiner"}:
        article = "a" if found.variant == "refiner" else "an"
        what = f"is {article} {found.variant} model; its layers do not fit the training script."
        yield Fault(where, what, "Take the ordinary base.", "model-variant")
    if found.family == "sd2" and not options.flag("v2"):
        yield Fault(where, "is a Stable Diffusion 2 model.", "Set v2 = true.", "model-v2")
    if found.family == "sd15" and options.flag("v2"):
        what = "is a Stable Diffusion 1 model, but v2 = true."
        yield Fault(where, what, "Remove v2.", "model-v2")
    if found.v_prediction and not options.flag("v_parameterization"):
        what = (
            "is a v-prediction model; trained as if it predicted noise, the LoRA would be useless."
        )
        hint = "Set v_parameterization = true and zero_terminal_snr = true."
        yield Fault(where, what, hint, "model-v-prediction")


def _flux_kind(options: Options, found: Sniffed) -> Iterator[Fault]:
    where = str(found.path)
    chroma = options.text("model_type") == "chroma"
    if found.variant == "chroma" and not chroma:
        hint = 'Set model_type = "chroma", apply_t5_attn_mask = true and guidance_scale = 0.0.'
        yield Fault(where, "is a Chroma model.", hint, "model-chroma")
    if found.variant in {"dev", "schnell"} and chroma:
        what = 'is a FLUX model, but model_type = "chroma".'
        yield Fault(where, what, "Remove model_type.", "model-chroma")
    if found.fp8 == "e5m2":
        what = "is stored as fp8 e5m2; the script loads only e4m3fn."
        yield Fault(where, what, "Take the e4m3fn file, or the bf16 one.", "model-fp8")
    if found.kind == "diffusers" or found.variant.startswith("diffusers"):
        what = "is in diffusers form, which sd-scripts' documentation calls unsupported."
        hint = "Take the single original file."
        yield Fault(where, what, hint, "model-diffusers", "warning")


def _missing_parts(options: Options, found: Sniffed) -> Iterator[Fault]:
    where = str(found.path)
    if not found.has_vae and not options.value("vae"):
        hint = "Name one as vae in [model], or take the full checkpoint."
        yield Fault(where, "has no VAE inside.", hint, "model-no-vae")
    if not found.has_text:
        hint = "Take the full checkpoint."
        yield Fault(where, "has no text encoder inside.", hint, "model-no-text")
    if found.fp8:
        what = f"is stored as fp8 {found.fp8}, which this family's script is not made for."
        yield Fault(where, what, "Take the fp16 file.", "model-fp8", "warning")


def _part(options: Options, option: str, found: Sniffed) -> Iterator[Fault]:
    kind, which, wanted = PARTS[option]
    if option == "vae" and found.kind in COMPLETE and found.has_vae:
        return  # the script takes the VAE out of a complete model
    fits = found.kind == kind and which in {"", found.family, found.variant}
    if option == "vae" and found.kind == "vae":  # a flow model's own, or SD's
        fits = options.about.flow or found.family != "flux"
    if not fits and found.kind != "unknown":
        kind_of = found.variant or found.family
        said = f"{NAMES.get(found.kind, 'a base model')}{f' ({kind_of})' if kind_of else ''}"
        what = f"is {said}; {option} takes something else."
        wanted = "the family's own VAE" if option == "vae" and options.about.flow else wanted
        yield Fault(str(found.path), what, f"It wants {wanted}.", "part-is-other")


def _pickle(options: Options, path: Path) -> Fault:
    if options.said("model", "allow_pickle") is True:
        what = "is a pickled file: loading it runs whatever code is in it."
        hint = "allow_pickle lets it."
        return Fault(str(path), what, hint, "model-pickle-allowed", "warning")
    what = "is a pickled file, and loading one runs whatever code is in it."
    hint = "Take the .safetensors file, or set allow_pickle = true in [model] if you trust it."
    return Fault(str(path), what, hint, "model-pickle")
