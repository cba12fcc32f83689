"""Put a LoRA where ComfyUI, A1111, Forge or another program looks, with trigger and preview.

lorakit deploy latest --to a1111 --dir ~/stable-diffusion-webui
lorakit deploy maya --to comfyui --dir ~/ComfyUI --checkpoint maya-000006.safetensors --link
lorakit deploy maya --to comfyui --dir ~/ComfyUI --workflow old.json --old-trigger sage_character
lorakit deploy maya --to comfyui --dir ~/ComfyUI --workflow new --also inkstyle.safetensors:0.6
lorakit deploy maya --to comfyui --dir ~/ComfyUI --check http://127.0.0.1:8188
lorakit deploy latest --to diffusers

The checkpoint and strength that `lorakit note` chose are taken by default. Nothing that is there
already is overwritten; `lorakit undeploy` takes it back. Keys are named as the program reads them;
what it would pass over is said.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lorakit.cli.terminal.arguments import A_RUN, Arguments, Parser
from lorakit.cli.terminal.meant import lora_at, trained_run
from lorakit.deploy.deliver import (
    FOLDERS,
    Delivered,
    Parcel,
    deliver,
    lora_folder,
    note_delivery,
    pack,
    said_before,
    usage,
)
from lorakit.deploy.loaders import ask_to_draw, may_be_asked
from lorakit.deploy.workflow import Swap, new_workflow, swap_workflow, write_workflow
from lorakit.errors import LorakitError, RecipeError
from lorakit.runs.record import read_record
from lorakit.sheet.source import read_source
from lorakit.show import print_json, print_text, say


def add_arguments(parser: Parser) -> None:
    parser.value("run", "RUN", A_RUN)
    parser.choice("--to", FOLDERS, required=True)
    parser.path("--dir", "DIR", "where the program is installed, or its folder of LoRAs")
    about = "a file, or 40, step 40, final (default: the one noted, else the final one)"
    parser.value("--checkpoint", "WHICH", about)
    parser.value("--strength", "S", "default: the one noted, else 0.8", type=float)
    about = "another file name at the destination"
    parser.value("--as", "NAME", about, dest="name", default=None)
    parser.flag("--replace", "put another LoRA of that name aside, as .1.bak")
    parser.flag("--link", "link instead of copying")
    about = "a ComfyUI workflow (API format), copied with this LoRA in it; new makes one"
    parser.path("--workflow", "FILE", about)
    about = "with --workflow new: a LoRA under it, such as inkstyle.safetensors:0.6; repeatable"
    parser.many("--also", "FILE:S", about, type=lora_at)
    parser.value("--old-trigger", "T", "with --workflow: the word to replace by the trigger")
    about = "with --workflow: which LoRA to replace, where it loads several"
    parser.value("--old-lora", "FILE", about)
    parser.value("--check", "URL", "where it is running: draw one step with the LoRA")
    parser.json()


def run(args: Arguments) -> None:
    from lorakit.deploy.loaders import converted, told_of_keys

    run_dir = trained_run(args.run)
    parcel = pack(run_dir, args.checkpoint, args.strength, args.name)
    if not args.dir and FOLDERS[args.to]:
        hint = f"--dir FOLDER, where {args.to} is installed."
        raise RecipeError(f"--to {args.to} needs --dir.", hint=hint)
    if args.check:
        may_be_asked(args.to, args.check)
    done, said = None, ""
    with TemporaryDirectory(prefix="lorakit-") as folder:
        if args.dir:
            file, said = converted(args.to, parcel.file, Path(folder))
            if said and args.link:
                raise RecipeError(f"--link: {said}.", hint="Without --link it is converted.")
            done = _delivered(run_dir, replace(parcel, file=file), args)
    target, written = (done.path, done.written) if done else (parcel.file, ())
    keys = told_of_keys(args.to, target, _base(run_dir))
    if done and done.backup:
        say(f"the LoRA that was there is {done.backup} now")
    say(*filter(None, (said, *(f"wrote {path}" for path in written))))
    if done and not written:
        say(f"{target} was there already.")
    try:
        changes = _workflow(parcel, target, args)
        checked = args.check and ask_to_draw(args.to, args.check, parcel.file.parent.parent, target)
    except LorakitError as error:
        if done:
            back = f"lorakit undeploy {'/'.join(run_dir.parts[-2:])} --to {args.to}"
            there = f"{target} is in place all the same; {back} takes back what was deployed."
            error.hint = f"{error.hint}\n{there}".lstrip()
        raise
    if args.json:
        document = {"lora": target, "written": written, "strength": parcel.strength, "keys": keys}
        document |= {"belongs_with": list(parcel.others)} if parcel.others else {}
        print_json({**document, "workflow": changes})
        return
    say(*filter(None, (keys, *changes, checked)))
    print_text(usage(parcel, args.to, target))
    say(*(f"  asked of it in training: {prompt}" for prompt in parcel.prompts))
    place = f" --dir {args.dir}" if args.dir else ""
    for other in parcel.others:
        say(
            f"It belongs with {other}, which needs a loader of its own:",
            f"lorakit deploy {args.run} --to {args.to}{place} --checkpoint {other}",
        )


def _workflow(parcel: Parcel, target: Path, args: Arguments) -> list[str]:
    if args.workflow == Path("new"):
        source = read_source(parcel.file.parent.parent)
        prompt = next(iter(parcel.prompts), f"{parcel.trigger}, portrait")
        worn = [(name, 1.0 if by is None else by) for name, by in args.also]
        text = new_workflow(source, [*worn, (target.name, parcel.strength)], prompt)
        return [write_workflow(text, source.run_dir / f"workflow-{parcel.name}.json")]
    if not args.workflow:
        return []
    swap = Swap(target.name, parcel.trigger, args.old_lora, args.old_trigger, args.strength)
    copy = args.workflow.with_name(f"{args.workflow.stem}-{parcel.name}.json")
    text, changes = swap_workflow(args.workflow, swap)
    return [*changes, write_workflow(text, copy)]


def _delivered(run_dir: Path, parcel: Parcel, args: Arguments) -> Delivered:
    root, home = run_dir.parents[2], args.dir
    before = said_before(root, lora_folder(args.to, home) / f"{parcel.name}.safetensors")
    done = deliver(parcel, args.to, home, link=args.link, replace=args.replace, before=before)
    note_delivery(root, "/".join(run_dir.parts[-2:]), args.to, done)
    return done


def _base(run_dir: Path) -> Path:
    weights = read_record(run_dir).weights
    return next((Path(one.path) for one in weights if one.key == "base"), run_dir)
