"""A run's command line and environment: which Python, launcher flags and variables."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.plan.complete import posix
from lorakit.recipe.options import Options
from lorakit.trainers.base import Command, Start
from lorakit.trainers.table import trainer
from lorakit.user_files import Unreadable, read_text
from lorakit.weights.reference import WeightFile

ONLINE_OPTIONS = ("huggingface_repo_id", "resume_from_huggingface", "save_state_to_huggingface")


@dataclass(frozen=True)
class Launch:
    """How many processes on how many machines, on what device, whose accelerate configuration."""

    processes: int
    machines: int
    rank: int
    address: str
    port: int
    device: str  # cuda, mps, cpu
    cores: int  # of this machine
    config: Path  # the user's own accelerate configuration, or ours in the run folder
    own_config: bool  # True: the user's

    @property
    def several(self) -> bool:
        return self.processes > 1 or self.machines > 1

    @property
    def local(self) -> int:
        return max(1, self.processes // self.machines)


def launch_of(options: Options, run_dir: Path, machine: Machine) -> Launch:
    given = _text(options, "accelerate_config")
    config = options.resolved.path_of(given) if given else run_dir / "accelerate.yaml"
    theirs = _yaml_numbers(config) if given else {}
    return Launch(
        processes=max(1, options.launch("processes", theirs.get("num_processes", 1))),
        machines=max(1, options.launch("machines", theirs.get("num_machines", 1))),
        rank=options.launch("machine_rank", theirs.get("machine_rank", 0)),
        address=_text(options, "main_address"),
        port=options.launch("main_port"),
        device=machine.accelerator,
        cores=machine.cpu_count,
        config=config,
        own_config=bool(given),
    )


def starts_alone(options: Options, launch: Launch) -> bool:
    launcher = launch.several or launch.own_config
    return not launcher and trainer(options.resolved.trainer).STARTS_ALONE


def launcher_file(options: Options, launch: Launch) -> dict[str, str]:
    """Ours, so that the user-wide one has no say. Several processes go through torchrun."""
    if launch.own_config or starts_alone(options, launch):
        return {}
    text = f"""\
# Written by lorakit. Stands in for the user-wide accelerate configuration.
compute_environment: LOCAL_MACHINE
debug: false
distributed_type: '{"MULTI_GPU" if launch.several else "NO"}'
downcast_bf16: 'no'
enable_cpu_affinity: false
machine_rank: {launch.rank}
main_training_function: main
mixed_precision: '{options.precision}'
num_machines: {launch.machines}
num_processes: {launch.processes}
rdzv_backend: static
same_network: true
tpu_use_cluster: false
tpu_use_sudo: false
use_cpu: {str(launch.device == "cpu").lower()}
"""
    return {"accelerate.yaml": text}


def commands_for(
    options: Options, launch: Launch, *, python: Path, script: Path, run_dir: Path
) -> tuple[Command, ...]:
    said = options.resolved.launch
    flags = ["--config_file", posix(launch.config)]
    if not launch.own_config or "processes" in said:
        flags += ["--num_processes", str(launch.processes)]
    if not launch.own_config or "machines" in said:
        flags += ["--num_machines", str(launch.machines)]
    if not launch.own_config:
        flags += ["--mixed_precision", options.precision, "--dynamo_backend", "no"]
    flags += ["--num_cpu_threads_per_process", str(threads(options, launch))]
    if launch.machines > 1:
        flags += ["--machine_rank", str(launch.rank), "--main_process_ip", launch.address]
    if launch.port:
        flags += ["--main_process_port", str(launch.port)]
    if launch.several and not launch.own_config:
        flags.append("--multi_gpu")  # torchrun; on the CPU ACCELERATE_USE_CPU makes it gloo
    if launch.device == "cpu" and not launch.several and not launch.own_config:
        flags.append("--cpu")
    elif not (launch.several and launch.own_config):
        ids = options.said("launch", "gpu_ids")
        flags += [] if ids is None else ["--gpu_ids", ",".join(map(str, ids))]
    flags = [] if starts_alone(options, launch) else flags
    start = Start(str(python), tuple(flags), posix(script), run_dir)
    return trainer(options.resolved.trainer).commands(options, start)


def environment(
    options: Options,
    launch: Launch,
    weights: Sequence[WeightFile],
    run_dir: Path,
    needed: Mapping[str, str],
) -> Mapping[str, str]:
    """Only what we set, `needed` by the script among it. [launch] env has the last word."""
    env = {
        **needed,
        "PYTHONUNBUFFERED": "1",  # piped output would otherwise arrive minutes late
        "PYTHONUTF8": "1",  # the script prints Japanese
        "TOKENIZERS_PARALLELISM": "false",  # or every data worker warns about the fork
        "LORAKIT_EVENTS": posix(run_dir / "events.jsonl"),
    }
    if launch.device == "mps":
        env["PYTORCH_ENABLE_MPS_FALLBACK"] = "1"
    if launch.device == "cpu":
        env["ACCELERATE_USE_CPU"] = "true"
    if starts_alone(options, launch):  # what the launcher would say
        env["OMP_NUM_THREADS"] = str(threads(options, launch))
        if ids := options.said("launch", "gpu_ids"):
            env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ids))
    if works_offline(options, weights):
        env["HF_HUB_OFFLINE"] = "1"
    own = options.said("launch", "env") or {}
    return {**env, **{name: str(value) for name, value in own.items()}}


def threads(options: Options, launch: Launch) -> int:
    """On the CPU every core works for the training; beside a GPU a process needs few."""
    share = launch.cores // launch.local
    usual = share if launch.device == "cpu" else min(4, share)
    return max(1, options.launch("num_cpu_threads", usual))


def works_offline(options: Options, weights: Sequence[WeightFile]) -> bool:
    """Nothing the run loads must come from the hub."""
    if any(map(options.flag, ONLINE_OPTIONS)) or options.value("log_with") in {"wandb", "all"}:
        return False
    there = all(weight.present for weight in weights)
    return there and not trainer(options.resolved.trainer).downloads(options.resolved)


def python_of(options: Options, located: Path | None) -> Path:
    """[launch] python, else the trainer's own, else ours."""
    given = _text(options, "python")
    return options.resolved.path_of(given) if given else located or Path(sys.executable)


def launch_faults(options: Options, launch: Launch) -> Iterator[Fault]:
    def blame(key: str, what: str, hint: str, rule: str) -> Fault:
        return Fault(f"{options.recipe} [launch]", what, hint, rule, section="launch", key=key)

    machines, processes = launch.machines, launch.processes
    if machines > 1 and not (launch.address and launch.port):
        what = f"machines = {machines} needs main_address and main_port of the first machine."
        hint = 'Write main_address = "10.0.0.1" and main_port = 29500.'
        yield blame("main_address", what, hint, "machines-need-address")
    if processes % machines:
        what = f"processes = {processes} cannot be divided evenly among {machines} machines."
        hint = "processes counts all of them together."
        yield blame("processes", what, hint, "uneven-processes")
    if not 0 <= launch.rank < machines:
        what = f"machine_rank = {launch.rank}: machines count from 0 to {machines - 1}."
        yield blame("machine_rank", what, "", "machine-rank")
    if launch.own_config and not launch.config.is_file():
        what = f"accelerate_config: there is no {launch.config}."
        yield blame("accelerate_config", what, "", "accelerate-config")
    if not options.flag("deepspeed"):
        return
    if "deepspeed" not in options.known:
        what = f"deepspeed: {trainer(options.resolved.trainer).TITLE} does not support it."
        hint = 'Set deepspeed = false, or trainer = "kohya".'
        yield blame("deepspeed", what, hint, "deepspeed-embedded")
    elif not launch.several:
        what = "deepspeed needs at least two processes: the script reads WORLD_SIZE, which a single"
        hint = "Set processes, or leave deepspeed out."
        yield blame("deepspeed", f"{what} process lacks.", hint, "deepspeed-alone")


def _text(options: Options, key: str) -> str:
    return options.said("launch", key) or ""


def _yaml_numbers(path: Path) -> dict[str, int]:
    """What step counting needs of somebody's accelerate configuration, read by line."""
    try:
        lines = read_text(path).splitlines()
    except Unreadable:  # reported by launch_faults
        return {}
    number = r"(num_processes|num_machines|machine_rank):\s*(\d+)\s*(?:#.*)?$"
    return {match[1]: int(match[2]) for line in lines if (match := re.match(number, line))}
