"""How a run ended, in words and as an exit code. Not a command itself."""

from pathlib import Path

from lorakit.cli.terminal.next_step import next_for_run, say_next
from lorakit.cli.terminal.screen import screen
from lorakit.errors import counted
from lorakit.run.resume.next_command import next_command
from lorakit.run.resume.stages import resume_run
from lorakit.runs.find import run_name
from lorakit.runs.outcome import Outcome, failure
from lorakit.show import duration, say, say_error

STOPPED = 130


def say_outcome(outcome: Outcome) -> int:
    """Say how it ended, make the run's page, and return the exit code that says how it ended."""
    code = _say(outcome)
    page(outcome.run_dir)
    if outcome.ok and not outcome.record.machine.rank:
        say_next(*next_for_run(outcome.run_dir))
    return code


def resumed(run_dir: Path, *, as_json: bool, anyway: bool = False) -> int:
    """Go on with a run, and say how it ended."""
    with screen(as_json=as_json) as emit:
        outcome = resume_run(run_dir, anyway=anyway, emit=emit)
    return say_outcome(outcome)


def page(run_dir: Path) -> None:
    """report.html. Whatever goes wrong with it is a remark: the run's outcome stands."""
    from lorakit.report.make import make_report

    command = f"lorakit report {run_name(run_dir)}"
    try:
        say(f"All of it on one page: {make_report(run_dir)}")
    except KeyboardInterrupt:
        say(f"No page was made; {command} makes it.")
    except Exception as error:  # noqa: BLE001  (no bug in a page may change the end of a training)
        say(f"The run's page could not be made ({error}); {command} tries again.")


def _say(outcome: Outcome) -> int:
    reason, rank = outcome.ending.reason, outcome.record.machine.rank
    took = f"{counted(outcome.ending.step or 0, 'step')} in {duration(outcome.ending.duration_s)}"
    if outcome.ok and rank:
        say(
            f"This machine (rank {rank}) did its part: {took}, judged by the exit code."
            " The LoRA is on the machine of rank 0."
        )
        return 0
    if outcome.ok:
        say(f"{outcome.lora} is intact: {took}.")
        return 0
    if outcome.state in {"interrupted", "stopped"}:
        saved = ", ".join(path.name for path in (*outcome.saved, *outcome.states))
        kept = f"Saved: {saved}." if saved else "Nothing had been saved."
        say(f"{reason[:1].upper()}{reason[1:]}. {kept}")
        if command := next_command(outcome.run_dir, outcome.record):
            say(f"{command} goes on.")
        return STOPPED
    error = failure(outcome)
    say_error(error)
    return error.exit_code
