"""The U-Net of SD1.5 and SDXL: the architecture, module names and call of diffusers'
UNet2DConditionModel, without its import.

Sizes come from config.json, so toy models work. Variants that neither family uses are refused by
the name of their setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from lorakit.embedded.models.blocks import Conv2d, Network, Run, attend, directly, require, sinusoid
from lorakit.embedded.models.swap import spread
from lorakit.errors import refused

ALLOWED = {
    "act_fn": ("silu", "swish"),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "dual_cross_attention": (False,),
    "only_cross_attention": (False,),
    "resnet_time_scale_shift": ("default",),
    "center_input_sample": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default",),
    "time_cond_proj_dim": (None,),
    "num_attention_heads": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "timestep_post_act": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1, 1.0),
    "time_embedding_type": ("positional",),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1, 1.0),
    "cross_attention_norm": (None,),
}


class Sample(NamedTuple):
    sample: torch.Tensor


class TimestepEmbedding(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width_in, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ResnetBlock2D(nn.Module):
    def __init__(
        self, width_in: int, width: int, time_width: int | None, groups: int, eps: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in, eps=eps)
        self.conv1 = Conv2d(width_in, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, width) if time_width else None
        self.norm2 = nn.GroupNorm(groups, width, eps=eps)
        self.conv2 = Conv2d(width, width, 3, padding=1)
        self.conv_shortcut = Conv2d(width_in, width, 1) if width_in != width else None

    def forward(self, x: torch.Tensor, time: torch.Tensor | None = None) -> torch.Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            h = h + self.time_emb_proj(time)[:, :, None, None]  # its SiLU is applied already
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + h


class Attention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        return self.to_out[0](attend(q, k, v, self.heads))


class GEGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width * 4
        self.net = nn.ModuleList([GEGLU(width, inner), nn.Identity(), nn.Linear(inner, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net[2](self.net[0](x))


class BasicTransformerBlock(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, context, heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        x = x + self.attn1(h, h)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class Transformer2DModel(nn.Module):
    def __init__(
        self, width: int, context: int, heads: int, depth: int, groups: int, *, linear: bool
    ) -> None:
        super().__init__()
        self.linear = linear
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width) if linear else Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(width, context, heads) for _ in range(depth)
        )
        self.proj_out = nn.Linear(width, width) if linear else Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor, context: torch.Tensor, run: Run = directly) -> torch.Tensor:
        height, width = x.shape[-2:]
        h = self.norm(x)
        if self.linear:
            h = self.proj_in(h.flatten(2).transpose(1, 2))
        else:
            h = self.proj_in(h).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            h = run(block, h, context)
        if self.linear:
            return self.proj_out(h).transpose(1, 2).unflatten(2, (height, width)) + x
        return self.proj_out(h.transpose(1, 2).unflatten(2, (height, width)).contiguous()) + x


class Downsample2D(nn.Module):
    """Half the size; the VAE pads right and below only."""

    def __init__(self, width: int, *, padding: int = 1) -> None:
        super().__init__()
        self.padding = padding
        self.conv = Conv2d(width, width, 3, stride=2, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x if self.padding else F.pad(x, (0, 1, 0, 1)))


class Upsample2D(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor, size: Sequence[int] | None = None) -> torch.Tensor:
        size = size or [2 * length for length in x.shape[-2:]]
        return self.conv(F.interpolate(x, size=list(size), mode="nearest"))


class UNetStage(nn.Module):
    """Resnets with their attentions, and the change of size at the end."""

    def __init__(
        self,
        widths: Sequence[tuple[int, int]],
        attention: Mapping[str, Any] | None,
        *,
        time: int,
        groups: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock2D(before, after, time, groups, eps) for before, after in widths
        )
        self.attentions = None
        if attention is not None:
            self.attentions = nn.ModuleList(
                Transformer2DModel(after, groups=groups, **attention) for _, after in widths
            )
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None


class MidBlock(nn.Module):
    def __init__(
        self, width: int, attention: Mapping[str, Any], *, time: int, groups: int, eps: float
    ) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Transformer2DModel(width, groups=groups, **attention)])
        self.resnets = nn.ModuleList(
            ResnetBlock2D(width, width, time, groups, eps) for _ in range(2)
        )


def per_stage(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


class UNet(Network):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        require(config, ALLOWED, "U-Net")
        widths = list(config["block_out_channels"])
        count = len(widths)
        time = widths[0] * 4
        shared = {
            "time": time,
            "groups": config.get("norm_num_groups", 32),
            "eps": config.get("norm_eps", 1e-5),
        }
        attention = [
            # diffusers calls it attention_head_dim, but in these files it is the number of heads
            {
                "context": context,
                "heads": heads,
                "depth": depth,
                "linear": config.get("use_linear_projection", False),
            }
            for context, heads, depth in zip(
                per_stage(config["cross_attention_dim"], count),
                per_stage(config["attention_head_dim"], count),
                per_stage(config.get("transformer_layers_per_block", 1), count),
                strict=True,
            )
        ]
        layers = int(config.get("layers_per_block", 2))
        self.conv_in = Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], time)
        self.add_embedding = None
        if config.get("addition_embed_type") == "text_time":
            added = config["projection_class_embeddings_input_dim"]
            self.add_embedding = TimestepEmbedding(added, time)

        self.down_blocks = nn.ModuleList()
        for index, (kind, width) in enumerate(zip(config["down_block_types"], widths, strict=True)):
            before = widths[max(index - 1, 0)]
            stage = UNetStage(
                [(before if layer == 0 else width, width) for layer in range(layers)],
                _attention(kind, attention[index]),
                **shared,
            )
            stage.downsamplers = nn.ModuleList([Downsample2D(width)]) if index < count - 1 else None
            self.down_blocks.append(stage)
        self.mid_block = MidBlock(widths[-1], attention[-1], **shared)
        self.up_blocks = nn.ModuleList()
        for index, kind in enumerate(config["up_block_types"]):
            level = count - 1 - index
            width = widths[level]
            above, below = widths[min(level + 1, count - 1)], widths[max(level - 1, 0)]
            pairs = [
                ((above if layer == 0 else width) + (below if layer == layers else width), width)
                for layer in range(layers + 1)
            ]
            stage = UNetStage(pairs, _attention(kind, attention[level]), **shared)
            stage.upsamplers = nn.ModuleList([Upsample2D(width)]) if level else None
            self.up_blocks.append(stage)
        self.conv_norm_out = nn.GroupNorm(shared["groups"], widths[0], eps=shared["eps"])
        self.conv_out = Conv2d(widths[0], config["out_channels"], 3, padding=1)

    def swappable(self, count: int) -> list[nn.Module]:
        """Of the transformers, which hold nearly all of SDXL's weights."""
        stages = (*self.down_blocks, self.mid_block, *self.up_blocks)
        every = [one for stage in stages for one in stage.attentions or ()]
        if count > len(every):
            has = f"{len(every)} transformers"
            raise refused("blocks_to_swap", f"{count} is too many: the model has {has}.")
        return spread(every, count)

    def units(self) -> list[nn.Module]:
        """Each block of a transformer by itself: ten at once would fill the memory again."""
        kinds = (ResnetBlock2D, BasicTransformerBlock)
        return [module for module in self.modules() if isinstance(module, kinds)]

    def forward(  # the call of diffusers' U-Net
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        added_cond_kwargs: Mapping[str, torch.Tensor] | None = None,
        return_dict: bool = True,
        **_unused: Any,
    ) -> Any:
        # Every resnet starts with this SiLU: do it once.
        time = F.silu(self._time(sample, timestep, added_cond_kwargs))
        context = encoder_hidden_states
        x = self.conv_in(sample)
        skips = [x]
        for stage in self.down_blocks:
            for index, resnet in enumerate(stage.resnets):
                x = self.run(resnet, x, time)
                if stage.attentions is not None:
                    x = self.inside(stage.attentions[index], x, context)
                skips.append(x)
            if stage.downsamplers is not None:
                x = stage.downsamplers[0](x)
                skips.append(x)
        x = self.run(self.mid_block.resnets[0], x, time)
        x = self.inside(self.mid_block.attentions[0], x, context)
        x = self.run(self.mid_block.resnets[1], x, time)
        for stage in self.up_blocks:
            for index, resnet in enumerate(stage.resnets):
                x = self.run(resnet, torch.cat([x, skips.pop()], dim=1), time)
                if stage.attentions is not None:
                    x = self.inside(stage.attentions[index], x, context)
            if stage.upsamplers is not None:
                x = stage.upsamplers[0](x, skips[-1].shape[-2:])
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return Sample(x) if return_dict else (x,)

    def _time(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        added: Mapping[str, torch.Tensor] | None,
    ) -> torch.Tensor:
        steps = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(sample.shape[0])
        emb = self.time_embedding(sinusoid(steps, self.conv_in.out_channels).to(sample.dtype))
        if self.add_embedding is None:
            return emb
        if added is None:
            raise ValueError("this U-Net needs text_embeds and time_ids")
        ids, pooled = added["time_ids"], added["text_embeds"]
        sizes = sinusoid(ids.flatten(), self.config["addition_time_embed_dim"])
        sizes = sizes.view(ids.shape[0], -1).to(pooled.dtype)
        return emb + self.add_embedding(torch.cat([pooled, sizes], dim=-1).to(emb.dtype))


def _attention(kind: str, settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    require(
        {"block type": kind},
        {"block type": ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")},
        "U-Net",
    )
    return settings if kind.startswith("CrossAttn") else None
