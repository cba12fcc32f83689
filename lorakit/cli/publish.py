"""A LoRA with its model card and pictures, for the hub or as a folder; shown before it is written.

lorakit publish maya --to folder --dir maya-lora             # what it would hold
lorakit publish maya --to folder --dir maya-lora --write
lorakit publish maya --to hub --repo you/maya-lora --write   # private; --public for everybody

The recipe's [subject] says what is shown; a real person only with consent to publishing. The file
leaves without private metadata, as by `lorakit strip`. The token for the hub is HF_TOKEN's.
"""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

from lorakit.cli.terminal.arguments import A_RUN, Arguments, Parser
from lorakit.cli.terminal.meant import trained_run
from lorakit.deploy.deliver import pack
from lorakit.deploy.publish import prepare_publication, upload, write_folder
from lorakit.errors import RecipeError
from lorakit.files import sha256
from lorakit.show import print_text, say, table


def add_arguments(parser: Parser) -> None:
    parser.value("run", "RUN", A_RUN)
    parser.choice("--to", ("hub", "folder"), required=True)
    parser.path("--dir", "DIR", "with --to folder: a new one")
    parser.value("--repo", "OWNER/NAME", "with --to hub")
    about = "a file, or 40, step 40, final (default: the one noted, else the final one)"
    parser.value("--checkpoint", "WHICH", about)
    parser.value("--strength", "S", "default: the one noted, else 0.8", type=float)
    parser.value("--as", "NAME", "another file name", dest="name", default=None)
    parser.value("--base", "OWNER/REPO", "the base model, as the hub names it")
    parser.value("--licence", "ID", "default: the base's, where it is known")
    parser.flag("--public", "with --to hub: everybody reads it")
    parser.flag("--write", "without it, everything is shown and nothing is written or sent")


def run(args: Arguments) -> None:
    from lorakit.weights.rewrite import strip

    place = args.dir if args.to == "folder" else args.repo
    if not place:
        missing = "--dir FOLDER" if args.to == "folder" else "--repo OWNER/NAME"
        raise RecipeError(f"--to {args.to} needs {missing}.")
    parcel = pack(trained_run(args.run), args.checkpoint, args.strength, args.name)
    with TemporaryDirectory(prefix="lorakit-") as folder:
        strip(parcel.file, file := Path(folder) / parcel.file.name)
        words = {"repo": args.repo, "base": args.base, "licence": args.licence}
        made = prepare_publication(parcel, file, **words)
        print_text(made.card)
        card = made.card.encode()
        rows = [("README.md", len(card), hashlib.sha256(card).hexdigest())]
        rows += [(name, one.stat().st_size, sha256(one)) for name, one in made.files.items()]
        table(("file", "bytes", "sha256"), rows, right=("bytes",))
        say(*(f"note: {note}" for note in made.notes))
        if not args.write:
            say(f"Nothing was written to {place}; --write does it.")
        elif args.to == "folder":
            write_folder(made, place)
            say(f"wrote {place}")
        else:
            reader = "everybody" if args.public else "you alone"
            say(f"published: {upload(made, place, public=args.public)}, for {reader}")
