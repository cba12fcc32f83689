"""Copy a LoRA into a program's folder with its sidecar and preview. What you wrote there is kept;
a different LoRA is never replaced.

Folders and sidecar keys are those programs' own: models/Lora and <stem>.json for A1111 and Forge,
models/loras for ComfyUI.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.errors import RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.files import hidden_file, sha256, take_name, write_atomic, write_new
from lorakit.portable import stem_problem
from lorakit.runs.intact import require_intact
from lorakit.runs.record import read_record
from lorakit.runs.registry import read_notes
from lorakit.user_files import Missing, Unreadable

FOLDERS: Mapping[str, str] = {
    "a1111": "models/Lora",
    "comfyui": "models/loras",
    "diffusers": "",  # loads from anywhere
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
    others: tuple[str, ...] = ()  # of the same run, made to be used with it: Wan's other expert


def pack(run_dir: Path, checkpoint: str | None, strength: float | None, name: str | None) -> Parcel:
    """What a run made: the checkpoint and strength that were asked for, else those noted."""
    if name is not None and (problem := stem_problem(name)):
        raise RecipeError(f"--as {problem}", hint="A name without folder and ending: --as maya-v2.")
    notes, asked = read_notes(run_dir), checkpoint
    run_dir, others = _stage_that_holds(run_dir, asked or notes.chosen)
    record = read_record(run_dir)
    output = record.output_dir(run_dir)
    there = sorted(path.name for path in output.glob("*.safetensors"))
    wanted = asked or notes.chosen or f"{record.output_name}.safetensors"
    if wanted not in there:
        raise RecipeError(
            f"{output}: no {wanted}. {did_you_mean(wanted, there)}".rstrip(),
            hint=f"There are {', '.join(there) or 'none'}.",
        )
    require_intact(run_dir, output / wanted)
    samples = (output / "sample").glob("*.png")
    return Parcel(
        file=output / wanted,
        name=name or Path(wanted).stem,
        trigger=record.trigger,
        family=record.family,
        strength=(notes.strength or 0.8) if strength is None else strength,
        notes="; ".join(note.text for note in notes.notes),
        preview=max(samples, key=lambda path: path.stat().st_mtime, default=None),
        others=others,
    )


def _stage_that_holds(run_dir: Path, wanted: str | None) -> tuple[Path, tuple[str, ...]]:
    """Of a run with stages the one with that file, else the last; and the LoRAs of the stages that
    have a name of their own, because they started from a base of their own.
    """
    folders = [run_dir / one.folder for one in read_record(run_dir).stages]
    if not folders:
        return run_dir, ()
    records = {folder: read_record(folder) for folder in folders}
    holding = [one for one in folders if wanted and (one / "output" / wanted).is_file()]
    chosen = holding[-1] if holding else folders[-1]
    names = {one.output_name for one in records.values()} - {records[chosen].output_name}
    return chosen, tuple(f"{name}.safetensors" for name in sorted(names))


@dataclass(frozen=True)
class Delivered:
    path: Path
    written: tuple[Path, ...]  # empty: everything was there already
    usage: str


def deliver(parcel: Parcel, program: str, home: Path, *, link: bool = False) -> Delivered:
    """Into `home`: the program's own folder, or directly a folder of LoRAs."""
    target = lora_folder(program, home) / f"{parcel.name}.safetensors"
    written = [target] if _place(parcel.file, target, link=link) else []
    if program == "a1111" and _sidecar(parcel, target.with_suffix(".json")):
        written.append(target.with_suffix(".json"))
    if parcel.preview and FOLDERS[program] and not _has_preview(target):
        preview = target.with_suffix(parcel.preview.suffix.lower())
        with suppress(FileExistsError):  # somebody's own, come just now
            write_new(preview, parcel.preview.read_bytes())
            written.append(preview)
    return Delivered(target, tuple(written), usage(parcel, program, target))


def lora_folder(program: str, home: Path) -> Path:
    """The folder a LoRA goes to; where `home` is not the program's, the error says what was
    expected.
    """
    if not home.is_dir():
        raise RecipeError(
            f"{home}: no such folder.",
            hint=f"Give the folder that {program} is installed in, or its folder of LoRAs.",
        )
    folder = home / FOLDERS[program]
    if folder.is_dir():
        return folder
    if home.name.casefold() == folder.name.casefold():
        return home
    if folder.parent.is_dir():
        return folder
    raise RecipeError(
        f"{home} does not look like {program}: there is no {FOLDERS[program]} in it.",
        hint="Give its installation folder, or its folder of LoRAs itself.",
    )


def usage(parcel: Parcel, program: str, target: Path) -> str:
    """What to type next, in the program's own words."""
    family = FAMILIES.get(parcel.family)
    if program == "a1111":
        return f"<lora:{parcel.name}:{parcel.strength:g}>, {parcel.trigger}, ..."
    if program == "comfyui":
        node = family.comfy_node if family else "LoraLoader"
        return (
            f"{node}: lora_name {target.name}, strength {parcel.strength:g};"
            f" prompt: {parcel.trigger}, ..."
        )
    pipeline, name = family.pipeline if family else "DiffusionPipeline", parcel.name
    return f"""\
from diffusers import {pipeline}
pipe = {pipeline}.from_pretrained("BASE")   # the base model that this LoRA was trained on
pipe.load_lora_weights({str(target.parent)!r}, weight_name={target.name!r}, adapter_name={name!r})
pipe.set_adapters([{name!r}], [{parcel.strength:g}])
pipe("{parcel.trigger}, ...").images[0].save("{name}.png")"""


def _place(source: Path, target: Path, *, link: bool) -> bool:
    """Copy (or link) beside and take the name; False where the same LoRA is there already."""
    if os.path.lexists(target):
        return _another(source, target)
    beside = hidden_file(target)
    try:
        if link:
            os.unlink(beside)
            os.symlink(source.resolve(), beside)
        else:
            shutil.copyfile(source, beside)
            os.chmod(beside, 0o644)
        take_name(beside, target)
    except FileExistsError:  # it came just now
        return _another(source, target)
    finally:
        beside.unlink(missing_ok=True)
    return True


def _another(source: Path, target: Path) -> bool:
    """Refuses what is there; False where it is the same LoRA."""
    if target.exists() and sha256(target) == sha256(source):
        return False
    raise RecipeError(
        f"{target} is another LoRA; it was left as it is.",
        hint="Give this one another name with --as.",
    )


def _sidecar(parcel: Parcel, path: Path) -> bool:
    """A1111's <stem>.json: only empty fields are filled, your own words stay."""
    ours: dict[str, Any] = {
        "description": "",
        "sd version": FAMILIES[parcel.family].ui_word if parcel.family in FAMILIES else "Unknown",
        "activation text": parcel.trigger,
        "preferred weight": parcel.strength,
        "negative text": "",
        "notes": parcel.notes,
    }
    try:
        theirs = json_text.read(path)
    except Missing:
        theirs = {}
    except Unreadable:
        return False  # not ours to repair
    if not isinstance(theirs, dict):
        return False
    merged = {**theirs, **{key: value for key, value in ours.items() if not theirs.get(key)}}
    if merged == theirs:
        return False
    write_atomic(path, json.dumps(merged, indent=4, ensure_ascii=False) + "\n")
    return True


def _has_preview(target: Path) -> bool:
    kinds = (".png", ".jpg", ".jpeg", ".webp")
    suffixes = [*kinds, *(f".preview{kind}" for kind in kinds)]
    return any(target.with_suffix(suffix).exists() for suffix in suffixes)
