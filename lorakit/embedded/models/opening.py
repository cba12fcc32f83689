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
TEXTS: Mapping[str, tuple[tuple[str, str, str, Any], ...]] = {
    # role, place in a folder, prefix in a file and its makers' names
    "sd15": (("clip", "text_encoder", "cond_stage_model.transformer.", None),),
    "sdxl": (
        ("clip", "text_encoder", "conditioner.embedders.0.transformer.", None),
        ("clip_projected", "text_encoder_2", "conditioner.embedders.1.model.", layouts.open_clip),
    ),
}
FLUX_TEXT = (  # role, option, place in a folder, a tensor that a file has, what it then is
    ("clip", "clip_l", "text_encoder", "text_model.final_layer_norm.weight", "CLIP text encoder"),
    ("t5", "t5xxl", "text_encoder_2", "encoder.final_layer_norm.weight", "T5 encoder"),
)
OTHER_LAYERS = ("chroma", "refiner", "diffusers-dev", "diffusers-schnell")


def open_base(args: Any, family: str) -> Base:
    """What kohya's options name; SetupError where a part is missing or of another family."""
    path, flux = _path(args, "pretrained_model_name_or_path"), family == "flux"
    if path is None or not path.exists():
        raise SetupError(
            f"pretrained_model_name_or_path: {args.pretrained_model_name_or_path} does not exist.",
            hint="The embedded trainer reads files and diffusers folders on this machine;"
            " download the model first.",
        )
    if flux:
        pieces = _flux(args, path)
    else:
        pieces = _folder(path, family) if path.is_dir() else _file(path, family)
        if apart := _path(args, "vae"):
            pieces[1] = _vae(apart, "vae", family)
    denoiser, vae, *text = pieces
    notes: tuple[str, ...] = ()
    prediction = "v_prediction" if _option(args, "v_parameterization") else "epsilon"
    if not flux and prediction == "epsilon" and sniff(path).v_prediction:
        right = "set v_parameterization = true and zero_terminal_snr = true."
        notes = (f"{path} says that it predicts v; {right}",)
    return Base(
        family=family,
        name=path.name,
        prediction="flow" if flux else prediction,
        denoiser=denoiser,
        vae=vae,
        text=tuple(text),
        tokenizers=tuple(
            _tokenizer(args, family, piece, place, path) for place, piece in enumerate(text)
        ),
        vae_scaling=vae.config.get("scaling_factor", _shipped(family)["vae"]["scaling_factor"]),
        vae_shift=vae.config.get("shift_factor") or 0.0,
        clip_skip=_option(args, "clip_skip") if family == "sd15" else None,
        max_token_length=None if flux else _option(args, "max_token_length"),
        t5_length=_option(args, "t5xxl_max_token_length")
        or (512 if denoiser.config.get("guidance_embeds") else 256),
        t5_mask=bool(_option(args, "apply_t5_attn_mask")),
        notes=notes,
    )


def _folder(path: Path, family: str) -> list[Piece]:
    unet = _piece("unet", path / "unet")
    found = "sdxl" if unet.config.get("addition_embed_type") else "sd15"
    if found != family:
        what = f"this is {'an SDXL' if found == 'sdxl' else 'an SD1.5'} model"
        raise SetupError(f"{path}: {what}; the recipe's family is {family}.")
    texts = (_piece(role, path / place) for role, place, *_ in TEXTS[family])
    return [unet, _piece("vae", path / "vae"), *texts]


def _file(path: Path, family: str) -> list[Piece]:
    tensors, known = _of_family(path, family), _shipped(family)
    channels = tensors.shape(f"{UNET}input_blocks.0.0.weight")[1]
    if channels != known["unet"]["in_channels"]:
        raise SetupError(
            f"{path}: its U-Net takes {channels} channels (an inpainting or edit model); LoRA"
            " training needs the plain one."
        )
    return [
        Piece("unet", (path,), known["unet"], UNET, layouts.ldm_unet),
        Piece("vae", (path,), known["vae"], "first_stage_model.", layouts.ldm_vae),
        *(
            Piece(role, (path,), config, prefix, names)
            for (role, _, prefix, names), config in zip(TEXTS[family], known["text"], strict=True)
        ),
    ]


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


def _tokenizer(args: Any, family: str, piece: Piece, place: int, base: Path) -> Path | None:
    """The model's own, else tokenizer_cache_dir's; CLIP's comes with this package."""
    kept = _option(args, "tokenizer_cache_dir") or ""
    if piece.role == "t5":
        places = t5_places(kept, piece.paths[0].parent, base if base.is_dir() else None)
    else:
        hub = FAMILIES[family].tokenizers[place].replace("/", "_")
        own = [Path(kept).expanduser() / hub] if kept else []
        places = [base / ("tokenizer", "tokenizer_2")[place], *own]
    for folder in places:
        table = piece.role != "t5" and (folder / "vocab.json").is_file()
        if table or has_tokenizer(folder):
            return folder
    if piece.role != "t5":
        return None
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
