"""Copy a LoRA into a program's folder with its sidecar and preview. What a person wrote there is
kept; a different LoRA is never replaced.

Folders and sidecar keys are those programs' own: models/Lora and <stem>.json for A1111 and Forge,
models/loras for ComfyUI.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit.errors import RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.files import sha256, write_atomic

FOLDERS: Mapping[str, tuple[str, ...]] = {
    "a1111": ("models/Lora",),
    "comfyui": ("models/loras",),
    "diffusers": (),
}


@dataclass(frozen=True)
class Parcel:
    """One LoRA and what is to be said about it."""

    file: Path
    name: str  # file stem at its destination; programs find a LoRA by it
    trigger: str
    family: str
    strength: float = 0.8
    notes: str = ""
    preview: Path | None = None


@dataclass(frozen=True)
class Delivered:
    path: Path
    written: tuple[Path, ...]  # empty: everything was there already
    usage: str


def deliver(parcel: Parcel, program: str, home: Path, *, link: bool = False) -> Delivered:
    """Into `home`: the program's own folder, or directly a folder of LoRAs."""
    folder = lora_folder(program, home)
    target = folder / f"{parcel.name}.safetensors"
    written = [target] if _place(parcel.file, target, link=link) else []
    if program == "a1111":
        written += [path for path in [_sidecar(parcel, target.with_suffix(".json"))] if path]
    if parcel.preview and program in {"a1111", "comfyui"} and not _has_preview(target):
        preview = target.with_suffix(parcel.preview.suffix.lower())
        write_atomic(preview, parcel.preview.read_bytes())
        written.append(preview)
    return Delivered(target, tuple(written), usage(parcel, program, target))


def lora_folder(program: str, home: Path) -> Path:
    """The folder a LoRA goes to; a folder that is not the program's says what was expected."""
    if not home.is_dir():
        raise RecipeError(
            f"{home}: no such folder.",
            hint=f"Give the folder that {program} is installed in, or its folder of LoRAs.",
        )
    for inside in FOLDERS[program]:
        if (home / inside).is_dir():
            return home / inside
        if home.name.casefold() == Path(inside).name.casefold():
            return home
        if (home / inside).parent.is_dir():
            return home / inside
    if FOLDERS[program]:
        raise RecipeError(
            f"{home} does not look like {program}: there is no {FOLDERS[program][0]} in it.",
            hint="Give its installation folder, or its folder of LoRAs itself.",
        )
    return home


def usage(parcel: Parcel, program: str, target: Path) -> str:
    """What to type next, in the program's own words."""
    family = FAMILIES.get(parcel.family)
    if program == "a1111":
        return f"<lora:{parcel.name}:{parcel.strength:g}>, {parcel.trigger}, ..."
    if program == "comfyui":
        node = family.comfy_node if family else "LoraLoader"
        return (
            f"{node}: lora_name {target.name}, strength {parcel.strength:g}; prompt:"
            f" {parcel.trigger}, ..."
        )
    pipeline = family.pipeline if family else "DiffusionPipeline"
    return "\n".join(
        [
            f"from diffusers import {pipeline}",
            (
                f'pipe = {pipeline}.from_pretrained("BASE")   # the base model that this LoRA was'
                " trained on"
            ),
            (
                f"pipe.load_lora_weights({str(target.parent)!r}, weight_name={target.name!r},"
                f" adapter_name={parcel.name!r})"
            ),
            f"pipe.set_adapters([{parcel.name!r}], [{parcel.strength:g}])",
            f'pipe("{parcel.trigger}, ...").images[0].save("{parcel.name}.png")',
        ]
    )


@dataclass(frozen=True)
class Swap:
    """What goes into a workflow, and what of its own it takes the place of."""

    lora: str
    trigger: str
    old_lora: str = ""  # which one, where a workflow loads several
    old_trigger: str = ""
    strength: float | None = None


def swap_workflow(workflow: Path, swap: Swap) -> tuple[str, list[str]]:
    """An existing ComfyUI workflow (API format) with our LoRA and trigger in it; returns the new
    text and what was changed, in words.
    """
    try:
        nodes = json.loads(workflow.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(f"{workflow}: not a workflow ({error}).") from error
    if not isinstance(nodes, dict) or not all(
        isinstance(node, dict) and "class_type" in node for node in nodes.values()
    ):
        raise RecipeError(
            f"{workflow} is not in ComfyUI's API format.",
            hint="In ComfyUI: Workflow > Export (API), and give that file.",
        )
    told = []
    old_lora = _old_lora(workflow, _loras(nodes), swap.old_lora)
    word = re.compile(rf"(?<!\w){re.escape(swap.old_trigger)}(?!\w)") if swap.old_trigger else None
    for number, node in nodes.items():
        inputs = _inputs(node)
        if inputs.get("lora_name") == old_lora:
            told.append(f"node {number} {node['class_type']}: {old_lora} -> {swap.lora}")
            inputs["lora_name"] = swap.lora
            if swap.strength is not None:
                inputs.update(
                    {
                        key: swap.strength
                        for key in ("strength_model", "strength_clip")
                        if key in inputs
                    }
                )
        for key, value in inputs.items():
            if word and isinstance(value, str) and key != "lora_name" and word.search(value):
                inputs[key] = word.sub(lambda _: swap.trigger, value)
                told.append(f"node {number} {key}: {swap.old_trigger} -> {swap.trigger}")
    return json.dumps(nodes, indent=2, ensure_ascii=False) + "\n", told


def _old_lora(workflow: Path, found: Sequence[str], wanted: str) -> str:
    """The one that is meant: named, or the only one there is."""
    if wanted and wanted not in found:
        raise RecipeError(
            f"{workflow}: no node in it loads {wanted}. {did_you_mean(wanted, found)}".rstrip(),
            hint=f"It loads {', '.join(found) or 'none'}.",
        )
    if not found:
        raise RecipeError(
            f"{workflow}: no node in it loads a LoRA.",
            hint="Add a LoraLoader node in ComfyUI and export again.",
        )
    if len(found) > 1 and not wanted:
        raise RecipeError(
            f"{workflow} loads {len(found)} LoRAs: {', '.join(found)}.",
            hint=f"Say which one: --old-lora {found[-1]}",
        )
    return wanted or found[0]


def _loras(nodes: Mapping[str, Any]) -> list[str]:
    return list(
        dict.fromkeys(
            str(_inputs(node)["lora_name"])
            for node in nodes.values()
            if "lora_name" in _inputs(node)
        )
    )


def _inputs(node: Mapping[str, Any]) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _place(source: Path, target: Path, *, link: bool) -> bool:
    """Copy (or link) beside and move into place; False where the same LoRA is there already."""
    if target.exists() or target.is_symlink():
        if target.exists() and sha256(target) == sha256(source):
            return False
        raise RecipeError(
            f"{target} is another LoRA; it was left as it is.",
            hint="Give this one another name with --as.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".tmp")
    os.close(handle)
    try:
        if link:
            os.unlink(beside)
            os.symlink(source.resolve(), beside)
        else:
            shutil.copyfile(source, beside)
            os.chmod(beside, 0o644)
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return True


def _sidecar(parcel: Parcel, path: Path) -> Path | None:
    """A1111's <stem>.json: only fields that are empty are filled, a person's words stay."""
    ours: dict[str, Any] = {
        "description": "",
        "sd version": FAMILIES[parcel.family].ui_word if parcel.family in FAMILIES else "Unknown",
        "activation text": parcel.trigger,
        "preferred weight": parcel.strength,
        "negative text": "",
        "notes": parcel.notes,
    }
    try:
        theirs = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        theirs = {}
    except ValueError:
        return None  # not ours to repair
    if not isinstance(theirs, dict):
        return None
    merged = {**theirs, **{key: value for key, value in ours.items() if not theirs.get(key)}}
    if merged == theirs:
        return None
    write_atomic(path, json.dumps(merged, indent=4, ensure_ascii=False) + "\n")
    return path


def _has_preview(target: Path) -> bool:
    return any(
        target.with_suffix(suffix).exists()
        for kind in (".png", ".jpg", ".jpeg", ".webp")
        for suffix in (kind, f".preview{kind}")
    )
