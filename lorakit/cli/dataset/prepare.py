"""Make the N_trigger folders from the originals: upright, sRGB, without metadata, fitted.

lorakit dataset prepare recipes/maya.toml                     # as the last time
lorakit dataset prepare recipes/maya.toml --fit letterbox --size 512 --background white
lorakit dataset prepare datasets/maya --fit crop --focus top --size 1024 --format png
lorakit dataset prepare datasets/maya --from ~/photos --repeats 10      # without originals/

The dataset remembers the options in prepare.toml: `prepare` alone repeats them and makes what is
new. Other options make every picture anew, which is asked first (--yes: done). What you have edited
stays unless --force is given; what you have deleted stays away unless --again is. Nothing is ever
enlarged. A contact sheet with every crop, bucket and caption is written to
.lorakit/sheet-01.jpg.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from lorakit.cli.dataset.check import read_size
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import Target, read_target, writing
from lorakit.cli.terminal.next_step import next_for_dataset, say_next
from lorakit.cli.terminal.screen import counting
from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.dataset.build.contact_sheet import write_sheets
from lorakit.dataset.build.drop import drop
from lorakit.dataset.build.fit import Settings, essential, settings_problems
from lorakit.dataset.build.jobs import FitJob, jobs_of
from lorakit.dataset.build.originals import name_of
from lorakit.dataset.build.prepare import PrepareOutcome, deleted, prepare, refitted
from lorakit.dataset.build.remembered import WISHES, flagged_in, read_remembered, remember
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError, counted, few
from lorakit.show import print_json, say, table


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    fits = ("bucket", "letterbox", "crop", "none")
    parser.choice("--fit", fits, "default: as the last time, else bucket")
    about = "of letterbox and crop, e.g. 512 or 512x768 (default: the recipe's resolution)"
    parser.value("--size", "WxH", about)
    parser.value("--background", "COLOUR", "behind transparency and in a letterbox (default white)")
    about = "what --fit crop keeps (face needs a detector)"
    parser.choice("--focus", ("centre", "top", "face"), about)
    parser.choice("--format", ("jpeg", "png", "webp"), "default: jpeg")
    parser.number("--quality", "1..100", "of jpeg and webp (default 95)")
    about = "a folder of images to use where there are no originals"
    parser.path("--from", "DIR", about, dest="source")
    about = "of folders that are made now (default: as given to add, else 10)"
    parser.number("--repeats", "N", about)
    about = "with --from: the class tokens (default: the recipe's trigger)"
    parser.value("--trigger", "TRIGGER", about)
    parser.flag("--force", "also make again what you have edited")
    parser.flag("--again", "also make again what you have deleted")
    parser.flag("--yes", "make every picture anew where the options are others than the last time")
    parser.flag("--skip-flagged", "drop what is flagged in the review first")
    parser.flag("--no-sheet", "no contact sheet")
    parser.flag("--dry-run", "say what would be made, make nothing")
    parser.no_wait()
    parser.json()


def run(args: Arguments) -> int:
    target = read_target(args.target, new=True)
    root, suffix = target.root, target.caption_extension
    trigger = args.trigger or target.trigger
    words = {"repeats": args.repeats, "trigger": trigger, "source": args.source}
    settings = _settings(target, args)
    jobs_of(root, settings, **words)  # says what is wrong before it waits
    with writing(args, root, "prepare", when=not args.dry_run):
        settings = _settings(target, args)  # another command may have changed them
        if args.skip_flagged and not args.dry_run:
            drop(root, flagged_in(root))
        jobs = jobs_of(root, settings, **words)
        if not args.dry_run:
            if not args.yes and not _may_refit(args, jobs):
                return 1
            remember(root, read_remembered(root).with_settings(settings))
        how = {"force": args.force, "dry_run": args.dry_run, "again": _again(args, jobs)}
        with counting("preparing") as progress:
            outcome = prepare(root, jobs, caption_extension=suffix, progress=progress, **how)
        own = Chooser(settings.rules) if settings.fit == "bucket" else target.chooser()
        sheets = [] if args.dry_run or args.no_sheet else write_sheets(root, own, suffix)
    if args.json:
        made = [name_of(root, path) for path in outcome.made]
        same = [name_of(root, path) for path in outcome.unchanged]
        print_json({**vars(outcome), "made": made, "unchanged": same, "sheets": sheets})
    else:
        folders = sorted({shown(name_of(root, job.target.parent)) for job in jobs})
        _report(outcome, folders, sheets, dry_run=args.dry_run)
        if not args.dry_run:
            say_next(*next_for_dataset(target))
    return int(bool(outcome.refused))


def agrees(question: str) -> bool | None:
    """Yes or no of whoever sits at the terminal; None where nobody does."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    say(f"{question} [y/N]")
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _may_refit(args: Arguments, jobs: Sequence[FitJob]) -> bool:
    """Pictures that are there are made anew only when somebody agrees."""
    found = refitted(jobs[0].root, jobs)
    if not found:
        return True
    job, before = found[0]
    now = essential(job.settings.as_data())
    words = {key: _said(value) for key, value in before.items() if value != now.get(key)}
    others = "; ".join(
        f"{key} was {value}, is {_said(now[key])}" for key, value in words.items() if key in now
    )
    what = f"{counted(len(found), 'picture')} would be made anew ({others or 'other settings'})."
    agreed = agrees(f"{what} Go on?")
    if agreed is None:
        alone = f" `lorakit dataset prepare {args.target}` alone keeps them as they are."
        hint = f"--yes does it.{alone * any(getattr(args, key) for key in WISHES)}"
        raise RecipeError(f"{what} Nothing was made.", hint=hint)
    return agreed


def _said(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_said(one)}" for key, one in value.items())
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _again(args: Arguments, jobs: Sequence[FitJob]) -> bool:
    gone = [] if args.again or args.dry_run else deleted(jobs[0].root, jobs)
    if not gone:
        return bool(args.again)
    names = few([shown(job.target.name) for job in gone], 5)
    are = "is" if len(gone) == 1 else "are"
    what = f"{counted(len(gone), 'picture')} that prepare made {are} gone: {names}."
    return bool(agrees(f"{what} Make them again?"))


def _settings(target: Target, args: Arguments) -> Settings:
    """What is typed now, else what the dataset remembers; buckets are the recipe's business."""
    kept = read_remembered(target.root)
    typed = {key: getattr(args, key) for key in WISHES if getattr(args, key) not in {None, ""}}
    if args.size:
        typed["size"] = read_size(args.size)
    if target.options:
        rules = target.options.bucket_rules
    elif kept.rules and not args.size:
        rules = kept.rules
    else:
        size = typed.get("size") or kept.wishes.get("size", (1024, 1024))
        rules = BucketRules(size, min=min(256, *size), max=2 * max(size))
    usual = {"background": "white", "size": rules.resolution, "rules": rules}
    settings = Settings(**{**usual, **kept.wishes, **typed})
    if problems := settings_problems(settings):
        raise RecipeError(f"{'; '.join(problems)}.")
    if settings.focus == "face":
        from lorakit.dataset.build.faces import need_detector

        need_detector()
    return settings


def _report(
    outcome: PrepareOutcome, folders: Sequence[str], sheets: Sequence[Path], *, dry_run: bool
) -> None:
    kinds = {"refused": outcome.refused, "kept": outcome.kept, "note": outcome.notes}
    rows = [(kind, item.where, item.advice) for kind, items in kinds.items() for item in items]
    if rows:
        table(["", "file", "what"], rows)
    say(
        f"{len(outcome.made)} {'would be made' if dry_run else 'made'},"
        f" {len(outcome.unchanged)} unchanged, {len(outcome.kept)} kept,"
        f" {len(outcome.refused)} refused, in {', '.join(folders)}."
    )
    if sheets:
        more = f" and {len(sheets) - 1} more" if len(sheets) > 1 else ""
        say(f"Contact sheet: {shown(sheets[0])}{more}")
