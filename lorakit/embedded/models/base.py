"""A base model as people have it: one file or a folder, its parts loaded one at a time and only
when they are used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lorakit.embedded.models import prompts
from lorakit.embedded.models.blocks import Network
from lorakit.embedded.models.clip import CLIPText
from lorakit.embedded.models.flux import Flux
from lorakit.embedded.models.prompts import ClipTokenizer, Conditioning, T5Tokenizer, Tokens
from lorakit.embedded.models.t5 import T5Encoder
from lorakit.embedded.models.unet import UNet
from lorakit.embedded.models.vae import VAE
from lorakit.embedded.models.weights import Layout, Tensors, fill, on_meta, same_names

Device = Any  # a torch.device or its name


NETWORKS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Network]]] = {
    "unet": ("U-Net", UNet),
    "flux": ("transformer", Flux),
    "vae": ("VAE", VAE),
    "clip": ("text encoder", partial(CLIPText, projection=False)),
    "clip_projected": ("second text encoder", partial(CLIPText, projection=True)),
    "t5": ("T5 encoder", T5Encoder),
}


@dataclass(frozen=True)
class Piece:
    """One network of the base: what it is, in which files, under which names."""

    role: str  # a key of NETWORKS
    paths: tuple[Path, ...]
    config: Mapping[str, Any]
    prefix: str = ""
    names: Callable[[Network], Layout] | None = None  # None: the module's own

    def empty(self) -> Network:
        """Without memory."""
        return on_meta(partial(NETWORKS[self.role][1], self.config))

    def load(self, dtype: torch.dtype, device: Device) -> Network:
        network, tensors, what = self.empty(), Tensors(self.paths), NETWORKS[self.role][0]
        layout = self.layout(network, tensors)
        fill(network, tensors, layout, dtype=dtype, device=device, what=what)
        return network

    def layout(self, network: Network, tensors: Tensors) -> Layout:
        if self.names is None:
            return same_names(network, self.prefix, tensors.entries)
        return {
            name: tuple(part._replace(name=self.prefix + part.name) for part in parts)
            for name, parts in self.names(network).items()
        }


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
    def latent_step(self) -> int:
        """Pixels a latent stands for, each way."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def load_denoiser(self, dtype: torch.dtype, device: Device) -> Network:
        return self.denoiser.load(dtype, device)

    def load_vae(self, dtype: torch.dtype, device: Device) -> VAE:
        return self.vae.load(dtype, device)

    def load_tokenizers(self) -> tuple[ClipTokenizer | T5Tokenizer, ...]:
        pads = {"clip_projected": 0}
        return tuple(
            T5Tokenizer(folder, self.t5_length)
            if piece.role == "t5" and folder is not None
            else ClipTokenizer(folder, self.max_token_length, pad=pads.get(piece.role))
            for piece, folder in zip(self.text, self.tokenizers, strict=True)
        )

    def load_encoders(self, dtype: torch.dtype, device: Device) -> tuple[Network, ...]:
        return tuple(piece.load(dtype, device) for piece in self.text)

    def tokenize(
        self, tokenizers: Sequence[ClipTokenizer | T5Tokenizer], texts: Sequence[str]
    ) -> Tokens:
        """What `encode` wants, on the CPU: a tensor per encoder, and T5's mask after its tokens."""
        return tuple(part for one in tokenizers for part in one.batch(texts))

    def encode(self, encoders: Sequence[Network], tokens: Tokens) -> Conditioning:
        """Differentiable, so that a LoRA on them learns; the tokens must be where they are."""
        if self.family == "sd15":
            return prompts.encode_sd15(encoders, tokens, clip_skip=self.clip_skip)
        if self.family == "sdxl":
            return prompts.encode_sdxl(encoders, tokens)
        return prompts.encode_flux(encoders, tokens, use_mask=self.t5_mask)

    def predict(
        self,
        denoiser: Network,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        text: Conditioning,
        *,
        dtype: torch.dtype = torch.float32,
        time_ids: torch.Tensor | None = None,
        guidance: float = 1.0,
    ) -> torch.Tensor:
        """The denoiser's answer for latents of any shape, computed in `dtype`; time_ids (batch, 6)
        for SDXL; timesteps 0 to 1000 for every family.
        """
        pooled = None if text.pooled is None else text.pooled.to(dtype)
        given, words = noisy.to(dtype), (text.hidden.to(dtype), pooled)
        if self.family != "flux":
            return denoiser(given, timesteps, *words, time_ids)
        return denoiser(given, timesteps / 1000, *words, mask=text.mask, guidance=guidance)
