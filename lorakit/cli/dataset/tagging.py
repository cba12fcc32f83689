"""The tagger's options, and its answers as first drafts of captions. Not a command itself: part of
`dataset caption`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from lorakit.cli.terminal.progress import counting
from lorakit.dataset.captions.edit import joined
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.captions.tagger import TagChoice, Tagger, chosen, unknown_drops
from lorakit.dataset.captions.tagger_models import KNOWN, open_model
from lorakit.errors import Fault, RecipeError, counted, raise_on_errors
from lorakit.show import say


def add_tagger_arguments(parser: argparse.ArgumentParser) -> None:
    about = "tags by a model, for images that have no caption yet"
    add = parser.add_argument_group("tagging", about).add_argument
    about = "wd: a WD v3 model, here; kohya: sd-scripts' own script and Python"
    add("--tagger", choices=tuple(TAGGERS), help=about)
    about = f"the tagger's folder or repository, or one of {', '.join(KNOWN)}"
    add("--model", metavar="DIR|REPO[@REVISION]", help=about)
    add("--model-sha256", metavar="HEX", default="", help="refuse any other model.onnx")
    about = "how likely a general tag must be (0.35)"
    add("--general", type=float, default=0.35, metavar="P", help=about)
    about = "how likely a character's name must be (0.85)"
    add("--character", type=float, default=0.85, metavar="P", help=about)
    about = "no names of known characters: the trigger stands for yours"
    add("--drop-character-tags", action="store_true", help=about)
    about = "never this tag; repeatable"
    add("--drop", action="append", default=[], metavar="TAG", help=about)
    about = "long_hair or long hair (space)"
    add("--underscores", choices=("keep", "space"), default="space", help=about)
    about = 'a pattern for the tags, as --pattern: "{trigger}, {shot}, {rest}"'
    add("--from-tags", metavar="TEXT", help=about)
    about = "tag images that have captions too; their captions are replaced"
    add("--overwrite", action="store_true", help=about)


def check_tagger_arguments(args: argparse.Namespace) -> None:
    if args.tagger and not args.model:
        hint = f"--model FOLDER, or from the hub one of {', '.join(KNOWN)}."
        raise RecipeError(f"--tagger {args.tagger}: which model?", hint=hint)
    words = ("model", "from_tags", "overwrite", "drop", "drop_character_tags")
    stray = [f"--{word.replace('_', '-')}" for word in words if getattr(args, word)]
    if stray and not args.tagger:
        raise RecipeError(f"{', '.join(stray)}: only with --tagger wd or --tagger kohya.")


def drafts(
    args: argparse.Namespace, captions: Sequence[tuple[Path, Path]]
) -> tuple[Mapping[Path, str], str]:
    """Caption file -> tags in one line, for the images that are to be tagged; and what tagged
    them, for the history.
    """
    wanted: dict[Path, Path] = {}
    faults: list[Fault] = []
    for image, caption in captions:
        try:
            if args.overwrite or not caption_text(caption):
                wanted[image] = caption
        except RecipeError as error:
            faults += error.faults
    raise_on_errors(faults)
    kept = len(captions) - len(wanted)
    if kept:
        say(f"Kept: {counted(kept, 'caption')}, as it is there already; --overwrite tags it too.")
    keep = args.underscores == "keep"
    drop = frozenset(args.drop)
    choice = TagChoice(args.general, args.character, args.drop_character_tags, drop, keep)
    if not wanted:
        return {}, ""
    found, what = TAGGERS[args.tagger](args, list(wanted), choice)
    bare = [image.name for image in wanted if not found.get(image)]
    if bare:
        few = ", ".join(bare[:3]) + (", ..." if len(bare) > 3 else "")
        less = f"lower --general to {args.general / 2:g}?"
        say(f"{counted(len(bare), 'image')} got no tag ({few}); {less}")
    return {wanted[image]: joined(tags) for image, tags in found.items()}, what


def _by_wd(
    args: argparse.Namespace, images: Sequence[Path], choice: TagChoice
) -> tuple[Mapping[Path, list[str]], str]:
    tagger = Tagger(open_model(args.model, expected_sha256=args.model_sha256))
    say(*unknown_drops(args.drop, tagger.tags), f"tagging with {tagger.model}")
    with counting("tagging") as progress:
        seen = tagger.look(images, progress)
        found = {image: chosen(likely, tagger.tags, choice) for image, likely in seen}
    levels = f"general {choice.general:g}, character {choice.character:g}"
    return found, f"tagger {tagger.model}, {levels}"


def _by_kohya(
    args: argparse.Namespace, images: Sequence[Path], choice: TagChoice
) -> tuple[Mapping[Path, list[str]], str]:
    from lorakit.trainers.kohya import tagger as kohya_tagger

    say(f"sd-scripts' tagger looks at {counted(len(images), 'image')}; this takes a while.")
    return kohya_tagger.tag(images, args.model, choice), f"tagger of sd-scripts, {args.model}"


TAGGERS = {"wd": _by_wd, "kohya": _by_kohya}
