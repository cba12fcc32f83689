"""From kohya's options to a Base: which kind of file or folder each one is, read from names and
headers alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from lorakit.embedded.models.base import Base, Piece
from lorakit.embedded.models.layouts import flux_config
from lorakit.embedded.models.weights import Tensors
from lorakit.errors import SetupError
from lorakit.families import FAMILIES
from lorakit.trainers.tokenizers import T5_HINT, has_tokenizer, t5_places

HERE = Path(__file__).parent
SCHEDULE = Path("scheduler") / "scheduler_config.json"


def open_base(args: Any, family: str) -> Base:
    """The base model that kohya's options name; raises SetupError where a part is missing or
    belongs to another family.
    """
    asked = str(_option(args, "pretrained_model_name_or_path") or "")
    if not asked:
        raise SetupError("pretrained_model_name_or_path: no base model is named.")
    path = Path(asked).expanduser()
    if not path.exists():
        raise SetupError(
            f"pretrained_model_name_or_path: {asked} does not exist.",
            hint="The embedded trainer reads files and diffusers folders on this machine;"
            " download the model first.",
        )
    if family == "flux":
        return _flux(args, path)
    base = _from_folder(args, path, family) if path.is_dir() else _from_file(args, path, family)
    return _with_vae(args, base)


# -- SD1.5 and SDXL


def _from_folder(args: Any, path: Path, family: str) -> Base:
    unet = _piece("unet", path / "unet")
    if bool(unet.config.get("addition_embed_type")) != (family == "sdxl"):
        raise SetupError(
            f"{path}: this is {'an SDXL' if unet.config.get('addition_embed_type') else 'an SD1.5'}"
            f" model; the recipe's family is {family}."
        )
    vae = _piece("vae", path / "vae")
    text = [_piece("clip", path / "text_encoder")]
    folders: list[Path | None] = [path / "tokenizer"]
    if family == "sdxl":
        text.append(_piece("clip_projected", path / "text_encoder_2"))
        folders.append(path / "tokenizer_2")
    notes = []
    if _json(path / SCHEDULE).get("prediction_type") == "v_prediction" and not _option(
        args, "v_parameterization"
    ):
        notes.append(f"{path} says that it predicts v; set v_parameterization = true.")
    tokenizers = [_clip_folder(args, family, place, own) for place, own in enumerate(folders)]
    return _sd(args, path, family, (unet, vae, *text), tokenizers=tokenizers, notes=notes)


def _from_file(args: Any, path: Path, family: str) -> Base:
    tensors = Tensors([path])
    found = _kind(tensors)
    if found != family:
        raise SetupError(
            f"{path}: this is {found or 'not a model that the embedded trainer knows'}; the"
            f" recipe's family is {family}."
        )
    known = _shipped(family)
    unet = Piece("unet", "ldm", (path,), known["unet"], "model.diffusion_model.")
    channels = tensors.shape("model.diffusion_model.input_blocks.0.0.weight")[1]
    if channels != known["unet"]["in_channels"]:
        raise SetupError(
            f"{path}: its U-Net takes {channels} channels (an inpainting or edit model); LoRA"
            " training needs the plain one."
        )
    vae = Piece("vae", "ldm", (path,), known["vae"], "first_stage_model.")
    if family == "sd15":
        prefix = "cond_stage_model.transformer."
        bare = f"{prefix}text_model.final_layer_norm.weight" not in tensors  # files of 2022
        text = [Piece("clip", "bare" if bare else "own", (path,), known["text"][0], prefix)]
    else:
        inside, (first, second) = "conditioner.embedders.", known["text"]
        text = [
            Piece("clip", "own", (path,), first, f"{inside}0.transformer."),
            Piece("clip_projected", "open_clip", (path,), second, f"{inside}1.model."),
        ]
    notes = []
    if "v_pred" in tensors and not _option(args, "v_parameterization"):
        notes.append(
            f"{path} says that it predicts v; set v_parameterization = true and zero_terminal_snr ="
            " true."
        )
    tokenizers = [_clip_folder(args, family, place, None) for place in range(len(text))]
    return _sd(args, path, family, (unet, vae, *text), tokenizers=tokenizers, notes=notes)


def _sd(
    args: Any,
    path: Path,
    family: str,
    pieces: tuple[Piece, ...],
    *,
    tokenizers: list[Path | None],
    notes: list[str],
) -> Base:
    shipped = _shipped(family)["vae"]["scaling_factor"]
    return Base(
        family=family,
        name=path.name,
        prediction="v_prediction" if _option(args, "v_parameterization") else "epsilon",
        denoiser=pieces[0],
        vae=pieces[1],
        text=pieces[2:],
        tokenizers=tuple(tokenizers),
        vae_scaling=pieces[1].config.get("scaling_factor", shipped),
        clip_skip=_option(args, "clip_skip") if family == "sd15" else None,
        max_token_length=_option(args, "max_token_length"),
        notes=tuple(notes),
    )


def _with_vae(args: Any, base: Base) -> Base:
    given = _option(args, "vae")
    if not given:
        return base
    piece = _vae_piece(Path(str(given)).expanduser(), "vae", base.family)
    return replace(
        base,
        vae=piece,
        vae_name=Path(str(given)).name,
        vae_scaling=piece.config.get("scaling_factor", base.vae_scaling),
    )


def _vae_piece(path: Path, option: str, family: str) -> Piece:
    """A VAE given apart: a folder, or a file in either style of names."""
    if path.is_dir():
        return _piece("vae", path / "vae" if (path / "vae" / "config.json").is_file() else path)
    tensors = Tensors([path])
    for prefix in ("", "first_stage_model.", "vae."):
        if f"{prefix}encoder.down.0.block.0.norm1.weight" in tensors:
            return Piece("vae", "ldm", (path,), _shipped(family)["vae"], prefix)
    if "encoder.down_blocks.0.resnets.0.norm1.weight" in tensors:
        return Piece("vae", "own", (path,), _shipped(family)["vae"])
    raise SetupError(f"{option}: {path} holds no VAE.")


# -- FLUX


def _flux(args: Any, path: Path) -> Base:
    folder = path if path.is_dir() and (path / "transformer").is_dir() else None
    if path.is_dir():
        transformer = _piece("flux", path / "transformer" if folder else path)
    else:
        tensors = Tensors([path])
        if _kind(tensors) != "flux":
            raise SetupError(
                f"{path}: this is {_kind(tensors) or 'not a FLUX transformer'}; the recipe's family"
                " is flux."
            )
        prefix = "" if "img_in.weight" in tensors else "model.diffusion_model."
        transformer = Piece("flux", "bfl", (path,), flux_config(tensors, prefix), prefix)
    ae = _flux_part(args, "ae", folder, "vae")
    vae = _vae_piece(ae, "ae", "flux")
    clip = _text_piece("clip", _flux_part(args, "clip_l", folder, "text_encoder"), 0)
    t5 = _text_piece("t5", _flux_part(args, "t5xxl", folder, "text_encoder_2"), 1)
    dev = bool(transformer.config.get("guidance_embeds"))
    return Base(
        family="flux",
        name=path.name,
        prediction="flow",
        denoiser=transformer,
        vae=vae,
        text=(clip, t5),
        tokenizers=(
            _clip_folder(args, "flux", 0, folder and folder / "tokenizer"),
            _t5_folder(args, t5, folder),
        ),
        vae_scaling=vae.config["scaling_factor"],
        vae_shift=vae.config.get("shift_factor") or 0.0,
        vae_name=ae.name,
        t5_length=_option(args, "t5xxl_max_token_length") or (512 if dev else 256),
        t5_mask=bool(_option(args, "apply_t5_attn_mask")),
    )


def _flux_part(args: Any, option: str, folder: Path | None, inside: str) -> Path:
    given = _option(args, option)
    if given:
        return Path(str(given)).expanduser()
    if folder is None:
        raise SetupError(
            f"{option}: FLUX needs this file, and the base model is not a diffusers folder that"
            " has it."
        )
    return folder / inside


def _text_piece(role: str, path: Path, place: int) -> Piece:
    if path.is_dir():
        return _piece(role, path)
    tensors = Tensors([path])
    known = dict(_shipped("flux")["text"][place])
    if role == "t5":
        if "encoder.final_layer_norm.weight" not in tensors:
            raise SetupError(f"t5xxl: {path} holds no T5 encoder.")
        return Piece("t5", "own", (path,), known)
    if "text_model.final_layer_norm.weight" not in tensors:
        raise SetupError(f"clip_l: {path} holds no CLIP text encoder.")
    return Piece("clip", "own", (path,), known)


def _t5_folder(args: Any, t5: Piece, folder: Path | None) -> Path:
    places = t5_places(_option(args, "tokenizer_cache_dir") or "", t5.paths[0].parent, folder)
    for place in places:
        if has_tokenizer(place):
            return place
    raise SetupError(
        "T5's tokenizer is not on this machine: no tokenizer.json in"
        f" {', '.join(map(str, places))}.",
        hint=T5_HINT,
    )


# -- options, folders and files


def _option(args: Any, name: str) -> Any:
    return getattr(args, name, None)


@cache
def _shipped(family: str) -> Mapping[str, Any]:
    config: dict[str, Any] = json.loads((HERE / "configs" / f"{family}.json").read_text("utf-8"))
    return config


def _json(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: not readable as JSON ({error}).") from error
    return value


def _piece(role: str, folder: Path) -> Piece:
    """A folder of a diffusers model: config.json, and one or several files of weights."""
    config = _json(folder / "config.json")
    if not config:
        raise SetupError(
            f"{folder}: there is no config.json; this is not a part of a diffusers model."
        )
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
    return Piece(role, "own", tuple(chosen), config)


def _kind(tensors: Tensors) -> str:
    """The family of a single file; another model's name where it is none of ours; empty where
    nothing is known.
    """
    if any(name.endswith("double_blocks.0.img_attn.qkv.weight") for name in tensors.entries):
        return "flux"
    if "model.diffusion_model.input_blocks.0.0.weight" not in tensors:
        return ""
    if "conditioner.embedders.1.model.ln_final.weight" in tensors:
        return "sdxl"
    return "SD2" if "cond_stage_model.model.ln_final.weight" in tensors else "sd15"


def _clip_folder(args: Any, family: str, place: int, own: Path | None) -> Path | None:
    """The model's own tokenizer, or the one kept in tokenizer_cache_dir; CLIP's table is the same
    everywhere and comes with the package.
    """
    places = [own] if own else []
    if _option(args, "tokenizer_cache_dir"):
        name = FAMILIES[family].tokenizers[place].replace("/", "_")
        places.append(Path(args.tokenizer_cache_dir).expanduser() / name)
    for folder in places:
        if (folder / "vocab.json").is_file() or (folder / "tokenizer.json").is_file():
            return folder
    return None
