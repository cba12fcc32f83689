"""From kohya's options to a Base: which kind of file or folder each one is, read from names and
headers alone.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.embedded.models import layouts
from lorakit.embedded.models.base import Base, Piece
from lorakit.embedded.models.weights import Tensors
from lorakit.errors import SetupError
from lorakit.families import FAMILIES
from lorakit.trainers.tokenizers import T5_HINT, has_tokenizer, t5_places
from lorakit.user_files import Missing
from lorakit.weights.identify import sniff

CONFIGS = Path(__file__).parent / "configs"
UNET = "model.diffusion_model."
FLUX_TEXT = (  # role, option, place in a folder, a tensor that a file has, what it then is
    ("clip", "clip_l", "text_encoder", "text_model.final_layer_norm.weight", "CLIP text encoder"),
    ("t5", "t5xxl", "text_encoder_2", "encoder.final_layer_norm.weight", "T5 encoder"),
)
OTHER_LAYERS = ("chroma", "refiner", "diffusers-dev", "diffusers-schnell")


def open_base(args: Any, family: str) -> Base:
    """The base model that kohya's options name; raises SetupError where a part is missing or
    belongs to another family.
    """
    path, flux = _path(args, "pretrained_model_name_or_path"), family == "flux"
    if path is None:
        raise SetupError("pretrained_model_name_or_path: no base model is named.")
    if not path.exists():
        raise SetupError(
            f"pretrained_model_name_or_path: {args.pretrained_model_name_or_path} does not exist.",
            hint="The embedded trainer reads files and diffusers folders on this machine;"
            " download the model first.",
        )
    if flux:
        denoiser, vae, *text = _flux(args, path)
    else:
        denoiser, vae, *text = _folder(path, family) if path.is_dir() else _file(path, family)
    apart = _path(args, "ae" if flux else "vae")
    if apart and not flux:
        vae = _vae(apart, "vae", family)
    notes = []
    prediction = "v_prediction" if _option(args, "v_parameterization") else "epsilon"
    if not flux and prediction == "epsilon" and sniff(path).v_prediction:
        right = "set v_parameterization = true and zero_terminal_snr = true."
        notes.append(f"{path} says that it predicts v; {right}")
    known, own_vae = _shipped(family)["vae"], "vae" if flux else None
    return Base(
        family=family,
        name=path.name,
        prediction="flow" if flux else prediction,
        denoiser=denoiser,
        vae=vae,
        text=tuple(text),
        tokenizers=tuple(
            _t5_folder(args, piece, path)
            if piece.role == "t5"
            else _clip_folder(args, family, place, path)
            for place, piece in enumerate(text)
        ),
        vae_scaling=vae.config.get("scaling_factor", known["scaling_factor"]),
        vae_shift=vae.config.get("shift_factor") or 0.0,
        vae_name=apart.name if apart else own_vae,
        clip_skip=_option(args, "clip_skip") if family == "sd15" else None,
        max_token_length=None if flux else _option(args, "max_token_length"),
        t5_length=_option(args, "t5xxl_max_token_length")
        or (512 if denoiser.config.get("guidance_embeds") else 256),
        t5_mask=bool(_option(args, "apply_t5_attn_mask")),
        notes=tuple(notes),
    )


def _folder(path: Path, family: str) -> list[Piece]:
    unet = _piece("unet", path / "unet")
    found = "sdxl" if unet.config.get("addition_embed_type") else "sd15"
    if found != family:
        what = f"this is {'an SDXL' if found == 'sdxl' else 'an SD1.5'} model"
        raise SetupError(f"{path}: {what}; the recipe's family is {family}.")
    pieces = [unet, _piece("vae", path / "vae"), _piece("clip", path / "text_encoder")]
    if family == "sdxl":
        pieces.append(_piece("clip_projected", path / "text_encoder_2"))
    return pieces


def _file(path: Path, family: str) -> list[Piece]:
    tensors, known = _of_family(path, family), _shipped(family)
    channels = tensors.shape(f"{UNET}input_blocks.0.0.weight")[1]
    if channels != known["unet"]["in_channels"]:
        raise SetupError(
            f"{path}: its U-Net takes {channels} channels (an inpainting or edit model); LoRA"
            " training needs the plain one."
        )

    def piece(role: str, config: Any, prefix: str, names: Any = None) -> Piece:
        return Piece(role, (path,), config, prefix, names)

    unet = piece("unet", known["unet"], UNET, layouts.ldm_unet)
    vae = piece("vae", known["vae"], "first_stage_model.", layouts.ldm_vae)
    if family == "sd15":
        return [unet, vae, piece("clip", known["text"][0], "cond_stage_model.transformer.")]
    first = piece("clip", known["text"][0], "conditioner.embedders.0.transformer.")
    inside = "conditioner.embedders.1.model."
    second = piece("clip_projected", known["text"][1], inside, layouts.open_clip)
    return [unet, vae, first, second]


def _flux(args: Any, path: Path) -> list[Piece]:
    whole, known = (path / "transformer").is_dir(), _shipped("flux")["text"]
    if path.is_dir():
        transformer = _piece("flux", path / "transformer" if whole else path)
    else:
        tensors = _of_family(path, "flux")
        prefix = "" if "img_in.weight" in tensors else UNET
        transformer = Piece("flux", (path,), layouts.flux_config(tensors, prefix), prefix)

    def part(option: str, inside: str) -> Path:
        given = _path(args, option)
        if given is None and not whole:
            raise SetupError(
                f"{option}: FLUX needs this file, and the base model is not a diffusers folder that"
                " has it."
            )
        return given or path / inside

    pieces = [transformer, _vae(part("ae", "vae"), "ae", "flux")]
    for (role, option, inside, mark, what), config in zip(FLUX_TEXT, known, strict=True):
        found = part(option, inside)
        if found.is_dir():
            pieces.append(_piece(role, found))
        elif mark in Tensors([found]):
            pieces.append(Piece(role, (found,), config))
        else:
            raise SetupError(f"{option}: {found} holds no {what}.")
    return pieces


def _vae(path: Path, option: str, family: str) -> Piece:
    """One given apart: a folder, or a file in either style of names."""
    if path.is_dir():
        return _piece("vae", path / "vae" if (path / "vae" / "config.json").is_file() else path)
    tensors, config = Tensors([path]), _shipped(family)["vae"]
    for prefix in ("", "first_stage_model.", "vae."):
        if f"{prefix}encoder.down.0.block.0.norm1.weight" in tensors:
            return Piece("vae", (path,), config, prefix, layouts.ldm_vae)
    if "encoder.down_blocks.0.resnets.0.norm1.weight" in tensors:
        return Piece("vae", (path,), config)
    raise SetupError(f"{option}: {path} holds no VAE.")


def _piece(role: str, folder: Path) -> Piece:
    """A folder of a diffusers model: config.json, and one or several files of weights."""
    try:
        config = json_text.read(folder / "config.json")
    except Missing:
        what = "there is no config.json; this is not a part of a diffusers model."
        raise SetupError(f"{folder}: {what}") from None
    files = sorted(folder.glob("*.safetensors"))
    shards = [file for file in files if "-of-" in file.name]
    single = [file for file in files if "-of-" not in file.name]
    # Beside the plain file there may be one of half precision, model.fp16.safetensors, which holds
    # less.
    plain = [[file for file in group if file.name.count(".") == 1] for group in (single, shards)]
    chosen = plain[0][:1] or plain[1] or single[:1] or shards
    if not chosen:
        pickles = [file.name for file in folder.glob("*.bin")]
        raise SetupError(
            f"{folder}: no .safetensors file"
            + (f", only {pickles[0]}, a pickle, which lorakit does not read." if pickles else ".")
        )
    names = layouts.folder_flux if role == "flux" else None
    return Piece(role, tuple(chosen), config, names=names)


def _of_family(path: Path, family: str) -> Tensors:
    """A file with a denoiser of this family, in the names of its makers."""
    tensors, found = Tensors([path]), sniff(path)
    model = found.kind == "checkpoint"
    if not model or found.family != family or found.variant in OTHER_LAYERS:
        what = f"{found.family} {found.variant}".strip() if model else ""
        what = what or "not a model that the embedded trainer knows"
        raise SetupError(f"{path}: this is {what}; the recipe's family is {family}.")
    return tensors


def _clip_folder(args: Any, family: str, place: int, base: Path) -> Path | None:
    """The model's own tokenizer, or the one kept in tokenizer_cache_dir; CLIP's table is the same
    everywhere and comes with the package.
    """
    places = [base / ("tokenizer", "tokenizer_2")[place]]
    if kept := _path(args, "tokenizer_cache_dir"):
        places.append(kept / FAMILIES[family].tokenizers[place].replace("/", "_"))
    for folder in places:
        if (folder / "vocab.json").is_file() or has_tokenizer(folder):
            return folder
    return None


def _t5_folder(args: Any, t5: Piece, base: Path) -> Path:
    kept = _option(args, "tokenizer_cache_dir") or ""
    places = t5_places(kept, t5.paths[0].parent, base if base.is_dir() else None)
    for place in places:
        if has_tokenizer(place):
            return place
    raise SetupError(
        "T5's tokenizer is not on this machine: no tokenizer.json in"
        f" {', '.join(map(str, places))}.",
        hint=T5_HINT,
    )


def _option(args: Any, name: str) -> Any:
    return getattr(args, name, None)


def _path(args: Any, option: str) -> Path | None:
    given = _option(args, option)
    return Path(str(given)).expanduser() if given else None


@cache
def _shipped(family: str) -> Mapping[str, Any]:
    return json_text.read(CONFIGS / f"{family}.json")
