"""A plan on the terminal: settings with their sources, images, steps, files, disk, memory and the
command.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lorakit import show
from lorakit.plan.document import command_text, subset_rows
from lorakit.plan.model import Plan
from lorakit.runs.pace import Expected

MOST = 12  # checkpoints that are all listed


def show_plan(plan: Plan, time: Expected | None = None) -> None:
    resolved, steps = plan.resolved, plan.steps
    print(
        f"{resolved.name}{f' / {plan.stage}' if plan.stage else ''}:"
        f" {resolved.family} by the {resolved.trainer} trainer"
        f"{f', preset {resolved.preset}' if resolved.preset else ''}"
        f"{f', trigger {resolved.trigger}' if resolved.trigger else ''}\n"
    )
    # The user's own settings first, then the plan's additions.
    settings = sorted(
        plan.settings.items(), key=lambda row: (row[1].source.startswith("plan"), row[0])
    )
    show.table(
        ("setting", "value", "source"),
        [(key, _short(one.value, resolved.root), one.source) for key, one in settings],
    )
    print()
    numbers = ("images", "repeats", "samples", "captions")
    show.table(("subset", *numbers, ""), subset_rows(plan), right=numbers)
    print()
    buckets = (
        (f"{bucket.width} x {bucket.height}", len(bucket.images), bucket.draws, bucket.batches)
        for bucket in steps.buckets
    )
    columns = ("bucket", "images", "samples", "batches")
    show.table(columns, buckets, right=columns[1:])
    print(f"\n{steps.formula if steps.total else 'No steps can be counted yet.'}\n")
    _saves(plan)
    _needs(plan)
    _verdict(plan)
    _time(plan, time)
    print(f"run        {plan.run_dir}")
    print(f"\n{command_text(plan)}")


def _saves(plan: Plan) -> None:
    saved = plan.steps.checkpoints
    lines = [
        f"step {one.step:>6}  {one.name}{'' if one.kept else '  (removed again)'}" for one in saved
    ]
    if len(saved) > MOST:
        lines[5:-5] = [f"... {len(saved) - 10} more"]
    for place, line in enumerate(lines):
        print(f"{'' if place else 'saves':9}  {line}")
    if plan.steps.sample_steps:
        more = ", ..." if len(plan.steps.sample_steps) > 8 else ""
        print(f"samples    after steps {', '.join(map(str, plan.steps.sample_steps[:8]))}{more}")


def _needs(plan: Plan) -> None:
    needs = plan.estimate
    if needs.lora_bytes:
        print(
            f"disk       LoRA {show.size(needs.lora_bytes)}, state {show.size(needs.state_bytes)}, "
            f"caches {show.size(needs.cache_bytes)}; {show.size(needs.disk_bytes)} at the fullest"
        )
    if needs.memory_high:
        memory = f"{show.size(needs.memory_low)} to {show.size(needs.memory_high)}"
        print(f"memory     {memory} ({needs.basis})")


def _verdict(plan: Plan) -> None:
    device = f"{plan.verdict.device}: " if plan.verdict.device else ""
    print(f"verdict    {device}{plan.verdict}")


def _time(plan: Plan, time: Expected | None) -> None:
    if time is not None:
        more = "; samples come on top" if time.seconds and plan.steps.sample_steps else ""
        print(f"time       {time}{more}")


def _short(value: Any, root: Path) -> str:
    """For reading: paths from the project's root, long ones without their middle."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.removeprefix(f"{root.as_posix()}/")
    return text if len(text) <= 70 else f"{text[:33]} ... {text[-32:]}"
