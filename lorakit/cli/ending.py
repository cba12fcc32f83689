"""How a run ended, in words and as an exit code. Not a command itself."""

from __future__ import annotations

from lorakit.run.lines import last_lines
from lorakit.run.outcome import Outcome, failure
from lorakit.show import duration, tell, tell_error

TAIL = 40
STOPPED = 130


def tell_outcome(outcome: Outcome) -> int:
    """Say how it ended and return the exit code that says the same."""
    if outcome.ok:
        tell(f"{outcome.lora} is whole: {outcome.step} steps in {duration(outcome.duration_s)}.")
        return 0
    if outcome.state in {"interrupted", "stopped"}:
        saved = ", ".join(path.name for path in outcome.saved)
        tell(f"{outcome.reason[:1].upper()}{outcome.reason[1:]}. " + (f"Saved: {saved}." if saved else "Nothing had been saved."),
             f"lorakit resume {outcome.run_dir.parent.name}/{outcome.run_dir.name} goes on where a state was saved.")
        return STOPPED
    error = failure(outcome, last_lines(outcome.log, TAIL))
    tell_error(error)
    return error.exit_code
