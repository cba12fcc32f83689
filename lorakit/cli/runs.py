"""Every run and its state.

lorakit runs
lorakit runs maya --json
lorakit runs --last 5

states: running; unattended (it trains on, but the lorakit process that started it has exited:
`lorakit watch` takes it over); done; failed; interrupted; stopped; dead (ended while nobody
watched: `lorakit explain` says why); broken (its record makes no sense). If a recipe's newest run
is unfinished, the next command is shown.
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.errors import LorakitError
from lorakit.runs.find import RunInfo, info, run_dirs, run_name, stage_of
from lorakit.runs.record import read_record
from lorakit.show import duration, print_json, say, table


def add_arguments(parser: Parser) -> None:
    parser.value("name", "NAME", "only runs of this recipe", nargs="?")
    parser.number("--last", "N", "only the newest N")
    parser.json()


def run(args: Arguments) -> None:
    folders = [path for path in run_dirs(Path.cwd()) if args.name in {None, path.parent.name}]
    rows = [info(path) for path in (folders[-args.last :] if args.last else folders)]
    if args.json:
        print_json([vars(row) | {"run": run_name(row.run_dir)} for row in rows])
        return
    if not rows:
        of = f" of {args.name}" if args.name else ""
        say(f"No runs{of} under {Path.cwd() / 'runs'}. lorakit train RECIPE makes one.")
        return
    columns = ("run", "state", "step", "loss", "left", "trainer", "age")
    table(columns, map(_cells, rows), right=("step", "loss", "left", "age"))
    newest = {row.name: row for row in rows}
    for row in rows:
        following = _following(row) if row is newest[row.name] else ""
        if following or row.state in {"broken", "dead"}:
            why = row.reason or (cause(row) if row.state == "dead" else row.state)
            say(": ".join(text for text in (run_name(row.run_dir), why, following) if text))


def _following(row: RunInfo) -> str:
    if row.state in {"broken", "done"}:
        return ""
    from lorakit.run.resume.next_command import next_command

    return next_command(row.run_dir, read_record(row.run_dir))


def cause(row: RunInfo) -> str:
    from lorakit.run.finish import why_dead

    try:
        return why_dead(stage_of(row.run_dir)).cause
    except LorakitError as error:
        return error.message


def _cells(row: RunInfo) -> tuple[str, ...]:
    return (
        run_name(row.run_dir),
        row.state,
        f"{row.step}/{row.total}" if row.total else "-",
        "-" if row.loss is None else f"{row.loss:.4g}",
        "-" if row.eta_s is None else duration(row.eta_s),
        row.trainer or "-",
        age(row.age_s),
    )


def age(seconds: float) -> str:
    return duration(seconds) if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
