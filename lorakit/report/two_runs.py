"""Two runs on one page: curves over each other, what differs, samples side by side."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lorakit.errors import LorakitError, counted
from lorakit.files import write_atomic
from lorakit.proof.compare import Difference, shown
from lorakit.proof.pair import compare_runs
from lorakit.report.advice import sentence
from lorakit.report.curves import Line, charts
from lorakit.report.gallery import SAMPLES, Budget, by_step, figure, samples_of
from lorakit.report.make import resumed_from
from lorakit.report.page import code, page, soft, table
from lorakit.report.series import Numbers, Point, Points, read_numbers, smoothed
from lorakit.runs.find import live_state, run_name
from lorakit.runs.record import Record, read_record
from lorakit.show import duration

LONG = 300  # steps beyond which single losses hide each other, and their mean is drawn
HALF = Budget(SAMPLES.side, SAMPLES.count // 2, SAMPLES.size_bytes // 2, SAMPLES.quality)
ABSENT = '<span class="soft">absent</span>'


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
            apart = f", first different at step {self.rate_differs_at}"
            said.append(f"learning rate: {_equal(self.rates_equal, self.rate_steps, apart)}")
        if self.steps:
            apart = (
                f"; differs by {self.mean:.3g} on average, by {self.largest:.3g} at most (step"
                f" {self.largest_at})"
            )
            said.append(f"loss: {_equal(self.losses_equal, self.steps, apart)}")
        return said


@dataclass(frozen=True)
class Side:
    """One of the two runs, read once."""

    run_dir: Path
    record: Record
    numbers: Numbers
    name: str  # as short as it can be without being the other's


def agreement(a: Numbers, b: Numbers) -> Agreement:
    pairs = [(dict(one), dict(other)) for _, one, other in _paired(a.rates, b.rates)]
    common = [one.keys() & other.keys() for one, other in pairs]
    steps = sorted(set.intersection(*common)) if common else []
    unequal = [step for step in steps if any(one[step] != other[step] for one, other in pairs)]
    apart = {step: abs(value) for step, value in difference(a.loss, b.loss)}
    worst = max(apart, key=lambda step: apart[step]) if any(apart.values()) else None
    return Agreement(
        steps=len(apart),
        rate_steps=len(steps),
        rates_equal=len(steps) - len(unequal),
        rate_differs_at=unequal[0] if unequal else None,
        losses_equal=sum(not value for value in apart.values()),
        mean=sum(apart.values()) / max(1, len(apart)),
        largest=0.0 if worst is None else apart[worst],
        largest_at=worst,
    )


def difference(a: Points, b: Points) -> list[Point]:
    """B less a, at their common steps."""
    before = dict(a)
    return [(step, value - before[step]) for step, value in b if step in before]


def agreement_of(a: Path, b: Path) -> Agreement:
    return agreement(*(read_numbers(run_dir, read_record(run_dir)) for run_dir in (a, b)))


def write_page(a: Path, b: Path, out: Path) -> Path:
    """Write the page, and return its path."""
    if out.is_dir():
        raise LorakitError(f"{out} is a folder; --page names a file.")
    write_atomic(out, page_text(a, b))
    return out


def page_text(a: Path, b: Path) -> str:
    both = (_side(a, b), _side(b, a))
    found = {name: rows for name, rows in compare_runs(a, b).items() if rows}
    count, names = sum(map(len, found.values())), f"{run_name(a)} and {run_name(b)}"
    return page(
        {
            "curves": ("Curves", _curves(*both)),
            **{name: (name.capitalize(), _differences(rows, both)) for name, rows in found.items()},
            "samples": ("Samples", _samples(*both)),
        },
        title=names,
        over="lorakit diff",
        name=names,
        state=counted(count, "difference") if count else "equal",
        reason="" if count else "The two runs are equal in everything that is recorded.",
        facts=_facts(*both),
        footer="Equal things are not shown.",
    )


def _side(run_dir: Path, other: Path) -> Side:
    record = read_record(run_dir)
    name = run_dir.name if run_dir.parent == other.parent else run_name(run_dir)
    return Side(run_dir, record, read_numbers(run_dir, record), name)


def _equal(equal: int, steps: int, apart: str) -> str:
    if equal == steps:
        return f"equal at all {steps} common steps"
    return f"equal at {equal} of {steps} common steps{apart}"


def _paired(a: Mapping[str, Points], b: Mapping[str, Points]) -> list[tuple[str, Points, Points]]:
    """By name; where the two trainers name theirs differently, the first of each."""
    pairs = [(name, a[name], b[name]) for name in a if name in b]
    firsts = zip(list(a.items())[:1], list(b.values())[:1], strict=False)
    return pairs or [(name, one, other) for (name, one), other in firsts]


def _facts(*both: Side) -> list[tuple[str, str]]:
    def facts(record: Record) -> dict[str, str]:
        outcome = record.outcome
        return {
            "state": live_state(record),
            "steps": str(outcome.step or ""),
            "last loss": "" if outcome.loss is None else f"{outcome.loss:.4g}",
            "time": "" if outcome.blank else duration(outcome.duration_s),
            "resumed from step": ", ".join(map(str, resumed_from(record))),
        }

    before, after = (facts(side.record) for side in both)
    return [
        (name, f"{before[name] or '–'} / {after[name] or '–'}")
        for name in before
        if before[name] or after[name]
    ]


def _curves(a: Side, b: Side) -> str:
    if not (a.numbers.loss and b.numbers.loss):
        return "<p>One of the two has not made a step yet.</p>"
    total = max(a.record.steps.total, b.record.steps.total)
    cuts = sorted({*resumed_from(a.record), *resumed_from(b.record)})

    def laid_over(title: str, one: Points, other: Points, unit: str) -> str:
        lines = [Line(a.name, one, "before"), Line(b.name, other, "after")]
        label = f"{title} of both runs"
        drawn = charts(lines, unit, label, last_step=total, cuts=cuts)
        return f"<h3>{escape(title)}</h3>{drawn}"

    body = "".join(
        f"<p>{escape(sentence(line))}</p>" for line in agreement(a.numbers, b.numbers).lines()
    )
    body += soft("Dotted lines mark where a run was resumed.") if cuts else ""
    one, other, title = a.numbers.loss, b.numbers.loss, "Loss"
    if max(len(one), len(other)) > LONG:
        one, other, title = smoothed(one), smoothed(other), "Loss, mean over a twentieth of the run"
    body += laid_over(title, one, other, "loss")
    apart = difference(a.numbers.loss, b.numbers.loss)
    if any(value for _, value in apart):
        lines, label = [Line("", apart, "after")], "difference of the losses"
        body += f"<h3>Loss of {escape(b.name)} less that of {escape(a.name)}</h3>"
        body += charts(lines, "difference", label, last_step=total, cuts=cuts)
    for name, one, other in _paired(a.numbers.rates, b.numbers.rates):
        named = "" if name == "learning rate" else f": {name}"
        body += laid_over(f"Learning rate{named}", one, other, "learning rate")
    return body


def _differences(rows: Sequence[Difference], both: tuple[Side, Side]) -> str:
    cells = []
    for one in rows:
        a, b = one.before, one.after
        if isinstance(a, str) and isinstance(b, str) and " " in a + b:
            pair = marked(a, b)
        else:
            pair = ("" if a is None else escape(shown(a)), "" if b is None else escape(shown(b)))
        cells.append((code(one.key), *(text or ABSENT for text in pair)))
    return table(("what", both[0].name, both[1].name), cells, kind="pair")


def marked(before: str, after: str) -> tuple[str, str]:
    """Two texts as HTML, with the words marked that only one of them has."""
    a, b = before.split(), after.split()
    blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()

    def side(words: Sequence[str], places: Sequence[tuple[str, int, int]]) -> str:
        texts = [(kind, escape(" ".join(words[i:j]))) for kind, i, j in places if j > i]
        return " ".join(text if kind == "equal" else f"<mark>{text}</mark>" for kind, text in texts)

    return (
        side(a, [(kind, i, j) for kind, i, j, _, _ in blocks]),
        side(b, [(kind, i, j) for kind, _, _, i, j in blocks]),
    )


def _samples(*both: Side) -> str:
    """At the steps and prompts that both have drawn."""
    found = [samples_of(side.run_dir, side.record, HALF) for side in both]
    figures: dict[int, str] = {}
    for step, prompt in sorted(found[0].shown.keys() & found[1].shown.keys()):
        words = found[0].words(prompt)
        for side, samples in zip(both, found, strict=True):
            name, picture = samples.shown[step, prompt]
            under = f"<b>{escape(side.name)}</b>{escape(words)}"
            figures[step] = figures.get(step, "") + figure(picture, name, words, under)
    if not figures:
        return "<p>There is no step at which both drew samples.</p>"
    return by_step(figures, kind="grid pair")
