"""Run by sd-scripts' own Python: builds its LoRA networks over models without weights and counts what a file of them would hold.

argv: a JSON file with [{"family": ..., "rank": ..., "text": true, "args": {...}}, ...]; answers one JSON list on the last line of stdout.
"""

import importlib
import json
import sys

import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)


def clip(width: int, layers: int, *, projection: bool = False) -> torch.nn.Module:
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def models(family: str) -> tuple[torch.nn.Module, list[torch.nn.Module]]:
    if family == "sd15":
        from library.original_unet import UNet2DConditionModel

        return UNet2DConditionModel(
            sample_size=64, attention_head_dim=8, cross_attention_dim=768
        ), [clip(768, 12)]
    if family == "sdxl":
        from library.sdxl_original_unet import SdxlUNet2DConditionModel

        return SdxlUNet2DConditionModel(), [clip(768, 12), clip(1280, 32, projection=True)]
    from library.flux_models import Flux, configs

    t5 = T5EncoderModel(
        T5Config(
            d_model=4096,
            d_ff=10240,
            d_kv=64,
            num_heads=64,
            num_layers=24,
            feed_forward_proj="gated-gelu",
            vocab_size=32128,
        )
    )
    return Flux(configs["dev"].params), [clip(768, 12), t5]


def counted(case: dict) -> dict:
    import networks.lora
    import networks.lora_flux

    importlib.reload(networks.lora)  # conv_dim leaves its targets in a list of the class
    module = networks.lora_flux if case["family"] == "flux" else networks.lora
    unet, text = models(case["family"])
    network = module.create_network(
        1.0, case["rank"], 1.0, None, text if len(text) > 1 else text[0], unet, **case["args"]
    )
    network.apply_to(text, unet, case["text"], case["unet"])
    state = network.state_dict()
    return {
        "modules": sum(name.endswith("lora_down.weight") for name in state),
        "numbers": sum(tensor.numel() for tensor in state.values()),
    }


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    with torch.device("meta"):
        answers = [counted(case) for case in cases]
    print("\n" + json.dumps(answers))
