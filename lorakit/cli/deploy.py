"""Put a LoRA where A1111, ComfyUI or diffusers looks, with its trigger and a preview beside it.

  lorakit deploy latest --to a1111 --dir ~/stable-diffusion-webui
  lorakit deploy maya --to comfyui --dir ~/ComfyUI --checkpoint maya-000006.safetensors --link
  lorakit deploy maya --to comfyui --dir ~/ComfyUI --workflow old.json --old-trigger sage_character
  lorakit deploy maya --to comfyui --dir ~/ComfyUI --check http://127.0.0.1:8188
  lorakit deploy latest --to diffusers

The checkpoint and strength that `lorakit note` chose are taken by default. Nothing that is there
already is overwritten; `lorakit undeploy` takes it back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lorakit.cli.terminal.trained import trained_run
from lorakit.deploy.ask import ask_to_draw
from lorakit.deploy.deliver import FOLDERS, Delivered, Parcel, deliver, lora_folder, pack, usage
from lorakit.deploy.history import note_delivery, said_before
from lorakit.deploy.workflow import Swap, write_swapped
from lorakit.errors import RecipeError
from lorakit.files import at_home
from lorakit.runs.record import read_record
from lorakit.show import print_json, print_text, say
from lorakit.weights.finite import inspect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", metavar="RUN", help="name, date, path or latest")
    add("--to", required=True, choices=list(FOLDERS), help="Forge takes a1111's layout")
    add(
        "--dir",
        type=Path,
        metavar="DIR",
        help="where the program is installed, or its folder of LoRAs",
    )
    add(
        "--checkpoint",
        metavar="WHICH",
        help="a file, or 40, step 40, final (default: the one noted, else the final one)",
    )
    add("--strength", type=float, metavar="S", help="default: the one noted, else 0.8")
    add("--as", dest="name", metavar="NAME", help="another file name at the destination")
    add("--replace", action="store_true", help="put another LoRA of that name aside, as .1.bak")
    add("--link", action="store_true", help="link instead of copying")
    add(
        "--workflow",
        type=Path,
        metavar="FILE",
        help="a ComfyUI workflow (API format); a copy with this LoRA is made",
    )
    add(
        "--old-trigger",
        default="",
        metavar="T",
        help="with --workflow: the word to replace by the trigger",
    )
    add(
        "--old-lora",
        default="",
        metavar="FILE",
        help="with --workflow: which LoRA to replace, where it loads several",
    )
    add("--check", metavar="URL", help="where it is running: draw one step with the LoRA")
    add("--json", action="store_true", help="one JSON document")


def run(args: argparse.Namespace) -> int:
    run_dir = trained_run(args.run)
    parcel = pack(run_dir, args.checkpoint, args.strength, args.name)
    if not args.dir and FOLDERS[args.to]:
        raise RecipeError(
            f"--to {args.to} needs --dir.", hint=f"--dir FOLDER, where {args.to} is installed."
        )
    done = _delivered(run_dir, parcel, args) if args.dir else None
    target, written = (done.path, done.written) if done else (parcel.file, ())
    changes = []
    if args.workflow:
        swap = Swap(target.name, parcel.trigger, args.old_lora, args.old_trigger, args.strength)
        copy = args.workflow.with_name(f"{args.workflow.stem}-{parcel.name}.json")
        changes = write_swapped(args.workflow, swap, copy)
    if done and args.check:
        say(_checked(run_dir, parcel, args))
    if args.json:
        document = {"lora": target, "written": written, "strength": parcel.strength}
        document |= {"belongs_with": list(parcel.others)} if parcel.others else {}
        print_json({**document, "workflow": changes})
        return 0
    if done and done.backup:
        say(f"the LoRA that was there is {done.backup} now")
    say(*(f"wrote {path}" for path in written))
    if done and not written:
        say(f"{target} was there already.")
    say(*changes)
    print_text(usage(parcel, args.to, target))
    for other in parcel.others:
        place = f" --dir {args.dir}" if args.dir else ""
        say(
            f"It belongs with {other}, which needs a loader of its own:",
            f"lorakit deploy {args.run} --to {args.to}{place} --checkpoint {other}",
        )
    return 0


def _delivered(run_dir: Path, parcel: Parcel, args: argparse.Namespace) -> Delivered:
    root, home = run_dir.parents[2], at_home(args.dir)
    before = said_before(root, lora_folder(args.to, home) / f"{parcel.name}.safetensors")
    done = deliver(parcel, args.to, home, link=args.link, replace=args.replace, before=before)
    note_delivery(root, "/".join(run_dir.parts[-2:]), args.to, done)
    return done


def _checked(run_dir: Path, parcel: Parcel, args: argparse.Namespace) -> str:
    record = read_record(run_dir)
    base = next((Path(one.path).name for one in record.weights if one.key == "base"), "")
    return ask_to_draw(args.to, args.check, parcel.name, inspect(parcel.file).tensors_sha256, base)
