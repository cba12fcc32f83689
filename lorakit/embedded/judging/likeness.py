"""Cosines by DINOv2, DINOv3, CLIP or SigLIP of pictures to training pictures and to prompts, run by
lorakit.judge as a child: `python -m lorakit.embedded.judging.likeness order.json`.

Nothing is fetched, no code of the model's is run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from lorakit.embedded.describing import picture
from lorakit.embedded.drawing.generate import as_a_child
from lorakit.embedded.training.world import best_device
from lorakit.files import write_atomic


@torch.inference_mode()
def means(key: str, place: str, order: Mapping[str, Any]) -> list[float]:
    """Of each column, by one model."""
    here, device = {"local_files_only": True}, best_device()
    model = AutoModel.from_pretrained(place, use_safetensors=True, **here).to(device).eval()
    processor = AutoImageProcessor.from_pretrained(place, **here)
    look = getattr(model, "get_image_features", model)

    def seen(files: Sequence[str]) -> torch.Tensor:
        pixels = [processor(images=picture(Path(one)), return_tensors="pt") for one in files]
        return torch.cat([direction(look(**one.to(device))) for one in pixels])

    columns = [[job["file"] for job in told["pictures"]] for told in order["columns"]]
    if key == "likeness":
        trained = seen(order["trained"])
        return [float((seen(own[: order["asked"]]) @ trained.T).mean()) for own in columns]
    # SigLIP learned from texts filled up to their full length; CLIP does not mind
    length = model.config.text_config.max_position_embeddings
    filled = {"padding": "max_length", "max_length": length, "truncation": True}
    prompts = [job["prompt"] for job in order["columns"][0]["pictures"]]
    tokens = AutoTokenizer.from_pretrained(place, **here)(prompts, return_tensors="pt", **filled)
    said = direction(model.get_text_features(**tokens.to(device)))
    return [float((seen(own) * said).sum(dim=1).mean()) for own in columns]


def direction(answer: Any) -> torch.Tensor:
    """Version 4 of transformers gives features as they are, 5 with everything before them."""
    pooled = answer if isinstance(answer, torch.Tensor) else answer.pooler_output
    return torch.nn.functional.normalize(pooled.float(), dim=-1).cpu()


def compare(order: Mapping[str, Any]) -> None:
    found = [means(key, place, order) for key, place in order["models"].items()]
    rounded = [[round(one, 4) for one in column] for column in zip(*found, strict=True)]
    rows = [dict(zip(order["models"], row, strict=True)) for row in rounded]
    write_atomic(Path(order["out"]), json.dumps(rows))


if __name__ == "__main__":
    as_a_child(compare)
