"""make_report: a run's folder in, report.html out; each part of the page but its pictures."""

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lorakit import __version__
from lorakit.files import write_atomic
from lorakit.journal import now
from lorakit.judge.score import seen_notes, seen_table
from lorakit.proof.lock import DECISIVE
from lorakit.report.advice import Advice, advise, sentence
from lorakit.report.curves import Line, charts
from lorakit.report.gallery import dataset, samples
from lorakit.report.page import code, details, element, page, soft, table
from lorakit.report.series import Numbers, Points, read_numbers, smoothed
from lorakit.runs.find import info, live_state, run_name
from lorakit.runs.record import Judged, Record, SavedCheckpoint, StageSummary, moment, read_record
from lorakit.show import duration, size

NAME = "report.html"
GOING_ON = {"running", "unattended"}
MINUTE = "%d %b %Y, %H:%M"
# How the sources begin of what the recipe does not say itself.
INHERITED = ("preset ", "family ", "plan: ")


def make_report(run_dir: Path, out: Path | None = None) -> Path:
    """Write the page, also of a running or dead run; each stage begun gets one of its own."""
    for stage in read_record(run_dir).begun_stages:
        make_report(run_dir / stage.folder)
    path = out or run_dir / NAME
    write_atomic(path, report_text(run_dir))
    return path


def report_text(run_dir: Path) -> str:
    record = read_record(run_dir)
    state, run = live_state(record), run_name(run_dir)
    numbers, begun = read_numbers(run_dir, record), record.begun_stages
    return page(
        {
            "outcome": ("Outcome", outcome(advise(record, state, run, numbers))),
            **({"stages": ("Stages", stages(begun, NAME))} if begun else {}),
            "curves": ("Curves", curves(numbers, record)),
            "samples": ("Samples", samples(run_dir, record)),
            "checkpoints": ("Checkpoints", checkpoints(record, run_dir)),
            **({"judged": ("Judged", judged(record.judged))} if record.judged.cells else {}),
            "dataset": ("Dataset", dataset(run_dir, record)),
            "settings": ("Settings", settings(record)),
            "origins": ("From what", origins(record)),
        },
        title=f"{record.name} · {run_dir.name}",
        over=run,
        name=record.name or run_dir.parent.name,
        state=state,
        reason=sentence(record.outcome.reason) if record.outcome.reason else "",
        facts=_facts(run_dir, record, numbers, state),
        footer=_footer(run, state),
    )


def _facts(run_dir: Path, record: Record, numbers: Numbers, state: str) -> list[tuple[str, str]]:
    seen, rate = info(run_dir), record.outcome.seconds_a_step
    validation = numbers.validation
    bases = [Path(one.path).name for one in record.weights if one.key == "base"]
    left = seen.eta_s if state in GOING_ON else None
    return [
        ("steps", f"{seen.step} of {seen.total}"),
        ("loss", "" if seen.loss is None else f"{seen.loss:.4g}"),
        ("validation loss", f"{validation[-1][1]:.4g}" if validation else ""),
        ("time", "" if record.outcome.blank else duration(record.outcome.duration_s)),
        ("left", "" if left is None else duration(left)),
        ("a step", "" if rate is None else f"{rate:.3g} s"),
        ("trigger", record.trigger),
        ("family", record.family),
        ("base", "".join(bases[:1])),
        ("preset", record.preset),
        ("trainer", seen.trainer),
        ("started", moment(record.started, MINUTE, record.started)),
    ]


def _footer(run: str, state: str) -> str:
    made = f"Made by lorakit {__version__} on {moment(now(), MINUTE)}."
    if state not in GOING_ON:
        return made
    return f"{made} The run is still going on; lorakit report {run} makes this page again."


def outcome(advice: Sequence[Advice]) -> str:
    items = "".join(
        element(
            "li",
            escape(one.text) + (f" {code(one.command)}" if one.command else ""),
            class_=one.severity,
        )
        for one in advice
    )
    return element("ul", items, class_="advice") if items else "<p>Nothing to say yet.</p>"


def stages(found: Sequence[StageSummary], page: str) -> str:
    """Each with a link to the page in its own folder."""
    rows = [
        (
            element("a", escape(one.name), href=quote(f"{one.folder}/{page}")),
            escape(one.state),
            f"{one.first_step + 1} to {one.first_step + (one.step or one.total)}",
            "" if one.loss is None else f"{one.loss:.4g}",
        )
        for one in found
    ]
    return table(("stage", "state", "steps", "loss"), rows, numbers=("loss",))


def curves(numbers: Numbers, record: Record) -> str:
    if not numbers.loss:
        return "<p>No step has been made yet.</p>"
    total, cuts = record.steps.total, resumed_from(record)
    saved = [one.step for one in record.checkpoints if one.step is not None]
    smooth = smoothed(numbers.loss)
    lines = [
        Line("every step", numbers.loss, "raw"),
        Line("mean over a twentieth of the run", smooth, "smooth"),
    ]
    if numbers.validation:
        lines.append(Line("validation", numbers.validation, "validation", dots=True))
    label = f"loss {_ends(smooth)}"
    body = "<h3>Loss</h3>"
    body += charts(lines, "loss", label, last_step=total, marks=saved, cuts=cuts)
    rates = [
        Line(name if len(numbers.rates) > 1 else "", points, f"rate{at}" if at < 3 else "raw")
        for at, (name, points) in enumerate(numbers.rates.items())
    ]
    if rates:
        label = f"learning rate {_ends(rates[0].points)}"
        body += "<h3>Learning rate</h3>"
        body += charts(rates, "learning rate", label, last_step=total, cuts=cuts)
    return body


def resumed_from(record: Record) -> list[int]:
    return [part.from_step for part in record.parts if part.from_step is not None]


def checkpoints(record: Record, run_dir: Path) -> str:
    if not record.checkpoints:
        return "<p>None was saved.</p>"
    rows = sorted(record.checkpoints, key=lambda one: (one.step or 0, one.path))
    body = table(
        ("file", "step", "kind", "size", "sha256"),
        [_checkpoint(one, run_dir) for one in rows],
        numbers=("step", "size"),
    )
    states = sorted({one.step for one in record.states if not one.fault})
    return body + (
        soft(f"Complete states at step {', '.join(map(str, states))}.") if states else ""
    )


def judged(found: Judged) -> str:
    """The cells worth looking at first, as the judge put them."""
    rows = []
    for cell in found.cells:
        numbers = (cell.held, cell.behind, cell.drift)
        shown = ["" if number is None else f"{number:+.3f}" for number in numbers]
        rows.append((escape(cell.label), f"{cell.strength:g}", escape(cell.verdict), *shown))
    columns = ("checkpoint", "strength", "verdict", "held-out loss", "behind", "drift")
    told = (found.reason, *found.notes, *seen_notes(found))
    said = "".join(f"<p>{escape(text)}</p>" for text in told if text)
    body = table(columns, rows, numbers=("strength", *columns[3:]))
    words = f"Logarithms of ratios to the base's, of {found.held_out} held-out pictures."
    heads, seen = seen_table(found)
    if seen:
        cells = [tuple(map(escape, row)) for row in seen]
        words += " In drawn pictures, 1 is as far as two seeds of the base are apart."
        body += table(heads, cells, numbers=heads[1:])
    return said + body + soft(words)


def settings(record: Record) -> str:
    """What the recipe itself says stands out; what a preset or a family brings is plain."""
    body = "<p>In bold what this recipe says itself; the rest comes from its preset.</p>"
    for name, section in record.settings.items():
        rows = sorted(section.items())
        own = [not one.source.startswith(INHERITED) for _, one in rows]
        cells = [(code(key), code(_value(one.value)), escape(one.source)) for key, one in rows]
        if rows:
            columns = ("key", "value", "source")
            body += f"<h3>[{escape(name)}]</h3>" + table(columns, cells, own=own, kind="settings")
    return body


def origins(record: Record) -> str:
    trainer, ran_on, packages = record.trainer, record.platform, record.trainer.packages
    rows = [
        ("recipe", _near(record.recipe, record)),
        ("notes", record.notes),
        *_subject(record),
        ("lorakit", record.lorakit),
        ("trainer", " ".join(word for word in (trainer.name, trainer.commit) if word)),
        ("machine", ", ".join(filter(None, (ran_on.system, ran_on.arch, ran_on.python)))),
        ("GPUs", ", ".join(ran_on.gpus) or "none"),
    ]
    for one in record.weights:
        digest = one.sha256 or "not computed"
        rows.append((f"weights: {one.key}", f"{_near(one.path, record)}  sha256 {digest}"))
    rows += [(name, packages[name]) for name in sorted(DECISIVE & packages.keys())]
    cells = [(escape(name), escape(text)) for name, text in rows if text]
    body = table(("what", "which"), cells)
    others = [f"{name} {version}" for name, version in packages.items() if name not in DECISIVE]
    if others:
        title = f"{len(packages)} packages in the trainer's environment"
        body += details(title, f"<p>{escape(', '.join(others))}</p>")
    command = shlex.join(record.command).replace(f"{record.root}/", "")
    return body + details("The command", f"<pre>{escape(command)}</pre>")


def _subject(record: Record) -> list[tuple[str, str]]:
    said, consent = record.subject, record.subject.consent
    person = "a real person" if said.real_person else ""
    return [
        ("subject", ", ".join(filter(None, (said.kind, person)))),
        ("pictures from", said.source),
        ("their licence", said.licence),
        ("consent", f"{consent.by}, {consent.date}: {consent.scope}" if consent else ""),
        *said.more.items(),
    ]


def _checkpoint(one: SavedCheckpoint, run_dir: Path) -> tuple[str, ...]:
    name = code(Path(one.path).name) + (f" {_remark(one.stage)}" if one.stage else "")
    fault = one.fault or ("holds NaN or infinity" if one.finite is False else "")
    if fault:
        name += f" {_remark(fault, 'fault')}"
    elif not (run_dir / one.path).exists():
        name += f" {_remark('removed again' if one.removed else 'no longer there')}"
    return (
        name,
        "" if one.step is None else str(one.step),
        escape(one.kind),
        "" if one.size_bytes is None else size(one.size_bytes),
        _remark(one.sha256 or "", "hash"),
    )


def _remark(text: str, kind: str = "soft") -> str:
    return element("span", escape(text), class_=kind)


def _ends(points: Points) -> str:
    (first, start), (last, end) = points[0], points[-1]
    return f"from {start:.4g} at step {first} to {end:.4g} at step {last}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "\n".join(map(_value, value))
    return str(value)


def _near(path: str, record: Record) -> str:
    """From the project's folder, where it is inside."""
    return path.removeprefix(f"{record.root}/")
