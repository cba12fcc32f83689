"""Run by sd-scripts' own Python: the names and shapes of the LoRA that it makes for the full-size models, which stay without memory.

python lora_keys.py CHECKOUT OUT.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])


def named(network) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in network.state_dict().items()}


def encoder(**sizes):
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**sizes))


from accelerate import init_empty_weights  # noqa: E402 -- their Python has it
from library import flux_models, sdxl_original_unet  # noqa: E402
from networks import lora, lora_flux  # noqa: E402

found = {}
with init_empty_weights():
    sdxl = sdxl_original_unet.SdxlUNet2DConditionModel()
    large = encoder(
        hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12
    )
    huge = encoder(
        hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20
    )
    flux = flux_models.Flux(flux_models.configs["dev"].params)
for name, options in {"sdxl": {}, "sdxl conv": {"conv_dim": "2", "conv_alpha": "1"}}.items():
    network = lora.create_network(1.0, 4, 2.0, None, [large, huge], sdxl, **options)
    network.apply_to([large, huge], sdxl, apply_text_encoder=True, apply_unet=True)
    found[name] = named(network)
network = lora_flux.create_network(1.0, 4, 2.0, None, [large, None], flux)
network.apply_to([large, None], flux, apply_text_encoder=True, apply_unet=True)
found["flux"] = named(network)
Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
