"""The best balanced set of pictures, copied as a new version of the dataset; the old one stays.

lorakit dataset select datasets/maya --per-category 18 --min-score 30% --diverse --to maya-v2
lorakit dataset select datasets/maya --per-category 18 --scores mine.csv --dry-run

Uses the CATEGORY_ranking.json files in the dataset where there are any, else measures first.
--scores FILE (.csv with the columns file,score, or a ranking) wins over what was measured. Scores
compare pictures of one album; where to draw the line is best said as a share of them.
"""

import os
import shlex
from collections import Counter
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.dataset_target import read_target, writing
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import counting
from lorakit.dataset.build.manifest import Manifest
from lorakit.dataset.build.originals import ORIGINALS
from lorakit.dataset.build.remembered import flagged_in
from lorakit.dataset.captions.read import caption_beside
from lorakit.dataset.choose.rank import (
    Selection,
    copy_selection,
    rank,
    read_scores,
    select,
    with_scores,
)
from lorakit.dataset.facts import looks_like_image
from lorakit.dataset.rules import shown
from lorakit.errors import RecipeError, counted
from lorakit.show import print_json, print_text, say, say_faults, table


def add_arguments(parser: Parser) -> None:
    parser.dataset()
    parser.number("--per-category", "N", "how many of each folder", required=True)
    about = "leave out what scores less; 30%%: the worst three tenths of each folder"
    parser.value("--min-score", "SCORE", about, default="0")
    parser.flag("--diverse", "prefer unlike pictures to slightly better like ones")
    parser.many("--scores", "FILE", "your scores, or another model's; repeatable", type=Path)
    parser.path("--to", "DIR", "the new dataset (default: NAME-selected beside the old one)")
    parser.flag("--skip-flagged", "none that is flagged in the review")
    parser.flag("--dry-run", "choose and report, copy nothing")
    parser.flag("--all", "name every picture that is left out")
    parser.no_wait()
    parser.json()


def run(args: Arguments) -> None:
    root = read_target(args.target).root
    target = args.to or root.with_name(f"{root.name}-selected")
    limits = {"per_category": args.per_category, **_least(args.min_score)}
    copies = not args.dry_run
    # a dataset that may only be read changes under nobody's hands
    with writing(args, root, "select", when=copies and os.access(root, os.W_OK)):
        with counting("measuring") as progress:
            ranked = rank(root, progress=progress)
        for path in [*sorted(root.glob("*_ranking.json")), *args.scores]:
            ranked, faults = with_scores(ranked, read_scores(path))
            say_faults(faults)
        if args.skip_flagged:
            made, flagged = Manifest(root).entries, flagged_in(root)
            out = {*flagged, *(made[name].source for name in flagged if name in made)}
            ranked = [one for one in ranked if one.file not in out]
        selection = select(ranked, diverse=args.diverse, **limits)
        if copies:
            copy_selection(root, selection, target)
    if not args.json:
        _report(selection, target, args)
        return
    print_json(
        {
            "to": target if copies else None,
            "averages": selection.averages(),
            "chosen": selection.chosen,
            "left_out": [{"file": item.file, "why": why} for item, why in selection.left_out],
        }
    )


def _least(text: str) -> dict[str, float]:
    """A score, or the share of each category that is left out."""
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        hint = "Write a score from 0 to 100, or a share such as 30%."
        raise RecipeError(f"--min-score {text}: is neither.", hint=hint)
    return {"worst": number / 100} if text.endswith("%") else {"min_score": number}


def _report(selection: Selection, target: Path, args: Arguments) -> None:
    averages = selection.averages()
    rows = [[name, count, mean] for name, (count, mean) in averages.items()]
    table(["category", "chosen", "mean score"], rows, right=["chosen", "mean score"])
    if selection.left_out:
        print_text()
        _left_out(selection, each=args.all)
    if args.dry_run:
        say("nothing was copied (--dry-run)")
    else:
        copied = [path for path in target.rglob("*") if looks_like_image(path.name)]
        captions = sum(caption_beside(path) is not None for path in copied) or "none"
        chosen = counted(len(selection.chosen), "picture")
        say(f"{chosen}, {captions} of them with a caption, are in {shown(target)}")
        verb = "prepare" if (target / ORIGINALS).is_dir() else "check"
        say_next(f"lorakit dataset {verb} {shlex.quote(str(target))}")
    for name, (count, _) in averages.items():
        if count < args.per_category:
            say(f"{name}: only {count} of {args.per_category}; add pictures or lower --min-score.")


def _left_out(selection: Selection, *, each: bool) -> None:
    if each:
        left = [[f"{item.score:.1f}", shown(item.file), why] for item, why in selection.left_out]
        table(["score", "left out", "why"], left, right=["score"])
        return
    kinds = Counter(
        why.partition(" of ")[0] if why.startswith("near") else why.rpartition("is ")[2]
        for _, why in selection.left_out
    )
    table(["left out", "why"], [[count, why] for why, count in kinds.most_common()])
