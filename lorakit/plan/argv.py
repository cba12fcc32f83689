"""The command line and the environment of a run: which Python, which launcher flags, which
variables.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakit.catalogue.options import options
from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.machine import Machine
from lorakit.plan.complete import posix
from lorakit.recipe import options as read
from lorakit.recipe.model import Resolved
from lorakit.trainers.base import Command
from lorakit.trainers.table import trainer
from lorakit.weights.reference import WeightFile

ONLINE_OPTIONS = ("huggingface_repo_id", "resume_from_huggingface", "save_state_to_huggingface")


@dataclass(frozen=True)
class Launch:
    """How many processes on how many machines, on what device, and whose accelerate configuration."""

    processes: int
    machines: int
    rank: int
    address: str
    port: int
    device: str  # cuda, mps, cpu
    config: Path  # the person's own accelerate configuration, or ours in the run folder
    own_config: bool  # True: the person's

    @property
    def several(self) -> bool:
        return self.processes > 1 or self.machines > 1

    @property
    def local(self) -> int:
        return max(1, self.processes // self.machines)


def launch_of(resolved: Resolved, run_dir: Path, machine: Machine) -> Launch:
    given = _said(resolved, "accelerate_config")
    config = resolved.path_of(given) if given else run_dir / "accelerate.yaml"
    from_file = _yaml_numbers(config) if given else {}
    return Launch(
        processes=max(1, read.launched(resolved, "processes", from_file.get("num_processes", 1))),
        machines=max(1, read.launched(resolved, "machines", from_file.get("num_machines", 1))),
        rank=read.launched(resolved, "machine_rank", from_file.get("machine_rank", 0)),
        address=_said(resolved, "main_address"),
        port=read.launched(resolved, "main_port", 0),
        device=machine.accelerator,
        config=config,
        own_config=bool(given),
    )


def commands_for(
    resolved: Resolved,
    launch: Launch,
    machine: Machine,
    *,
    python: Path,
    script: Path,
    run_dir: Path,
) -> tuple[Command, ...]:
    flags = ["--config_file", posix(launch.config)]
    if not launch.own_config or "processes" in resolved.launch:
        flags += ["--num_processes", str(launch.processes)]
    if not launch.own_config or "machines" in resolved.launch:
        flags += ["--num_machines", str(launch.machines)]
    if not launch.own_config:
        flags += [
            "--mixed_precision",
            read.text(resolved, "mixed_precision", "no"),
            "--dynamo_backend",
            "no",
        ]
    flags += ["--num_cpu_threads_per_process", str(threads(resolved, launch, machine))]
    if launch.machines > 1:
        flags += ["--machine_rank", str(launch.rank), "--main_process_ip", launch.address]
    if launch.port:
        flags += ["--main_process_port", str(launch.port)]
    flags += _device_flags(resolved, launch)
    config = posix(run_dir / "train.toml")
    return trainer(resolved.trainer).commands(str(python), flags, posix(script), config)


def environment(
    resolved: Resolved, launch: Launch, weights: Sequence[WeightFile], run_dir: Path
) -> Mapping[str, str]:
    """Only what we set. [launch] env has the last word."""
    env = {
        "PYTHONUNBUFFERED": "1",  # piped output would otherwise arrive minutes late
        "PYTHONUTF8": "1",  # the script prints Japanese
        "TOKENIZERS_PARALLELISM": "false",  # or every data worker warns about the fork
        "LORAKIT_EVENTS": posix(run_dir / "events.jsonl"),
    }
    if launch.device == "mps":
        env["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"
    if launch.device == "cpu":
        env["ACCELERATE_USE_CPU"] = "true"
    if works_offline(resolved, weights):
        env["HF_HUB_OFFLINE"] = "1"
    setting = resolved.launch.get("env")
    if setting and isinstance(setting.value, Mapping):
        env.update({str(name): str(value) for name, value in setting.value.items()})
    return env


def threads(resolved: Resolved, launch: Launch, machine: Machine) -> int:
    """On the CPU every core works for the training; beside a GPU a process needs few."""
    default = (
        max(1, machine.cpu_count // launch.local)
        if launch.device == "cpu"
        else max(1, min(4, machine.cpu_count // launch.local))
    )
    return max(1, read.launched(resolved, "num_cpu_threads", default))


def works_offline(resolved: Resolved, weights: Sequence[WeightFile]) -> bool:
    """Nothing the run loads must come from the hub."""
    if any(resolved.get(option) for option in ONLINE_OPTIONS) or resolved.get("log_with") in {
        "wandb",
        "all",
    }:
        return False
    there = all(weight.present for weight in weights)
    return there and not trainer(resolved.trainer).downloads(resolved)


def python_of(resolved: Resolved, located: Path | None) -> Path:
    """[launch] python, else the trainer's own, else ours."""
    given = _said(resolved, "python")
    if given:
        return resolved.path_of(given)
    return located or Path(sys.executable)


def launch_faults(resolved: Resolved, launch: Launch) -> list[Fault]:
    where = f"{read.recipe_name(resolved)} [launch]"
    faults = []
    if launch.machines > 1 and not (launch.address and launch.port):
        faults.append(
            Fault(
                where,
                f"machines = {launch.machines} needs main_address and main_port of the first"
                " machine.",
                'Write main_address = "10.0.0.1" and main_port = 29500.',
                "machines-need-address",
            )
        )
    if launch.processes % launch.machines:
        faults.append(
            Fault(
                where,
                f"processes = {launch.processes} cannot be dealt evenly to {launch.machines}"
                " machines.",
                "processes counts all of them together.",
                "uneven-processes",
            )
        )
    if not 0 <= launch.rank < launch.machines:
        faults.append(
            Fault(
                where,
                f"machine_rank = {launch.rank}: machines count from 0 to {launch.machines - 1}.",
                "",
                "machine-rank",
            )
        )
    if launch.own_config and not launch.config.is_file():
        faults.append(
            Fault(
                where, f"accelerate_config: there is no {launch.config}.", "", "accelerate-config"
            )
        )
    known = options(resolved.trainer, FAMILIES[resolved.family].script)
    if read.flag(resolved, "deepspeed") and "deepspeed" not in known:
        what = f"deepspeed: {trainer(resolved.trainer).TITLE} has none."
        hint = 'Set deepspeed = false, or trainer = "kohya".'
        faults.append(Fault(where, what, hint, "deepspeed-embedded"))
    elif read.flag(resolved, "deepspeed") and not launch.several:
        faults.append(
            Fault(
                where,
                "deepspeed needs at least two processes: the script reads WORLD_SIZE, which one"
                " process alone lacks.",
                "Set processes, or leave deepspeed out.",
                "deepspeed-alone",
            )
        )
    return faults


def _device_flags(resolved: Resolved, launch: Launch) -> list[str]:
    if launch.several:
        return (
            [] if launch.own_config else ["--multi_gpu", *_gpu_flags(resolved)]
        )  # torchrun; on the CPU ACCELERATE_USE_CPU makes it gloo
    return ["--cpu"] if launch.device == "cpu" and not launch.own_config else _gpu_flags(resolved)


def _gpu_flags(resolved: Resolved) -> list[str]:
    setting = resolved.launch.get("gpu_ids")
    if setting is None:
        return []
    ids = setting.value if isinstance(setting.value, (list, tuple)) else [setting.value]
    return ["--gpu_ids", ",".join(map(str, ids))]


def _said(resolved: Resolved, key: str) -> str:
    setting = resolved.launch.get(key)
    return setting.value if setting and isinstance(setting.value, str) else ""


def _yaml_numbers(path: Path) -> dict[str, int]:
    """The few whole numbers that step counting needs from somebody's accelerate configuration;
    read by line, not as YAML.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    matches = (
        re.match(r"(num_processes|num_machines|machine_rank):\s*(\d+)\s*(?:#.*)?$", line)
        for line in lines
    )
    return {match[1]: int(match[2]) for match in matches if match}
