"""What parity.py compares: the cases, and the files that both trainers read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import toml
import torch
from tiny_bases import make_tiny

from lorakit.families import FAMILIES
from lorakit.trainers import tokenizers

COMMON: dict[str, Any] = {
    "seed": 7,
    "network_dim": 4,
    "network_alpha": 2,
    "learning_rate": 1e-3,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "mixed_precision": "no",
    "save_precision": "float",
    "cache_latents": True,
    "sdpa": True,
    "max_data_loader_n_workers": 0,
}
FLUX = {
    "network_module": "networks.lora_flux",
    "network_train_unet_only": True,
    "cache_text_encoder_outputs": True,
    "guidance_scale": 1.0,
    "cache_text_encoder_outputs_to_disk": True,
    "timestep_sampling": "flux_shift",
    "model_prediction_type": "raw",
    "t5xxl_max_token_length": 128,
}
UNET_ONLY = {"network_train_unet_only": True}


@dataclass(frozen=True)
class Case:
    family: str
    options: Mapping[str, Any] = field(default_factory=dict)
    mask: str = ""  # "alpha" of the picture, or in a "folder" of masks
    lycoris: tuple[str, ...] = ()  # its network_args: needs the package lycoris-lora there


CASES = {
    "plain": Case("sd15"),
    "weighed": Case(
        "sd15",
        {
            "clip_skip": 2,
            "max_token_length": 150,
            "min_snr_gamma": 5.0,
            "noise_offset": 0.05,
            "max_grad_norm": 0.1,
        },
    ),
    "v": Case(
        "sd15",
        {
            "v_parameterization": True,
            "zero_terminal_snr": True,
            "network_train_unet_only": True,
            "loss_type": "huber",
            "huber_schedule": "snr",
        },
    ),
    "conv": Case(
        "sd15", {"network_args": ["conv_dim=2", "conv_alpha=1"], "network_train_unet_only": True}
    ),
    "alpha": Case("sd15", {**UNET_ONLY, "alpha_mask": True}, "alpha"),
    "masks": Case("sd15", {**UNET_ONLY, "masked_loss": True}, "folder"),
    "dora": Case("sd15", UNET_ONLY, lycoris=("algo=lora", "dora_wd=True", "preset=attn-mlp")),
    "loha": Case("sd15", UNET_ONLY, lycoris=("algo=loha", "preset=attn-mlp")),
    "lokr": Case("sd15", UNET_ONLY, lycoris=("algo=lokr", "factor=8", "preset=attn-mlp")),
    "sdxl": Case(
        "sdxl",
        {"network_train_unet_only": True, "cache_text_encoder_outputs": True, "no_half_vae": True},
    ),
    "flux": Case("flux", FLUX),
    "flux-masked": Case(
        "flux",
        {
            **FLUX,
            "apply_t5_attn_mask": True,
            "timestep_sampling": "sigma",
            "model_prediction_type": "sigma_scaled",
            "guidance_scale": 3.5,
        },
    ),
}


def write_inputs(
    case: Case, folder: Path, steps: int, weights: Mapping[str, Path]
) -> dict[str, Path]:
    """One picture, `steps` repeats, and the same recipe for both, except for where the output
    goes. The picture is wide, and cut to its bucket: sides and edges are not to be mixed up. With a
    mask it is square: kohya squeezes those of a folder where the picture is cut, and what scaling
    rounds otherwise, one of 255, shows in the loss (1.3e-5).
    """
    from PIL import Image

    wide, high = size = (64, 64) if case.mask else (200, 70)  # a bucket of 192 x 64

    images = folder / "images"
    images.mkdir(parents=True)
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    (pixels,) = torch.nn.functional.interpolate(coarse, size=(high, wide), mode="bilinear")
    picture = Image.fromarray((pixels.permute(1, 2, 0) * 255).byte().numpy())
    mask = Image.radial_gradient("L").resize(size)
    if case.mask == "alpha":
        picture.putalpha(mask)
    picture.save(images / "one.png")
    caption = "a red fox in the snow, sitting, (looking back)"
    (images / "one.txt").write_text(caption, encoding="utf-8")
    subset = {"image_dir": str(images), "num_repeats": steps, "caption_extension": ".txt"}
    if case.mask == "folder":
        (folder / "masks").mkdir()
        mask.save(folder / "masks" / "one.png")
        subset["conditioning_data_dir"] = str(folder / "masks")
    buckets = {"enable_bucket": True, "min_bucket_reso": 64, "max_bucket_reso": 256}
    rules = {"resolution": 64} if wide == high else {"resolution": 128, **buckets}
    dataset = {"datasets": [{**rules, "batch_size": 1, "subsets": [subset]}]}
    (folder / "dataset.toml").write_text(toml.dumps(dataset), encoding="utf-8")
    paths = {"base": "pretrained_model_name_or_path"}
    words = {"network_module": "lycoris.kohya", "network_args": [*case.lycoris]}
    options = {
        **COMMON,
        "network_module": "networks.lora",
        **case.options,
        **(words if case.lycoris else {}),
        "max_train_steps": steps,
        "output_name": "lora",
        **{paths.get(key, key): str(path) for key, path in weights.items()},
    }
    files = {"dataset": folder / "dataset.toml"}
    for who in ("theirs", "ours"):
        own = {**options, "output_dir": str(folder / who)}
        if who == "theirs":
            own["tokenizer_cache_dir"] = str(tokenizers.ensure(FAMILIES[case.family].tokenizers))
        elif case.family == "flux":
            # its answers are given, not computed
            own["t5xxl"] = str(make_tiny("flux", folder / "tiny") / "text_encoder_2")
            own.pop("cache_text_encoder_outputs_to_disk")
        files[who] = folder / f"{who}.toml"
        files[who].write_text(toml.dumps(own), encoding="utf-8")
    return files


def text_outputs(images: Path, *, masked: bool) -> None:
    """FLUX: both get the same random text outputs, because a stand-in T5 of full size says nothing
    but zeros.
    """
    import numpy as np

    chance = np.random.default_rng(0)
    np.savez(
        images / "one_flux_te.npz",
        l_pooled=chance.standard_normal(768, dtype=np.float32),
        t5_out=chance.standard_normal((128, 4096), dtype=np.float32),
        txt_ids=np.zeros((128, 3), np.float32),
        t5_attn_mask=(np.arange(128) < 20).astype(np.int64),
        apply_t5_attn_mask=masked,
    )
