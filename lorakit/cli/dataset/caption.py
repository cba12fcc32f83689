"""Write and correct captions: every change is shown as a diff first, written with --write, and taken back with --undo.

  lorakit dataset caption recipes/maya.toml --trigger-first --remove blurry
  lorakit dataset caption recipes/maya.toml --pattern "{trigger}, {shot}, {pose}, {rest}, {light}" --write
  lorakit dataset caption recipes/maya.toml --subset 20_maya_realbody --add realistic_body --write
  lorakit dataset caption recipes/maya.toml --tagger wd --model wd-swinv2 --drop-character-tags
  lorakit dataset caption recipes/maya.toml --tagger wd --model taggers/vit --from-tags "{trigger}, {shot}, {rest}" --write
  lorakit dataset caption datasets/maya --undo

Edits are done in the order of this list: the tagger's tags, --from-tags, --replace, --remove,
--add, --pattern, --trigger-first, --dedupe, --sort. A tagger touches images without a caption
alone, unless --overwrite is given; always look at what it wrote.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lorakit.cli.dataset.tagging import add_tagger_arguments, check_tagger_arguments, drafts
from lorakit.cli.terminal.dataset_target import Target, add_target, read_target
from lorakit.dataset.captions import edit as captions
from lorakit.dataset.captions.edit import Change, Edit, History
from lorakit.dataset.facts import SubsetFacts
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError, did_you_mean
from lorakit.show import print_json, tell, tell_faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target(parser)
    parser.add_argument(
        "--subset",
        action="append",
        default=[],
        metavar="FOLDER",
        help="only this N_trigger folder; repeatable",
    )
    parser.add_argument(
        "--trigger", metavar="T", help="the trigger (default: the recipe's, else the folder's)"
    )
    parser.add_argument(
        "--pattern",
        metavar="TEXT",
        help="put the parts in this order; placeholders: "
        + " ".join(f"{{{name}}}" for name in captions.PLACEHOLDERS),
    )
    parser.add_argument(
        "--trigger-first", action="store_true", help="the trigger stands first in every caption"
    )
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="TAG",
        help="behind the trigger, where it is missing",
    )
    parser.add_argument(
        "--remove", action="append", default=[], metavar="TAG", help="the whole part between commas"
    )
    parser.add_argument(
        "--replace",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="whole words, wherever they stand",
    )
    parser.add_argument("--dedupe", action="store_true", help="each part once")
    parser.add_argument("--sort", action="store_true", help="alphabetical behind the first part")
    add_tagger_arguments(parser)
    parser.add_argument("--write", action="store_true", help="write what the diff shows")
    parser.add_argument("--dry-run", action="store_true", help="show the diff only (the default)")
    parser.add_argument("--undo", action="store_true", help="take the last step back")
    parser.add_argument("--history", action="store_true", help="list the steps taken so far")
    parser.add_argument("--json", action="store_true", help="one JSON document with every change")


def run(args: argparse.Namespace) -> int:
    target = read_target(args)
    history = History(target.root)
    if args.undo:
        what, count, faults = history.undo()
        tell_faults(faults)
        if args.json:
            print_json({"undone": what, "captions": count, "left": faults})
        tell(f"taken back: {what} ({count} caption{'s' * (count != 1)})")
        return 0
    if args.history:
        if args.json:
            print_json(history.steps())
        for step in history.steps() if not args.json else ():
            print(step["when"], step["what"])
        return 0
    check_tagger_arguments(args)
    found, tagged_by = tagged(args, target) if args.tagger else (changes(args, target), "")
    write = args.write and not args.dry_run
    if (
        write
    ):  # before anything is shown: a reader that goes away must not leave half the work undone
        history.apply(" ".join(sys.argv[3:]) + (f" [{tagged_by}]" if tagged_by else ""), found)
    if args.json:
        print_json(
            [
                {"file": change.path, "before": change.before, "after": change.after}
                for change in found
            ]
        )
    else:
        show(found, target.root)
    if not found:
        tell("Nothing to change.")
    elif write:
        tell(f"{len(found)} captions written; --undo takes it back.")
    else:
        tell(f"{len(found)} captions would change; --write does it.")
    return 0


def changes(args: argparse.Namespace, target: Target) -> list[Change]:
    facts = target.scan()
    subsets = chosen(facts.subsets, args.subset, target.root)
    plan: list[tuple[Path, Sequence[Edit]]] = []
    for subset in subsets:
        trigger = args.trigger or target.trigger or subset.class_tokens
        wanted = edits(args, trigger, subset)
        if not wanted:
            raise RecipeError(
                "No edit was asked for.",
                hint="lorakit dataset caption --help lists them; --history shows past ones.",
            )
        plan += [
            (image.path.with_suffix(target.caption_extension), wanted) for image in subset.images
        ]
    return captions.changes(plan)


def tagged(args: argparse.Namespace, target: Target) -> tuple[list[Change], str]:
    """As `changes`, over the tagger's drafts: trigger first unless --from-tags says otherwise."""
    subsets = chosen(target.scan().subsets, args.subset, target.root)
    files = [
        (image.path, image.path.with_suffix(target.caption_extension))
        for subset in subsets
        for image in subset.images
    ]
    drafted, tagged_by = drafts(args, files)
    plan: list[tuple[Path, Sequence[Edit]]] = []
    for subset in subsets:
        trigger = args.trigger or target.trigger or subset.class_tokens
        values = {"trigger": trigger, "name": target.root.name, "subset": subset.path.name}
        first = (
            captions.pattern(args.from_tags, values)
            if args.from_tags
            else captions.trigger_first(trigger)
        )
        for image in subset.images:
            path = image.path.with_suffix(target.caption_extension)
            if path in drafted:
                plan.append(
                    (path, [captions.given(drafted[path]), first, *edits(args, trigger, subset)])
                )
    return captions.changes(plan), tagged_by


def chosen(subsets: Sequence[SubsetFacts], names: Sequence[str], root: Path) -> list[SubsetFacts]:
    known = {subset.path.name: subset for subset in subsets}
    for name in names:
        if name not in known:
            raise RecipeError(
                f"{root}: no subset {name!r}. {did_you_mean(name, known)}",
                hint="There are " + ", ".join(known) + ".",
            )
    picked = (
        [known[name] for name in names]
        if names
        else [subset for subset in subsets if not subset.is_reg]
    )
    if not picked:
        raise RecipeError(
            f"{root}: no N_trigger folder with images.",
            hint="`lorakit dataset prepare` makes them from originals/.",
        )
    return picked


def edits(args: argparse.Namespace, trigger: str, subset: SubsetFacts) -> list[Edit]:
    found: list[Edit] = []
    for pair in args.replace:
        old, equals, new = pair.partition("=")
        if not equals or not old:
            raise RecipeError(
                f"--replace {pair}: say OLD=NEW.", hint='--replace "grey cat=silver cat"'
            )
        found.append(captions.replace(old, new))
    found += [captions.remove(tag) for tag in args.remove]
    found += [captions.add(tag, after_trigger=trigger) for tag in reversed(args.add)]
    if args.pattern:
        values = {"trigger": trigger, "name": subset.path.parent.name, "subset": subset.path.name}
        found.append(captions.pattern(args.pattern, values))
    if args.trigger_first:
        found.append(captions.trigger_first(trigger))
    if args.dedupe:
        found.append(captions.dedupe)
    if args.sort:
        found.append(captions.sort)
    return found


def show(found: Sequence[Change], root: Path) -> None:
    for change in found:
        print(shown(change.path.relative_to(root)))
        if change.before is not None:
            print(f"  - {change.before}")
        print(f"  + {change.after}")
