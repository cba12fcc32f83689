"""A base model as people have it: one file or a folder, its parts loaded one at a time and only
when they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lorakit.embedded.models import layouts, prompts
from lorakit.embedded.models.clip import CLIPText
from lorakit.embedded.models.flux import Flux
from lorakit.embedded.models.prompts import ClipTokenizer, Conditioning, T5Tokenizer, Tokens
from lorakit.embedded.models.t5 import T5Encoder
from lorakit.embedded.models.unet import UNet
from lorakit.embedded.models.vae import VAE
from lorakit.embedded.models.weights import Layout, TensorPart, Tensors, fill, on_meta, same_names

Device = Any  # a torch.device or its name


@dataclass(frozen=True)
class Piece:
    """One network of the base: what it is, in which files, under which names."""

    role: str  # unet, flux, vae, clip, clip_projected, t5
    # own (diffusers and transformers names), ldm, bare (CLIP without text_model.), open_clip, bfl
    style: str
    paths: tuple[Path, ...]
    config: Mapping[str, Any]
    prefix: str = ""

    def load(self, dtype: torch.dtype, device: Device) -> nn.Module:
        module = on_meta(lambda: _build(self.role, self.config))
        tensors = Tensors(self.paths)
        layout = self._layout(module, tensors)
        fill(module, tensors, layout, dtype=dtype, device=device, what=NAMES[self.role])
        return module

    def _layout(self, module: nn.Module, tensors: Tensors) -> Layout:
        if self.role == "unet" and self.style == "ldm":
            return layouts.ldm_unet(module, self.config, self.prefix)
        if self.role == "vae":
            return (
                layouts.ldm_vae(module, self.config, self.prefix)
                if self.style == "ldm"
                else layouts.folder_vae(module, tensors)
            )
        if self.style == "open_clip":
            return layouts.open_clip(module, self.config, self.prefix)
        if self.role == "flux" and self.style == "own":
            width = self.config["num_attention_heads"] * self.config["attention_head_dim"]
            return layouts.folder_flux(module, width)
        layout = same_names(module, self.prefix)
        if self.style == "bare":
            short = {name: name.removeprefix("text_model.") for name in layout}
            return {name: (TensorPart(self.prefix + theirs),) for name, theirs in short.items()}
        if self.role == "t5" and "shared.weight" not in tensors:
            # The same table under its other name.
            layout["shared.weight"] = (TensorPart("encoder.embed_tokens.weight"),)
        return layout


NAMES = {
    "unet": "U-Net",
    "flux": "transformer",
    "vae": "VAE",
    "clip": "text encoder",
    "clip_projected": "second text encoder",
    "t5": "T5 encoder",
}


def _build(role: str, config: Mapping[str, Any]) -> nn.Module:
    if role in ("clip", "clip_projected"):
        return CLIPText(config, projection=role == "clip_projected")
    return {"unet": UNet, "flux": Flux, "vae": VAE, "t5": T5Encoder}[role](config)


@dataclass(frozen=True)
class Base:
    """What a run trains on. Opening it reads headers only; every `load_` reads one part, frozen,
    in the wanted type, where it is wanted.
    """

    family: str  # sd15, sdxl, flux
    name: str  # the file's or folder's own name, as kohya writes it into ss_sd_model_name
    prediction: str  # epsilon, v_prediction, flow
    denoiser: Piece
    vae: Piece
    text: tuple[Piece, ...]
    tokenizers: tuple[Path | None, ...]  # a folder each; None: the table in this package
    vae_scaling: float
    vae_shift: float = 0.0
    vae_name: str | None = None  # of a VAE given apart
    clip_skip: int | None = None
    max_token_length: int | None = None
    t5_length: int = 512
    t5_mask: bool = False
    notes: tuple[str, ...] = ()  # what the user should know before training on it

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of weights, the denoiser's first: what a hash of the base is made of."""
        pieces = (self.denoiser, self.vae, *self.text)
        return tuple(dict.fromkeys(path for piece in pieces for path in piece.paths))

    @property
    def is_tiny(self) -> bool:
        return sum(path.stat().st_size for path in self.files) < 100_000_000

    @property
    def latent_channels(self) -> int:
        return self.vae.config["latent_channels"]

    @property
    def latent_step(self) -> int:
        """Pixels a latent stands for, each way."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def load_denoiser(self, dtype: torch.dtype, device: Device) -> nn.Module:
        return self.denoiser.load(dtype, device)

    def load_vae(self, dtype: torch.dtype, device: Device) -> VAE:
        return self.vae.load(dtype, device)

    def load_tokenizers(self) -> tuple[ClipTokenizer | T5Tokenizer, ...]:
        made: list[ClipTokenizer | T5Tokenizer] = []
        for place, (piece, folder) in enumerate(zip(self.text, self.tokenizers, strict=True)):
            if piece.role == "t5":
                assert folder is not None
                made.append(T5Tokenizer(folder))
            else:
                pad = 0 if self.family == "sdxl" and place == 1 else None
                made.append(ClipTokenizer(folder, pad=pad))
        return tuple(made)

    def load_encoders(self, dtype: torch.dtype, device: Device) -> tuple[nn.Module, ...]:
        return tuple(piece.load(dtype, device) for piece in self.text)

    def tokenize(
        self, tokenizers: Sequence[ClipTokenizer | T5Tokenizer], texts: Sequence[str]
    ) -> Tokens:
        """What `encode` wants, on the CPU: a tensor per encoder, and T5's mask after its tokens."""
        parts: list[torch.Tensor] = []
        for tokenizer in tokenizers:
            if isinstance(tokenizer, T5Tokenizer):
                parts += tokenizer.batch(texts, self.t5_length)
            else:
                length = None if self.family == "flux" else self.max_token_length
                parts.append(tokenizer.batch(texts, length))
        return tuple(parts)

    def encode(self, encoders: Sequence[nn.Module], tokens: Tokens) -> Conditioning:
        """Differentiable, so that a LoRA on the encoders learns; the tokens must be where the
        encoders are.
        """
        if self.family == "sd15":
            return prompts.encode_sd15(encoders, tokens, clip_skip=self.clip_skip)
        if self.family == "sdxl":
            return prompts.encode_sdxl(encoders, tokens)
        return prompts.encode_flux(encoders, tokens, use_mask=self.t5_mask)

    def to_pixels(self, vae: VAE, latents: torch.Tensor) -> torch.Tensor:
        return vae.decode(latents / self.vae_scaling + self.vae_shift)

    def predict(
        self,
        denoiser: nn.Module,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: Conditioning,
        *,
        time_ids: torch.Tensor | None = None,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        """The denoiser's answer for latents of any shape; time_ids (batch, 6) for SDXL; timesteps
        0 to 1000 for every family.
        """
        if self.family != "flux":
            return denoiser(noisy, timesteps, text.hidden, text.pooled, time_ids)
        share, words = timesteps / 1000, (text.hidden, text.pooled)
        return denoiser(noisy, share, *words, mask=text.mask, guidance=guidance)
