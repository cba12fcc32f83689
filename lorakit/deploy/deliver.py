"""Copy a LoRA into a program's folder with its sidecar and preview. What you wrote there is kept;
another LoRA is put aside only when that is asked for, never lost. What was delivered where is in a
journal beside the runs, so that it can be taken back.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.errors import LorakitError, RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.files import into_place, sha256, take_name, write_atomic, write_new
from lorakit.journal import Entry, Journal, now
from lorakit.portable import stem_problem
from lorakit.runs.folder import runs_dir
from lorakit.runs.outcome import require_intact
from lorakit.runs.record import read_record
from lorakit.runs.registry import read_notes
from lorakit.sheet.source import checkpoint_file, read_source
from lorakit.user_files import Unreadable

FOLDERS: Mapping[str, str] = {
    "a1111": "models/Lora",
    "forge": "models/Lora",
    "comfyui": "models/loras",
    "swarmui": "Models/Lora",
    "invokeai": "lora",  # any will do: its Model Manager is told to scan it
    "diffusers": "",  # loads from anywhere
}
SIDECARS = ("a1111", "forge", "swarmui", "invokeai")  # who read A1111's <stem>.json
JOURNAL = "deployed.jsonl"


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
    prompts: tuple[str, ...] = ()  # what the run itself asked of it
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
    wanted = checkpoint_file(output, record.output_name, wanted)
    if wanted not in there:
        what = f"{output}: no {wanted}. {did_you_mean(wanted, there)}".rstrip()
        raise RecipeError(what, hint=f"There are {', '.join(there) or 'none'}.")
    require_intact(run_dir, output / wanted)
    samples, prompts = (output / "sample").glob("*.png"), sample_prompts(run_dir)
    return Parcel(
        file=output / wanted,
        name=name or Path(wanted).stem,
        trigger=record.trigger,
        family=record.family,
        strength=(notes.strength or 0.8) if strength is None else strength,
        notes="; ".join(note.text for note in notes.notes),
        preview=max(samples, key=lambda path: path.stat().st_mtime, default=None),
        prompts=tuple(one for one in dict.fromkeys(prompts) if record.trigger in one),
        others=others,
    )


def sample_prompts(run_dir: Path) -> tuple[str, ...]:
    """None of a trainer with files of its own."""
    with suppress(LorakitError):
        return tuple(row.prompt for row in read_source(run_dir).rows)
    return ()


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
    backup: Path | None = None  # where another LoRA of that name went
    sidecar: Mapping[str, Any] = field(default_factory=dict)  # what we said in it


def deliver(
    parcel: Parcel,
    program: str,
    home: Path,
    *,
    link: bool = False,
    replace: bool = False,
    before: Mapping[str, Any] | None = None,
) -> Delivered:
    """Into `home`: the program's own folder, or directly a folder of LoRAs. `before` is what an
    earlier delivery of that name said in the sidecar: unless somebody has edited it since, it gives
    way.
    """
    target = lora_folder(program, home) / f"{parcel.name}.safetensors"
    written, backup = list[Path](), None
    if not _is_there(parcel.file, target):
        backup = _place(parcel.file, target, link=link, replace=replace)
        written.append(target)
    said = _said(parcel) if program in SIDECARS else {}
    if said and _sidecar(said, before or {}, target.with_suffix(".json")):
        written.append(target.with_suffix(".json"))
    if parcel.preview and FOLDERS[program] and not _has_preview(target):
        preview = target.with_suffix(parcel.preview.suffix.lower())
        with suppress(FileExistsError):  # somebody's own, come just now
            write_new(preview, parcel.preview.read_bytes())
            written.append(preview)
    return Delivered(target, tuple(written), backup, said)


def lora_folder(program: str, home: Path) -> Path:
    """Where a LoRA goes; of a `home` that is not the program's, what was expected."""
    if not home.is_dir():
        hint = f"Give the folder that {program} is installed in, or its folder of LoRAs."
        raise RecipeError(f"{home}: no such folder.", hint=hint)
    folder = home / FOLDERS[program]
    if folder.is_dir():
        return folder
    if home.name.casefold() == folder.name.casefold():
        return home
    if folder.parent.is_dir():
        return folder
    what = f"{home} does not look like {program}: there is no {FOLDERS[program]} in it."
    raise RecipeError(what, hint="Give its installation folder, or its folder of LoRAs itself.")


def usage(parcel: Parcel, program: str, target: Path) -> str:
    """What to type next, in the program's own words."""
    family = FAMILIES.get(parcel.family)
    if program == "invokeai":
        return f"Model Manager > Scan Folder: {target.parent}; prompt: {parcel.trigger}, ..."
    if program in SIDECARS:
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


def _is_there(source: Path, target: Path) -> bool:
    return target.exists() and sha256(target) == sha256(source)


def _place(source: Path, target: Path, *, link: bool, replace: bool) -> Path | None:
    """Copy (or link) beside and take the name; where another LoRA went that had it."""
    if os.path.lexists(target) and not replace:
        raise _another(target)
    backup = None
    try:
        with into_place(target, new=True) as beside:
            if link:
                beside.unlink()
                beside.symlink_to(source.resolve())
            else:
                shutil.copyfile(source, beside)
                beside.chmod(0o644)
            if replace and os.path.lexists(target):
                backup = _put_aside(target)
    except FileExistsError:  # it came just now
        if not _is_there(source, target):
            raise _another(target) from None
    return backup


def _another(target: Path) -> RecipeError:
    hint = "Give this one another name with --as, or put the other aside: --replace"
    return RecipeError(f"{target} is another LoRA; it was left as it is.", hint=hint)


def _put_aside(target: Path) -> Path:
    """To the first free name of maya.safetensors.1.bak, .2.bak ...: no program lists those."""
    for number in count(1):
        backup = target.with_name(f"{target.name}.{number}.bak")
        with suppress(FileExistsError):
            take_name(target, backup)
            break
    return backup


def _said(parcel: Parcel) -> dict[str, Any]:
    """A1111's <stem>.json."""
    return {
        "description": "",
        "sd version": FAMILIES[parcel.family].ui_word if parcel.family in FAMILIES else "Unknown",
        "activation text": parcel.trigger,
        "preferred weight": parcel.strength,
        "negative text": "",
        "notes": parcel.notes,
    }


def _sidecar(ours: Mapping[str, Any], before: Mapping[str, Any], path: Path) -> bool:
    """Only fields that are empty, or as we left them, are filled; your own words stay."""
    try:
        theirs = json_text.read_or(path, {})
    except Unreadable:
        return False  # not ours to repair
    if not isinstance(theirs, dict):
        return False
    free = {key for key in ours if not theirs.get(key) or theirs[key] == before.get(key)}
    merged = {**theirs, **{key: value for key, value in ours.items() if key in free}}
    if merged == theirs:
        return False
    write_atomic(path, json.dumps(merged, indent=4, ensure_ascii=False) + "\n")
    return True


def _has_preview(target: Path) -> bool:
    kinds = (".png", ".jpg", ".jpeg", ".webp")
    suffixes = [*kinds, *(f".preview{kind}" for kind in kinds)]
    return any(target.with_suffix(suffix).exists() for suffix in suffixes)


def note_delivery(root: Path, run: str, program: str, done: Delivered) -> None:
    """Only what this delivery wrote is ours to take back."""
    if done.written:
        written = {str(path.absolute()): sha256(path) for path in done.written}
        entry: Entry = {"when": now(), "run": run, "program": program, "written": written}
        entry |= {"target": str(done.path.absolute()), "sidecar": dict(done.sidecar)}
        entry |= {"backup": str(done.backup.absolute()) if done.backup else ""}
        Journal(runs_dir(root) / JOURNAL).append(entry)


def said_before(root: Path, target: Path) -> dict[str, Any]:
    """What the last delivery to this place said in its sidecar."""
    found = [one["sidecar"] for one in _standing(root) if one["target"] == str(target.absolute())]
    return dict(found[-1]) if found else {}


def take_back(root: Path, run: str, program: str | None) -> Iterator[str]:
    """What the deliveries wrote goes, what they put aside comes back; changed files stay, aloud."""
    mine = [
        one for one in _standing(root) if one["run"] == run and program in {None, one["program"]}
    ]
    if not mine:
        where = f" to {program}" if program else ""
        what = f"{run} was not deployed{where}, as far as {runs_dir(root) / JOURNAL} knows."
        raise LorakitError(what, hint="A file that was copied by hand is removed by hand.")
    for one in reversed(mine):
        for name, digest in one["written"].items():
            path = Path(name)
            if not path.is_file():
                yield f"{path} is gone already"
            elif sha256(path) != digest:
                yield f"{path} was changed since; it was left as it is"
            else:
                path.unlink()
                yield f"removed {path}"
        target, backup = Path(one["target"]), Path(one["backup"] or one["target"])
        if backup != target and backup.exists() and not target.exists():
            take_name(backup, target)
            yield f"{target} is the one from before again"
        Journal(runs_dir(root) / JOURNAL).append({"undone": one["when"], "target": one["target"]})


def _standing(root: Path) -> list[Entry]:
    """Deliveries that were not taken back."""
    entries = Journal(runs_dir(root) / JOURNAL).read()
    undone = {(one["undone"], one["target"]) for one in entries if "undone" in one}
    return [one for one in entries if "run" in one and (one["when"], one["target"]) not in undone]
