"""What the plan itself adds: the commands, their environment and accelerate's own configuration;
and to the settings paths, names, and the few values without which the script does something nobody
meant.

Every addition carries its reason as its source, so `lorakit plan` shows it like any other setting.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.errors import Fault
from lorakit.machine import Machine
from lorakit.recipe.model import Resolved, Setting
from lorakit.recipe.options import Options
from lorakit.trainers.base import Command, Start
from lorakit.trainers.table import trainer
from lorakit.user_files import Unreadable, read_text
from lorakit.weights.reference import WeightFile

# Options of [train] that hold a path; the script reads relative ones from where it was started.
PATHS = ("log_tracker_config", "metadata_thumbnail", "base_weights")
SAMPLE = ("every_n_epochs", "every_n_steps", "at_first", "sampler")  # sample_* of the script
ONLINE_OPTIONS = ("huggingface_repo_id", "resume_from_huggingface", "save_state_to_huggingface")


def completed(options: Options, run_dir: Path, weights: Sequence[WeightFile]) -> Options:
    """With `train` as train.toml will say it, but for the keys that the script does not know."""
    resolved = options.resolved
    train = {key: one for key, one in resolved.train.items() if one.value != ""}
    for key, setting in train.items():
        if key in PATHS:
            train[key] = _absolute(resolved, setting)
    train.update(dict(_from_other_sections(resolved, weights)))
    for key, value, why in _additions(options, run_dir):
        train.setdefault(key, Setting(value, f"plan: {why}"))
    return Options(replace(resolved, train=train))


def posix(path: Path) -> str:
    """Absolute with forward slashes: a backslash in TOML may be read as something else."""
    return path.absolute().as_posix()


def _from_other_sections(
    resolved: Resolved, weights: Sequence[WeightFile]
) -> Iterator[tuple[str, Setting]]:
    for weight in weights:
        named = (one.source for one in resolved.model.values() if one.value == weight.asked)
        yield weight.option, Setting(posix(_unlinked(weight.path)), next(named, "[model]"))
    model = {"network_weights": "network_weights", "tokenizers": "tokenizer_cache_dir"}
    for key, option in model.items():
        if key in resolved.model:
            yield option, _absolute(resolved, resolved.model[key])
    for key in SAMPLE:
        if key in resolved.sample:
            yield f"sample_{key}", resolved.sample[key]
    if "deepspeed" in resolved.launch:
        yield "deepspeed", resolved.launch["deepspeed"]


def _additions(options: Options, run_dir: Path) -> Iterator[tuple[str, Any, str]]:
    resolved, family = options.resolved, options.family
    yield "output_dir", posix(run_dir / "output"), "the run's folder"
    yield "output_name", resolved.name, "the recipe's name"
    yield "logging_dir", posix(run_dir / "logs"), "the run's folder"
    yield "network_module", options.network_module, f"the one for {family}"
    yield "seed", options.seed, "a fixed one, or every process draws its own"
    if options.number("validation_split") > 0:
        why = "without one, training and validation share images"
        yield "validation_seed", options.seed, why
    if options.prompts:
        yield "sample_prompts", posix(run_dir / "prompts.toml"), "from [sample]"
    if options.folders:
        for key, option in (("path", "train_data_dir"), ("reg_path", "reg_data_dir")):
            if said := options.said("dataset", key):
                yield option, posix(resolved.path_of(said)), "folder mode"
    else:
        yield "dataset_config", posix(run_dir / "dataset.toml"), "every subset spelt out"
    why = "the script's own default is .caption"
    yield "caption_extension", options.caption_extension, why
    width, height = options.resolution
    yield "resolution", f"{width},{height}", f"the usual one for {family}"
    yield "mixed_precision", options.precision, "the script's default"
    yield "save_model_as", "safetensors", "the script's default"
    yield from trainer(resolved.trainer).settings(resolved)
    why = "8 would repeat some images and miss others in every epoch"
    yield "max_data_loader_n_workers", 1 if options.caches_latents else 2, why
    if resolved.trigger:
        yield "metadata_trigger_phrase", resolved.trigger, "the recipe's trigger"
    yield "metadata_title", resolved.name, "the recipe's name"


def _unlinked(path: Path) -> Path:
    """The target of a relative link: SDXL's script reads its text from where it was started."""
    followed = path.is_symlink() and not os.path.isabs(os.readlink(path))
    return Path(os.path.realpath(path)) if followed else path  # resolve() raises at a loop


def _absolute(resolved: Resolved, setting: Setting) -> Setting:
    def one(value: Any) -> Any:
        return posix(resolved.path_of(value)) if isinstance(value, str) and value else value

    value = setting.value
    absolute = [one(item) for item in value] if isinstance(value, (list, tuple)) else one(value)
    return Setting(absolute, setting.source)


@dataclass(frozen=True)
class Launch:
    """How many processes on how many machines, on what device, whose accelerate configuration."""

    processes: int
    machines: int
    rank: int
    address: str
    port: int
    device: str  # cuda, mps, cpu
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
        config=config,
        own_config=bool(given),
    )


def launcher_file(options: Options, launch: Launch) -> dict[str, str]:
    """Ours, so that the user-wide one has no say. Several processes go through torchrun."""
    if launch.own_config:
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
    options: Options, launch: Launch, machine: Machine, *, python: Path, script: Path, run_dir: Path
) -> tuple[Command, ...]:
    said = options.resolved.launch
    flags = ["--config_file", posix(launch.config)]
    if not launch.own_config or "processes" in said:
        flags += ["--num_processes", str(launch.processes)]
    if not launch.own_config or "machines" in said:
        flags += ["--num_machines", str(launch.machines)]
    if not launch.own_config:
        flags += ["--mixed_precision", options.precision, "--dynamo_backend", "no"]
    flags += ["--num_cpu_threads_per_process", str(threads(options, launch, machine))]
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
    start = Start(str(python), tuple(flags), posix(script), run_dir)
    return trainer(options.resolved.trainer).commands(options, start)


def environment(
    options: Options,
    launch: Launch,
    weights: Sequence[WeightFile],
    run_dir: Path,
    needed: Mapping[str, str] = MappingProxyType({}),
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
    if works_offline(options, weights):
        env["HF_HUB_OFFLINE"] = "1"
    own = options.said("launch", "env") or {}
    return {**env, **{name: str(value) for name, value in own.items()}}


def threads(options: Options, launch: Launch, machine: Machine) -> int:
    """On the CPU every core works for the training; beside a GPU a process needs few."""
    share = machine.cpu_count // launch.local
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
    if not path.is_file():  # reported by launch_faults; a pipe would never end
        return {}
    try:
        lines = read_text(path).splitlines()
    except Unreadable:
        return {}
    number = r"(num_processes|num_machines|machine_rank):\s*(\d+)\s*(?:#.*)?$"
    return {match[1]: int(match[2]) for line in lines if (match := re.match(number, line))}
