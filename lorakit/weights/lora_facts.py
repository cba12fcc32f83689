"""What can be said of a LoRA file: from its header at once, and from its numbers when asked."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.weights.keys import LoraFile, blocks, read_lora

TRAINING = (  # what kohya, musubi and ai-toolkit say of it
    *("ss_sd_model_name", "ss_network_module", "ss_steps", "ss_epoch", "ss_learning_rate"),
    *("ss_unet_lr", "ss_text_encoder_lr", "ss_optimizer", "ss_lr_scheduler", "ss_seed"),
    *("ss_num_train_images", "ss_resolution", "ss_sd_scripts_commit_hash", "training_info"),
    *("software", "modelspec.timestep_range", "modelspec.title", "modelspec.date"),
)


@dataclass(frozen=True)
class LoraFacts:
    path: Path
    form: str
    family: str
    size_bytes: int
    kinds: Mapping[str, int]  # LoRA, LoHa, ... -> modules
    parts: Mapping[str, int]  # model, te1, ... -> modules
    ranks: Mapping[int, int]  # rank -> modules
    dtypes: Mapping[str, int]
    training: Mapping[str, str]
    trigger: str
    others: tuple[str, ...]  # tensors of no adapter that we know
    incomplete: tuple[str, ...]
    autov3: str  # as the metadata say it, or counted
    autov2: str = ""  # and from here on, "" and empty where the numbers were not read
    alphas: Mapping[float, int] = field(default_factory=dict)
    norms: Mapping[str, float] = field(default_factory=dict)  # block -> of its delta-W
    zero: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()


def lora_facts(path: Path, *, numbers: bool) -> LoraFacts:
    lora = read_lora(path)
    said = lora.header.metadata
    facts = LoraFacts(
        path=path,
        form=lora.form,
        family=lora.family,
        size_bytes=lora.header.begin + lora.header.data_bytes,
        kinds=Counter(module.kind for module in lora.modules),
        parts=Counter(module.part for module in lora.modules),
        ranks=dict(sorted(Counter(map(lora.rank, lora.modules)).items())),
        dtypes=lora.header.dtypes(),
        training={
            key: said[key] for key in TRAINING if said.get(key, "") not in {"", "None", "null"}
        },
        trigger=trigger_of(said),
        others=lora.others,
        incomplete=tuple(one.name for one in lora.modules if one.kind == "incomplete"),
        autov3=said.get("sshs_model_hash", "")[:12],
    )
    return _with_numbers(facts, lora) if numbers else facts


def trigger_of(said: Mapping[str, str]) -> str:
    """The word that most likely calls it: stated, in a folder's name, or in every caption."""
    if phrase := said.get("modelspec.trigger_phrase"):
        return phrase
    for folder in _table(said.get("ss_dataset_dirs")):
        if match := re.match(r"\d+_(.+)", folder):
            return match[1]
    for tags in _table(said.get("ss_tag_frequency")).values():
        if isinstance(tags, dict) and tags and all(isinstance(n, int) for n in tags.values()):
            return str(max(tags, key=lambda tag: tags[tag])).strip()
    return ""


def _with_numbers(facts: LoraFacts, lora: LoraFile) -> LoraFacts:
    from lorakit.weights import finite
    from lorakit.weights.adapters import opened_lora

    weights = finite.inspect(lora.path)
    bad = set(weights.not_finite)
    squares: dict[str, float] = dict.fromkeys(blocks(lora.modules), 0.0)
    zero, not_finite, alphas = list[str](), list[str](), list[float]()
    with opened_lora(lora) as numbers:
        for module in lora.modules:
            alpha = numbers.alpha(module)
            alphas.append(float(lora.rank(module)) if alpha is None else alpha)
            if bad & set(module.tensors.values()):
                not_finite.append(module.name)
            elif module.kind != "incomplete":
                norm = numbers.norm(module)
                squares[module.block] += norm**2
                zero += [] if norm else [module.name]
    return replace(
        facts,
        autov2=weights.sha256[:10],
        autov3=weights.tensors_sha256[:12],
        alphas=dict(sorted(Counter(alphas).items())),
        norms={block: math.sqrt(square) for block, square in squares.items()},
        zero=tuple(zero),
        not_finite=tuple(not_finite),
    )


def _table(text: str | None) -> dict[str, Any]:
    try:
        found = json_text.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
