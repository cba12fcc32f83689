"""Follow a run live from another terminal: bar, loss curve, samples, speed, memory.

lorakit watch                     # the latest run
lorakit watch maya
lorakit watch maya --json         # the same as JSON lines
lorakit watch maya --once         # one picture, then back

A run whose lorakit process has exited is taken over: watched to its end, its record closed.
"""

import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import wrap

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.cli.terminal.ending import say_outcome
from lorakit.cli.terminal.screen import screen
from lorakit.errors import LorakitError
from lorakit.machine import gpu_memory
from lorakit.processes import members
from lorakit.run.commands import at_work
from lorakit.run.resume.adopt import adopt
from lorakit.run.resume.next_command import next_command
from lorakit.runs.find import find_run, last_progress, live_state, progress_rows, run_name
from lorakit.runs.record import NAME, read_record
from lorakit.show import duration, harmless, json_shown, print_text, say, size

EVERY_S = 1.0
MARGIN = 8  # columns for the curve's labels
ENOUGH = 10  # losses that make a curve
SHORTEST = 10  # columns of a bar that still says something
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Braille, two by four a character
OVER = {"done": 0, "interrupted": 130, "stopped": 130, "running": 0, "unattended": 0}


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.flag("--once", "one picture, then back")
    parser.json("one JSON object a second")


def run(args: Arguments) -> int:
    run_dir = find_run(args.run)
    if live_state(read_record(run_dir)) == "unattended" and not args.once:
        say(
            "The lorakit process that started it has exited, but it trains on; this one takes over."
            " Ctrl-C here ends the run."
        )
        with screen(as_json=args.json) as emit:
            outcome = adopt(run_dir, emit=emit)
        return say_outcome(outcome)
    try:
        return _watch(run_dir, as_json=args.json, once=args.once)
    except LorakitError:
        if (run_dir / NAME).is_file():
            raise
    say(f"{run_dir} is gone: the run was deleted while it was watched.")
    return 1


def _watch(run_dir: Path, *, as_json: bool, once: bool) -> int:
    if as_json:
        return follow(run_dir, lambda seen: print_text(json_shown(asdict(seen)), flush=True), once)
    if sys.stderr.isatty() and not once:
        return _live(run_dir)
    print_text("\n".join(picture(run_dir, look(run_dir))))
    return follow(run_dir, (lambda _: None) if once else PlainSteps(), once)


def follow(
    run_dir: Path,
    tell: "Callable[[Glance], None]",
    once: bool = False,
    moving: Collection[str] = ("running",),
) -> int:
    """One look after another, until the run has ended. A folder that is gone raises."""
    while True:
        seen = look(run_dir)
        tell(seen)
        if once or seen.state not in moving:
            return OVER.get(seen.state, 4)
        time.sleep(EVERY_S)


class PlainSteps:
    """A line for each step that is seen, and how it ended."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, seen: "Glance") -> None:
        if seen.step != self._last:
            self._last = seen.step
            loss = "" if seen.loss is None else f"  loss {seen.loss:.4g}"
            print_text(f"{seen.step}/{seen.total}{loss}", flush=True)
        if seen.state != "running":
            say(f"{seen.state} {seen.reason}".strip())
            if seen.next:
                say(f"next: {seen.next}")


@dataclass(frozen=True)
class Glance:
    """One look at the run, as `--json` prints it."""

    run: str
    state: str
    command: str  # that comes before the training, where a run has several
    step: int
    total: int
    epoch: int | None
    epochs: int | None
    loss: float | None
    rate_s: float | None
    eta_s: float | None
    processes: int
    memory_bytes: int
    gpu_bytes: int
    samples: tuple[str, ...]  # the last three
    warnings: tuple[str, ...]
    reason: str
    next: str


def look(run_dir: Path) -> Glance:
    record, last = read_record(run_dir), last_progress(run_dir)
    people, total = members(record.process), record.steps.total
    return Glance(
        run=run_name(run_dir),
        state=live_state(record),
        command=at_work(record.commands),
        step=last.step,
        total=total,
        epoch=last.epoch,
        epochs=record.steps.epochs,
        loss=last.loss,
        rate_s=last.rate_s,
        eta_s=last.left_s(total),
        processes=len(people),
        memory_bytes=sum(member.resident_bytes for member in people),
        gpu_bytes=gpu_memory({member.pid for member in people}) if people else 0,
        samples=tuple(str(run_dir / one.path) for one in record.samples[-3:]),
        warnings=tuple(one.text or "" for one in record.warnings),
        reason=record.outcome.reason,
        next=next_command(run_dir, record),
    )


def picture(run_dir: Path, seen: Glance, width: int = 80) -> list[str]:
    """The same as lines of text; bar and curve fit into `width` columns."""
    from lorakit.report.series import smoothed

    moving = seen.state in {"running", "unattended"}
    parts = [*([seen.command] if seen.command else []), f"{seen.step}/{seen.total}"]
    parts += [f"epoch {seen.epoch}/{seen.epochs}"] if seen.epoch else []
    parts += [f"loss {seen.loss:.4g}"] if seen.loss is not None else []
    parts += [f"{seen.rate_s:.2f} s/step"] if seen.rate_s else []
    parts += [f"{duration(seen.eta_s)} left"] if seen.eta_s and moving else []
    lines = [f"{seen.run}  {seen.state}" + (f": {seen.reason}" if seen.reason else "")]
    lines += bar(seen.step, seen.total, "  ".join(parts), width)
    rows = progress_rows(run_dir)
    losses = [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]
    lines += curve(smoothed(losses), width=width - MARGIN) if len(losses) >= ENOUGH else []
    if seen.processes:
        gpu = f", GPU {size(seen.gpu_bytes)}" if seen.gpu_bytes else ""
        lines += [f"{seen.processes} processes, {size(seen.memory_bytes)} of memory{gpu}"]
    lines += [f"sample {path}" for path in seen.samples]
    lines += [f"warning: {text}" for text in seen.warnings]
    return lines + ([f"next: {seen.next}"] if seen.next else [])


def bar(step: int, total: int, numbers: str, width: int) -> list[str]:
    """Bar and numbers in one line where both fit, else in two."""
    room = width - len(numbers) - 2
    length = min(40, room if room >= SHORTEST else width)
    filled = length * step // total if total else 0
    drawn = f"{'█' * filled}{'·' * (length - filled)}"
    return [f"{drawn}  {numbers}"] if room >= SHORTEST else [drawn, *wrap(numbers, width)]


def _live(run_dir: Path) -> int:
    from rich.live import Live
    from rich.text import Text

    with Live(refresh_per_second=4) as live:

        def draw(seen: Glance) -> None:
            lines = picture(run_dir, seen, width=max(40, live.console.width))
            live.update(Text(harmless("\n".join(lines))))

        return follow(run_dir, draw, moving=("running", "unattended"))


def curve(points: Sequence[tuple[int, float]], *, width: int = 72, height: int = 8) -> list[str]:
    """Lines of text. Steps that share a column are averaged."""
    first, last = points[0][0], points[-1][0]
    columns: dict[int, list[float]] = {}
    for step, value in points:
        column = (step - first) * (2 * width - 1) // max(1, last - first)
        columns.setdefault(column, []).append(value)
    means = {column: sum(values) / len(values) for column, values in columns.items()}
    low, high = min(means.values()), max(means.values())
    cells = [[0] * width for _ in range(height)]
    before = None
    for column, mean in sorted(means.items()):
        row = round((high - mean) / (high - low) * (4 * height - 1)) if high > low else 2 * height
        for dot in _joined(before, row):
            cells[dot // 4][column // 2] |= _DOTS[dot % 4][column % 2]
        before = row
    labels = [f"{high:.4g}", *[""] * (height - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    lines = [
        f"{label:>{margin}} {''.join(chr(0x2800 + cell) for cell in row)}"
        for label, row in zip(labels, cells, strict=True)
    ]
    return [*lines, f"{'':{margin}} {first}{last!s:>{max(1, width - len(str(first)))}}"]


def _joined(before: int | None, row: int) -> Iterable[int]:
    """The rows of a column, from beside the last one's to its own."""
    if before is None or abs(row - before) <= 1:
        return (row,)
    return range(before + 1, row + 1) if row > before else range(row, before)
