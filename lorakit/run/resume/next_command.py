"""Whether a run may go on, from which state, and what to type next about it."""

from contextlib import suppress
from pathlib import Path

from lorakit.errors import LorakitError
from lorakit.run.commands import work_of
from lorakit.runs.find import live_state, run_name
from lorakit.runs.record import WAITING, Record, read_record
from lorakit.runs.states import State, states_in
from lorakit.trainers.table import trainer

MAY_GO_ON = frozenset({"dead", "interrupted", "stopped", "failed"})


def next_command(run_dir: Path, record: Record) -> str:
    """One command; "" for a run that goes on by itself, is done, or can only be started anew."""
    state, found = live_state(record), record.outcome.diagnosis
    if state == "unattended":
        return f"lorakit watch {run_name(run_dir)}"
    if state == "failed" and found and found.remedy.startswith("lorakit "):
        return found.remedy
    if state in MAY_GO_ON and _can_go_on(run_dir, record):
        return f"lorakit resume {run_name(run_dir)}"
    return f"lorakit explain {run_name(run_dir)}" if state in {"dead", "failed"} else ""


def _can_go_on(run_dir: Path, record: Record) -> bool:
    """Of a run with stages the first unfinished one is asked."""
    for one in record.stages:
        stage = read_record(run_dir / one.folder)
        if stage.state != "done":
            return _can_go_on(run_dir / one.folder, stage)
    if record.stages:  # every one of them is done
        return False
    if is_untouched(run_dir, record):
        return True
    with suppress(LorakitError):
        return bool(newest_state(run_dir, record))
    return False


def is_untouched(run_dir: Path, record: Record) -> bool:
    """Nothing is lost by beginning it anew: it waits, or ended before it saved anything."""
    if not (record.stage or record.commands):
        return False
    state, saved = live_state(record), any((run_dir / "output").glob("*"))
    return state == WAITING or (state in MAY_GO_ON and not saved)


def newest_state(run_dir: Path, record: Record) -> State:
    """The newest intact one, or an error that says why there is none."""
    name, alive = run_name(run_dir), live_state(record)
    steps, output = record.steps, record.output_dir(run_dir)
    who = trainer(record.trainer.name)
    if alive in {"running", "unattended"}:
        raise LorakitError(f"{name} is still running.", hint=f"lorakit watch {name}")
    if alive == "done":
        raise LorakitError(f"{name} is done: {steps.total} of {steps.total} steps.")
    if record.machine.of > 1 and not who.RESUMES_EXACTLY:
        raise LorakitError(
            f"{name} ran on {record.machine.of} machines, and {who.TITLE} saves its state on the"
            " first one only.",
            hint=f"Copy a saved LoRA to every machine; lorakit train {record.recipe} --set"
            " model.network_weights=LORA begins with it.",
        )
    states = states_in(
        output, record.output_name, per_epoch=steps.per_epoch, counted=who.STATES_COUNT
    )
    if save := who.newest_save(work_of(run_dir, record)):
        states.append(State(save[1], save[0]))
    intact = [one for one in states if not one.fault and 0 < one.step < steps.total]
    if intact:
        return intact[-1]
    broken = sorted(f"{one.path.name} {one.fault}" for one in states if one.fault)
    why = f" ({'; '.join(broken)})" if broken else ""
    anew = f"lorakit train {record.recipe} --set {who.RESUMABLE_WITH} starts anew"
    hint = f"{anew} and can be resumed."
    raise LorakitError(f"{name} has no intact state to go on from{why}.", hint=hint)
