"""The autoencoder of SD1.5, SDXL and FLUX: the architecture and module names of diffusers'
AutoencoderKL, without its import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from lorakit.embedded.models.blocks import Network, attend, require
from lorakit.embedded.models.unet import Downsample2D, ResnetBlock2D, Sample, Upsample2D

ALLOWED = {"act_fn": ("silu", "swish"), "mid_block_add_attention": (True,)}


class Gaussian(NamedTuple):
    """What the encoder says about an image: a mean and a spread for every latent."""

    mean: torch.Tensor
    std: torch.Tensor


class VaeAttention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.group_norm(x).flatten(2).transpose(1, 2)
        h = self.to_out[0](attend(self.to_q(h), self.to_k(h), self.to_v(h), 1))
        return x + h.transpose(1, 2).reshape(x.shape)


class Middle(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([VaeAttention(width, groups)])
        self.resnets = nn.ModuleList(
            ResnetBlock2D(width, width, None, groups, 1e-6) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class VaeStage(nn.Module):
    def __init__(self, before: int, width: int, layers: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock2D(before if layer == 0 else width, width, None, groups, 1e-6)
            for layer in range(layers)
        )
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for module in (*self.resnets, *(self.downsamplers or ()), *(self.upsamplers or ())):
            x = module(x)
        return x


class Half(nn.Module):
    """The encoder or the decoder: the same parts in the opposite order."""

    def __init__(self, config: Mapping[str, Any], *, decoder: bool) -> None:
        super().__init__()
        widths, groups = list(config["block_out_channels"]), config.get("norm_num_groups", 32)
        layers = config.get("layers_per_block", 2)
        latents = config["latent_channels"]
        stages = nn.ModuleList()
        order = widths[::-1] if decoder else widths
        for index, width in enumerate(order):
            stage = VaeStage(order[max(index - 1, 0)], width, layers + decoder, groups)
            if index < len(order) - 1:
                if decoder:
                    stage.upsamplers = nn.ModuleList([Upsample2D(width)])
                else:
                    stage.downsamplers = nn.ModuleList([Downsample2D(width, padding=0)])
            stages.append(stage)
        given = latents if decoder else config.get("in_channels", 3)
        self.conv_in = nn.Conv2d(given, order[0], 3, padding=1)
        setattr(self, "up_blocks" if decoder else "down_blocks", stages)
        self.mid_block = Middle(widths[-1], groups)
        self.conv_norm_out = nn.GroupNorm(groups, order[-1], eps=1e-6)
        out = config.get("out_channels", 3) if decoder else 2 * latents
        self.conv_out = nn.Conv2d(order[-1], out, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_in(x)
        if hasattr(self, "up_blocks"):
            x = self.mid_block(x)
            for stage in self.up_blocks:
                x = stage(x)
        else:
            for stage in self.down_blocks:
                x = stage(x)
            x = self.mid_block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAE(Network):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        require(config, ALLOWED, "VAE")
        latents = config["latent_channels"]
        self.encoder = Half(config, decoder=False)
        self.decoder = Half(config, decoder=True)
        self.quant_conv = self.post_quant_conv = None
        if config.get("use_quant_conv", True):
            self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1)
        if config.get("use_post_quant_conv", True):
            self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, pixels: torch.Tensor) -> Gaussian:
        """Pixels from -1 to 1 to raw latents: scale and shift are the caller's."""
        moments = self.encoder(pixels)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean, log_variance = moments.chunk(2, dim=1)
        return Gaussian(mean, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)))

    def decode(self, latents: torch.Tensor, return_dict: bool = True, **_unused: Any) -> Any:
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents)
        pixels = self.decoder(latents)
        return Sample(pixels) if return_dict else (pixels,)
