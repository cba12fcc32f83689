"""The U-Net of SD1.5 and SDXL: the architecture and module names of diffusers'
UNet2DConditionModel, without its import.

Sizes come from config.json, so toy models work. Variants that neither family uses are refused by
the name of their setting.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakit.embedded.models import fused
from lorakit.embedded.models.blocks import (
    Conv2d,
    Downsample2D,
    Middle,
    Network,
    ResnetBlock2D,
    Run,
    Stage,
    Upsample2D,
    attend,
    embedder,
    require,
    sinusoid,
)
from lorakit.embedded.models.swap import spread
from lorakit.errors import refused

EMBEDDER = ("linear_1", "linear_2")


class Attention(nn.Module):
    def __init__(self, width: int, context: int | None, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context or width, width, bias=False)
        self.to_v = nn.Linear(context or width, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        own = (self.to_q,) if context is None else ()
        self.alike = (*own, self.to_k, self.to_v)  # layers that are given the same
        self.together: Callable[[Tensor], Sequence[Tensor]] | None = None  # all of them at once

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        given = x if context is None else context
        found = self.together(given) if self.together else [layer(given) for layer in self.alike]
        q, k, v = found if context is None else (self.to_q(x), *found)
        return self.to_out[0](attend(q, k, v, self.heads))


class GEGLU(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner * 2)

    def forward(self, x: Tensor) -> Tensor:
        return fused.gated(self.proj(x))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = width * 4
        self.net = nn.ModuleList([GEGLU(width, inner), nn.Identity(), nn.Linear(inner, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class BasicTransformerBlock(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, None, heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, context, heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
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

    def forward(self, x: Tensor, context: Tensor, run: Run | None = None) -> Tensor:
        height, width = x.shape[-2:]
        h = self.norm(x)
        if self.linear:
            h = self.proj_in(h.flatten(2).transpose(1, 2))
        else:
            h = self.proj_in(h).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            h = run(block, h, context) if run else block(h, context)
        if self.linear:
            return self.proj_out(h).transpose(1, 2).unflatten(2, (height, width)) + x
        return self.proj_out(h.transpose(1, 2).unflatten(2, (height, width)).contiguous()) + x


def per_level(value: Any, count: int) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * count


class UNet(Network):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        require(config, "U-Net")
        widths, layers = list(config["block_out_channels"]), int(config.get("layers_per_block", 2))
        last, time = len(widths) - 1, widths[0] * 4
        groups, eps = config.get("norm_num_groups", 32), config.get("norm_eps", 1e-5)
        contexts = per_level(config["cross_attention_dim"], len(widths))
        # diffusers calls it attention_head_dim, but in these files it is the number of heads
        heads = per_level(config["attention_head_dim"], len(widths))
        depths = per_level(config.get("transformer_layers_per_block", 1), len(widths))
        linear = bool(config.get("use_linear_projection", False))

        def resnets(given: Sequence[int], width: int) -> list[nn.Module]:
            return [ResnetBlock2D(one, width, time, groups, eps) for one in given]

        def attentions(level: int, count: int) -> list[nn.Module]:
            sizes = widths[level], contexts[level], heads[level], depths[level]
            return [Transformer2DModel(*sizes, groups, linear=linear) for _ in range(count)]

        def stage(kind: str, level: int, given: Sequence[int], **end: nn.Module | None) -> Stage:
            count = len(given) if kind.startswith("CrossAttn") else 0
            return Stage(resnets(given, widths[level]), attentions(level, count), **end)

        self.conv_in = Conv2d(config["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = embedder(widths[0], time, *EMBEDDER)
        self.add_embedding = None
        if config.get("addition_embed_type") == "text_time":
            added = config["projection_class_embeddings_input_dim"]
            self.add_embedding = embedder(added, time, *EMBEDDER)
        self.down_blocks = nn.ModuleList()
        for level, kind in enumerate(config["down_block_types"]):
            width, above = widths[level], widths[max(level - 1, 0)]
            given = [above, *[width] * (layers - 1)]
            down = Downsample2D(width) if level < last else None
            self.down_blocks.append(stage(kind, level, given, down=down))
        (attention,) = attentions(last, 1)
        self.mid_block = Middle(attention, resnets([widths[-1]] * 2, widths[-1]))
        self.up_blocks = nn.ModuleList()
        for level, kind in zip(reversed(range(last + 1)), config["up_block_types"], strict=True):
            width, above = widths[level], widths[max(level - 1, 0)]
            below = widths[min(level + 1, last)]
            # what comes up from below, beside what was kept on the way down
            given = [below + width, *[width + width] * (layers - 1), width + above]
            up = Upsample2D(width) if level else None
            self.up_blocks.append(stage(kind, level, given, up=up))
        self.conv_norm_out = nn.GroupNorm(groups, widths[0], eps=eps)
        self.conv_out = Conv2d(widths[0], config["out_channels"], 3, padding=1)

    def swappable(self, count: int) -> list[nn.Module]:
        """Of the transformers, which hold nearly all of SDXL's weights."""
        every = [one for one in self.modules() if isinstance(one, Transformer2DModel)]
        if count > len(every):
            has = f"{len(every)} transformers"
            raise refused("blocks_to_swap", f"{count} is too many: the model has {has}.")
        return spread(every, count)

    def units(self) -> list[nn.Module]:
        """Each block of a transformer by itself: ten at once would fill the memory again."""
        kinds = (ResnetBlock2D, BasicTransformerBlock)
        return [module for module in self.modules() if isinstance(module, kinds)]

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor,
        pooled: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> Tensor:
        # Every resnet starts with this SiLU: do it once.
        time = F.silu(self._time(x, timesteps, pooled, time_ids))

        def layer(stage: nn.Module, index: int, x: Tensor) -> Tensor:
            x = self.run(stage.resnets[index], x, time)
            if len(stage.attentions) > index:
                x = self.inside(stage.attentions[index], x, context)
            return x

        x = self.conv_in(x)
        skips = [x]
        for stage in self.down_blocks:
            for index in range(len(stage.resnets)):
                x = layer(stage, index, x)
                skips.append(x)
            for resize in stage.downsamplers:
                x = resize(x)
                skips.append(x)
        x = layer(self.mid_block, 0, x)
        x = layer(self.mid_block, 1, x)
        for stage in self.up_blocks:
            for index in range(len(stage.resnets)):
                x = layer(stage, index, torch.cat([x, skips.pop()], dim=1))
            for resize in stage.upsamplers:
                x = resize(x, skips[-1].shape[-2:])
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def _time(
        self, x: Tensor, timesteps: Tensor, pooled: Tensor | None, time_ids: Tensor | None
    ) -> Tensor:
        emb = self.time_embedding(sinusoid(timesteps, self.conv_in.out_channels).to(x.dtype))
        if self.add_embedding is None or pooled is None or time_ids is None:
            return emb
        sizes = sinusoid(time_ids.flatten(), self.config["addition_time_embed_dim"])
        sizes = sizes.view(len(time_ids), -1).to(pooled.dtype)
        return emb + self.add_embedding(torch.cat([pooled, sizes], dim=-1).to(emb.dtype))
