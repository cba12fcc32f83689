"""Sentences about pictures by Florence-2 or BLIP: `python -m lorakit.embedded.describing FOLDER`,
run by lorakit.dataset as a child process.

FOLDER holds order.json (the model's folder, the pictures); a line of said.jsonl is written as soon
as a picture is described. Nothing is fetched, no code of the model's is run.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from lorakit.embedded.training.world import best_device
from lorakit.pictures.open import opened, orientation, turned

TASKS = {"florence2": "<DETAILED_CAPTION>"}
MOST_TOKENS = 160
BATCH = 4  # on a card; one by one elsewhere


def describe(folder: Path) -> None:
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    device = best_device()
    dtype = torch.float16 if device == "cuda" else torch.float32
    place = order["model"]
    processor = AutoProcessor.from_pretrained(place, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(
        place, local_files_only=True, use_safetensors=True, dtype=dtype
    )
    model = model.to(device).eval()
    size = BATCH if device == "cuda" else 1
    images = order["images"]
    with (folder / "said.jsonl").open("w", encoding="utf-8") as file:
        for first in range(0, len(images), size):
            batch = [picture(Path(path)) for path in images[first : first + size]]
            for number, text in enumerate(sentences(model, processor, batch), first):
                file.write(json.dumps([number, text]) + "\n")
            file.flush()


def picture(path: Path) -> Image.Image:
    with opened(path) as image:
        return turned(image.convert("RGB"), orientation(image)[0])


@torch.no_grad()
def sentences(model: Any, processor: Any, batch: list[Image.Image]) -> list[str]:
    task = TASKS.get(model.config.model_type)
    words = {"text": [task] * len(batch)} if task else {}
    inputs = processor(images=batch, return_tensors="pt", **words)
    inputs = inputs.to(model.device, model.dtype)
    tokens = model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False, num_beams=1)
    return [str(text).strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]


if __name__ == "__main__":
    describe(Path(sys.argv[1]))
