"""Write and correct captions: shown as a diff first, written with --write, taken back with --undo.

lorakit dataset caption recipes/maya.toml --trigger-first --remove blurry
lorakit dataset caption recipes/maya.toml --pattern "{trigger}, {shot}, {rest}, {light}" --write
lorakit dataset caption recipes/maya.toml --subset 20_maya_realbody --add realistic_body --write
lorakit dataset caption recipes/maya.toml --tagger wd --model wd-swinv2 --drop-character-tags
lorakit dataset caption datasets/maya --tagger wd --model wd-vit --from-tags "{trigger}, {rest}"
lorakit dataset caption recipes/maya.toml --tagger florence2 --drop-identity
lorakit dataset caption maya.toml --tagger blip --from-tags "{trigger}, {view}, {sentence}"
lorakit dataset caption datasets/maya --undo

Edits are done in the order of this list: the tagger's tags, --from-tags, --replace, --remove,
--add, --pattern, --trigger-first, --dedupe, --sort. A tagger touches only images without a
caption, unless --overwrite is given; always look at what it wrote.
"""

from collections.abc import Sequence
from pathlib import Path

from lorakit.cli.dataset.tagging import add_tagger_arguments, check_tagger_arguments, drafts
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target, read_target, writing
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.dataset.build.contact_sheet import redraw_sheets
from lorakit.dataset.captions.edit import (
    PLACEHOLDERS,
    Change,
    History,
    Request,
    requested,
    subsets_named,
)
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError, counted
from lorakit.show import print_json, print_text, say, say_faults


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    parser.many("--subset", "FOLDER", "only this N_trigger folder; repeatable")
    parser.value("--trigger", "T", "default: the recipe's, else the folder's")
    names = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    parser.value("--pattern", "TEXT", f"put the parts in this order; placeholders: {names}")
    parser.flag("--trigger-first", "put the trigger first in every caption")
    parser.many("--add", "TAG", "after the trigger, where it is missing")
    parser.many("--remove", "TAG", "the part between commas that is exactly this")
    parser.many("--replace", "OLD=NEW", "whole words, wherever they are")
    parser.flag("--dedupe", "each part once")
    parser.flag("--sort", "alphabetical after the first part")
    add_tagger_arguments(parser)
    parser.flag("--write", "write what the diff shows")
    parser.flag("--dry-run", "show the diff only (the default)")
    parser.flag("--undo", "take the last step back")
    parser.flag("--history", "list the steps taken so far")
    parser.no_wait()
    parser.json("one JSON document with every change")


def run(args: Arguments) -> None:
    target = read_target(args.target)
    history = History(target.root)
    if args.undo:
        with writing(args, target.root, "caption --undo"):
            what, count, faults = history.undo()
            say_faults(faults)
            if args.json:
                print_json({"undone": what, "captions": count, "left": faults})
            say(f"taken back: {what} ({counted(count, 'caption')})")
            redraw_sheets(target.root, target.chooser(), target.caption_extension)
        return
    if args.history and args.json:
        print_json(history.journal.read())
        return
    if args.history:
        for step in history.journal.read():
            print_text(step["when"], step["what"])
        return
    check_tagger_arguments(args)
    write = args.write and not args.dry_run
    with writing(args, target.root, "caption", when=write):
        found, tagged_by = _changes(target, args)
        if write:  # before anything is shown: a closed pipe must not leave half the work undone
            command = " ".join(args.as_typed)
            history.apply(f"{command} [{tagged_by}]" if tagged_by else command, found)
            redraw_sheets(target.root, target.chooser(), target.caption_extension)
    if args.json:
        print_json([{"file": c.path, "before": c.before, "after": c.after} for c in found])
    else:
        _show(found, target.root)
    if not found:
        say("Nothing to change.")
    elif write:
        say(f"{counted(len(found), 'caption')} written; --undo takes it back.")
    else:
        say(f"{counted(len(found), 'caption')} would change; --write does it.")
    if not args.json and (write or not found):
        say_next(*next_for_dataset(target))


def _changes(target: Target, args: Arguments) -> tuple[list[Change], str]:
    """What would change, and which tagger had its say."""
    subsets = subsets_named(target.scan(), args.subset)
    suffix, trigger = target.caption_extension, args.trigger or target.trigger
    drafted, tagged_by = None, ""
    if args.tagger:
        images = [image.path for subset in subsets for image in subset.images]
        drafted, tagged_by = drafts(args, [(path, path.with_suffix(suffix)) for path in images])
    found = requested(subsets, suffix, _request(args), trigger=trigger, drafts=drafted)
    return found, tagged_by


def _request(args: Arguments) -> Request:
    pairs = [pair.partition("=") for pair in args.replace]
    for old, equals, new in pairs:
        if not equals or not old:
            hint = '--replace "grey cat=silver cat"'
            raise RecipeError(f"--replace {old}{equals}{new}: write OLD=NEW.", hint=hint)
    return Request(
        replace=[(old, new) for old, _, new in pairs],
        remove=args.remove,
        add=args.add,
        pattern=args.pattern,
        trigger_first=args.trigger_first,
        dedupe=args.dedupe,
        sort=args.sort,
    )


def _show(found: Sequence[Change], root: Path) -> None:
    for change in found:
        print_text(shown(change.path.relative_to(root)))
        if change.before is not None:
            print_text(f"  - {change.before}")
        print_text(f"  + {change.after}")
