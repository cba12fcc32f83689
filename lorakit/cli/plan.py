"""Show everything that would happen: settings with their sources, images, steps, files, disk, memory, the command. Nothing is started.

examples:
  lorakit plan recipes/maya.toml
  lorakit plan maya --set network_dim=16 --set max_train_epochs=4
  lorakit plan maya --json | jq .steps.total
  lorakit plan maya --write out/        train.toml, dataset.toml, prompts.toml, accelerate.yaml and command.txt
  lorakit plan maya --folders           the command with train_data_dir instead of a dataset file
  lorakit plan maya --for cuda:24       judged for another machine: one CUDA card with 24 GB; also mps, cpu
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit import show
from lorakit.cli.terminal import recipe_arguments as recipe_args
from lorakit.errors import Fault, raise_on_errors
from lorakit.files import write_atomic
from lorakit.machine import Gpu, Machine, this_machine
from lorakit.plan.make import make_plans
from lorakit.plan.model import Plan
from lorakit.runs.find import new_run_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    recipe_args.add_recipe_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--write", metavar="DIR", type=Path, help="write the run's files into this folder"
    )
    parser.add_argument(
        "--for",
        dest="machine",
        metavar="DEVICE",
        type=another_machine,
        help="plan for another machine: cuda, cuda:24 (GB), cuda:24x2 (cards), mps or cpu",
    )
    parser.add_argument(
        "--folders",
        action="store_true",
        help="kohya's folder mode: train_data_dir instead of a dataset file",
    )


def run(args: argparse.Namespace) -> int:
    resolved, faults = recipe_args.read(args)
    run_dir = args.write or new_run_dir(resolved.root, resolved.name)
    plans = make_plans(
        resolved, faults, run_dir=run_dir, machine=args.machine, folders=args.folders
    )
    everything = tuple(fault for plan in plans for fault in plan.faults)
    if args.json:
        documents = [as_document(plan) for plan in plans]
        show.print_json(documents[0] if len(documents) == 1 else documents)
    else:
        for plan in plans:
            tell_plan(plan)
        show.tell_faults(dict.fromkeys(fault for fault in everything if fault.severity != "error"))
    raise_on_errors([fault for fault in dict.fromkeys(everything) if fault.severity == "error"])
    if args.write:
        files = {
            plan.run_dir / name: text for plan in plans for name, text in files_of(plan).items()
        }
        raise_on_errors(
            [
                Fault(
                    str(path),
                    "is there already, and is left as it is.",
                    "Name a new folder.",
                    "write-exists",
                )
                for path, text in files.items()
                if path.exists() and path.read_bytes() != text.encode()
            ]
        )
        for path, text in files.items():
            write_atomic(path, text)
            show.tell(f"wrote {path}")
    return 0


def another_machine(text: str) -> Machine:
    """`cuda:24x2` and its like; memory and cores are those of this machine."""
    match = re.fullmatch(r"(?:(cpu|mps)|cuda(?::([1-9]\d{0,3})(?:x([1-9]\d{0,2}))?)?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r}: write cuda, cuda:24, cuda:24x2, mps or cpu")
    device, memory_gb, cards = match.groups()
    here = this_machine()
    if device == "mps":
        return replace(here, system="Darwin", arch="arm64", gpus=())
    gpu = Gpu(
        f"a CUDA card{f' with {memory_gb} GB' if memory_gb else ''}",
        int(memory_gb or 0) * 1_000_000_000,
    )
    return replace(
        here,
        system="Linux",
        arch="x86_64",
        gpus=() if device == "cpu" else (gpu,) * int(cards or 1),
    )


def files_of(plan: Plan) -> dict[str, str]:
    """What --write leaves in the plan's folder."""
    return {**plan.files, "command.txt": command_text(plan) + "\n"}


def command_text(plan: Plan) -> str:
    """A line for each command of the run."""
    env = [f"{name}={shlex.quote(value)}" for name, value in sorted(plan.env.items())]
    return "\n".join(" ".join([*env, shlex.join(command)]) for command in plan.commands)


def tell_plan(plan: Plan) -> None:
    resolved = plan.resolved
    title = f"{resolved.name}{f' / {plan.stage}' if plan.stage else ''}"
    print(
        f"{title}: {resolved.family} by the {resolved.trainer} trainer"
        f"{f', preset {resolved.preset}' if resolved.preset else ''}{f', trigger {resolved.trigger}' if resolved.trigger else ''}\n"
    )
    settings = (
        (key, _short(setting.value, resolved.root), setting.source)
        for key, setting in settings_rows(plan)
    )
    show.table(("setting", "value", "source"), settings)
    print()
    numbers = ("images", "repeats", "draws", "captions")
    show.table(("subset", *numbers, ""), subset_rows(plan), right=numbers)
    print()
    show.table(
        ("bucket", "images", "draws", "batches"),
        (
            (f"{bucket.width} x {bucket.height}", len(bucket.images), bucket.draws, bucket.batches)
            for bucket in plan.steps.buckets
        ),
        right=("images", "draws", "batches"),
    )
    print(f"\n{plan.steps.formula if plan.steps.total else 'No steps can be counted yet.'}\n")
    _tell_saves(plan)
    _tell_needs(plan)
    print(f"\n{command_text(plan)}")


def settings_rows(plan: Plan) -> list[tuple[str, Any]]:
    """The person's own first, then the plan's additions."""
    return sorted(plan.settings.items(), key=lambda row: (row[1].source.startswith("plan"), row[0]))


def subset_rows(plan: Plan) -> Iterable[Sequence[Any]]:
    from lorakit.plan.steps import repeats_of

    for subset in plan.dataset.subsets:
        repeats = repeats_of(plan.resolved, subset)
        yield (
            subset.path.name,
            len(subset.images),
            repeats,
            repeats * len(subset.images),
            subset.captioned,
            "regularisation" if subset.is_reg else "",
        )
    if plan.steps.validation_images:
        yield "held back", plan.steps.validation_images, "", "", "", "validation"


def as_document(plan: Plan) -> dict[str, Any]:
    """What programs read. Images are counted, not listed."""
    steps = plan.steps
    return {
        "schema": "lorakit.plan/1",
        "name": plan.resolved.name,
        "stage": plan.stage,
        "family": plan.resolved.family,
        "trainer": plan.resolved.trainer,
        "preset": plan.resolved.preset,
        "trigger": plan.resolved.trigger,
        "recipe": plan.resolved.file,
        "run_dir": plan.run_dir,
        "output_dir": plan.output_dir,
        "output_name": plan.output_name,
        "script": plan.script,
        "commit": plan.commit,
        "settings": {
            key: {"value": setting.value, "source": setting.source}
            for key, setting in plan.settings.items()
        },
        "subsets": [
            dict(
                zip(("folder", "images", "repeats", "draws", "captions", "kind"), row, strict=True)
            )
            for row in subset_rows(plan)
        ],
        "steps": {
            **{
                name: getattr(steps, name)
                for name in (
                    "train_images",
                    "reg_images",
                    "validation_images",
                    "batches",
                    "batches_per_process",
                    "batch_size",
                    "processes",
                    "accumulation",
                    "epochs",
                    "steps_per_epoch",
                    "total",
                    "formula",
                    "sample_steps",
                )
            },
            "buckets": [
                {
                    "width": b.width,
                    "height": b.height,
                    "images": len(b.images),
                    "draws": b.draws,
                    "batches": b.batches,
                }
                for b in steps.buckets
            ],
            "checkpoints": list(steps.checkpoints),
        },
        "estimate": plan.estimate,
        "weights": list(plan.weights),
        "files": dict(plan.files),
        "argv": list(plan.argv),
        "env": dict(plan.env),
        "faults": list(plan.faults),
    }


def _tell_saves(plan: Plan) -> None:
    saved = plan.steps.checkpoints
    shown = saved if len(saved) <= 12 else (*saved[:5], *saved[-5:])
    for place, one in enumerate(shown):
        if len(saved) > 12 and place == 5:
            print(f"           ... {len(saved) - 10} more")
        print(
            f"{'saves' if not place else '':9}  step {one.step:>6} "
            f" {one.name}{'' if one.kept else '  (removed again)'}"
        )
    if plan.steps.sample_steps:
        steps = ", ".join(map(str, plan.steps.sample_steps[:8])) + (
            ", ..." if len(plan.steps.sample_steps) > 8 else ""
        )
        print(f"samples    after steps {steps}")


def _tell_needs(plan: Plan) -> None:
    needs = plan.estimate
    if needs.lora_bytes:
        print(
            f"disk       LoRA {show.size(needs.lora_bytes)}, state {show.size(needs.state_bytes)}, "
            f"caches {show.size(needs.cache_bytes)}; {show.size(needs.disk_bytes)} at the fullest"
        )
    if needs.memory_high:
        print(
            f"memory     {show.size(needs.memory_low)} to {show.size(needs.memory_high)}"
            f" ({needs.basis})"
        )
    print(f"run        {plan.run_dir}")


def _short(value: Any, root: Path) -> str:
    """For reading: paths from the project's root, long ones without their middle."""
    text = (
        "true"
        if value is True
        else "false"
        if value is False
        else str(value).removeprefix(f"{root.as_posix()}/")
    )
    return text if len(text) <= 70 else f"{text[:33]} ... {text[-32:]}"
