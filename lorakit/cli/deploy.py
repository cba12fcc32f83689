"""Put a LoRA where A1111, ComfyUI or diffusers looks, with its trigger and a preview beside it.

  lorakit deploy latest --to a1111 --dir ~/stable-diffusion-webui
  lorakit deploy maya --to comfyui --dir ~/ComfyUI --checkpoint maya-000006.safetensors --link
  lorakit deploy maya --to comfyui --dir ~/ComfyUI --workflow old.json --old-trigger sage_character
  lorakit deploy latest --to diffusers

The checkpoint and strength that `lorakit note` chose are taken by default. Nothing that is there
already is overwritten.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakit.deploy.deliver import Parcel, Swap, deliver, swap_workflow, usage
from lorakit.errors import RecipeError, did_you_mean
from lorakit.files import at_home, write_atomic
from lorakit.runs.find import find_run
from lorakit.runs.record import read_record
from lorakit.runs.registry import read_notes
from lorakit.show import print_json, tell


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="name, date, path or latest")
    parser.add_argument(
        "--to",
        required=True,
        choices=["a1111", "comfyui", "diffusers"],
        help="Forge takes a1111's layout",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="where the program is installed, or its folder of LoRAs",
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="default: the chosen one, else the final one"
    )
    parser.add_argument(
        "--strength", type=float, metavar="S", help="default: the one noted, else 0.8"
    )
    parser.add_argument(
        "--as", dest="name", metavar="NAME", help="another file name at the destination"
    )
    parser.add_argument("--link", action="store_true", help="link instead of copying")
    parser.add_argument(
        "--workflow",
        type=Path,
        metavar="FILE",
        help="a ComfyUI workflow (API format); a copy with this LoRA is made",
    )
    parser.add_argument(
        "--old-trigger",
        default="",
        metavar="T",
        help="with --workflow: the word to replace by the trigger",
    )
    parser.add_argument(
        "--old-lora",
        default="",
        metavar="FILE",
        help="with --workflow: which LoRA to replace, where it loads several",
    )
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    run_dir = find_run(args.run)
    record = read_record(run_dir)
    parcel = pack(run_dir, record, args)
    home = args.dir or (parcel.file.parent if args.to == "diffusers" else None)
    if home is None:
        raise RecipeError(
            f"--to {args.to} needs --dir.", hint=f"--dir FOLDER, where {args.to} is installed."
        )
    done = deliver(parcel, args.to, at_home(home), link=args.link) if args.dir else None
    target = done.path if done else parcel.file
    told = _swapped(args, parcel, target) if args.workflow else []
    if args.json:
        print_json(
            {
                "lora": target,
                "written": done.written if done else [],
                "strength": parcel.strength,
                "workflow": told,
            }
        )
        return 0
    tell(*(f"wrote {path}" for path in done.written) if done else ())
    if done and not done.written:
        tell(f"{done.path} was there already.")
    tell(*told)
    print(usage(parcel, args.to, target))
    return 0


def _swapped(args: argparse.Namespace, parcel: Parcel, target: Path) -> list[str]:
    """The workflow's copy is written beside it; what was changed, in words."""
    text, told = swap_workflow(
        args.workflow,
        Swap(target.name, parcel.trigger, args.old_lora, args.old_trigger, args.strength),
    )
    copy = args.workflow.with_name(f"{args.workflow.stem}-{parcel.name}.json")
    if copy.exists() and copy.read_text(encoding="utf-8", errors="replace") != text:
        raise RecipeError(
            f"{copy} is there already and is another workflow; it was left as it is.",
            hint="Rename it, or use --as NAME.",
        )
    write_atomic(copy, text)
    return [*told, f"wrote {copy}"]


def pack(run_dir: Path, record: Mapping[str, Any], args: argparse.Namespace) -> Parcel:
    notes = read_notes(run_dir)
    output = run_dir / str(record.get("output") or "output")
    there = sorted(path.name for path in output.glob("*.safetensors"))
    wanted = args.checkpoint or notes.get("chosen") or f"{record['output_name']}.safetensors"
    if wanted not in there:
        near = did_you_mean(wanted, there)
        raise RecipeError(
            f"{output}: no {wanted}. {near}".rstrip(),
            hint="There are " + (", ".join(there) or "none") + ".",
        )
    samples = sorted((output / "sample").glob("*.png"), key=lambda path: path.stat().st_mtime)
    strength = args.strength if args.strength is not None else float(notes.get("strength") or 0.8)
    remarks = "; ".join(str(note.get("text", "")) for note in notes.get("notes", []))
    return Parcel(
        file=output / wanted,
        name=args.name or Path(wanted).stem,
        trigger=str(record.get("trigger", "")),
        family=str(record.get("family", "")),
        strength=strength,
        notes=remarks,
        preview=samples[-1] if samples else None,
    )
