"""Ask a running user interface, at the address that the user names and no other, to draw one small
step with a LoRA that was delivered, and hear whether it loaded.

A1111 and Forge name every LoRA that they loaded, with its hash, in what they say of a picture.
ComfyUI refuses a name it does not know; keys that it skipped it tells its own terminal only.
"""

import json
import re
import time
import urllib.error
import urllib.request
from typing import Any

from lorakit import json_text
from lorakit.errors import LorakitError, did_you_mean
from lorakit.user_files import Unreadable

TIMEOUT_S, PATIENCE_S, MOST_ANSWER = 30.0, 300.0, 1 << 26
SMALL = {"width": 64, "height": 64, "seed": 1, "steps": 1}


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """Never to another address; what asks for it is an error like any other."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)


def ask_to_draw(program: str, url: str, name: str, tensors_sha256: str, base: str) -> str:
    """What was proven, as a sentence; raises where the LoRA is not seen or not loaded."""
    if not re.match(r"https?://[^/]", url):
        raise LorakitError(f"--check {url}: an address such as http://127.0.0.1:8188.")
    address = url.rstrip("/")
    if program == "a1111":
        return _a1111(address, name, tensors_sha256[:12])
    return _comfyui(address, f"{name}.safetensors", base)


def _a1111(url: str, name: str, short: str) -> str:
    _ask(f"{url}/sdapi/v1/refresh-loras", {})
    names = [str(one.get("name")) for one in _ask(f"{url}/sdapi/v1/loras")]
    if name not in names:
        raise _not_seen(url, name, names)
    order = {**SMALL, "prompt": f"<lora:{name}:1>", "save_images": False, "send_images": False}
    answer = _ask(f"{url}/sdapi/v1/txt2img", order)
    said = str(answer.get("info", ""))
    found = re.search(rf"{re.escape(name)}: ([0-9a-f]{{6,}})", said.partition("Lora hashes")[2])
    if found is None:
        raise LorakitError(
            f"{url} drew a picture, but not with {name}.",
            hint="Its terminal says why. (It must be allowed to add LoRA hashes to the infotext.)",
        )
    if found[1] != short:
        raise LorakitError(
            f"{url} loaded another file as {name}: its hash is {found[1]}, not {short}.",
            hint="There is a second file of that name below its folder; use --as NAME.",
        )
    return f"{url} loaded {name} ({short}) and drew with it."


def _comfyui(url: str, file: str, base: str) -> str:
    loras = _choices(url, "LoraLoader", "lora_name")
    if file not in loras:
        raise _not_seen(url, file, loras)
    bases = _choices(url, "CheckpointLoaderSimple", "ckpt_name")
    own = next((one for one in bases if re.split(r"[/\\]", one)[-1] == base), None)
    if own is None:
        return f"{url} lists {file}. It was not drawn with: {base} is none of its checkpoints."
    answer = _ask(f"{url}/prompt", {"prompt": _graph(own, file), "client_id": "lorakit"})
    number, until = str(answer.get("prompt_id")), time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        status = _ask(f"{url}/history/{number}").get(number, {}).get("status", {})
        if status.get("status_str") == "error":
            told = [more for what, more in status.get("messages", []) if what == "execution_error"]
            why = (
                str(told[0].get("exception_message", "")).strip() if told else "it does not say why"
            )
            raise LorakitError(f"{url} could not draw with {file}: {why}")
        if status.get("completed"):
            return (
                f"{url} drew with {file}. Keys that it could not place it names in its own terminal"
                " only: lora key not loaded."
            )
        time.sleep(0.5)
    raise LorakitError(f"{url} did not draw within {PATIENCE_S:.0f} s.", hint="Is its queue full?")


def _graph(base: str, lora: str) -> dict[str, Any]:
    """In ComfyUI's API format; PreviewImage leaves nothing in its output folder."""

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": kind, "inputs": inputs}

    loaded = {"model": ["1", 0], "clip": ["1", 1], "strength_model": 1.0, "strength_clip": 1.0}
    how = {"steps": 1, "cfg": 1.0, "seed": 1, "denoise": 1.0}
    ways = {"positive": ["3", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    named = {"sampler_name": "euler", "scheduler": "normal"}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=base),
        "2": node("LoraLoader", lora_name=lora, **loaded),
        "3": node("CLIPTextEncode", text="", clip=["2", 1]),
        "4": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "5": node("KSampler", model=["2", 0], **how, **ways, **named),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("PreviewImage", images=["6", 0]),
    }


def _choices(url: str, kind: str, key: str) -> list[str]:
    """What a node lets one choose: the names themselves, or in newer versions among its options."""
    answer = _ask(f"{url}/object_info/{kind}")
    try:
        first, *rest = answer[kind]["input"]["required"][key]
        return list(map(str, first if isinstance(first, list) else rest[0]["options"]))
    except (KeyError, IndexError, TypeError, ValueError):
        raise LorakitError(
            f"{url} has no node {kind}: is it ComfyUI?", hint="Its address is on its terminal."
        ) from None


def _not_seen(url: str, name: str, names: list[str]) -> LorakitError:
    near = did_you_mean(name, names)
    hint = "Is --dir the folder of that program? It lists " + (", ".join(names[:5]) or "none") + "."
    return LorakitError(f"{url} does not see {name}. {near}".rstrip(), hint=hint)


def _ask(url: str, data: dict[str, Any] | None = None) -> Any:
    body = None if data is None else json.dumps(data).encode()
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(url, body, headers)  # noqa: S310  (http or https: checked)
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return json_text.loads(answer.read(MOST_ANSWER) or b"{}")
    except urllib.error.HTTPError as error:
        raise LorakitError(f"{url} answers {error.code}: {_reason(error)}") from error
    except (OSError, ValueError, Unreadable) as error:
        why = getattr(error, "reason", error)
        hint = "Is it running there? A1111 must be started with --api."
        raise LorakitError(f"{url} gives no answer: {why}.", hint=hint) from error


def _reason(error: urllib.error.HTTPError) -> str:
    """ComfyUI says in JSON which node it could not accept, and why."""
    text = error.read(1 << 16).decode("utf-8", "replace")
    details = re.findall(r'"(?:details|message|detail)": "([^"]+)"', text)
    return "; ".join(dict.fromkeys(details)) or error.reason or text[:200]
