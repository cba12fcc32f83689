"""The tagger's options, and its answers as first drafts of captions. Not a command itself: part of
`dataset caption`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lorakit.cli.terminal.progress import counting
from lorakit.dataset.captions.edit import Drafts, joined
from lorakit.dataset.captions.models import TAGGERS, open_describer, open_tagger
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.captions.sentences import LOOP, described, tidied, without_identity
from lorakit.dataset.captions.tagger import TagChoice, Tagger, chosen, unknown_drops
from lorakit.errors import Fault, RecipeError, counted, raise_on_errors
from lorakit.show import say


def add_tagger_arguments(parser: argparse.ArgumentParser) -> None:
    about = "tags by a model, for images that have no caption yet"
    add = parser.add_argument_group("tagging", about).add_argument
    about = (
        "wd: tags by a WD v3 model; kohya: by sd-scripts' own script; florence2, blip or the"
        " folder of such a model: a sentence. Given twice, tags and sentences"
    )
    add("--tagger", action="append", metavar="NAME|FOLDER", help=about)
    about = f"the tagger's folder or repository, or one of {', '.join(TAGGERS)}"
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
    about = "no hair, eyes, face in sentences and tags: those belong to the trigger"
    add("--drop-identity", action="store_true", help=about)
    about = "long_hair or long hair (space)"
    add("--underscores", choices=("keep", "space"), default="space", help=about)
    about = 'a pattern for the words, as --pattern: "{trigger}, {sentence}, {view}, {light}"'
    add("--from-tags", metavar="TEXT", help=about)
    about = "tag images that have captions too; their captions are replaced"
    add("--overwrite", action="store_true", help=about)


def check_tagger_arguments(args: argparse.Namespace) -> None:
    by_tags = [name for name in args.tagger or () if name in BY_TAGS]
    if by_tags and not args.model:
        hint = f"--model FOLDER, or from the hub one of {', '.join(TAGGERS)}."
        raise RecipeError(f"--tagger {by_tags[0]}: which model?", hint=hint)
    words = ("model", "from_tags", "overwrite", "drop", "drop_character_tags", "drop_identity")
    stray = [f"--{word.replace('_', '-')}" for word in words if getattr(args, word)]
    if stray and not args.tagger:
        raise RecipeError(f"{', '.join(stray)}: only with --tagger wd, kohya, florence2 or blip.")


def drafts(args: argparse.Namespace, captions: Sequence[tuple[Path, Path]]) -> tuple[Drafts, str]:
    """What taggers say about the images that are to be tagged; and which they were, for the
    history.
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
    tags: dict[Path, list[str]] = {}
    sentences: dict[Path, str] = {}
    said_by = []
    for name in args.tagger if wanted else ():
        if name in BY_TAGS:
            found, by = BY_TAGS[name](args, list(wanted), _choice(args))
            tags |= found
            _say_bare(args, wanted, found)
        else:
            model = open_describer(name)
            say(f"describing with {model}")
            with counting("describing") as progress:
                sentences |= described(model, list(wanted), progress)
            by = f"sentences by {model}"
        said_by.append(by)
    words, spoken = _settled(args, tags, sentences)
    by_caption = {wanted[image]: text for image, text in words.items()}
    told = {wanted[image]: text for image, text in spoken.items()}
    pattern = args.from_tags or "{trigger}, {sentence}, {rest}"
    return Drafts(by_caption, told, pattern), ", ".join(said_by)


def _choice(args: argparse.Namespace) -> TagChoice:
    keep = args.underscores == "keep"
    drop = frozenset(args.drop)
    return TagChoice(args.general, args.character, args.drop_character_tags, drop, keep)


def _say_bare(
    args: argparse.Namespace, wanted: Mapping[Path, Path], found: Mapping[Path, list[str]]
) -> None:
    bare = [image.name for image in wanted if not found.get(image)]
    if bare:
        few = ", ".join(bare[:3]) + (", ..." if len(bare) > 3 else "")
        less = f"lower --general to {args.general / 2:g}?"
        say(f"{counted(len(bare), 'image')} got no tag ({few}); {less}")


def _settled(
    args: argparse.Namespace, tags: Mapping[Path, list[str]], sentences: Mapping[Path, str]
) -> tuple[dict[Path, str], dict[Path, str]]:
    """As captions take them; says what was dropped, and where a model said nothing or too much."""
    dropped: Counter[str] = Counter()

    def settled(text: str) -> str:
        left, gone = without_identity(text) if args.drop_identity else (text, [])
        dropped.update(gone)
        return left

    words = {image: joined(filter(None, map(settled, own))) for image, own in tags.items()}
    tidy = {image: tidied(text) for image, text in sentences.items()}
    silent = [image.name for image, text in tidy.items() if not text]
    looped = [image.name for image, text in sentences.items() if LOOP.search(text)]
    for names, what in (
        (silent, "got no sentence"),
        (looped, "got the same words again and again"),
    ):
        if names:
            few = ", ".join(names[:5])
            say(f"{counted(len(names), 'image')} {what}: {few}; look at them.")
    spoken = {image: settled(text) for image, text in tidy.items() if text}
    if dropped:
        parts = ", ".join(f"{part} ({count})" for part, count in dropped.most_common(12))
        say(f"dropped, because it belongs to the trigger: {parts}")
    return words, spoken


def _by_wd(
    args: argparse.Namespace, images: Sequence[Path], choice: TagChoice
) -> tuple[Mapping[Path, list[str]], str]:
    tagger = Tagger(open_tagger(args.model, expected_sha256=args.model_sha256))
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


BY_TAGS = {"wd": _by_wd, "kohya": _by_kohya}
