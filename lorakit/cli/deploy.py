"""Put a LoRA where A1111, ComfyUI or diffusers looks, with its trigger and a preview beside it.

lorakit deploy latest --to a1111 --dir ~/stable-diffusion-webui
lorakit deploy maya --to comfyui --dir ~/ComfyUI --checkpoint maya-000006.safetensors --link
lorakit deploy maya --to comfyui --dir ~/ComfyUI --workflow old.json --old-trigger sage_character
lorakit deploy maya --to comfyui --dir ~/ComfyUI --check http://127.0.0.1:8188
lorakit deploy latest --to diffusers

The checkpoint and strength that `lorakit note` chose are taken by default. Nothing that is there
already is overwritten; `lorakit undeploy` takes it back.
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import A_RUN, Arguments, Parser
from lorakit.cli.terminal.meant import trained_run
from lorakit.deploy.ask import ask_to_draw
from lorakit.deploy.deliver import FOLDERS, Delivered, Parcel, deliver, lora_folder, pack, usage
from lorakit.deploy.history import note_delivery, said_before
from lorakit.deploy.workflow import Swap, write_swapped
from lorakit.errors import RecipeError
from lorakit.runs.record import read_record
from lorakit.show import print_json, print_text, say
from lorakit.weights.finite import inspect


def add_arguments(parser: Parser) -> None:
    parser.value("run", "RUN", A_RUN)
    parser.choice("--to", FOLDERS, "Forge takes a1111's layout", required=True)
    parser.path("--dir", "DIR", "where the program is installed, or its folder of LoRAs")
    about = "a file, or 40, step 40, final (default: the one noted, else the final one)"
    parser.value("--checkpoint", "WHICH", about)
    parser.value("--strength", "S", "default: the one noted, else 0.8", type=float)
    about = "another file name at the destination"
    parser.value("--as", "NAME", about, dest="name", default=None)
    parser.flag("--replace", "put another LoRA of that name aside, as .1.bak")
    parser.flag("--link", "link instead of copying")
    about = "a ComfyUI workflow (API format); a copy with this LoRA is made"
    parser.path("--workflow", "FILE", about)
    parser.value("--old-trigger", "T", "with --workflow: the word to replace by the trigger")
    about = "with --workflow: which LoRA to replace, where it loads several"
    parser.value("--old-lora", "FILE", about)
    parser.value("--check", "URL", "where it is running: draw one step with the LoRA")
    parser.json()


def run(args: Arguments) -> None:
    run_dir = trained_run(args.run)
    parcel = pack(run_dir, args.checkpoint, args.strength, args.name)
    if not args.dir and FOLDERS[args.to]:
        hint = f"--dir FOLDER, where {args.to} is installed."
        raise RecipeError(f"--to {args.to} needs --dir.", hint=hint)
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
        return
    if done and done.backup:
        say(f"the LoRA that was there is {done.backup} now")
    say(*(f"wrote {path}" for path in written))
    if done and not written:
        say(f"{target} was there already.")
    say(*changes)
    print_text(usage(parcel, args.to, target))
    place = f" --dir {args.dir}" if args.dir else ""
    for other in parcel.others:
        say(
            f"It belongs with {other}, which needs a loader of its own:",
            f"lorakit deploy {args.run} --to {args.to}{place} --checkpoint {other}",
        )


def _delivered(run_dir: Path, parcel: Parcel, args: Arguments) -> Delivered:
    root, home = run_dir.parents[2], args.dir
    before = said_before(root, lora_folder(args.to, home) / f"{parcel.name}.safetensors")
    done = deliver(parcel, args.to, home, link=args.link, replace=args.replace, before=before)
    note_delivery(root, "/".join(run_dir.parts[-2:]), args.to, done)
    return done


def _checked(run_dir: Path, parcel: Parcel, args: Arguments) -> str:
    record = read_record(run_dir)
    base = next((Path(one.path).name for one in record.weights if one.key == "base"), "")
    return ask_to_draw(args.to, args.check, parcel.name, inspect(parcel.file).tensors_sha256, base)
