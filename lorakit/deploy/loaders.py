"""Whether a program reads a LoRA. Known without asking it: a file in a form that it does not read
is converted, and keys that it would pass over ("lora key not loaded") are named. Or asked, where it
is running, to draw one small step: A1111 and Forge then name every LoRA that they loaded, with its
hash; ComfyUI refuses a name it does not know, and tells skipped keys its own terminal only.
"""

from dataclasses import asdict
from pathlib import Path

from lorakit import tomllib
from lorakit.errors import LorakitError, counted, few
from lorakit.sheet.interfaces import A1111, Address, ComfyUI
from lorakit.sheet.source import read_source
from lorakit.weights.forms import groups_of
from lorakit.weights.keys import MODEL, UNETS, LoraFile, read_lora
from lorakit.weights.rewrite import HEADS, convert, home_of
from lorakit.weights.safetensors import read_header

LOADERS = tomllib.page(__file__, "loaders.toml")
SMALL = {"width": 64, "height": 64, "seed": 1, "steps": 1}


def converted(program: str, lora: Path, folder: Path) -> tuple[Path, str]:
    """The file as the program reads it: itself, or one in `folder`; and what was done, in words."""
    file, forms = read_lora(lora), _forms(program, read_lora(lora).family)
    if not forms or file.form in forms:
        return lora, ""
    done = convert(file, folder / lora.name, forms[0])
    title = LOADERS[program]["title"]
    said = f"its keys are named as {file.form} has them, which {title} does not read: converted"
    return done.path, f"{said} to {forms[0]}'s form, delta-W equal to {done.error:.1e}"


def told_of_keys(program: str, lora: Path, base: Path) -> str:
    """What the program would say of them; of the base's layers, too, where it is one file."""
    file, loader = read_lora(lora), LOADERS[program]
    title, count = loader["title"], len(file.modules)
    if not _forms(program, file.family):
        return f"{title} is not known to read LoRAs of {file.family or 'an unknown family'}."
    kinds = loader.get("kinds", [module.kind for module in file.modules])
    lost = [one.name for one in file.modules if one.kind not in kinds]
    lost += [*_homeless(file, base), *file.others]
    if lost:
        return f"{title} will pass over {len(lost)} (lora key not loaded): {few(lost, 3)}."
    return f"{title} reads all of it: {counted(count, 'module')}, in {file.form}'s form."


def _forms(program: str, family: str) -> tuple[str, ...]:
    loader = LOADERS[program]
    return tuple(loader.get(family, loader.get("other", ())))


def _homeless(lora: LoraFile, base: Path) -> list[str]:
    """Modules for which the base has no layer."""
    if lora.family not in {*UNETS, "flux"} or not base.is_file():
        return []  # names that are not known, or a folder: nothing to hold it against
    header = read_header(base)
    there = {MODEL} | {
        part
        for part, heads in HEADS.items()
        if any(name.startswith(tuple(filter(None, heads))) for name in header.tensors)
    }
    places = ((part, path) for part, path in groups_of(lora) if part in there)
    return [path for part, path in places if not home_of(header, part, path)[0]]


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
