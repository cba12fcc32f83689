"""One deterministic zip of a dataset, and its verification on another machine.

lorakit dataset bundle recipes/maya.toml                 # maya.zip: same content, same bytes
lorakit dataset bundle verify maya.zip                   # every byte read and compared
lorakit dataset bundle verify maya.zip --unpack datasets/maya
lorakit dataset bundle recipes/maya.toml --for-pod       # and what to paste on a rented machine

Of a recipe, the recipe itself, its lock, its presets and a script that puts them in place go along.
"""

import shlex
from pathlib import Path, PurePosixPath

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target, read_target
from lorakit.cli.terminal.next_step import say_next
from lorakit.dataset.build.remembered import flagged_in
from lorakit.dataset.facts import looks_like_image
from lorakit.dataset.rules import shown
from lorakit.dataset.share.bundle import BundleManifest, contents, make_bundle, unpack, verify
from lorakit.engines.pod import setup_lines
from lorakit.errors import counted, raise_on_errors
from lorakit.files import sha256
from lorakit.proof.project import FOLDER, START, project_files, words_there
from lorakit.recipe.model import Resolved
from lorakit.show import print_json, print_text, say, size, table


def add_arguments(parser: Parser) -> None:
    names = "RECIPE|FOLDER or verify FILE.zip"
    parser.value("words", names, "what to bundle, or `verify` and a bundle", nargs="+")
    parser.path("--out", "FILE", "where the zip goes (default: NAME.zip here)")
    parser.path("--unpack", "DIR", "with verify: unpack into this new folder once all is proven")
    parser.flag("--skip-flagged", "without the pictures that are flagged in the review")
    parser.flag("--for-pod", "also the lines to paste into a rented machine's terminal")
    parser.flag("--dry-run", "list what would be bundled")
    parser.json()


def run(args: Arguments) -> int:
    if args.words[0] == "verify" and len(args.words) == 2:
        _verify(Path(args.words[1]), args)
    elif len(args.words) == 1:
        _bundle(read_target(args.words[0]), args)
    else:
        say("lorakit dataset bundle takes one recipe or folder, or `verify` and one zip.")
        return 2
    return 0


def _bundle(target: Target, args: Arguments) -> None:
    root, resolved = target.root, target.resolved
    carried = project_files(resolved, root.name) if resolved else {}
    flagged = flagged_in(root)
    left = flagged if args.skip_flagged else []
    if args.dry_run:
        sizes = {name: path.stat().st_size for name, path in contents(root, left)}
        sizes |= {name: len(data) for name, data in sorted(carried.items())}
        if args.json:
            print_json({"bundle": None, "files": sizes})
            return
        for name, count in sizes.items():
            print_text(f"{size(count):>8}  {shown(name)}")
        return
    out = args.out or Path(f"{root.name}.zip")
    _report(make_bundle(root, out, carried, without=left), out, args)
    if args.json:
        return
    if flagged and not left:
        are = "is" if len(flagged) == 1 else "are"
        say(f"{len(flagged)} of them {are} flagged in the review; --skip-flagged leaves such out.")
    if resolved:
        about = resolved.subject
        person = " They show a real person." if about.real_person else ""
        from_where = about.sentence or "not said; [subject] source and licence in the recipe say it"
        say(f"Where the pictures come from: {from_where}.{person}")
        if carried:
            say(f"Along with them: {', '.join(sorted(carried))}.")
        else:
            say("The recipe stays here, for [launch] env may hold private values.")
    if args.for_pod and resolved and carried:
        say(f"Upload {out.name} to the machine and paste there:")
        print_text("\n".join(_lines_to_paste(resolved, out.name, root.name)))
        return
    _say_unpack(out.name, root.name, "there")


def _lines_to_paste(resolved: Resolved, bundle: str, dataset: str) -> list[str]:
    folder = shlex.quote(f"datasets/{dataset}")
    verify = f"lorakit dataset bundle verify {shlex.quote(bundle)} --unpack {folder}"
    train = shlex.join(["lorakit", "train", *words_there(resolved, dataset)])
    return [
        f"{' && '.join(setup_lines(resolved.trainer))} && PATH=$PWD/source/.venv/bin:$PATH",
        f"{verify} && sh {folder}/{FOLDER}/{START}",
        f"setsid -f {train} > train.log 2>&1; sleep 20; lorakit watch {resolved.name}",
    ]


def _verify(path: Path, args: Arguments) -> None:
    if args.unpack:
        manifest = unpack(path, args.unpack)
    else:
        manifest, faults = verify(path)
        raise_on_errors(faults)
    _report(manifest, path, args)
    into = f" Unpacked into {args.unpack}." if args.unpack else ""
    say(f"{counted(len(manifest.entries), 'file')} as bundled, byte for byte.{into}")
    if args.unpack:
        start = args.unpack / FOLDER / START
        if start.is_file():
            say(f"sh {shlex.quote(str(start))} puts the recipe in place and plans it.")
        say_next(f"lorakit dataset check {shlex.quote(str(args.unpack))}")
    elif not args.json:
        _say_unpack(str(path), manifest.dataset)


def _say_unpack(bundle: str, dataset: str, about: str = "") -> None:
    words = ["lorakit", "dataset", "bundle", "verify", bundle, "--unpack", f"datasets/{dataset}"]
    say_next(shlex.join(words), about)


def _report(manifest: BundleManifest, path: Path, args: Arguments) -> None:
    digest = sha256(path)
    if args.json:
        data = {"bundle": path, "sha256": digest, "files": len(manifest.entries)}
        print_json({**data, "counts": manifest.counts})
        return
    rows = [
        [folder, *(f"{count} {kind or 'files'}" for kind, count in kinds.items())]
        for folder, kinds in manifest.counts.items()
    ]
    width = max(map(len, rows), default=0)
    table(["folder", *["files"] * (width - 1)], [row + [""] * (width - len(row)) for row in rows])
    names = {entry.name for entry in manifest.entries}
    pictures = [name for name in names if looks_like_image(name)]
    captioned = sum(str(PurePosixPath(one).with_suffix(".txt")) in names for one in pictures)
    say(f"{counted(len(pictures), 'picture')}, {counted(captioned, 'caption')}.")
    print_text(f"{path}  {size(path.stat().st_size)}  sha256 {digest}")
