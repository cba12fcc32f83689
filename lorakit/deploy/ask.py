"""Ask a running user interface, at the address that the user names and no other, to draw one small
step with a LoRA that was delivered, and hear whether it loaded.

A1111 and Forge name every LoRA that they loaded, with its hash, in what they say of a picture.
ComfyUI refuses a name it does not know; keys that it skipped it tells its own terminal only.
"""

from dataclasses import asdict
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.sheet.a1111 import A1111
from lorakit.sheet.address import Address
from lorakit.sheet.comfyui import ComfyUI
from lorakit.sheet.source import read_source

SMALL = {"width": 64, "height": 64, "seed": 1, "steps": 1}


def may_be_asked(program: str, url: str) -> None:
    """Raises where it never could; known before anything is copied."""
    if not url.startswith(("http://", "https://")):
        raise LorakitError(f"--check {url}: an address such as http://127.0.0.1:8188.")
    if program not in {"a1111", "comfyui", "forge"}:
        raise LorakitError(f"--check URL asks comfyui, a1111 and forge; {program} is not asked.")


def ask_to_draw(program: str, url: str, run_dir: Path, lora: Path) -> str:
    """What was proven, as a sentence; raises where the LoRA is not seen or not loaded."""
    source, address = read_source(run_dir), Address(url.rstrip("/"))
    job = {**asdict(source.plain), **SMALL}
    if program != "comfyui":
        A1111(address, source, [lora]).draw(job, [(lora, 1.0)])
        return f"{address.url} loaded {lora.stem} and drew with it: it named its hash."
    ComfyUI(address, None, source, [lora]).draw(job, [(lora, 1.0)])
    keys = "Keys that it could not place it names in its own terminal only: lora key not loaded."
    return f"{address.url} drew with {lora.name}. {keys}"
