"""What to make of a run and what to do next: from its end, its warnings and its curves. Says only
what the numbers can bear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorakit.report.series import Numbers

# What usually helps after a warning of this rule.
HELPS: Mapping[str, str] = {
    "nan": "Lower the learning rate, or train in bf16 or full precision.",
    "explosion": "Lower the learning rate; a quarter of it is a good next try.",
    "plateau": (
        "A flat loss alone is no fault; if the samples do not change either, raise the learning"
        " rate a little or train longer."
    ),
    "overfit": (
        "Compare the checkpoints before that step; next time fewer epochs, a smaller network_dim,"
        " or more varied captions."
    ),
    "slow": "Something else needed the machine, or it ran hot or short of memory.",
    "disk": "Make room, or keep fewer checkpoints (save_last_n_epochs, save_last_n_steps).",
}
# Going on as it was may well succeed.
FROM_OUTSIDE = {
    "killed",
    "interrupted",
    "reboot",
    "disk-full",
    "crash",
    "peer",
    "process-killed",
    "unknown",
}
RISE = 1.05  # above the lowest validation loss that counts as having risen again


@dataclass(frozen=True)
class Advice:
    text: str
    command: str = ""
    severity: str = "note"  # note, warning, error


def advise(record: Mapping[str, Any], state: str, run: str, numbers: Numbers) -> list[Advice]:
    """Worst first."""
    found = [*_ending(record, state, run), *_warnings(record), *_validation(record, numbers)]
    if numbers.lost:
        found.append(
            Advice(
                f"The loss was no number at {numbers.lost} step{'s' * (numbers.lost > 1)}.",
                HELPS["nan"],
                "error",
            )
        )
    if state == "done" and record.get("machine", {}).get("rank"):
        found.append(
            Advice(
                "This machine did its part. The LoRA is on the machine of rank 0; there it is"
                " judged and chosen from."
            )
        )
    elif state == "done":
        found.append(
            Advice(
                "The loss does not say which checkpoint is best; pictures do.",
                f"lorakit sheet {run}",
            )
        )
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda one: order[one.severity])


def _ending(record: Mapping[str, Any], state: str, run: str) -> list[Advice]:
    outcome = record["outcome"]
    diagnosis = outcome.get("diagnosis")
    found = []
    if isinstance(diagnosis, Mapping) and diagnosis.get("cause"):
        evidence = (
            f" The line that says so: {diagnosis['evidence']}" if diagnosis.get("evidence") else ""
        )
        found.append(
            Advice(
                f"{_sentence(diagnosis['cause'])}{evidence}",
                str(diagnosis.get("remedy") or ""),
                "error",
            )
        )
    elif state in {"failed", "dead"}:
        found.append(Advice("Why it ended is told by", f"lorakit explain {run}", "error"))
    rule = str(diagnosis.get("rule")) if isinstance(diagnosis, Mapping) else ""
    whole = any(not entry.get("fault") for entry in record["states"])
    if whole and (
        state in {"interrupted", "stopped", "dead"} or (state == "failed" and rule in FROM_OUTSIDE)
    ):
        found.append(
            Advice("It can go on where its newest state was saved.", f"lorakit resume {run}")
        )
    return found


def _warnings(record: Mapping[str, Any]) -> list[Advice]:
    return [
        Advice(
            f"{_sentence(entry.get('text', ''))} {HELPS.get(str(entry.get('rule')), '')}".strip(),
            severity="warning",
        )
        for entry in record["warnings"]
    ]


def _validation(record: Mapping[str, Any], numbers: Numbers) -> list[Advice]:
    points = numbers.validation.points
    if len(points) < 3 or any(entry.get("rule") == "overfit" for entry in record["warnings"]):
        return []
    best_step, best = min(points, key=lambda point: point[1])
    last_step, last = points[-1]
    if best_step == last_step or best <= 0 or last < best * RISE:
        return []
    kept = [
        entry
        for entry in record["checkpoints"]
        if isinstance(entry.get("step"), int) and not entry.get("removed")
    ]
    near = min(kept, key=lambda entry: abs(entry["step"] - best_step), default=None)
    name = f" The nearest checkpoint is {str(near.get('path')).rsplit('/', 1)[-1]}." if near else ""
    return [
        Advice(
            f"Validation loss was lowest at step {best_step} ({best:.4g}) and ended at {last:.4g}:"
            f" what came after may be learning by heart.{name}",
            severity="warning",
        )
    ]


def _sentence(text: Any) -> str:
    words = str(text).strip()
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!", ":")) else ".")
