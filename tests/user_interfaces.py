"""Doubles of ComfyUI and A1111 on loopback. They refuse what those refuse (unknown nodes, inputs, links of another kind, names
that are not listed, wrong types), draw a picture whose colour depends on everything that was asked for, and can fail,
answer by halves, and fall silent.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from PIL import Image

INT, FLOAT, TEXT = ["INT", {}], ["FLOAT", {}], ["STRING", {"multiline": True}]
TYPES: dict[str, Any] = {"INT": int, "FLOAT": (int, float), "STRING": str}
SAMPLERS = ["euler", "euler_ancestral", "heun", "dpmpp_2m", "ddim"]
SCHEDULERS = ["normal", "karras", "simple", "ddim_uniform"]


def png(of: Any, size: tuple[int, int]) -> bytes:
    red, green, blue = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).digest()[:3]
    data = io.BytesIO()
    Image.new("RGB", size, (red, green, blue)).save(data, "PNG")
    return data.getvalue()


@dataclass
class ComfyDouble:
    """Drawing takes `looks` looks at the history."""

    loras: dict[str, dict[str, str]]  # as listed, and what each says of itself
    bases: list[str] = field(default_factory=lambda: ["sub/base.safetensors", "other.safetensors"])
    newer: bool = False  # lists as options
    looks: int = 1
    fails: str = ""
    half: bool = False
    after: int = 10**6  # how many pictures go well before anything goes wrong
    lacks: str = ""  # a class of nodes
    graphs: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    looked: dict[str, int] = field(default_factory=dict)

    def nodes(self) -> dict[str, tuple[dict[str, Any], list[str]]]:
        """Class -> inputs in ComfyUI's order, and the kinds of its outputs."""
        names = list(self.loras)
        link: dict[str, list[Any]] = {
            kind: [kind, {}] for kind in ("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE")
        }
        sizes = {"width": INT, "height": INT, "batch_size": INT}
        found: dict[str, tuple[dict[str, Any], list[str]]] = {
            "CheckpointLoaderSimple": ({"ckpt_name": [self.bases, {}]}, ["MODEL", "CLIP", "VAE"]),
            "UNETLoader": (
                {"unet_name": [self.bases, {}], "weight_dtype": [["default", "fp8_e4m3fn"], {}]},
                ["MODEL"],
            ),
            "DualCLIPLoader": (
                {
                    "clip_name1": [self.bases, {}],
                    "clip_name2": [self.bases, {}],
                    "type": [["flux"], {}],
                },
                ["CLIP"],
            ),
            "VAELoader": ({"vae_name": [self.bases, {}]}, ["VAE"]),
            "LoraLoader": (
                {
                    "model": link["MODEL"],
                    "clip": link["CLIP"],
                    "lora_name": [names, {}],
                    "strength_model": FLOAT,
                    "strength_clip": FLOAT,
                },
                ["MODEL", "CLIP"],
            ),
            "CLIPSetLastLayer": ({"clip": link["CLIP"], "stop_at_clip_layer": INT}, ["CLIP"]),
            "CLIPTextEncode": ({"text": TEXT, "clip": link["CLIP"]}, ["CONDITIONING"]),
            "FluxGuidance": (
                {"conditioning": link["CONDITIONING"], "guidance": FLOAT},
                ["CONDITIONING"],
            ),
            "ConditioningZeroOut": ({"conditioning": link["CONDITIONING"]}, ["CONDITIONING"]),
            "EmptyLatentImage": (sizes, ["LATENT"]),
            "EmptySD3LatentImage": (sizes, ["LATENT"]),
            "KSampler": (
                {
                    "model": link["MODEL"],
                    "seed": INT,
                    "steps": INT,
                    "cfg": FLOAT,
                    "sampler_name": [SAMPLERS, {}],
                    "scheduler": [SCHEDULERS, {}],
                    "positive": link["CONDITIONING"],
                    "negative": link["CONDITIONING"],
                    "latent_image": link["LATENT"],
                    "denoise": FLOAT,
                },
                ["LATENT"],
            ),
            "VAEDecode": ({"samples": link["LATENT"], "vae": link["VAE"]}, ["IMAGE"]),
            "PreviewImage": ({"images": link["IMAGE"]}, []),
            "SaveImage": ({"images": link["IMAGE"], "filename_prefix": TEXT}, []),
        }
        found.pop(self.lacks, None)
        return found

    def wrong(self, graph: dict[str, Any]) -> str:
        """What ComfyUI's validation would refuse; empty: nothing."""
        nodes = self.nodes()
        for number, node in graph.items():
            if node["class_type"] not in nodes:
                return f"Cannot execute because node {node['class_type']} does not exist."
            takes = nodes[node["class_type"]][0]
            if missing := takes.keys() - node["inputs"].keys():
                return f"Required input is missing: {sorted(missing)} in {number}"
            for key, (kind, _) in takes.items():
                value = node["inputs"][key]
                if isinstance(value, list):
                    outputs = nodes[graph[value[0]]["class_type"]][1]
                    if not 0 <= value[1] < len(outputs) or outputs[value[1]] != kind:
                        return f"Return type mismatch between linked nodes: {key} in {number}"
                elif isinstance(kind, list):
                    if value not in kind:
                        return f"Value not in list: {key}: '{value}' not in {kind}"
                elif kind not in {"INT", "FLOAT", "STRING"}:
                    return f"Bad linked input: {key} in {number}"
                elif not isinstance(value, TYPES[kind]):
                    return f"Failed to convert an input value: {key} in {number}"
        outputs_there = {"PreviewImage", "SaveImage"} & {
            node["class_type"] for node in graph.values()
        }
        return "" if outputs_there else "Prompt has no outputs"

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path.startswith("/object_info/"):
            kind = path.rpartition("/")[2]
            if kind not in self.nodes():
                return 200, {}
            takes = {key: self._listed(told) for key, told in self.nodes()[kind][0].items()}
            return 200, {kind: {"input": {"required": takes}, "output": self.nodes()[kind][1]}}
        if path == "/view_metadata/loras":
            said = self.loras[query["filename"][0]]
            return (200, said) if said else (404, b"")
        if path.startswith("/history/"):
            number = path.rpartition("/")[2]
            self.looked[number] = self.looked.get(number, 0) + 1
            return 200, self._history(number) if self.looked[number] >= self.looks else {}
        assert path == "/view"
        assert query["type"] == ["temp"]  # nothing is kept
        graph = self.graphs[int(query["filename"][0].partition(".")[0])]
        size = next(one["inputs"] for one in graph.values() if "width" in one["inputs"])
        data = png(graph, (size["width"], size["height"]))
        return 200, data[: len(data) // 2] if self.half and self._late else data

    @property
    def _late(self) -> bool:
        return len(self.graphs) > self.after or self.after == 10**6

    def _listed(self, told: list[Any]) -> list[Any]:
        return ["COMBO", {"options": told[0]}] if self.newer and isinstance(told[0], list) else told

    def _history(self, number: str) -> dict[str, Any]:
        fails = self.fails if self._late else ""
        messages: list[Any] = [["execution_start", {"prompt_id": number}]]
        if fails:
            messages.append(["execution_error", {"exception_message": fails}])
        word = "error" if fails else "success"
        status = {"status_str": word, "completed": not fails, "messages": messages}
        image = {"filename": f"{number}.png", "subfolder": "", "type": "temp"}
        return {number: {"outputs": {} if fails else {"9": {"images": [image]}}, "status": status}}

    def post(self, path: str, data: Any) -> tuple[int, Any]:
        if path == "/queue":
            self.deleted += data["delete"]
            return 200, b""
        assert path == "/prompt"
        if problem := self.wrong(data["prompt"]):
            error = {"message": "Prompt outputs failed validation", "details": ""}
            return 400, {"error": error, "node_errors": {"2": {"errors": [{"details": problem}]}}}
        self.graphs.append(data["prompt"])
        return 200, {"prompt_id": str(len(self.graphs) - 1), "number": 1, "node_errors": {}}


@dataclass
class A1111Double:
    """Sees new files only after it was told to look again."""

    loras: dict[str, str]  # name -> the hash of its tensors
    titles: tuple[str, ...] = (
        "sub/base.safetensors [0123456789]",
        "other.safetensors [9876543210]",
    )
    loads: bool = True
    half: bool = False
    fails: str = ""
    fresh: bool = False
    orders: list[dict[str, Any]] = field(default_factory=list)

    def get(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/sdapi/v1/loras":
            names = self.loras if self.fresh else {}
            return 200, [{"name": one, "alias": one, "path": one, "metadata": {}} for one in names]
        assert path == "/sdapi/v1/sd-models"
        return 200, [
            {"title": title, "model_name": title.partition(".safetensors")[0].replace("/", "_")}
            for title in self.titles
        ]

    def post(self, path: str, data: Any) -> tuple[int, Any]:
        if path == "/sdapi/v1/refresh-loras":
            self.fresh = True
            return 200, None
        assert path == "/sdapi/v1/txt2img"
        if self.fails:
            return 500, {"error": "RuntimeError", "detail": "", "errors": self.fails}
        if data["override_settings"]["sd_model_checkpoint"] not in self.titles:
            return 500, {"detail": "no such checkpoint"}
        if data["sampler_name"] not in {"DDIM", "Euler", "Euler a", "DPM++ 2M"}:
            return 404, {"detail": "Sampler not found"}
        self.orders.append(data)
        asked = [one.partition(":")[0] for one in data["prompt"].split("<lora:")[1:]]
        found = ", ".join(f"{one}: {self.loras[one][:12]}" for one in asked if one in self.loras)
        text = data["prompt"] + f'\nSteps: 1, Lora hashes: "{found}"' * (self.loads and bool(found))
        picture = png(data, (data["width"], data["height"]))
        picture = picture[: len(picture) // 2] if self.half else picture
        images = [base64.b64encode(picture).decode()]
        return 200, {
            "images": images,
            "parameters": data,
            "info": json.dumps({"infotexts": [text]}),
        }


@contextmanager
def serving(program: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlparse(self.path)
            self.answer(*program.get(url.path, parse_qs(url.query)))

        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.answer(*program.post(self.path, body))

        def answer(self, code: int, found: Any) -> None:
            raw = isinstance(found, bytes)
            text = found if raw else json.dumps(found).encode()
            self.send_response(code)
            kind = "image/png" if raw and self.path.startswith("/view?") else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
