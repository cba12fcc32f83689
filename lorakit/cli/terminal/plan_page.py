"""A plan on the terminal, as wide as it: settings that matter or all, and what follows of them."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorakit import show
from lorakit.errors import few
from lorakit.plan.document import command_text, subset_rows
from lorakit.plan.model import Plan
from lorakit.recipe.model import Setting
from lorakit.runs.pace import Expected
from lorakit.show import print_text

MOST = 12  # checkpoints that are all listed
INDENT = 11  # of what follows "memory     "
MATTER = frozenset(
    {
        *("max_train_steps", "max_train_epochs", "learning_rate", "unet_lr", "text_encoder_lr"),
        *("optimizer_type", "network_dim", "network_alpha", "train_batch_size"),
        *("gradient_accumulation_steps", "resolution", "mixed_precision"),
    }
)


def show_plan(plan: Plan, time: Expected | None = None, *, verbose: bool = False) -> None:
    resolved, steps = plan.resolved, plan.steps
    print_text(
        f"{resolved.name}{f' / {plan.stage}' if plan.stage else ''}:"
        f" {resolved.family} by the {resolved.trainer} trainer"
        f"{f', preset {resolved.preset}' if resolved.preset else ''}"
        f"{f', trigger {resolved.trigger}' if resolved.trigger else ''}\n"
    )
    # The user's own settings first, then the plan's additions.
    settings = sorted(
        plan.settings.items(), key=lambda row: (row[1].source.startswith("plan"), row[0])
    )
    shown = [(key, one) for key, one in settings if verbose or _told(key, one)]
    room = _room(shown)
    show.table(
        ("setting", "value", "source"),
        [(key, _short(one.value, resolved.root, room), one.source) for key, one in shown],
    )
    if left := len(settings) - len(shown):
        recipe = _short(resolved.file.as_posix(), resolved.root, len(str(resolved.file)))
        command = f"lorakit plan {shlex.quote(recipe)} -v"
        print_text(f"{left} more come with the preset or follow: {command}")
    print_text()
    numbers = ("images", "repeats", "samples", "captions")
    show.table(("subset", *numbers, ""), subset_rows(plan), right=numbers)
    print_text()
    buckets = (
        (
            f"{bucket.width} x {bucket.height}" + f", {bucket.frames} frames" * (bucket.frames > 0),
            *(len(bucket.images), bucket.draws, bucket.batches),
        )
        for bucket in steps.buckets
    )
    columns = ("bucket", "images", "samples", "batches")
    show.table(columns, buckets, right=columns[1:])
    formula = steps.formula if steps.total else "No steps can be counted yet."
    print_text(f"\n{_wrapped(formula, indent=0)}\n")
    _saves(plan)
    for line in _needs(plan, time):
        print_text(_wrapped(line))
    print_text(f"run        {plan.run_dir}")
    if verbose:
        print_text(f"\n{command_text(plan)}")


def _saves(plan: Plan) -> None:
    saved = plan.steps.checkpoints
    lines = [
        f"step {one.step:>6}  {one.name}{'' if one.kept else '  (removed again)'}" for one in saved
    ]
    if len(saved) > MOST:
        lines[5:-5] = [f"... {len(saved) - 10} more"]
    for place, line in enumerate(lines):
        print_text(f"{'' if place else 'saves':9}  {line}")
    if samples := [str(step) for step in plan.steps.sample_steps]:
        print_text(f"samples    after steps {few(samples, 8)}")


def _needs(plan: Plan, time: Expected | None) -> Iterator[str]:
    needs, size = plan.estimate, show.size
    if needs.lora_bytes:
        yield (
            f"disk       LoRA {size(needs.lora_bytes)}, state {size(needs.state_bytes)}, "
            f"caches {size(needs.cache_bytes)}; {size(needs.disk_bytes)} at the fullest"
        )
    if needs.memory_high:
        yield f"memory     {size(needs.memory_low)} to {size(needs.memory_high)} ({needs.basis})"
    device = f"{plan.verdict.device}: " if plan.verdict.device else ""
    yield f"verdict    {device}{plan.verdict}"
    if time is not None:
        more = "; samples come on top" if time.seconds and plan.steps.sample_steps else ""
        yield f"time       {time}{more}"


def _told(key: str, setting: Setting) -> bool:
    """Settings that matter, and those that somebody chose for this recipe."""
    return key in MATTER or not setting.source.startswith(("preset ", "family ", "plan", "lorakit"))


def _width() -> int:
    """Of the terminal; 0 where there is none: files and pipes get whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _room(shown: list[tuple[str, Setting]]) -> int:
    """How many letters a value may have."""
    beside = max((len(key) for key, _ in shown), default=0)
    beside += max((len(one.source) for _, one in shown), default=0) + 4
    return min(70, max(20, _width() - beside)) if _width() else 70


def _wrapped(line: str, *, indent: int = INDENT) -> str:
    if not _width():
        return line
    import textwrap

    return textwrap.fill(line, _width(), subsequent_indent=" " * indent, break_long_words=False)


def _short(value: Any, root: Path, room: int) -> str:
    """For reading: paths from the project's root, long ones without their middle."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text.removeprefix(f"{root.as_posix()}/")
    half = (room - 5) // 2
    return text if len(text) <= room else f"{text[: half + 1]} ... {text[-half:]}"
