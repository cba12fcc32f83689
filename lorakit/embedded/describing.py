"""Sentences about pictures by Florence-2, BLIP or a LLaVA such as JoyCaption, run by
lorakit.dataset as a child process: `python -m lorakit.embedded.describing FOLDER`.

FOLDER holds order.json (the model's folder, the pictures); a line of said.jsonl is written as soon
as a picture is described. Nothing is fetched, no code of the model's is run.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from lorakit.embedded.training.world import best_device
from lorakit.pictures.open import opened, orientation, turned

TASKS = {"florence2": "<DETAILED_CAPTION>"}
ASKED = "Write a descriptive caption for this image in a formal tone."
MOST_TOKENS = 256
BATCH = 4  # on a card; one by one elsewhere


def describe(folder: Path) -> None:
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    device = best_device()
    place = order["model"]
    kind = AutoConfig.from_pretrained(place, local_files_only=True).model_type
    dtype = torch.float16 if device == "cuda" else torch.float32
    if kind == "llava":  # as it was trained; twice as large its 8 billion numbers fit nowhere
        dtype = torch.bfloat16
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
    kind = model.config.model_type
    task = question(processor) if kind == "llava" else TASKS.get(kind)
    words = {"text": [task] * len(batch)} if task else {}
    inputs = processor(images=batch, return_tensors="pt", **words)
    inputs = inputs.to(model.device, model.dtype)
    tokens = model.generate(**inputs, max_new_tokens=MOST_TOKENS, do_sample=False, num_beams=1)
    if kind == "llava":
        tokens = tokens[:, inputs["input_ids"].shape[1] :]  # it repeats the question
    return [str(text).strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]


def question(processor: Any) -> str:
    """As its own template writes it; some put the picture in by themselves, others are told."""
    template = processor.chat_template or processor.tokenizer.chat_template
    if not template:
        return f"USER: {processor.image_token}\n{ASKED} ASSISTANT:"
    told = [{"type": "image"}, {"type": "text", "text": ASKED}]
    for content in (ASKED, told):
        said = [{"role": "user", "content": content}]
        text = processor.apply_chat_template(
            said, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        if processor.image_token in text:
            return str(text)
    raise ValueError("its template has no place for a picture")


if __name__ == "__main__":
    describe(Path(sys.argv[1]))
