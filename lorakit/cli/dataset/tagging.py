"""The tagger's part of `dataset caption`: its options, and its answers as first drafts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.screen import counting
from lorakit.dataset.captions.edit import Drafts, joined
from lorakit.dataset.captions.models import TAGGERS, open_describer, open_tagger
from lorakit.dataset.captions.read import caption_text
from lorakit.dataset.captions.sentences import LOOP, described, tidied, without_identity
from lorakit.dataset.captions.tagger import TagChoice, Tagger, chosen, unknown_drops
from lorakit.errors import Fault, RecipeError, counted, few, raise_on_errors
from lorakit.show import say


def add_tagger_arguments(parser: Parser) -> None:
    about = "for images that have no caption yet: tags by a WD v3 model (wd) or sd-scripts' own"
    about += " script (kohya), a sentence by florence2, blip or a folder. Given twice, both"
    parser.many("--tagger", "NAME|FOLDER", about)
    about = f"the tagger's folder or repository, or one of {', '.join(TAGGERS)}"
    parser.value("--model", "DIR|REPO[@REVISION]", about)
    parser.value("--model-sha256", "HEX", "refuse any other model.onnx")
    about = "how likely a general tag must be (0.35)"
    parser.value("--general", "P", about, type=float, default=0.35)
    about = "how likely a character's name must be (0.85)"
    parser.value("--character", "P", about, type=float, default=0.85)
    about = "no names of known characters: the trigger stands for yours"
    parser.flag("--drop-character-tags", about)
    parser.many("--drop", "TAG", "never this tag; repeatable")
    about = "no hair, eyes, face in sentences and tags: those belong to the trigger"
    parser.flag("--drop-identity", about)
    about = "long_hair or long hair (space)"
    parser.choice("--underscores", ("keep", "space"), about, default="space")
    about = 'a pattern for the words, as --pattern: "{trigger}, {sentence}, {view}, {light}"'
    parser.value("--from-tags", "TEXT", about)
    parser.flag("--overwrite", "tag images that have captions too; their captions are replaced")


def check_tagger_arguments(args: Arguments) -> None:
    by_tags = [name for name in args.tagger if name in BY_TAGS]
    if by_tags and not args.model:
        hint = f"--model FOLDER, or from the hub one of {', '.join(TAGGERS)}."
        raise RecipeError(f"--tagger {by_tags[0]}: which model?", hint=hint)
    words = ("model", "from_tags", "overwrite", "drop", "drop_character_tags", "drop_identity")
    stray = [f"--{word.replace('_', '-')}" for word in words if getattr(args, word)]
    if stray and not args.tagger:
        raise RecipeError(f"{', '.join(stray)}: only with --tagger wd, kohya, florence2 or blip.")


def drafts(args: Arguments, captions: Sequence[tuple[Path, Path]]) -> tuple[Drafts, str]:
    """What taggers say about the images that are to be tagged; which they were, for the history."""
    wanted: dict[Path, Path] = {}
    faults: list[Fault] = []
    for image, caption in captions:
        try:
            if args.overwrite or not caption_text(caption):
                wanted[image] = caption
        except RecipeError as error:
            faults += error.faults
    raise_on_errors(faults)
    if kept := len(captions) - len(wanted):
        say(f"Kept: {counted(kept, 'caption')}, as it is there already; --overwrite tags it too.")
    tags: dict[Path, list[str]] = {}
    sentences: dict[Path, str] = {}
    said_by = []
    for name in args.tagger if wanted else ():
        if name in BY_TAGS:
            found, by = BY_TAGS[name](args, list(wanted))
            tags |= found
            less = f"lower --general to {args.general / 2:g}?"
            _say_which([one for one in wanted if not found.get(one)], "got no tag", 3, less)
        else:
            model = open_describer(name)
            say(f"describing with {model}")
            with counting("describing") as progress:
                sentences |= described(model, list(wanted), progress)
            by = f"sentences by {model}"
        said_by.append(by)
    words, spoken = _settled(args, tags, sentences)
    both = {wanted[one]: (words.get(one, ""), spoken.get(one, "")) for one in words | spoken}
    pattern = args.from_tags or "{trigger}, {sentence}, {rest}"
    return Drafts(both, pattern), ", ".join(said_by)


def _say_which(images: Sequence[Path], what: str, most: int, advice: str) -> None:
    if images:
        names = few([path.name for path in images], most)
        say(f"{counted(len(images), 'image')} {what} ({names}); {advice}")


def _settled(
    args: Arguments, tags: Mapping[Path, list[str]], sentences: Mapping[Path, str]
) -> tuple[dict[Path, str], dict[Path, str]]:
    """As captions take them; says what was dropped, and where a model said nothing or too much."""
    dropped: Counter[str] = Counter()

    def settled(text: str) -> str:
        left, gone = without_identity(text) if args.drop_identity else (text, [])
        dropped.update(gone)
        return left

    words = {image: joined(filter(None, map(settled, own))) for image, own in tags.items()}
    tidy = {image: tidied(text) for image, text in sentences.items()}
    silent = [one for one, text in tidy.items() if not text]
    _say_which(silent, "got no sentence", 5, "look at them.")
    looped = [one for one, text in sentences.items() if LOOP.search(text)]
    _say_which(looped, "got the same words again and again", 5, "look at them.")
    spoken = {image: settled(text) for image, text in tidy.items() if text}
    if dropped:
        parts = ", ".join(f"{part} ({count})" for part, count in dropped.most_common(12))
        say(f"dropped, because it belongs to the trigger: {parts}")
    return words, spoken


def _choice(args: Arguments) -> TagChoice:
    keep = args.underscores == "keep"
    drop = frozenset(args.drop)
    return TagChoice(args.general, args.character, args.drop_character_tags, drop, keep)


def _by_wd(args: Arguments, images: Sequence[Path]) -> tuple[Mapping[Path, list[str]], str]:
    choice = _choice(args)
    tagger = Tagger(open_tagger(args.model, expected_sha256=args.model_sha256))
    say(*unknown_drops(args.drop, tagger.tags), f"tagging with {tagger.model}")
    with counting("tagging") as progress:
        seen = tagger.look(images, progress)
        found = {image: chosen(likely, tagger.tags, choice) for image, likely in seen}
    levels = f"general {choice.general:g}, character {choice.character:g}"
    return found, f"tagger {tagger.model}, {levels}"


def _by_kohya(args: Arguments, images: Sequence[Path]) -> tuple[Mapping[Path, list[str]], str]:
    from lorakit.trainers.kohya import tagger as kohya_tagger

    say(f"sd-scripts' tagger looks at {counted(len(images), 'image')}; this takes a while.")
    found = kohya_tagger.tag(images, args.model, _choice(args))
    return found, f"tagger of sd-scripts, {args.model}"


BY_TAGS = {"wd": _by_wd, "kohya": _by_kohya}
