"""What to make of a run and do next; says only what its end, warnings and curves can bear."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import counted
from lorakit.report.series import Numbers
from lorakit.runs.record import Record

# What usually helps after a warning of this rule.
HELPS: Mapping[str, str] = {
    "nan": "Lower the learning rate, or train in bf16 or full precision.",
    "explosion": "Lower the learning rate; a quarter of it is a good next try.",
    "plateau": (
        "A flat loss alone is not a fault; if the samples do not change either, raise the learning"
        " rate a little or train longer."
    ),
    "overfit": (
        "Compare the checkpoints before that step; next time use fewer epochs, a smaller"
        " network_dim, or more varied captions."
    ),
    "slow": "Something else needed the machine, or it ran hot or short of memory.",
    "disk": "Make room, or keep fewer checkpoints (save_last_n_epochs, save_last_n_steps).",
}
# After these, the same training may well succeed.
FROM_OUTSIDE = frozenset(
    {"killed", "interrupted", "reboot", "disk-full", "crash", "peer", "process-killed", "unknown"}
)
RISE = 1.05  # above the lowest validation loss that counts as having risen again
ORDER = ("error", "warning", "note")


@dataclass(frozen=True)
class Advice:
    text: str
    command: str = ""
    severity: str = "note"


def advise(record: Record, state: str, run: str, numbers: Numbers) -> list[Advice]:
    """Worst first."""
    found = [
        *_ending(record, state, run),
        *(Advice(_warning(one.text, one.rule), severity="warning") for one in record.warnings),
        *_validation(record, numbers),
    ]
    if numbers.lost:
        lost = f"The loss was NaN at {counted(numbers.lost, 'step')}."
        found.append(Advice(lost, HELPS["nan"], "error"))
    if state == "done" and record.machine.rank:
        found.append(
            Advice(
                "This machine did its part. The LoRA is on the machine of rank 0; choose a"
                " checkpoint there."
            )
        )
    elif state == "done":
        pictures = "The loss does not say which checkpoint is best; pictures do."
        found.append(Advice(pictures, f"lorakit sheet {run}"))
    return sorted(found, key=lambda one: ORDER.index(one.severity))


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    words = text.strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!", ":")) else ".")


def _ending(record: Record, state: str, run: str) -> Iterator[Advice]:
    found = record.outcome.diagnosis
    if found and found.cause:
        evidence = f" The line that says so: {found.evidence}" if found.evidence else ""
        yield Advice(f"{sentence(found.cause)}{evidence}", found.remedy, "error")
    elif state in {"failed", "dead"}:
        yield Advice("See why it ended:", f"lorakit explain {run}", "error")
    bad_luck = state == "failed" and found and found.rule in FROM_OUTSIDE
    if any(not one.fault for one in record.states) and (
        bad_luck or state in {"interrupted", "stopped", "dead"}
    ):
        yield Advice("It can go on from its newest saved state.", f"lorakit resume {run}")


def _warning(text: str | None, rule: str | None) -> str:
    return f"{sentence(text or '')} {HELPS.get(rule or '', '')}".strip()


def _validation(record: Record, numbers: Numbers) -> Iterator[Advice]:
    points = numbers.validation
    if len(points) < 3 or any(one.rule == "overfit" for one in record.warnings):
        return
    (best_step, best), (last_step, last) = min(points, key=lambda point: point[1]), points[-1]
    if best_step == last_step or best <= 0 or last < best * RISE:
        return
    kept = [one for one in record.checkpoints if one.step is not None and not one.removed]
    near = min(kept, key=lambda one: abs((one.step or 0) - best_step), default=None)
    name = f" The nearest checkpoint is {Path(near.path).name}." if near else ""
    yield Advice(
        f"Validation loss was lowest at step {best_step} ({best:.4g}) and ended at {last:.4g}:"
        f" what came after may be overfitting.{name}",
        severity="warning",
    )
