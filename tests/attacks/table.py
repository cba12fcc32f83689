"""A section is a promise and many cases; a case is right, or says in one sentence what is wrong."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Case = tuple[str, Callable[[], str]]  # what is tried; "" is right, else what is wrong
Cases = Callable[[Path, int], Iterator[Case]]  # in this folder, so many


@dataclass(frozen=True)
class Section:
    name: str
    right: str  # what every case is held against, said once
    full: int
    quick: int
    cases: Cases


@dataclass(frozen=True)
class Tally:
    name: str
    tried: int
    wrong: tuple[str, ...]
    seconds: float

    @property
    def right(self) -> int:
        return self.tried - len(self.wrong)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run(section: Section, folder: Path, count: int) -> Tally:
    """A case that raises is wrong, and so is a section that ends early."""
    folder.mkdir(parents=True, exist_ok=True)
    began, tried, wrong = time.monotonic(), 0, list[str]()
    cases = section.cases(folder, count)
    try:
        for name, case in itertools.islice(cases, count):
            tried += 1
            try:
                fault = case()
            except Exception as error:  # noqa: BLE001  (whatever a case raises is a finding)
                fault = f"{type(error).__name__}: {error}"
            if fault:
                wrong.append(f"{name}: {fault}"[:400])
    except Exception as error:  # noqa: BLE001
        wrong.append(f"the section itself: {type(error).__name__}: {error}"[:400])
    if tried < count:
        wrong.append(f"the section itself: {tried} of {count} cases")
        tried = count
    return Tally(section.name, tried, tuple(wrong), time.monotonic() - began)


def printed(tallies: list[Tally], shown: int = 6) -> str:
    """The table, then what was wrong; a few of a kind are enough."""
    rows = [f"{'section':<10} {'tried':>7} {'right':>7} {'seconds':>8}"]
    rows += [f"{t.name:<10} {t.tried:>7,} {t.right:>7,} {t.seconds:>8.0f}" for t in tallies]
    tried, right = (sum(getattr(t, key) for t in tallies) for key in ("tried", "right"))
    rows.append(f"{'all':<10} {tried:>7,} {right:>7,}")
    for tally in tallies:
        if tally.wrong:
            rows += ["", f"{tally.name}: {len(tally.wrong)} wrong"]
            rows += [f"  {ascii(line)[1:-1]}" for line in tally.wrong[:shown]]
            if len(tally.wrong) > shown:
                rows.append(f"  ... and {len(tally.wrong) - shown} more")
    return "\n".join(rows)
