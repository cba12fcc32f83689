"""A sweep as rows, and as one page in the style of the reports."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from lorakit import __version__
from lorakit.engines.halving import rungs_made
from lorakit.engines.points import recipe_with
from lorakit.engines.sweep import PointResult, Sweep, best, results_of
from lorakit.errors import counted
from lorakit.journal import now
from lorakit.private import without_user
from lorakit.recipe.document import read_document
from lorakit.report.curves import Line, charts
from lorakit.report.page import element, page, soft, table
from lorakit.report.series import read_numbers, smoothed
from lorakit.runs.record import read_record

KINDS = ("smooth", "validation", "rate1", "rate2")  # as many curves as an eye tells apart


def heads(sweep: Sweep) -> tuple[str, ...]:
    names = (name.rpartition(".")[2] for name in sweep.keys)
    return ("point", *names, "state", "step", "loss", "held-out", "judge", "run")


def row_of_point(sweep: Sweep, one: PointResult) -> tuple[str, ...]:
    return (
        one.point.name,
        *(str(one.point.settings.get(name, "-")) for name in sweep.keys),
        one.state,
        f"{one.step}/{one.total}" if one.total else "-",
        *("-" if x is None else f"{x:.4g}" for x in (one.loss, one.held_out, one.judged)),
        f"{one.run_dir.parent.name}/{one.run_dir.name}" if one.run_dir else "-",
    )


def winner_text(recipe: Path, name: str) -> str:
    """The best point's recipe under a name of its own."""
    document = read_document(recipe, recipe.name)
    return recipe_with(document, {("name",): name}, f"The best point of its sweep: {recipe.name}.")


def sweep_page(folder: Path, sweep: Sweep) -> str:
    results = results_of(folder.parents[1], sweep)
    first, how = best(results)
    names = heads(sweep)
    rows = [[escape(cell) for cell in row_of_point(sweep, one)] for one in results]
    states = [one.state for one in results]
    alike = states[0] if len({*states}) == 1 else "unfinished"
    done = states.count("done")
    parts = {
        "points": (
            "Points",
            table(names, rows, numbers=names[-5:-1], own=[one is first for one in results]),
        ),
        "curves": ("Curves", _curves(results)),
        "rungs": ("Halving", _rungs_told(folder, sweep)),
        "best": ("The best point's recipe", _winner(folder, first, how)),
    }
    return page(
        {ident: part for ident, part in parts.items() if part[1]},
        title=sweep.name,
        over="lorakit sweep",
        name=sweep.name,
        state="running" if "running" in states else alike,
        reason=f"Best: {first.point.name}, {how}." if first else "",
        facts=[
            ("recipe", sweep.recipe),
            ("made", sweep.made[:16].replace("T", " ")),
            ("varied", "; ".join(sweep.vary)),
            ("points", f"{done} of {len(results)} done"),
        ],
        footer=f"Made by lorakit {__version__} on {now()[:10]}.",
    )


def _curves(results: Sequence[PointResult]) -> str:
    known = [one for one in results if one.run_dir is not None and one.loss is not None]
    lines = []
    for kind, one in zip(KINDS, sorted(known, key=lambda one: one.loss or 0.0), strict=False):
        run_dir = one.run_dir or Path()
        numbers = read_numbers(run_dir, read_record(run_dir))
        lines.append(Line(one.point.name, smoothed(numbers.loss), kind))
    told = soft(f"The lowest training losses of {counted(len(known), 'point')}, smoothed.")
    return charts(lines, "loss", "training loss of points") + told if lines else ""


def _rungs_told(folder: Path, sweep: Sweep) -> str:
    rows = [
        [
            str(rung.number),
            f"{rung.share:.0%}",
            escape(rung.measure),
            escape(", ".join(rung.kept)),
            escape(", ".join(rung.stopped)),
        ]
        for rung in rungs_made(folder, sweep)
    ]
    return table(("rung", "at", "by", "went on", "stopped"), rows) if rows else ""


def _winner(folder: Path, first: PointResult | None, how: str) -> str:
    if first is None:
        return ""
    document = read_document(folder / first.point.file, first.point.file)
    told = soft(f"{first.point.file}: {how}.")
    if "env" in document.data.get("launch", {}):
        return told + soft("It sets an environment, whose values no page shows.")
    return told + element("pre", escape(without_user(document.text)))
