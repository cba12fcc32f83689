"""Copy photos, folders and zip archives into originals/; the sources are never touched.

lorakit dataset add recipes/maya.toml ~/photos --repeats 40
lorakit dataset add recipes/maya.toml bodies.zip --repeats 20 --tag realistic_body
lorakit dataset add recipes/maya.toml ~/album --link      # copies nothing: it stays as it lies
lorakit dataset add datasets/maya a.jpg b.jpg --repeats 10 --trigger maya_char --dry-run

Captions beside the images come along, or out of a metadata.jsonl; folders such as 30_maya_char
become subsets of their own. What is there already is left alone; what cannot be
decoded, is a duplicate or is too small is refused by name. `lorakit dataset prepare` then makes the
N_trigger folders.
"""

from collections import Counter
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target, read_target, writing
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.cli.terminal.screen import counting
from lorakit.dataset.build.manifest import SubsetPlan, folder_for, subset_folders
from lorakit.dataset.build.originals import MIN_SIDE, ORIGINALS, AddOutcome, add, subset_to_fill
from lorakit.dataset.build.sources import IMG, AlbumPart, parts_of
from lorakit.dataset.facts import format_folder, looks_like_image
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError, counted
from lorakit.show import print_json, say, table


def add_arguments(parser: Parser) -> None:
    parser.dataset("a recipe, or the dataset folder (made when it is not there)")
    parser.path("paths", "PATH", "images, folders (with everything below), zip archives", nargs="+")
    about = "how often an epoch shows each image (default: as before, else 10)"
    parser.number("--repeats", "N", about)
    parser.value("--trigger", "TRIGGER", "default: the recipe's trigger, or the folder's name")
    parser.value("--tag", "TAG", "a second set under the same trigger, e.g. realistic_body")
    about = f"refuse smaller images (default {MIN_SIDE})"
    parser.number("--min-side", "PIXELS", about, default=MIN_SIDE)
    about = "lead to the images instead of copying them: they must stay where they lie"
    parser.flag("--link", about)
    parser.flag("--move-nothing", "always so; the flag is for scripts that want to say it")
    parser.flag("--dry-run", "say what would be done, copy nothing")
    parser.no_wait()
    parser.json()


def run(args: Arguments) -> int:
    target = read_target(args.target, new=True)
    if _lies_there(args, target):
        return 0
    _right_way_round(args)
    parts = [part for path in args.paths for part in parts_of(path, args.trigger or target.trigger)]
    wanted: dict[SubsetPlan, list[Path]] = {}
    for part in parts:  # says what is wrong before it waits
        wanted.setdefault(_subset(args, target, part), []).append(part.path)
    how = {"min_side": args.min_side, "dry_run": args.dry_run, "link": args.link}
    outcomes: dict[SubsetPlan, AddOutcome] = {}
    with writing(args, target.root, "add", when=not args.dry_run):
        for subset, paths in wanted.items():
            with counting("reading") as progress:
                outcomes[subset] = add(target.root, subset, paths, progress=progress, **how)
    keys = ("added", "present", "refused")
    whole = {key: [x for one in outcomes.values() for x in getattr(one, key)] for key in keys}
    came = bool(whole["added"] or whole["present"])
    if args.json:
        names = [format_folder(subset.repeats, subset.tokens) for subset in outcomes]
        print_json({"subset": ", ".join(names), **whole})
    else:
        for subset, outcome in outcomes.items():
            _report(target, subset, outcome, args)
        if came and not args.dry_run:
            say_next(*next_for_dataset(target, after="add" if whole["added"] else ""))
    return int(not came and any(item.severity == "error" for item in whole["refused"]))


def _subset(args: Arguments, target: Target, part: AlbumPart) -> SubsetPlan:
    words = {"trigger": args.trigger, "recipe": target.trigger, "tag": args.tag}
    if part.tokens and not args.tag:
        words = {"trigger": part.tokens, "recipe": "", "tag": ""}
    return subset_to_fill(target.root, args.repeats or part.repeats, **words)


def _lies_there(args: Arguments, target: Target) -> bool:
    """The dataset's own folders need no adding."""
    folders = {target.root / name for name in subset_folders(target.root)}
    stated = target.options.stated if target.options else {}
    folders |= {target.root} if target.root.name in stated else set()
    own = folders | {target.root} | ({target.root.parent} if target.root.name == IMG else set())
    if args.tag or not folders or not all(path.resolve() in own for path in args.paths):
        return False
    images = target.scan().image_count
    say(
        f"{counted(images, 'picture')} in {', '.join(sorted(shown(one.name) for one in folders))}"
        " are trained on as they lie; nothing was copied and nothing needs to be."
    )
    say_next(*next_for_dataset(target))
    return True


def _right_way_round(args: Arguments) -> None:
    """Photos given first would make a dataset of somebody's photo folder."""
    first, last = Path(args.target), args.paths[-1]
    if last.suffix == ".toml" and last.is_file():
        hint = f"lorakit dataset add {last} {first}"
        raise RecipeError(f"{last} is a recipe, and goes before the photos.", hint=hint)
    if first.is_dir() and any(looks_like_image(path.name) for path in first.iterdir()):
        raise RecipeError(
            f"{first} holds photos itself: the recipe, or a folder of its own for the dataset,"
            " goes before them.",
            hint=f"lorakit dataset add RECIPE {first}",
        )


def _report(target: Target, subset: SubsetPlan, outcome: AddOutcome, args: Arguments) -> None:
    root = target.root
    if outcome.refused:
        rows = [(r.where, r.rule, r.advice) for r in outcome.refused]
        table(["refused", "rule", "why"], rows)
    rules = Counter(item.rule for item in outcome.refused).most_common()
    reasons = f" ({', '.join(f'{count} {rule}' for rule, count in rules)})" if rules else ""
    captions = sum(item.caption is not None for item in outcome.added)
    say(
        f"{counted(len(outcome.added), 'image')}"
        f" {'would be ' * args.dry_run}{'linked in' if args.link else 'copied to'}"
        f" {shown(root / ORIGINALS / subset.tokens)}, {captions} with captions;"
        f" {len(outcome.present)} there already; {len(outcome.refused)} refused{reasons}."
    )
    folder = folder_for(root, subset.tokens, subset.repeats).name
    named = format_folder(subset.repeats, subset.tokens)
    if (outcome.added or outcome.present) and folder != named:
        say(
            f"{shown(folder)} exists already and keeps its repeats: lorakit dataset layout"
            f" {target.typed} --repeats {subset.tokens}={subset.repeats} --write changes them."
        )
