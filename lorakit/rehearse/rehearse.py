"""Rehearse a recipe: the same plan made small, run a few steps on stand-in weights, and judged.

What changes is listed in `made_small`; everything else is the recipe's own: trainer, environment,
network, optimiser, precision, captions. The user's dataset is only linked to, so no cache file
ends up beside the pictures, and nothing is kept unless asked for.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit.dataset.facts import DatasetFacts, ImageFacts, SubsetFacts
from lorakit.errors import Fault, SetupError, raise_on_errors
from lorakit.events import Emit, silent
from lorakit.files import write_atomic
from lorakit.machine import Machine, this_machine
from lorakit.plan.estimate import NETWORKS, lora_layers
from lorakit.plan.make import make_plans
from lorakit.plan.model import Plan
from lorakit.recipe.model import Resolved, Section, Setting
from lorakit.recipe.options import Options
from lorakit.rehearse import standin
from lorakit.runs.outcome import Outcome
from lorakit.weights.keys import read_lora

IMAGES = 6  # of each dataset, spread over its folders
# Faults of the real run that a rehearsal exists to do without.
SPARED = frozenset(
    (
        *("weights-not-there", "weights-missing", "weights-to-fetch", "hub-reference"),
        *("tokenizers-offline", "t5-tokenizer", "disk-space"),
    )
)
NO_PICTURES = frozenset({"no-folder", "nothing-to-train"})  # spared where there are none at all
SHAPES = ((1024, 1024), (896, 1152), (1152, 896), (768, 1344), (1344, 768), (1024, 1024))
TINTS = ("#707070", "#6b7480", "#80746b", "#6f806b", "#7a6b80", "#80806b")
TELLING = 4  # steps from which a rehearsal says how long one takes
DROPPED = (
    *("max_train_epochs", "save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"),
    *("save_last_n_epochs", "save_last_n_steps", "save_state", "save_state_on_train_end"),
    *("validation_split", "validate_every_n_steps", "validate_every_n_epochs"),
    *("network_weights", "dim_from_weights", "base_weights", "resume"),
    *("bucket_no_upscale", "output_name", "vae"),
)
SOURCE = "rehearsal"  # of every setting that a rehearsal changes
SWITCHES = ("fp8_base", "fp8_base_unet", "xformers", "use_8bit_adam")
WITHOUT_CARD = ("AdamW", "SGDNesterov")  # what torch has of the optimisers that need a card
DROPPED_SAMPLES = ("every_n_epochs", "every_n_steps", "at_first", "prompts")


@dataclass(frozen=True)
class Rehearsal:
    """How it went; `proofs` are sentences."""

    outcome: Outcome
    seconds: float
    proofs: tuple[str, ...]


def prepare(
    resolved: Resolved,
    recipe_faults: Iterable[Fault],
    place: Path,
    *,
    steps: int = 2,
    resolution: int = 64,
    machine: Machine | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Plan:
    """The rehearsal's plan in `place`; raises with every fault that the real run would meet."""
    machine = machine or this_machine()
    if resolved.family not in standin.FAMILIES:
        what = f"There are no stand-in weights for {resolved.family}, so it cannot be rehearsed."
        raise SetupError(what, hint=f"There are some for {', '.join(standin.FAMILIES)}.")
    resolved, replaced = possible_here(resolved, machine)
    real = make_plans(resolved, recipe_faults, run_dir=place / "as-written", machine=machine)[0]
    nothing = not real.dataset.image_count
    spared = SPARED | NO_PICTURES if nothing else SPARED
    faults = [fault for fault in real.faults if fault.rule not in spared]
    if real.script is None:
        from lorakit.trainers.kohya.locate import require

        require()
    raise_on_errors(faults)
    if replaced:
        say(replaced)
    if nothing:
        say("There are no pictures yet; six neutral pictures are drawn for the rehearsal.")
        options = Options(real.resolved)
        folders = [*options.subsets] or [f"1_{resolved.trigger or resolved.name}"]
        draw_dataset(place / "dataset", folders, resolved.trigger, options.caption_extension)
    else:
        link_dataset(real.dataset, place / "dataset", place / "reg")
    weights = standin.weights(resolved.family, say)
    if any(fault.rule == "t5-tokenizer" for fault in real.faults):
        weights["tokenizers"] = standin.t5_tokenizer()
    small = made_small(
        real.resolved, place, weights, steps=steps, resolution=resolution, machine=machine
    )
    small = small if resolved.root.is_dir() else replace(small, root=place)
    plan = make_plans(small, run_dir=place / "run", machine=machine)[0]
    raise_on_errors(plan.faults)
    return plan


def rehearse(plan: Plan, *, emit: Emit = silent) -> Rehearsal:
    """Run and judge it. A bad end raises TrainingFailed, with the cause as of a real run."""
    from lorakit.run.train import train
    from lorakit.runs.outcome import failure

    started = time.monotonic()
    outcome = train(plan, emit=emit)
    if not outcome.ok or outcome.lora is None:
        raise failure(outcome)
    seconds = time.monotonic() - started
    return Rehearsal(outcome, seconds, tuple(proofs(plan, outcome, outcome.lora, seconds)))


def tells_the_time(plan: Plan, resolved: Resolved) -> bool:
    """Whether its steps take as long as the recipe's: full size, and a few of them."""
    small, real = Options(plan.resolved), Options(resolved)
    whole = resolved.family != "flux"  # the stand-in of FLUX has two of 57 blocks
    return whole and small.resolution == real.resolution and plan.steps.total >= TELLING


def proofs(plan: Plan, outcome: Outcome, lora: Path, seconds: float) -> Iterator[str]:
    images = plan.dataset.image_count
    found = read_lora(lora)
    modules, ranks = len(found.modules), {*map(found.rank, found.modules)} - {0}
    options = Options(plan.resolved)
    asked = options.rank
    counted_here = options.network_module in NETWORKS  # of others the modules are not known
    cut = plan.resolved.family == "flux"  # the stand-in of FLUX has two of 57 blocks
    expected = modules if cut or not counted_here else len(lora_layers(options))
    other_rank = asked not in ranks and "conv_dim" not in str(plan.resolved.get("network_args"))
    if modules != expected or (other_rank and counted_here):
        raise SetupError(
            f"{lora.name} has {modules} modules of rank {sorted(ranks)}; {expected} of rank {asked}"
            " were expected."
        )
    yield (
        f"trainer      {plan.resolved.trainer} starts in its own environment, loads"
        f" {plan.resolved.family} weights and trains"
    )
    yield f"dataset      {images} of its images were read, captioned and cached"
    rank = f" rank {', '.join(map(str, sorted(ranks)))}," if ranks else ""
    ending = outcome.ending
    yield f"LoRA         {modules} modules,{rank} finite, {ending.step} of {ending.total} steps"
    if plan.steps.sample_steps:
        yield "samples      a picture was drawn at the last step"
    loss = f"; loss {ending.loss:.3g}" if ending.loss is not None else ""
    yield f"time         {seconds:.0f} s in all{loss}"


def made_small(
    resolved: Resolved,
    place: Path,
    weights: Mapping[str, Path],
    *,
    steps: int,
    resolution: int,
    machine: Machine,
) -> Resolved:
    """The recipe with other weights, a few images, small pictures and few steps."""
    train = without(resolved.train, DROPPED)
    step = int(resolved.get("bucket_reso_steps", 64))
    side = max(resolution // step, 1) * step
    changes: dict[str, Any] = {
        "max_train_steps": steps,
        "resolution": str(side),
        "min_bucket_reso": min(side, int(resolved.get("min_bucket_reso", 256))),
        "max_bucket_reso": max(2 * side, 256),
        "enable_bucket": True,
        "gradient_accumulation_steps": 1,
        "lr_warmup_steps": 0,
        "output_name": "rehearsal",
    }
    if resolved.family == "flux" and machine.accelerator == "cpu":
        changes["t5xxl_max_token_length"] = 64  # T5 in full takes minutes on a CPU
    if resolved.get("blocks_to_swap"):
        changes["blocks_to_swap"] = 0  # the stand-in has too few blocks to swap any
    dataset = without(resolved.dataset, ("reg_path", "resolutions", "subset"))
    dataset["path"] = setting(str(place / "dataset"))
    if subsets := Options(resolved).subsets:
        dataset["subset"] = setting(
            {
                name: {key: one for key, one in own.items() if key != "metadata_file"}
                for name, own in subsets.items()
            }
        )
    if (place / "reg").is_dir():
        dataset["reg_path"] = setting(str(place / "reg"))
    model = {key: setting(str(path)) for key, path in weights.items()}
    return replace(
        resolved,
        stages=(),
        model=model,
        dataset=dataset,
        train={**train, **{key: setting(value) for key, value in changes.items()}},
        sample=one_sample(resolved.sample, steps, side),
    )


def one_sample(sample: Section, steps: int, side: int) -> Section:
    """The first prompt, once, at the last step, small; nothing where the recipe asks for none."""
    asked = sample.get("prompts")
    rest = without(sample, (*DROPPED_SAMPLES, "width", "height", "steps"))
    if asked is None or not asked.value:
        return rest
    first = asked.value if isinstance(asked.value, str) else asked.value[0]
    prompt = str(first).split(" --", maxsplit=1)[0]
    changes = {"prompts": [prompt], "every_n_steps": steps, "width": side, "height": side}
    return {**rest, **{key: setting(value) for key, value in {**changes, "steps": 2}.items()}}


def setting(value: Any) -> Setting:
    return Setting(value, SOURCE)


def without(section: Section, keys: Sequence[str]) -> dict[str, Setting]:
    return {key: one for key, one in section.items() if key not in keys}


def possible_here(resolved: Resolved, machine: Machine) -> tuple[Resolved, str]:
    """The nearest that this machine can do, and what was replaced; "" for a CUDA card."""
    options = Options(resolved)
    changes = {} if machine.accelerator == "cuda" else _changes(options, machine.accelerator)
    if not changes:
        return resolved, ""
    told = [
        f"{key} = {_word(options.value(key))} by {_word(new)}"
        for key, new in changes.items()
        if key != "sdpa"
    ]

    def over(train: Section) -> Section:
        return {**train, **{key: setting(new) for key, new in changes.items()}}

    stages = tuple(replace(stage, train=over(stage.train)) for stage in resolved.stages)
    line = f"Replaced for this rehearsal alone, as this machine cannot do it: {', '.join(told)}."
    return replace(resolved, train=over(resolved.train), stages=stages), line


def _changes(options: Options, device: str) -> dict[str, Any]:
    changes: dict[str, Any] = {key: False for key in SWITCHES if options.flag(key)}
    if "xformers" in changes:
        changes["sdpa"] = True
    if options.integer("blocks_to_swap"):
        changes["blocks_to_swap"] = 0
    optimiser = options.text("optimizer_type")
    if re.search("8bit|^paged", optimiser, re.IGNORECASE):
        plain = re.sub("^Paged|(8|32)bit$", "", optimiser, flags=re.IGNORECASE)
        changes["optimizer_type"] = plain if plain in WITHOUT_CARD else WITHOUT_CARD[0]
    if options.precision == "fp16" or (options.precision == "bf16" and device == "mps"):
        changes["mixed_precision"] = "bf16" if device == "cpu" else "no"
        changes |= {key: False for key in ("full_fp16", "full_bf16") if options.flag(key)}
    return changes


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def draw_dataset(place: Path, folders: Sequence[str], trigger: str, extension: str) -> None:
    """Six neutral pictures with captions in each of these `N_name` folders."""
    from PIL import Image, ImageOps

    caption = f"{trigger}, a plain background" if trigger else "a plain background"
    for folder in folders:
        for number, (shape, tint) in enumerate(zip(SHAPES, TINTS, strict=True)):
            target = place / folder / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            grey = Image.linear_gradient("L").rotate(90 * number).resize(shape)
            ImageOps.colorize(grey, "#303030", "#d0d0d0", mid=tint).save(target)
            write_atomic(target.with_suffix(extension), caption)


def link_dataset(facts: DatasetFacts, place: Path, reg: Path) -> None:
    """A few images of every folder, with captions, linked; copied where that is refused."""
    own = sum(not subset.is_reg for subset in facts.subsets)
    for subset in facts.subsets:
        target = (reg if subset.is_reg else place) / subset.path.name
        for image in spread(subset, max(2, IMAGES // max(1, own))):
            link(image.path, target / image.path.name)
            if subset.metadata:
                caption = (target / image.path.name).with_suffix(".txt")
                caption.write_text(image.caption, encoding="utf-8")
            elif image.caption_path:
                link(image.caption_path, target / image.caption_path.name)


def spread(subset: SubsetFacts, count: int) -> list[ImageFacts]:
    """Images of all the folder's shapes: the widest, the tallest, and some between."""
    ordered = sorted(subset.images, key=lambda one: (one.width / max(1, one.height), str(one.path)))
    if len(ordered) <= count:
        return ordered
    return [ordered[round(place * (len(ordered) - 1) / (count - 1))] for place in range(count)]


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        return
    try:
        os.symlink(source.absolute(), target)
    except OSError:
        shutil.copy2(source, target)
