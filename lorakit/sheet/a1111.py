"""Drawn by the user's own A1111 or Forge, which say of every picture what LoRAs they loaded."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.errors import LorakitError
from lorakit.sheet.address import Address
from lorakit.sheet.comfyui import PATIENCE_S, WORKFLOWS, facts_of, not_there
from lorakit.sheet.graph import fill_places
from lorakit.sheet.source import Source
from lorakit.weights.finite import inspect


class A1111:
    def __init__(self, address: Address, source: Source, loras: Sequence[Path]) -> None:
        """Everything that a sheet needs is there, or this says what is not."""
        self.address, orders = address, json_text.read(WORKFLOWS / "a1111.json")
        if source.family not in orders:
            raise LorakitError(f"A1111 and Forge draw {', '.join(orders)}, not {source.family}.")
        address.ask("/sdapi/v1/refresh-loras", {})
        names = [str(one["name"]) for one in address.ask("/sdapi/v1/loras")]
        for lora in loras:
            if lora.stem not in names:
                raise not_there(address, lora.stem, names)
        facts = facts_of(source)
        base = facts.get("pretrained_model_name_or_path", "")
        every = [str(one["title"]) for one in address.ask("/sdapi/v1/sd-models")]
        titles = {re.split(r"[/\\]", one.partition(" [")[0])[-1]: one for one in every}
        if base not in titles:
            raise not_there(address, base, list(titles))
        self.order = fill_places(orders[source.family], {**facts, "base": titles[base]})
        self.mark = json.dumps([address.url, self.order], sort_keys=True)

    def draw(self, job: Mapping[str, Any], worn: Sequence[tuple[Path, float]]) -> bytes:
        url, on = self.address.url, [(lora, strength) for lora, strength in worn if strength]
        loras = "".join(f" <lora:{lora.stem}:{strength:g}>" for lora, strength in on)
        order = fill_places(self.order, {**job, "loras": loras})
        answer = self.address.ask("/sdapi/v1/txt2img", order, wait_s=PATIENCE_S)
        try:
            said = str(json.loads(answer["info"])["infotexts"][0]).partition("Lora hashes")[2]
            picture = base64.b64decode(answer["images"][0].rpartition(",")[2])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise LorakitError(f"{url} answers with half a picture, or none.") from None
        for lora, _ in on:
            if f"{lora.stem}: {(inspect(lora).tensors_sha256 or '')[:12]}" not in said:
                what = f"{url} drew, but not with this {lora.stem}. It names: {said or 'none'}"
                hint = "Its terminal says why. Another file of that name? LoRA hashes switched off?"
                raise LorakitError(what, hint=hint)
        return picture
