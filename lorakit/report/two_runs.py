"""Two runs on one page: their curves laid over each other, what differs between them, their
samples side by side.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from lorakit.errors import LorakitError, counted
from lorakit.files import write_atomic
from lorakit.proof.compare import Difference, shown
from lorakit.proof.pair import compare_runs
from lorakit.report.curves import Line
from lorakit.report.gallery import SAMPLES, Sample, samples_of
from lorakit.report.page import facts, fill, section, table
from lorakit.report.pictures import Budget
from lorakit.report.sections import charts, controls, image, key, step_of_samples
from lorakit.report.series import Numbers, Point, Series, read_numbers, smoothed
from lorakit.run.diagnose import run_name
from lorakit.runs.find import live_state
from lorakit.runs.record import read_record
from lorakit.show import duration

LONG = 300  # steps beyond which single losses hide each other, and their mean is drawn
HALF = Budget(SAMPLES.side, SAMPLES.count // 2, SAMPLES.size_bytes // 2, SAMPLES.quality)


@dataclass(frozen=True)
class Agreement:
    """How far two runs agree, over the steps that both have made."""

    steps: int  # with a loss in both
    rate_steps: int  # with a learning rate in both
    rates_equal: int
    rate_differs_at: int | None
    losses_equal: int
    mean: float  # of the losses' absolute differences
    largest: float
    largest_at: int | None

    def lines(self) -> list[str]:
        said = []
        if self.rate_steps:
            said.append(
                "learning rate: "
                + (
                    f"equal at all {self.rate_steps} common steps"
                    if self.rate_differs_at is None
                    else (
                        f"equal at {self.rates_equal} of {self.rate_steps} common steps, first"
                        f" different at step {self.rate_differs_at}"
                    )
                )
            )
        if self.steps:
            said.append(
                "loss: "
                + (
                    f"equal at all {self.steps} common steps"
                    if self.losses_equal == self.steps
                    else (
                        f"equal at {self.losses_equal} of {self.steps} common steps; differs by"
                        f" {self.mean:.3g} on average, by {self.largest:.3g} at most (step"
                        f" {self.largest_at})"
                    )
                )
            )
        return said


@dataclass(frozen=True)
class Side:
    """One of the two runs, read once."""

    run_dir: Path
    record: Mapping[str, Any]
    numbers: Numbers
    name: str  # as short as it can be without being the other's

    @property
    def cuts(self) -> list[int]:
        """The steps from which it was resumed."""
        return [
            int(part["from_step"])
            for part in self.record["parts"]
            if isinstance(part.get("from_step"), int)
        ]


def agreement(a: Numbers, b: Numbers) -> Agreement:
    pairs = [(dict(one.points), dict(other.points)) for one, other in _paired(a.rates, b.rates)]
    steps = (
        sorted(set.intersection(*(one.keys() & other.keys() for one, other in pairs)))
        if pairs
        else []
    )
    unequal = [step for step in steps if any(one[step] != other[step] for one, other in pairs)]
    apart = {step: abs(value) for step, value in difference(a.loss, b.loss)}
    worst = max(apart, key=lambda step: apart[step]) if any(apart.values()) else None
    return Agreement(
        len(apart),
        len(steps),
        len(steps) - len(unequal),
        unequal[0] if unequal else None,
        sum(not value for value in apart.values()),
        sum(apart.values()) / len(apart) if apart else 0.0,
        0.0 if worst is None else apart[worst],
        worst,
    )


def difference(a: Series, b: Series) -> tuple[Point, ...]:
    """B less a, at their common steps."""
    before = dict(a.points)
    return tuple((step, value - before[step]) for step, value in b.points if step in before)


def agreement_of(a: Path, b: Path) -> Agreement:
    return agreement(*(read_numbers(run_dir, read_record(run_dir)) for run_dir in (a, b)))


def write_page(a: Path, b: Path, out: Path) -> Path:
    """Write the page, and return where it lies."""
    if out.is_dir():
        raise LorakitError(f"{out} is a folder; --page names a file.")
    write_atomic(out, page_text(a, b))
    return out


def page_text(a: Path, b: Path) -> str:
    both = (_side(a, b), _side(b, a))
    found = compare_runs(a, b)
    count = sum(map(len, found.values()))
    parts = {
        "curves": ("Curves", _curves(*both)),
        **{
            name: (name.capitalize(), _differences(rows, both))
            for name, rows in found.items()
            if rows
        },
        "samples": ("Samples", _samples(*both)),
    }
    return fill(
        {
            "title": escape(f"{run_name(a)} and {run_name(b)}"),
            "run": "lorakit diff",
            "name": escape(f"{run_name(a)} and {run_name(b)}"),
            "state": counted(count, "difference") if count else "equal",
            "reason": (
                "" if count else "<p>The two runs are equal in everything that is recorded.</p>"
            ),
            "facts": facts(_facts(*both)),
            "contents": "".join(
                f'<a href="#{ident}">{escape(title)}</a>' for ident, (title, _) in parts.items()
            ),
            "sections": "".join(
                section(ident, title, body) for ident, (title, body) in parts.items()
            ),
            "footer": (
                "Equal things are not shown. Everything is inside this file; it asks no network for"
                " anything."
            ),
        }
    )


def _side(run_dir: Path, other: Path) -> Side:
    record = read_record(run_dir)
    name = run_dir.name if run_dir.parent == other.parent else run_name(run_dir)
    return Side(run_dir, record, read_numbers(run_dir, record), name)


def _paired(a: Sequence[Series], b: Sequence[Series]) -> list[tuple[Series, Series]]:
    """By name; where the two trainers name theirs differently, the first of each."""
    names = {one.name: one for one in b}
    pairs = [(one, names[one.name]) for one in a if one.name in names]
    return pairs or list(zip(a[:1], b[:1], strict=False))


def _facts(a: Side, b: Side) -> list[tuple[str, str]]:
    def said(side: Side) -> dict[str, str]:
        outcome = side.record["outcome"]
        loss, lasted = outcome.get("loss"), outcome.get("duration_s")
        return {
            "state": live_state(dict(side.record)),
            "steps": str(outcome.get("step") or ""),
            "last loss": f"{loss:.4g}" if isinstance(loss, (int, float)) else "",
            "time": duration(lasted) if isinstance(lasted, (int, float)) else "",
            "resumed from step": ", ".join(map(str, side.cuts)),
        }

    before, after = said(a), said(b)
    return [
        (name, " / ".join(text or "–" for text in (before[name], after[name])))
        for name in before
        if before[name] or after[name]
    ]


def _curves(a: Side, b: Side) -> str:
    if not (a.numbers.loss.points and b.numbers.loss.points):
        return "<p>One of the two has not made a step yet.</p>"
    long = max(len(side.numbers.loss.points) for side in (a, b)) > LONG
    total = max(int(side.record["steps"].get("total") or 0) for side in (a, b))
    cuts = sorted({*a.cuts, *b.cuts})

    def laid_over(title: str, one: Sequence[Point], other: Sequence[Point], unit: str) -> str:
        lines = [Line(a.name, one, "before"), Line(b.name, other, "after")]
        drawn = charts(
            lines,
            unit,
            f"{title} of both runs",
            total,
            (),
            cuts=cuts,
            ident=title.lower().replace(" ", "-"),
        )
        return f"<h3>{escape(title)}</h3>{key(lines)}{drawn}"

    body = "".join(
        f"<p>{escape(line[:1].upper() + line[1:])}.</p>"
        for line in agreement(a.numbers, b.numbers).lines()
    )
    body += '<p class="soft">Dotted lines stand where a run was resumed.</p>' if cuts else ""
    one, other = (
        smoothed(side.numbers.loss.points) if long else side.numbers.loss.points for side in (a, b)
    )
    body += laid_over(
        "Loss, mean over a twentieth of the run" if long else "Loss", one, other, "loss"
    )
    apart = difference(a.numbers.loss, b.numbers.loss)
    if any(value for _, value in apart):
        body += f"<h3>Loss of {escape(b.name)} less that of {escape(a.name)}</h3>"
        body += charts(
            [Line("difference", apart, "after")],
            "difference",
            "difference of the losses",
            total,
            (),
            cuts=cuts,
        )
    for rate, same in _paired(a.numbers.rates, b.numbers.rates):
        named = "" if rate.name == "learning rate" else f": {rate.name}"
        body += laid_over(f"Learning rate{named}", rate.points, same.points, "learning rate")
    return body


def _differences(rows: Sequence[Difference], both: tuple[Side, Side]) -> str:
    cells = []
    for one in rows:
        before, after = (
            "" if side is None else escape(shown(side)) for side in (one.before, one.after)
        )
        if (
            isinstance(one.before, str)
            and isinstance(one.after, str)
            and " " in one.before + one.after
        ):
            before, after = marked(one.before, one.after)
        cells.append(
            (
                f"<code>{escape(one.key)}</code>",
                before or '<span class="soft">absent</span>',
                after or '<span class="soft">absent</span>',
            )
        )
    return table(("what", both[0].name, both[1].name), cells, kind="pair")


def marked(before: str, after: str) -> tuple[str, str]:
    """Two texts as HTML, with the words marked that only one of them has."""
    a, b = before.split(), after.split()
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()

    def side(words: Sequence[str], places: Sequence[tuple[str, int, int]]) -> str:
        said = [
            (kind, escape(" ".join(words[start:end]))) for kind, start, end in places if end > start
        ]
        return " ".join(text if kind == "equal" else f"<mark>{text}</mark>" for kind, text in said)

    return side(a, [(kind, i, j) for kind, i, j, _, _ in blocks]), side(
        b, [(kind, i, j) for kind, _, _, i, j in blocks]
    )


def _samples(a: Side, b: Side) -> str:
    """At the steps and prompts that both have drawn."""
    found = [samples_of(side.run_dir, side.record, HALF) for side in (a, b)]
    before, after = ({(one.step, one.prompt): one for one in samples.shown} for samples in found)
    keys = sorted(before.keys() & after.keys())
    if not keys:
        return "<p>There is no step at which both drew samples.</p>"

    def figure(side: Side, one: Sample, words: str) -> str:
        return f"<figure>{image(one.picture, one.name, words)}<figcaption><b>{escape(side.name)}</b>{escape(words)}</figcaption></figure>"

    steps = sorted({step for step, _ in keys})
    parts = [controls(len(steps))]
    for step in steps:
        figures = ""
        for place in (place for place in keys if place[0] == step):
            words = (
                found[0].prompts[place[1]]
                if place[1] < len(found[0].prompts)
                else f"prompt {place[1]}"
            )
            figures += figure(a, before[place], words) + figure(b, after[place], words)
        parts.append(step_of_samples(step, figures, kind="grid pair"))
    return "".join(parts)
