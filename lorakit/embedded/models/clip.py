"""The CLIP text encoder: the architecture and module names of transformers' CLIPTextModel
(WithProjection), without its import.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lorakit.embedded.models.blocks import Network, attend, require


class TextStates(NamedTuple):
    last: Tensor  # after the final norm
    hidden: tuple[Tensor, ...]  # the embeddings, then the raw output of every layer
    pooled: Tensor  # the final state at the end token, projected where the model does so


class CLIPAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return self.out_proj(attend(q, k, v, self.heads, is_causal=True))


class CLIPMLP(nn.Module):
    def __init__(self, width: int, inner: int, *, quick: bool) -> None:
        super().__init__()
        self.quick = quick
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x))


class ClipLayer(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-5)
        quick = config.get("hidden_act") != "gelu"
        self.self_attn = CLIPAttention(width, config["num_attention_heads"])
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.mlp = CLIPMLP(width, config["intermediate_size"], quick=quick)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPText(Network):
    def __init__(self, config: Mapping[str, Any], *, projection: bool) -> None:
        super().__init__(config)
        require(config, "CLIP")
        width, layers = config["hidden_size"], range(config["num_hidden_layers"])
        self.text_model = text = nn.Module()
        text.embeddings = nn.Module()
        text.embeddings.token_embedding = nn.Embedding(config["vocab_size"], width)
        places = config["max_position_embeddings"]
        text.embeddings.position_embedding = nn.Embedding(places, width)
        text.encoder = nn.Module()
        text.encoder.layers = nn.ModuleList(ClipLayer(config) for _ in layers)
        text.final_layer_norm = nn.LayerNorm(width, eps=config.get("layer_norm_eps", 1e-5))
        self.text_projection = None
        if projection:
            self.text_projection = nn.Linear(width, config["projection_dim"], bias=False)

    def forward(self, ids: Tensor) -> TextStates:
        table = self.text_model.embeddings
        x = table.token_embedding(ids) + table.position_embedding.weight[: ids.shape[1]]
        hidden = [x]
        for layer in self.text_model.encoder.layers:
            x = self.run(layer, x)
            hidden.append(x)
        last = self.text_model.final_layer_norm(x)
        # The end token has the highest number in CLIP's vocabulary; padding may repeat it, and
        # argmax takes the first.
        pooled = last[torch.arange(ids.shape[0], device=ids.device), ids.int().argmax(dim=-1)]
        if self.text_projection is not None:
            pooled = self.text_projection(pooled)
        return TextStates(last, tuple(hidden), pooled)
