"""Why a run failed: the cause, the line that says so, a command that helps.

lorakit explain
lorakit explain maya/20261121-080000 --json
"""

from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.logfile import last_lines, without_launcher
from lorakit.run.resume.adopt import close_dead_run
from lorakit.runs.find import find_run, live_state, run_name, stage_of
from lorakit.runs.folder import LOG
from lorakit.runs.record import Record, read_record
from lorakit.show import print_json, print_text


def add_arguments(parser: Parser) -> None:
    parser.run()
    parser.number("-n --lines", "N", "last lines of the log to show", default=10)
    parser.json()


def run(args: Arguments) -> None:
    run_dir = find_run(args.run)
    close_dead_run(run_dir)
    record = read_record(run_dir)
    if args.json:
        warnings = [one.to_json() for one in record.warnings]
        story = {"run": record.run, "state": live_state(record), "warnings": warnings}
        print_json(story | record.outcome.to_json())
        return
    for line in lines_about(run_dir, record, args.lines):
        print_text(line)


def lines_about(run_dir: Path, record: Record, count: int) -> list[str]:
    state, found = live_state(record), record.outcome.diagnosis
    part = "this machine did its part; the LoRA is on the machine of rank 0"
    done = part if record.machine.rank else "the LoRA is intact"
    known = {"done": done, "running": "it is still running"}
    reason = record.outcome.reason or known.get(state, "")
    lines = [f"{run_name(run_dir)}: {state}" + (f", {reason}" if reason else "")]
    lines += [f"Warned at step {one.step}: {one.text}" for one in record.warnings]
    lines += found.lines if found else []
    saved = ", ".join(one.path for one in record.checkpoints if not one.removed)
    lines += [f"Saved: {saved}"] if saved and state != "done" else []
    if state not in {"done", "running"}:
        log = stage_of(run_dir) / LOG
        last = without_launcher(last_lines(log, count + 20))[-count:]
        lines += ["", f"The end of {log}:", *(f"  {line}" for line in last)]
    return lines
