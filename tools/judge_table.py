"""What came out of tools/prove_judge.py: the table in Markdown, and the figure beside the lines.

    python tools/judge_table.py FOLDER          of FOLDER/lines.jsonl; writes FOLDER/judge-proof.svg
    python tools/judge_table.py --cover FILE    of a run's judge/*.jsonl: do the intervals cover?

The regret of a choice is the best cell's truth minus that of the choice. One thing in lorakit/judge
was chosen by looking at runs of this kind: that the least noisy timestep is left out and the others
weigh alike. The runs in DEVELOPED were there when that was decided; the others are the test.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lorakit.judge import score

HELD = 10  # pictures that a run is judged by
DEVELOPED = (
    "zwx-sound",
    "kvo-sound",
    "zwx-slow",
    "kvo-slow",
    "zwx-broken",
    "kvo-broken",
    "zwx-few",
)


def truth_of(cell: dict[str, Any]) -> float:
    truth = cell["truth"]
    return float(truth["asked"] + truth["obeyed"] - truth["unasked"])


@dataclass(frozen=True)
class Regrets:
    """Of one live run; each against its best cell."""

    name: str
    length: int
    shortlist: float  # of the best cell in the shortlist
    lowest: float  # of the cell with the lowest held-out loss
    least: float  # of the listed cell with the least drift
    last: float  # of the last checkpoint at 1.0
    last_all: float  # of the best strength of the last checkpoint
    five: float  # of the best of five cells by chance, on average
    chance: float  # of the best of as many cells by chance as the shortlist has


def by_chance(values: Sequence[float], count: int) -> float:
    """The expected best of `count` of these, without drawing one twice."""
    ranked, left, total = sorted(values, reverse=True), 1.0, 0.0
    for place, value in enumerate(ranked):
        rest = len(ranked) - place
        share = min(1.0, count / rest)
        total += left * share * value
        left *= 1 - share
    return total


def regrets(run: dict[str, Any]) -> Regrets:
    cells = run["cells"]
    values = [truth_of(cell) for cell in cells]
    best = max(values)
    chosen = [cell for cell in cells if cell["verdict"] == "listed"]
    listed = [truth_of(cell) for cell in chosen]
    lowest = min(chosen, key=lambda cell: float(cell["held"]))
    least = min(chosen, key=lambda cell: float(cell["drift"]))
    last = [cell for cell in cells if "final" in cell["label"]]
    return Regrets(
        run["name"],
        len(listed),
        best - max(listed),
        best - truth_of(lowest),
        best - truth_of(least),
        best - next(truth_of(cell) for cell in last if cell["strength"] == 1.0),
        best - max(map(truth_of, last)),
        best - by_chance(values, 5),
        best - by_chance(values, len(listed)),
    )


def covered(results: Path) -> tuple[float, float]:
    """Of the judge's own lines about many held-out pictures: how often an interval from ten of them
    holds what all say, of the loss of a cell, and of its distance from the lowest.
    """
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    base = next(line for line in lines if line["cell"] == "base")["held"]
    cells = [score.ratios(line["held"], base) for line in lines if line["cell"] != "base"]
    lowest, chance = min(cells, key=fmean), random.Random(1)
    hits: tuple[list[bool], list[bool]] = ([], [])
    for _ in range(100):
        drawn = chance.sample(range(len(base)), HELD)
        for cell in cells:
            for values, seen in zip((cell, _apart(cell, lowest)), hits, strict=True):
                if any(values):
                    low, high = score.interval([values[at] for at in drawn])
                    seen.append(low <= fmean(values) <= high)
    return fmean(hits[0]), fmean(hits[1])


def _apart(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


HEADS = "run | listed | best listed | lowest loss | least drift | last, 1.0 | last | five | as many"


def report(lines: Sequence[dict[str, Any]]) -> str:
    text = [f"| {HEADS} |", "|---|---|---|---|---|---|---|---|---|"]
    for when in ("development", "test", "later"):
        live = [run for run in lines if run["expected"] != "broken"]
        rows = [regrets(run) for run in live if _part(run) == when]
        for row in rows:
            shown = " | ".join(f"{value:.3f}" for value in list(vars(row).values())[2:])
            text.append(f"| {row.name} | {row.length} | {shown} |")
        if rows:
            means = [fmean(vars(row)[key] for row in rows) for key in list(vars(rows[0]))[1:]]
            shown = " | ".join(f"**{value:.3f}**" for value in means[1:])
            text.append(f"| **{when}, mean of {len(rows)}** | **{means[0]:.1f}** | {shown} |")
            worst = max(row.shortlist for row in rows)
            text += [
                f"| {when}, worst | {max(row.length for row in rows)} | {worst:.3f} |" + " |" * 6
            ]
    tested = [regrets(run) for run in lines if run["expected"] != "broken" and _part(run) == "test"]
    if len(tested) > 2:
        text += ["", f"Gains in the {len(tested)} runs of the test, 95 % intervals over runs:", ""]
        text += [
            _gain(tested, "best listed over five cells by chance", "five", "shortlist"),
            _gain(tested, "best listed over as many by chance", "chance", "shortlist"),
            _gain(
                tested, "best listed over the last checkpoint's strengths", "last_all", "shortlist"
            ),
            _gain(tested, "lowest loss over last at 1.0", "last", "lowest"),
            _gain(tested, "least drift over last at 1.0", "last", "least"),
        ]
    return "\n".join([*text, "", *map(_verdicts, lines)]) + "\n"


def _part(run: dict[str, Any]) -> str:
    """Those of `later` were trained for another question: may pictures rank?"""
    if run["name"] in DEVELOPED:
        return "development"
    return "later" if "-later" in run["name"] else "test"


def _gain(rows: Sequence[Regrets], words: str, than: str, of: str) -> str:
    gains = [vars(row)[than] - vars(row)[of] for row in rows]
    low, high = score.interval(gains)
    return f"- {words}: {fmean(gains):+.3f} ({low:+.3f} to {high:+.3f})"


def _verdicts(run: dict[str, Any]) -> str:
    broken = sum(cell["verdict"] == "broken" for cell in run["cells"])
    true = [truth_of(cell) for cell in run["cells"] if "truth" in cell]
    told = ", told to train longer" if any("Train longer" in one for one in run["notes"]) else ""
    span = f"truth {min(true):.2f} to {max(true):.2f}"
    cells = f"{broken} of {len(run['cells'])} cells named broken"
    return f"- {run['name']}, {run['expected']}: {cells}{told}; {span}"


def figure(lines: Sequence[dict[str, Any]]) -> str:
    """One row a live run: every cell at its regret, the listed ones filled, the last checkpoint at
    1.0 ringed.
    """
    live = [run for run in lines if run["expected"] != "broken"]
    left, width, step = 130, 560, 26
    span = max(max(map(truth_of, run["cells"])) - min(map(truth_of, run["cells"])) for run in live)
    height = 70 + step * len(live)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 30} {height}"'
    out = [f'{head} font-family="sans-serif" font-size="12">', '<rect width="100%" height="100%"']
    out[-1] += ' fill="#fff"/>'
    out.append(f'<text x="{left}" y="18">lost against the best cell of the run (of 2)</text>')
    for tick in range(int(span / 0.2) + 1):
        x = left + width * 0.2 * tick / span
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="28" y2="{height - 36}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{height - 22}" text-anchor="middle">{0.2 * tick:.1f}')
        out[-1] += "</text>"
    for row, run in enumerate(live):
        y = 42 + step * row
        out.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{run["name"]}</text>')
        best = max(map(truth_of, run["cells"]))
        for cell in sorted(run["cells"], key=lambda one: one["verdict"] == "listed"):
            x, listed = left + width * (best - truth_of(cell)) / span, cell["verdict"] == "listed"
            fill, r = ("#1467c8", 5.5) if listed else ("#b9bec7", 4)
            if "final" in cell["label"] and cell["strength"] == 1.0:
                out.append(f'<circle cx="{x:.1f}" cy="{y}" r="8.5" fill="none" stroke="#c2410c"')
                out[-1] += ' stroke-width="2"/>'
            out.append(f'<circle cx="{x:.1f}" cy="{y}" r="{r}" fill="{fill}"/>')
    words = "blue: the shortlist · grey: the other cells · ring: last checkpoint at 1.0"
    out.append(f'<text x="{left}" y="{height - 4}" fill="#444">{words}</text></svg>')
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", help="where the lines are")
    parser.add_argument("--cover", type=Path, metavar="FILE", help="a run's judge/*.jsonl")
    args = parser.parse_args()
    if args.cover:
        own, apart = covered(args.cover)
        print(f"95 % intervals from {HELD} pictures hold: {own:.1%} of losses, {apart:.1%} apart")
        return
    if args.folder is None:
        parser.error("a folder with lines.jsonl, or --cover FILE")
    lines = [json.loads(line) for line in (args.folder / "lines.jsonl").read_text().splitlines()]
    print(report(lines))
    (args.folder / "judge-proof.svg").write_text(figure(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
