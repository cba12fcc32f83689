"""Which checkpoint at which strength, how surely, from losses at fixed noise.

lorakit judge maya                      every checkpoint at 0.4, 0.6, 0.8, 1.0 and 1.2
lorakit judge maya --checkpoints last:3 --strengths 0.6,0.8,1.0 --budget 10m
lorakit judge maya --held ~/photos/not-trained-on
lorakit judge maya --plan               what it would cost; nothing is measured
lorakit judge maya --pictures           draws the shortlist, too: copies, sameness, what else moved

It compares losses on pictures that were not trained on with the base's, names the cells that are
worse than the base, and lists those that cannot be told apart from the best, the one that changes
the base's other pictures least first. You choose among them; a winner is named only where one is
proven. What was measured is kept: run it again to go on. What it cannot say: docs/judge.md.
"""

import re
import shlex
import sys

from lorakit.cli.sheet import strengths_of
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.meant import trained_run
from lorakit.cli.terminal.next_step import say_next
from lorakit.cli.terminal.screen import counting
from lorakit.errors import LorakitError, counted
from lorakit.runs.find import stage_of, whole_of
from lorakit.runs.record import Judged, JudgedCell
from lorakit.show import duration, print_json, print_text, say, table

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def add_arguments(parser: Parser) -> None:
    parser.run()
    about = "all, last, last:3, or epochs, steps and names: 4,final"
    parser.value("--checkpoints", "WHICH", about, default="all")
    parser.value("--strengths", "N,N", "of the LoRA", default="0.4,0.6,0.8,1.0,1.2")
    about = "pictures that were not trained on (default: those the run held out)"
    parser.path("--held", "FOLDER", about)
    about = "prompts of what must stay as it is (default: the recipe's without the trigger)"
    parser.value("--controls", "TEXT", about, nargs="+", default=[])
    parser.flag("--pictures", "draw the shortlist: copies, sameness, what else moved")
    parser.value("--likeness", "MODEL", "compare with training pictures: DINO, CLIP, SigLIP")
    parser.value("--faithful", "MODEL", "compare with the prompts: CLIP, SigLIP")
    parser.value("--budget", "TIME", "stop measuring after so long: 90s, 10m, 1h")
    parser.flag("--plan", "say what it would cost, measure nothing")
    parser.value("--python", "FILE", "a Python with torch", default=sys.executable)
    parser.json()


def run(args: Arguments) -> None:
    from lorakit.judge.look import look, open_models
    from lorakit.judge.make import inquire, measure
    from lorakit.sheet.make import passes_of

    run_dir = stage_of(trained_run(args.run))
    inquiry = inquire(
        run_dir,
        checkpoints=args.checkpoints,
        strengths=strengths_of(args.strengths),
        held=args.held,
        controls=args.controls,
        budget_s=seconds_of(args.budget),
    )
    draws = args.pictures or args.likeness or args.faithful
    order = inquiry.order
    shots = f"{counted(len(order['held']), 'held-out picture')}, {len(order['drawn'])} drawn"
    seconds = inquiry.passes * (inquiry.pace or 0.0)
    pace = f", about {duration(seconds)} by this run's pace" if seconds else ""
    cost = f"{inquiry.passes:,} forward passes{pace}" if inquiry.passes else "measured before"
    cells = counted(len(inquiry.cells), "cell")
    say(f"{cells} of checkpoint x strength, {shots} by the base: {cost}.")
    if draws:
        jobs = inquiry.viewing["columns"][0]["pictures"]
        each = f"{passes_of(order['family'], jobs):,} forward passes"
        say(f"Then {counted(len(jobs), 'picture')} of each cell in the shortlist: {each} a cell.")
    if args.plan:
        return
    models = open_models({"likeness": args.likeness, "faithful": args.faithful})
    with counting("measuring") as progress:
        judged = measure(inquiry, args.python, progress)
    if draws:
        with counting("drawing") as progress:
            judged = look(inquiry, judged, args.python, models=models, say=say, progress=progress)
    if args.json:
        print_json(judged.to_json())
        return
    _show(judged)
    if judged.listed:
        name = shlex.quote("/".join(whole_of(run_dir).parts[-2:]))
        about = f"the {len(judged.listed)} listed, in pictures"
        say_next(f"lorakit sheet {name} --judged", about)


def _show(judged: Judged) -> None:
    from lorakit.judge.score import FEWEST, seen_notes, seen_table

    heads = ("checkpoint", "strength", "verdict", "held-out loss", "behind the lowest", "drift")
    table(heads, [_row(cell) for cell in judged.cells], right=("strength", "drift"))
    if judged.held_out < FEWEST:
        say(
            f"No ranking: {counted(judged.held_out, 'held-out picture')}, and it takes {FEWEST}."
            " Give some that were not trained on (--held FOLDER), or hold some out next time:"
            " --set validation_split=0.15"
        )
    if judged.winner:
        print_text(f"The one cell with the lowest loss for certain: {judged.reason}")
    elif judged.reason:
        told = ", not told apart; the least drift first" * (len(judged.listed) > 1)
        found = f"{len(judged.listed)} of {counted(len(judged.cells), 'cell')}{told}"
        print_text(f"Shortlist: {found}. {judged.reason}")
    if judged.base:
        print_text("What drawn pictures say; 1 is as far as two seeds of the base are apart:")
        table(*seen_table(judged))
    for note in (*judged.notes, *seen_notes(judged)):
        print_text(note)
    if judged.unmeasured:
        say(f"{counted(judged.unmeasured, 'cell')} not measured yet; run it again to go on.")


def _row(cell: JudgedCell) -> tuple[str, ...]:
    drift = "" if cell.drift is None else f"{cell.drift:.4f}"
    held = _with_interval(cell.held, cell.held_low, cell.held_high)
    behind = _with_interval(cell.behind, cell.behind_low, cell.behind_high)
    return cell.label, f"{cell.strength:g}", cell.verdict, held, behind, drift


def _with_interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return ""
    ends = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
    return f"{value:+.3f}{ends}"


def seconds_of(text: str) -> float | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None or not float(match[1]):
        raise LorakitError(f"--budget {text}: a time such as 90s, 10m or 1h.")
    return float(match[1]) * UNITS[match[2]]
