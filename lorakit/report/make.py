"""make_report: a run's folder in, report.html out."""

from pathlib import Path

from lorakit import __version__
from lorakit.files import write_atomic
from lorakit.journal import now
from lorakit.report import sections
from lorakit.report.advice import advise, sentence
from lorakit.report.gallery import dataset, samples
from lorakit.report.page import page
from lorakit.report.series import Numbers, read_numbers
from lorakit.runs.find import info, live_state, run_name
from lorakit.runs.record import Record, moment, read_record
from lorakit.show import duration

NAME = "report.html"
GOING_ON = {"running", "unattended"}
MINUTE = "%d %b %Y, %H:%M"


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
    numbers = read_numbers(run_dir, record)
    stages, judged = sections.stages(record.begun_stages, NAME), record.judged
    return page(
        {
            "outcome": ("Outcome", sections.outcome(advise(record, state, run, numbers))),
            **({"stages": ("Stages", stages)} if record.begun_stages else {}),
            "curves": ("Curves", sections.curves(numbers, record)),
            "samples": ("Samples", samples(run_dir, record)),
            "checkpoints": ("Checkpoints", sections.checkpoints(record, run_dir)),
            **({"judged": ("Judged", sections.judged(judged))} if judged.cells else {}),
            "dataset": ("Dataset", dataset(run_dir, record)),
            "settings": ("Settings", sections.settings(record)),
            "origins": ("From what", sections.origins(record)),
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
