"""The autoencoder of SD1.5, SDXL and FLUX: the architecture and module names of diffusers'
AutoencoderKL, without its import.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakit.embedded.models.blocks import (
    Downsample2D,
    Middle,
    Network,
    ResnetBlock2D,
    Stage,
    Upsample2D,
    attend,
    require,
)


class Gaussian(NamedTuple):
    """What the encoder says about an image: a mean and a spread for every latent."""

    mean: Tensor
    std: Tensor


class VaeAttention(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.group_norm(x).flatten(2).transpose(1, 2)
        h = self.to_out[0](attend(self.to_q(h), self.to_k(h), self.to_v(h), 1))
        return x + h.transpose(1, 2).reshape(x.shape)


class Half(nn.Module):
    """The encoder or the decoder: the same parts in the opposite order."""

    def __init__(self, config: Mapping[str, Any], *, decoder: bool) -> None:
        super().__init__()
        widths, groups = list(config["block_out_channels"]), config.get("norm_num_groups", 32)
        layers, latents = config.get("layers_per_block", 2), config["latent_channels"]
        given, out = config.get("in_channels", 3), 2 * latents
        if decoder:
            widths, layers = widths[::-1], layers + 1
            given, out = latents, config.get("out_channels", 3)
        deepest = widths[0] if decoder else widths[-1]

        def resnets(*given: int, width: int) -> list[nn.Module]:
            return [ResnetBlock2D(one, width, None, groups, 1e-6) for one in given]

        stages = nn.ModuleList()
        for index, width in enumerate(widths):
            resize: dict[str, nn.Module] = {}
            if index < len(widths) - 1:
                up, down = Upsample2D(width), Downsample2D(width, padding=0)
                resize = {"up": up} if decoder else {"down": down}
            before = widths[max(index - 1, 0)]
            stages.append(Stage(resnets(before, *[width] * (layers - 1), width=width), **resize))
        self.conv_in = nn.Conv2d(given, widths[0], 3, padding=1)
        setattr(self, "up_blocks" if decoder else "down_blocks", stages)
        first, second = resnets(deepest, deepest, width=deepest)
        self.mid_block = Middle(VaeAttention(deepest, groups), (first, second))
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)
        middle = [first, *self.mid_block.attentions, second]
        outer = [
            block
            for stage in stages
            for block in (*stage.resnets, *stage.downsamplers, *stage.upsamplers)
        ]
        self.walk = [*middle, *outer] if decoder else [*outer, *middle]

    def forward(self, x: Tensor) -> Tensor:
        for block in (self.conv_in, *self.walk):
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAE(Network):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        require(config, "VAE")
        latents = config["latent_channels"]
        self.encoder = Half(config, decoder=False)
        self.decoder = Half(config, decoder=True)
        self.quant_conv = self.post_quant_conv = None
        if config.get("use_quant_conv", True):
            self.quant_conv = nn.Conv2d(2 * latents, 2 * latents, 1)
        if config.get("use_post_quant_conv", True):
            self.post_quant_conv = nn.Conv2d(latents, latents, 1)

    def encode(self, pixels: Tensor) -> Gaussian:
        """Pixels from -1 to 1 to raw latents: scale and shift are the caller's."""
        moments = self.encoder(pixels)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean, log_variance = moments.chunk(2, dim=1)
        return Gaussian(mean, torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)))

    def decode(self, latents: Tensor) -> Tensor:
        if self.post_quant_conv is not None:
            latents = self.post_quant_conv(latents)
        return self.decoder(latents)
