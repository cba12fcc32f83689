"""The FLUX.1 transformer with the module names of its own files, which are the names kohya's LoRA
keys are made of.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakit.embedded.models.blocks import Network, embedder, sinusoid
from lorakit.embedded.models.fused import added, beside, rotated, shifted
from lorakit.embedded.models.swap import spread
from lorakit.errors import refused

EMBEDDER = ("in_layer", "out_layer")


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale.shape, self.scale, eps=1e-6)


class QKNorm(nn.Module):
    """Queries, keys and values of one product, by head; the first two normed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.query_norm = RMSNorm(width)
        self.key_norm = RMSNorm(width)

    def forward(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.unflatten(-1, (3, -1, self.width)).permute(2, 0, 3, 1, 4)
        return self.query_norm(q), self.key_norm(k), v


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, width * 3)
        self.norm = QKNorm(width // heads)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.norm(self.qkv(x))


class Modulation(nn.Module):
    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.lin = nn.Linear(width, count * width)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        return self.lin(F.silu(vec))[:, None].chunk(self.count, dim=-1)


def joint_attention(
    q: Tensor, k: Tensor, v: Tensor, rotation: Tensor, mask: Tensor | None
) -> Tensor:
    q, k = rotated(q, rotation), rotated(k, rotation)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def rotation_of(ids: Tensor, axes: tuple[int, ...]) -> Tensor:
    parts = []
    for axis, width in enumerate(axes):
        powers = torch.arange(0, width, 2, dtype=torch.float64, device=ids.device) / width
        parts.append(ids[:, axis, None].double() / 10000.0**powers)
    angles = torch.cat(parts, dim=-1)
    return torch.stack([angles.cos(), angles.sin()], dim=-1).float()


def mlp(width: int, ratio: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, int(width * ratio)),
        nn.GELU(approximate="tanh"),
        nn.Linear(int(width * ratio), width),
    )


class DoubleStreamBlock(nn.Module):
    """Picture and text with weights of their own, attending to each other."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = Modulation(width, 6), Modulation(width, 6)
        self.img_attn, self.txt_attn = SelfAttention(width, heads), SelfAttention(width, heads)
        self.img_mlp, self.txt_mlp = mlp(width, ratio), mlp(width, ratio)

    def forward(
        self, img: Tensor, txt: Tensor, vec: Tensor, rotation: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        img_mod, txt_mod = self.img_mod(vec), self.txt_mod(vec)
        img_qkv = self.img_attn(shifted(img, img_mod[0], img_mod[1]))
        txt_qkv = self.txt_attn(shifted(txt, txt_mod[0], txt_mod[1]))
        q, k, v = (torch.cat([t, i], dim=2) for t, i in zip(txt_qkv, img_qkv, strict=True))
        out = joint_attention(q, k, v, rotation, mask)
        img = added(img, img_mod[2], self.img_attn.proj(out[:, txt.shape[1] :]))
        txt = added(txt, txt_mod[2], self.txt_attn.proj(out[:, : txt.shape[1]]))
        img = added(img, img_mod[5], self.img_mlp(shifted(img, img_mod[3], img_mod[4])))
        txt = added(txt, txt_mod[5], self.txt_mlp(shifted(txt, txt_mod[3], txt_mod[4])))
        return img, txt


class SingleStreamBlock(nn.Module):
    """Both in one sequence; attention and feed-forward side by side."""

    def __init__(self, width: int, heads: int, ratio: float) -> None:
        super().__init__()
        self.width, inner = width, int(width * ratio)
        self.linear1 = nn.Linear(width, width * 3 + inner)
        self.linear2 = nn.Linear(width + inner, width)
        self.norm = QKNorm(width // heads)
        self.modulation = Modulation(width, 3)

    def forward(self, x: Tensor, vec: Tensor, rotation: Tensor, mask: Tensor | None) -> Tensor:
        shift, scale, gate = self.modulation(vec)
        h = self.linear1(shifted(x, shift, scale))
        q, k, v = self.norm(h[..., : 3 * self.width])
        out = joint_attention(q, k, v, rotation, mask)
        return added(x, gate, self.linear2(beside(out, h[..., 3 * self.width :])))


class LastLayer(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
        return self.linear(shifted(x, shift, scale))


class Flux(Network):
    """`config` has the names of diffusers' transformer/config.json."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        heads, ratio = config["num_attention_heads"], config.get("mlp_ratio", 4.0)
        width = heads * config["attention_head_dim"]
        self.axes = tuple(config.get("axes_dims_rope", (16, 56, 56)))
        self.img_in = nn.Linear(config["in_channels"], width)
        self.txt_in = nn.Linear(config["joint_attention_dim"], width)
        self.time_in = embedder(256, width, *EMBEDDER)
        self.vector_in = embedder(config["pooled_projection_dim"], width, *EMBEDDER)
        guided = config.get("guidance_embeds")
        self.guidance_in = embedder(256, width, *EMBEDDER) if guided else None
        self.double_blocks = nn.ModuleList(
            DoubleStreamBlock(width, heads, ratio) for _ in range(config["num_layers"])
        )
        self.single_blocks = nn.ModuleList(
            SingleStreamBlock(width, heads, ratio) for _ in range(config["num_single_layers"])
        )
        self.final_layer = LastLayer(width, config.get("out_channels") or config["in_channels"])

    def swappable(self, count: int) -> list[nn.Module]:
        """For every two, a double block and two single ones."""
        double, single = count // 2, 2 * (count - count // 2)
        if double > len(self.double_blocks) or single > len(self.single_blocks):
            has = f"{len(self.double_blocks)} double and {len(self.single_blocks)} single blocks"
            raise refused("blocks_to_swap", f"{count} is too many: the model has {has}.")
        return [*spread(self.double_blocks, double), *spread(self.single_blocks, single)]

    def units(self) -> list[nn.Module]:
        return [*self.double_blocks, *self.single_blocks]

    def forward(
        self,
        latents: Tensor,
        share: Tensor,
        hidden: Tensor,
        pooled: Tensor,
        *,
        mask: Tensor | None,
        guidance: float,
    ) -> Tensor:
        """The velocity. `share` of noise: 0 to 1; the mask leaves the padding of the text out."""
        height, width = latents.shape[-2:]
        img, txt = self.img_in(pack(latents)), self.txt_in(hidden)
        vec = self.time_in(sinusoid(share * 1000, 256).to(img.dtype))
        if self.guidance_in is not None:
            asked = torch.full((len(latents),), float(guidance), device=latents.device)
            vec = vec + self.guidance_in(sinusoid(asked * 1000, 256).to(img.dtype))
        vec = vec + self.vector_in(pooled)
        nowhere = torch.zeros(txt.shape[1], 3, device=latents.device)
        ids = torch.cat([nowhere, place_ids(height, width, latents.device)])
        rotation = rotation_of(ids, self.axes)
        if mask is not None:
            seen = mask.new_ones(img.shape[:2], dtype=torch.bool)
            mask = torch.cat([mask.bool(), seen], dim=1)[:, None, None, :]
        for block in self.double_blocks:
            img, txt = self.run(block, img, txt, vec, rotation, mask)
        x = torch.cat([txt, img], dim=1)
        for block in self.single_blocks:
            x = self.run(block, x, vec, rotation, mask)
        return unpack(self.final_layer(x[:, txt.shape[1] :], vec), height, width)


def pack(latents: Tensor) -> Tensor:
    """(batch, channels, height, width) to one token for every 2x2 patch."""
    b, c, h, w = latents.shape
    patches = latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(b, h // 2 * (w // 2), c * 4)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    b, _, c = tokens.shape
    patches = tokens.view(b, height // 2, width // 2, c // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(b, c // 4, height, width)


def place_ids(height: int, width: int, device: torch.device | str) -> Tensor:
    """The place of every token of the picture: (0, row, column)."""
    ids = torch.zeros(height // 2, width // 2, 3, device=device)
    ids[..., 1] += torch.arange(height // 2, device=device)[:, None]
    ids[..., 2] += torch.arange(width // 2, device=device)[None]
    return ids.reshape(-1, 3)
