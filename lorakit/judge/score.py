"""From losses at fixed noise to a judgement. Pure.

A cell's `held` is the mean logarithm of its losses on held-out pictures against the base's. It is
behind where a paired interval (95 %, over pictures) puts it above the cell with the lowest, broken
where the interval of `held` itself lies above 0; the others make the shortlist, the least drift
first. docs/judge.md has what was proven of this, and what not.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import NormalDist, fmean

from lorakit.runs.record import Judged, JudgedCell

Losses = Mapping[str, Sequence[Sequence[float | None]]]  # held, train, drawn -> picture -> timestep
DRAWS, SURE = 2000, 0.95
FEWEST = 3  # pictures; with fewer an interval says nothing
MEANING = {
    "likeness": "mean cosine of the pictures with the trigger to the training pictures",
    "faithful": "mean cosine of each picture to its prompt",
}
BROKEN, BEHIND, LISTED, UNRANKED = "broken", "behind", "listed", "unranked"


@dataclass(frozen=True, eq=False)
class Cell:
    """One checkpoint, the `place`-th of the run, at one strength; its losses, once measured."""

    checkpoint: str
    label: str
    place: int
    strength: float
    losses: Losses = field(default_factory=dict)


def judge(base: Losses, measured: Sequence[Cell]) -> Judged:
    """Everything but the time and what was not measured."""
    held, trained = (
        {one: ratios(one.losses.get(kind, ()), base.get(kind, ())) for one in measured}
        for kind in ("held", "train")
    )
    count = len(base.get("held", ()))
    ranks = count >= FEWEST
    by, where = (held, "held-out pictures") if ranks else (trained, "training pictures")
    known = {one: values for one, values in by.items() if len(values) >= FEWEST}
    broken = {one for one, values in known.items() if interval(values)[0] > 0}
    sound = {one: values for one, values in known.items() if one not in broken}
    best = min(sound, key=lambda one: fmean(sound[one]), default=None) if ranks else None
    cells = []
    for one in measured:
        cell = JudgedCell(one.checkpoint, one.label, one.strength, UNRANKED, drift=drift(one))
        if held[one]:
            low, high = interval(held[one]) if ranks else (None, None)
            cell = replace(cell, held=_shown(fmean(held[one])), held_low=low, held_high=high)
        if ranks and trained[one]:
            cell = replace(cell, gap=_shown(fmean(held[one]) - fmean(trained[one])))
        if one in broken:
            cell = replace(cell, verdict=BROKEN)
        elif best is not None:
            apart = [a - b for a, b in zip(sound[one], sound[best], strict=True)]
            low, high = interval(apart)
            verdict = BEHIND if low > 0 else LISTED
            cell = replace(cell, verdict=verdict, behind=_shown(fmean(apart)))
            cell = replace(cell, behind_low=low, behind_high=high)
        cells.append(cell)
    order = {LISTED: 0, UNRANKED: 0, BEHIND: 1, BROKEN: 2}
    cells.sort(
        key=lambda cell: (order[cell.verdict], math.inf if cell.drift is None else cell.drift)
    )
    notes = _broken_note(broken, where, of=len(measured))
    if best is not None:
        notes += [*_unfinished(sound, measured), *_memorised(cells)]
    return Judged(held_out=count, cells=tuple(cells), notes=tuple(notes), reason=_reason(cells))


def ratios(
    ours: Sequence[Sequence[float | None]], bases: Sequence[Sequence[float | None]]
) -> list[float]:
    """Of every picture, on average over timesteps, so that one of large losses does not speak for
    all. A loss that is not finite is an infinite one.
    """
    return [
        fmean(_ratio(*pair) for pair in zip(mine, base, strict=True))
        for mine, base in zip(ours, bases, strict=False)
    ]


def _ratio(mine: float | None, base: float | None) -> float:
    if mine is None or base is None:
        return math.inf
    return math.log(mine / base) if mine > 0 and base > 0 else 0.0


def drift(one: Cell) -> float | None:
    drawn = [value for losses in one.losses.get("drawn", ()) for value in losses]
    finite = [value for value in drawn if value is not None]
    return _shown(fmean(finite)) if drawn and finite == drawn else None


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the mean of these pictures: percentiles of a bootstrap, widened as Student's t is against
    the normal distribution, because few pictures understate how much pictures differ.
    """
    count, centre = len(values), fmean(values)
    if not all(map(math.isfinite, values)):
        return centre, centre
    means = sorted(sum(map(values.__getitem__, drawn)) / count for drawn in _drawn(count))
    tail = (1 - SURE) / 2
    wider = student(count - 1) / NormalDist().inv_cdf(1 - tail) * math.sqrt(count / (count - 1))
    ends = means[int(tail * DRAWS)], means[int((1 - tail) * DRAWS)]
    low, high = (centre + (end - centre) * wider for end in ends)
    return _shown(low), _shown(high)


@cache
def _drawn(count: int) -> list[list[int]]:
    """The same for every cell, so that an interval does not depend on which others there are."""
    chance = random.Random(count)
    return [chance.choices(range(count), k=count) for _ in range(DRAWS)]


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t (Cornish and Fisher's series; within 4 % from 2 up)."""
    z = NormalDist().inv_cdf(1 - (1 - SURE) / 2)
    first = (z**3 + z) / (4 * freedom)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return z + first + second + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)


def _shown(value: float) -> float:
    return round(value, 5)


def seen_table(found: Judged) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows: what pictures say of the base and of the cells drawn."""
    heads = tuple(found.base or ())
    cells = [("base", "", found.base)]
    cells += [(one.label, f"{one.strength:g}", one.seen) for one in found.cells]
    rows = [
        (label, by, *(f"{seen[key]:g}" if key in seen else "" for key in heads))
        for label, by, seen in cells
        if seen
    ]
    return ("checkpoint", "strength", *heads), rows


def seen_notes(found: Judged) -> list[str]:
    """In words: which pictures copy, and whose numbers stand in the table."""
    copies = [
        f"{name(one)} draws pictures that it was trained on, nearly: {one.resembles}."
        for one in found.cells
        if one.resembles
    ]
    by = (found.models or {}).items()
    return copies + [f"{key}: {MEANING[key]}, by {model}." for key, model in by if key in MEANING]


def name(cell: JudgedCell | Cell) -> str:
    return f"{cell.label} at {cell.strength:g}"


def percent(ratio: float) -> str:
    """A logarithm of a ratio, for people: 38 % below."""
    change = math.expm1(ratio)
    return f"{abs(change):.0%} {'below' if change < 0 else 'above'}".replace("%", " %")


def _reason(cells: Sequence[JudgedCell]) -> str:
    """One sentence: why the first of the list is first."""
    listed = [cell for cell in cells if cell.verdict == LISTED]
    if not listed or listed[0].held is None:
        return ""
    first, lowest = listed[0], min(listed, key=lambda cell: cell.behind or 0.0)
    held = percent(first.held or 0.0)
    said = f"{name(first)}: its loss on held-out pictures is {held} the base's"
    if len(listed) == 1:
        others = ", and every other cell measured is told apart from it" * (len(cells) > 1)
        return f"{said}{others}."
    among = f"and of the {len(listed)} listed it changes"
    if first is lowest:
        return f"{said}, the lowest, {among} other pictures least."
    apart = f"not told apart from the lowest ({name(lowest)})"
    return f"{said}, {apart}, {among} the base's other pictures least."


def _broken_note(broken: set[Cell], where: str, *, of: int) -> list[str]:
    if not broken:
        return []
    ordered = sorted(broken, key=lambda one: (one.place, one.strength))
    names = "every cell" if len(broken) == of else ", ".join(map(name, ordered))
    rate = "A learning rate too high does that; so does a file that is damaged."
    return [f"Worse than the base on {where}: {names}. {rate}"]


def _unfinished(sound: Mapping[Cell, list[float]], measured: Sequence[Cell]) -> list[str]:
    """The last checkpoint still gains by more strength, and by more steps: it was stopped early."""
    last = max(one.place for one in measured)
    rows = sorted((one for one in sound if one.place == last), key=lambda one: one.strength)
    if len(rows) < 2 or last == min(one.place for one in measured):
        return []
    strongest, usual = rows[-1], [one for one in rows if one.strength <= 1.0][-1:]
    earlier = [one for one in sound if one.place < last and one.strength == strongest.strength]
    rivals = [*usual, *sorted(earlier, key=lambda one: one.place)[-1:]]
    if strongest in rivals or len(rivals) < 2:
        return []
    apart = [[a - b for a, b in zip(sound[strongest], sound[one], strict=True)] for one in rivals]
    if any(interval(values)[1] >= 0 for values in apart):
        return []
    return [
        f"It has not learned all it can: {name(strongest)} is still better than"
        f" {name(rivals[0])} and than {name(rivals[1])}. Train longer, or with a higher learning"
        " rate; a strength does not make up for it."
    ]


def _memorised(cells: Sequence[JudgedCell]) -> list[str]:
    gaps = [cell.gap for cell in cells if cell.gap is not None and cell.verdict == LISTED]
    if not gaps or max(gaps) < math.log(1.5):
        return []
    return [
        f"On its training pictures the loss is {percent(-max(gaps))} that on held-out ones, both"
        " against the base: it overfits to some of them. Earlier checkpoints, or more"
        " pictures, remember less."
    ]
