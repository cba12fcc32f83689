"""Drawn by the user's own ComfyUI, A1111 or Forge, at the address that the user names and no other:
checked first, then a picture at a time. A1111 and Forge say of every picture which LoRAs they
loaded; ComfyUI keeps no picture.
"""

import base64
import json
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from lorakit import json_text
from lorakit.errors import LorakitError, did_you_mean, few
from lorakit.sheet.graph import fill_places, loader_of, put_on, read_graph
from lorakit.sheet.source import Source
from lorakit.weights.finite import inspect
from lorakit.weights.safetensors import read_header

PATIENCE_S = 600.0  # for one picture, its turn in the queue included
WORKFLOWS = Path(__file__).with_name("workflows")
TIMEOUT_S, MOST_ANSWER = 30.0, 1 << 27


@dataclass(frozen=True)
class Address:
    url: str

    def ask(self, path: str, data: Any = None, *, wait_s: float | None = None) -> Any:
        """Its answer: JSON, or a picture's bytes. Without proxies, and not where it points to."""
        parts, url = urlsplit(self.url), self.url.rstrip("/") + path
        doors = {"http": HTTPConnection, "https": HTTPSConnection}
        if parts.scheme not in doors or not parts.netloc:
            raise LorakitError(f"--at {self.url}: an address such as http://127.0.0.1:8188.")
        body = None if data is None else json.dumps(data)
        headers = {"Content-Type": "application/json"} if body else {}
        try:
            with closing(doors[parts.scheme](parts.netloc, timeout=wait_s or TIMEOUT_S)) as door:
                verb = "POST" if body else "GET"
                door.request(verb, parts.path.rstrip("/") + path, body, headers)
                answer = door.getresponse()
                found = answer.read(MOST_ANSWER)
            if answer.status == 200:
                picture = answer.headers.get_content_maintype() == "image"
                return found if picture else json_text.loads(found or b"{}")
        except (OSError, ValueError, HTTPException) as error:
            hint = "Is it running there? A1111 and Forge must be started with --api."
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise LorakitError(f"{url} gives no answer: {why}.", hint=hint) from error
        text = found[:65536].decode("utf-8", "replace")
        said = re.findall(r'"(?:details|message|detail|errors)": *"([^"]+)"', text)
        why = "; ".join(dict.fromkeys(said)) or answer.reason
        raise LorakitError(f"{url} answers {answer.status}: {why}")


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
