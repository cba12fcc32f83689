"""The T5 v1.1 encoder: the architecture and module names of transformers' T5EncoderModel, without
its import.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakit.embedded.models.blocks import Network, attend, require


class T5LayerNorm(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config["d_model"]))
        self.eps = config.get("layer_norm_epsilon", 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * (x * scale).to(self.weight.dtype)


class T5Attention(nn.Module):
    def __init__(self, config: Mapping[str, Any], *, bias: bool) -> None:
        super().__init__()
        width, self.heads = config["d_model"], config["num_heads"]
        inner = self.heads * config["d_kv"]
        self.q = nn.Linear(width, inner, bias=False)
        self.k = nn.Linear(width, inner, bias=False)
        self.v = nn.Linear(width, inner, bias=False)
        self.o = nn.Linear(inner, width, bias=False)
        if bias:
            self.relative_attention_bias = nn.Embedding(
                config.get("relative_attention_num_buckets", 32), self.heads
            )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        return self.o(attend(q, k, v, self.heads, attn_mask=bias, scale=1.0))


class T5DenseGatedActDense(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config["d_model"], config["d_ff"], bias=False)
        self.wi_1 = nn.Linear(config["d_model"], config["d_ff"], bias=False)
        self.wo = nn.Linear(config["d_ff"], config["d_model"], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class T5Block(nn.Module):
    def __init__(self, config: Mapping[str, Any], *, bias: bool) -> None:
        super().__init__()
        inner = {
            "SelfAttention": T5Attention(config, bias=bias),
            "DenseReluDense": T5DenseGatedActDense(config),
        }
        self.layer = nn.ModuleList(
            nn.ModuleDict({"layer_norm": T5LayerNorm(config), name: one})
            for name, one in inner.items()
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        first, second = self.layer
        x = _finite(x + first.SelfAttention(first.layer_norm(x), bias))
        return _finite(x + second.DenseReluDense(second.layer_norm(x)))


class T5Encoder(Network):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        require(config, "T5")
        self.shared = nn.Embedding(config["vocab_size"], config["d_model"])
        self.encoder = nn.Module()
        self.encoder.block = nn.ModuleList(
            T5Block(config, bias=index == 0) for index in range(config["num_layers"])
        )
        self.encoder.final_layer_norm = T5LayerNorm(config)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.shared(ids)
        bias = self._bias(ids.shape[1], ids.device).to(x.dtype)
        if mask is not None:
            bias = bias.masked_fill(~mask.bool()[:, None, None, :], torch.finfo(x.dtype).min)
        for block in self.encoder.block:
            x = self.run(block, x, bias)
        return self.encoder.final_layer_norm(x)

    def _bias(self, length: int, device: torch.device) -> Tensor:
        """One for every distance, each way: exact for near ones, logarithmic further out."""
        count = self.config.get("relative_attention_num_buckets", 32) // 2
        furthest = self.config.get("relative_attention_max_distance", 128)
        places = torch.arange(length, device=device)
        offset = places[None] - places[:, None]
        distance, near = offset.abs(), count // 2
        ratio = torch.log(distance.float().clamp(min=1) / near) / math.log(furthest / near)
        far = (near + (ratio * (count - near)).long()).clamp(max=count - 1)
        bucket = torch.where(distance < near, distance, far) + (offset > 0).long() * count
        table = self.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
        return table(bucket).permute(2, 0, 1)[None]


def _finite(x: Tensor) -> Tensor:
    """T5 overflows half precision: keep its residual stream inside the range."""
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(torch.float16).max - 1000
    return x.clamp(-limit, limit)
