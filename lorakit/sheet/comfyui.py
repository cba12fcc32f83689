"""Drawn by the user's own ComfyUI: checked first, then a picture at a time; it keeps none."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from lorakit import json_text
from lorakit.errors import LorakitError, did_you_mean, few
from lorakit.sheet.address import Address
from lorakit.sheet.graph import fill_places, loader_of, put_on, read_graph
from lorakit.sheet.source import Source
from lorakit.weights.safetensors import read_header

PATIENCE_S = 600.0  # for one picture, its turn in the queue included
WORKFLOWS = Path(__file__).with_name("workflows")


class ComfyUI:
    def __init__(
        self, address: Address, workflow: Path | None, source: Source, loras: Sequence[Path]
    ) -> None:
        """Everything that a sheet needs is there, or this says what is not."""
        self.address, self.takes = address, cache(self._takes)
        own = WORKFLOWS / f"{source.family}.json"
        if workflow is None and not own.is_file():
            what = f"lorakit has no workflow of its own for {source.family}."
            raise LorakitError(what, hint="Give yours: --workflow FILE")
        graph = read_graph(workflow or own, self.takes)
        self.loader = loader_of(graph, [one.name for one in loras])
        loads = graph[self.loader]
        self.names = {lora: self._ours(loads["class_type"], lora) for lora in loras}
        loads["inputs"]["lora_name"] = next(iter(self.names.values()))
        self.graph = fill_places(graph, facts_of(source))
        for node in self.graph.values():
            for key in self.takes(node["class_type"]):
                value = node["inputs"].get(key)
                if isinstance(value, str) and "{" not in value:
                    node["inputs"][key] = self._listed(node["class_type"], key, value)
        self.mark = json.dumps([address.url, self.graph], sort_keys=True)

    def draw(self, job: Mapping[str, Any], worn: Sequence[tuple[Path, float]]) -> bytes:
        named = [(self.names[lora], strength) for lora, strength in worn]
        bare = [(next(iter(self.names.values())), 0.0)]  # the base: nothing of it is loaded
        graph = put_on(fill_places(self.graph, job), self.loader, named or bare)
        told = self.address.ask("/prompt", {"prompt": graph, "client_id": "lorakit"})
        number = str(told.get("prompt_id"))
        try:
            where = self._drawn(number)
        except BaseException:
            with suppress(LorakitError):
                self.address.ask("/queue", {"delete": [number]})
            raise
        return bytes(self.address.ask(f"/view?{urlencode(where)}"))

    def _drawn(self, number: str) -> dict[str, str]:
        """Where the picture lies, once it is there."""
        url, until = self.address.url, time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            told = self.address.ask(f"/history/{quote(number)}").get(number, {})
            status = told.get("status", {})
            if status.get("status_str") == "error":
                said = [more for what, more in status.get("messages", []) if "error" in what]
                why = said[0].get("exception_message", "").strip() if said else "it does not say"
                raise LorakitError(f"{url} could not draw: {why}")
            if status.get("completed"):
                images = [one for out in told["outputs"].values() for one in out.get("images", [])]
                if not images:
                    raise LorakitError(f"{url} was done, and there was no picture.")
                return {key: str(images[0][key]) for key in ("filename", "subfolder", "type")}
            time.sleep(0.2)
        what = f"{url} drew nothing within {PATIENCE_S:.0f} s."
        raise LorakitError(what, hint="Is its queue full?")

    def _listed(self, kind: str, key: str, value: str) -> str:
        """As ComfyUI lists it, in whatever folder; what is not of a list stays."""
        what, *how = self.takes(kind).get(key, [""])
        listed = what if isinstance(what, list) else (how or [{}])[0].get("options")
        if listed is None or value in listed:
            return value
        same = [one for one in listed if str(one).replace("\\", "/").endswith(f"/{value}")]
        if not same:
            raise not_there(self.address, value, list(map(str, listed)))
        return str(same[0])

    def _ours(self, kind: str, lora: Path) -> str:
        """A file of that name is ours if it says the same of itself."""
        name, told = self._listed(kind, "lora_name", lora.name), None
        with suppress(LorakitError):  # it says nothing, or the version does not tell
            told = self.address.ask(f"/view_metadata/loras?{urlencode({'filename': name})}")
        if told and told != dict(read_header(lora).metadata):
            what = f"{self.address.url} has another LoRA as {name}."
            raise LorakitError(what, hint="lorakit deploy RUN --to comfyui --as NAME")
        return name

    def _takes(self, kind: str) -> dict[str, Any]:
        try:
            told = self.address.ask(f"/object_info/{quote(kind, safe='')}")[kind]["input"]
            return {**told.get("required", {}), **told.get("optional", {})}
        except (KeyError, TypeError, AttributeError):
            what = f"{self.address.url} has no node {kind}."
            raise LorakitError(what, hint="Is it ComfyUI, with all the workflow needs?") from None


def facts_of(source: Source) -> dict[str, Any]:
    """What is the same in all pictures of a run: its weights by their names, sampler, clip skip."""
    samplers = json_text.read(WORKFLOWS / "samplers.json")
    facts = {key: Path(str(value)).name for key, value in source.options.items()}
    skip = int(source.options.get("clip_skip") or 1)
    word = facts.get("sample_sampler", "").removeprefix("k_")
    return {**facts, **samplers.get(word, samplers["ddim"]), "clip_skip": skip, "clip_layer": -skip}


def not_there(address: Address, name: str, listed: Sequence[str]) -> LorakitError:
    what = f"{address.url} has no {name}. {did_you_mean(name, listed)}".rstrip()
    way = "lorakit deploy RUN --checkpoint NAME puts a LoRA there."
    return LorakitError(what, hint=f"It lists {few(listed, 5) or 'none'}. {way}")
