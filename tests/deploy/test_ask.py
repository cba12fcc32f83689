"""`deploy --check` against doubles of ComfyUI and A1111 that refuse what those refuse: unknown nodes, inputs, links and
names; and that answer with errors, half answers and silence.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lorakit.deploy import ask
from lorakit.deploy.ask import ask_to_draw
from lorakit.errors import LorakitError

HASH = "0123456789ab" + "c" * 52
Answer = tuple[int, Any]
NODES: dict[str, tuple[dict[str, Any], int]] = {  # class -> inputs and their types, outputs
    "CheckpointLoaderSimple": ({"ckpt_name": ["dir/base.safetensors", "other.safetensors"]}, 3),
    "LoraLoader": (
        {
            "lora_name": ["maya.safetensors"],
            "model": "link",
            "clip": "link",
            "strength_model": float,
            "strength_clip": float,
        },
        2,
    ),
    "CLIPTextEncode": ({"text": str, "clip": "link"}, 1),
    "EmptyLatentImage": ({"width": int, "height": int, "batch_size": int}, 1),
    "KSampler": (
        {
            **dict.fromkeys(("model", "positive", "negative", "latent_image"), "link"),
            "seed": int,
            "steps": int,
            "cfg": float,
            "denoise": float,
            "sampler_name": ["euler", "dpmpp_2m"],
            "scheduler": ["normal", "karras"],
        },
        1,
    ),
    "VAEDecode": ({"samples": "link", "vae": "link"}, 1),
    "PreviewImage": ({"images": "link"}, 0),
}


def wrong(graph: dict[str, Any]) -> str:
    """What ComfyUI's validation would refuse of a graph; empty: nothing."""
    for node in graph.values():
        if node["class_type"] not in NODES:
            return f"no node {node['class_type']}"
        inputs = NODES[node["class_type"]][0]
        if node["inputs"].keys() != inputs.keys():
            return f"Required input is missing: {set(inputs) ^ set(node['inputs'])}"
        for key, kind in inputs.items():
            value = node["inputs"][key]
            if kind == "link":
                outputs = NODES[graph[value[0]]["class_type"]][1]
                if not 0 <= value[1] < outputs:
                    return f"bad link {key}"
            elif isinstance(kind, list):
                if value not in kind:
                    return f"Value not in list: {key}: '{value}'"
            elif type(value) is not kind:
                return f"{key} is no {kind}"
    return ""


class Comfy:
    """Drawing takes two looks at the history."""

    def __init__(self, *, newer: bool = False, fails: str = "") -> None:
        self.newer, self.fails, self.looks, self.seen = newer, fails, 0, list[str]()

    def __call__(self, path: str, data: Any) -> Answer:
        self.seen.append(path)
        if path.startswith("/object_info/"):
            kind = path.rpartition("/")[2]
            inputs = {
                key: (["COMBO", {"options": value}] if self.newer else [value, {}])
                if isinstance(value, list)
                else ["MODEL"]
                for key, value in NODES[kind][0].items()
            }
            return 200, {kind: {"input": {"required": inputs}}}
        if path == "/prompt":
            if problem := wrong(data["prompt"]):
                error = {"message": "Prompt outputs failed validation", "details": ""}
                return 400, {
                    "error": error,
                    "node_errors": {"2": {"errors": [{"details": problem}]}},
                }
            return 200, {"prompt_id": "abc", "number": 1, "node_errors": {}}
        self.looks += 1
        if self.looks < 2:
            return 200, {}
        messages: list[Any] = [["execution_start", {"prompt_id": "abc"}]]
        if self.fails:
            messages.append(["execution_error", {"exception_message": self.fails}])
        word = "error" if self.fails else "success"
        status = {"status_str": word, "completed": not self.fails, "messages": messages}
        return 200, {"abc": {"outputs": {}, "status": status}}


class A1111:
    """Sees new files only after it was told to look again."""

    def __init__(self, *, short: str = HASH[:12], loads: bool = True) -> None:
        self.short, self.loads, self.fresh = short, loads, False

    def __call__(self, path: str, data: Any) -> Answer:
        if path == "/sdapi/v1/refresh-loras":
            self.fresh = True
            return 200, None
        if path == "/sdapi/v1/loras":
            names = ["old", *(["maya"] if self.fresh else [])]
            return 200, [{"name": one, "alias": one, "path": one, "metadata": {}} for one in names]
        assert path == "/sdapi/v1/txt2img"
        assert data["prompt"] == "<lora:maya:1>"
        text = "<lora:maya:1>\nSteps: 1, Size: 64x64"
        text += f', Lora hashes: "maya: {self.short}"' if self.loads else ""
        return 200, {"images": [], "parameters": data, "info": json.dumps({"infotexts": [text]})}


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[str, Any], Answer]], str]]:
    servers = []

    def start(program: Callable[[str, Any], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                self.answer(json.loads(body))

            def answer(self, data: Any) -> None:
                code, found = program(self.path, data)
                text = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", found)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("newer", [False, True])
def test_comfyui_draws_one_step_with_the_lora(serve: Any, newer: bool) -> None:
    comfy = Comfy(newer=newer)
    said = ask_to_draw("comfyui", serve(comfy) + "/", "maya", HASH, "base.safetensors")
    assert "drew with maya.safetensors" in said
    assert "in its own terminal only: lora key not loaded" in said
    assert comfy.seen[-3:] == ["/prompt", "/history/abc", "/history/abc"]


def test_comfyui_without_the_base_is_asked_for_the_name_alone(serve: Any) -> None:
    comfy = Comfy()
    said = ask_to_draw("comfyui", serve(comfy), "maya", HASH, "mine.safetensors")
    assert "lists maya.safetensors. It was not drawn with: mine.safetensors is none of" in said
    assert "/prompt" not in comfy.seen


def test_a1111_names_what_it_loaded_by_its_hash(serve: Any) -> None:
    said = ask_to_draw("a1111", serve(A1111()), "maya", HASH, "")
    assert said.endswith("loaded maya (0123456789ab) and drew with it.")


def half(path: str, data: Any) -> Answer:
    return 200, b'{"LoraLoader": {"inp'


@pytest.mark.parametrize(
    ("program", "double", "name", "said"),
    [
        ("comfyui", Comfy(), "mya", "does not see mya.safetensors. Did you mean maya.safetensors?"),
        ("comfyui", Comfy(fails="out of memory"), "maya", "could not draw with .*: out of memory"),
        ("comfyui", half, "maya", "gives no answer"),
        ("comfyui", lambda *_: (200, {"LoraLoader": {}}), "maya", "is it ComfyUI"),
        ("comfyui", lambda *_: (404, b"no"), "maya", "answers 404"),
        ("a1111", A1111(), "mina", "does not see mina"),
        ("a1111", A1111(loads=False), "maya", "drew a picture, but not with maya"),
        ("a1111", A1111(short="f" * 12), "maya", "another file as maya: its hash is ffffffffffff"),
    ],
)
def test_what_goes_wrong_there_is_said_here(
    serve: Any, program: str, double: Any, name: str, said: str
) -> None:
    with pytest.raises(LorakitError, match=said):
        ask_to_draw(program, serve(double), name, HASH, "base.safetensors")


def test_a_refused_graph_is_told_in_comfyuis_words(serve: Any, monkeypatch: Any) -> None:
    broken = {"1": {"class_type": "LoraLoader", "inputs": {"lora_name": "x"}}}
    monkeypatch.setattr(ask, "_graph", lambda *_: broken)
    with pytest.raises(LorakitError, match="answers 400: .*Required input is missing"):
        ask_to_draw("comfyui", serve(Comfy()), "maya", HASH, "base.safetensors")


def test_nobody_there_and_no_address_are_clear_errors() -> None:
    with pytest.raises(LorakitError, match="gives no answer"):
        ask_to_draw("a1111", "http://127.0.0.1:9", "maya", HASH, "")
    with pytest.raises(LorakitError, match="an address such as"):
        ask_to_draw("a1111", "file:///etc/passwd", "maya", HASH, "")


def test_another_address_is_never_followed(serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    asked: list[str] = []

    def elsewhere(path: str, data: Any) -> Answer:
        asked.append(path)
        return 200, []

    there = serve(elsewhere)
    with pytest.raises(LorakitError, match="answers 302"):
        ask_to_draw("a1111", serve(lambda *_: (302, there)), "maya", HASH, "")
    assert not asked


def test_a_queue_that_never_moves_is_given_up(serve: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(ask, "PATIENCE_S", 0.2)
    comfy = Comfy()
    comfy.looks = -100
    with pytest.raises(LorakitError, match="did not draw within"):
        ask_to_draw("comfyui", serve(comfy), "maya", HASH, "base.safetensors")
