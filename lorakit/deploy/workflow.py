"""A ComfyUI workflow with another LoRA and trigger, written as a copy; or a new one."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.errors import RecipeError, did_you_mean
from lorakit.families import FAMILIES
from lorakit.files import write_new
from lorakit.sheet.graph import fill_places, loader_of, put_on
from lorakit.sheet.interfaces import WORKFLOWS, facts_of
from lorakit.sheet.source import Source
from lorakit.user_files import Unreadable, read_text


@dataclass(frozen=True)
class Swap:
    """What goes into a workflow, and what of its own it takes the place of."""

    lora: str
    trigger: str
    old_lora: str = ""  # which one, where a workflow loads several
    old_trigger: str = ""
    strength: float | None = None


def write_workflow(text: str, copy: Path) -> str:
    try:
        write_new(copy, text)
    except FileExistsError:
        if read_text(copy, most=json_text.MOST) != text:
            what = f"{copy} exists and is another workflow; it was left as it is."
            raise RecipeError(what, hint="Rename it, or use --as NAME.") from None
    return f"wrote {copy}"


def new_workflow(source: Source, worn: Sequence[tuple[str, float]], prompt: str) -> str:
    """Of the family, with the run's weights and settings. `worn`: style first, character last."""
    template, family = WORKFLOWS / f"{source.family}.json", FAMILIES[source.family]
    if not template.is_file():
        what = f"lorakit has no workflow of its own for {family.title}."
        raise RecipeError(what, hint="Give one of yours: --workflow FILE.")
    facts: dict[str, Any] = {one.option: Path(one.path).name for one in family.weights}
    facts |= {**facts_of(source), **asdict(source.plain), "prompt": prompt, "seed": source.seed}
    graph = fill_places(json_text.read(template), facts)
    for node in graph.values():
        if node["class_type"] == "PreviewImage":
            node["class_type"] = "SaveImage"
            node["inputs"]["filename_prefix"] = Path(worn[-1][0]).stem
    graph = put_on(graph, loader_of(graph, [worn[-1][0]]), worn)
    return json.dumps(graph, indent=2, ensure_ascii=False) + "\n"


def swap_workflow(workflow: Path, swap: Swap) -> tuple[str, list[str]]:
    """The workflow with our LoRA and trigger in it, and what was changed, in words."""
    nodes = _nodes(workflow)
    old_lora = _old_lora(workflow, nodes, swap.old_lora)
    word = re.compile(rf"(?<!\w){re.escape(swap.old_trigger)}(?!\w)") if swap.old_trigger else None
    changes = []
    for number, node in nodes.items():
        inputs = _inputs(node)
        if inputs.get("lora_name") == old_lora:
            changes.append(f"node {number} {node['class_type']}: {old_lora} -> {swap.lora}")
            inputs["lora_name"] = swap.lora
            if swap.strength is not None:
                for key in {"strength_model", "strength_clip"} & inputs.keys():
                    inputs[key] = swap.strength
        for key, value in inputs.items():
            if word and isinstance(value, str) and key != "lora_name" and word.search(value):
                inputs[key] = word.sub(lambda _: swap.trigger, value)
                changes.append(f"node {number} {key}: {swap.old_trigger} -> {swap.trigger}")
    return json.dumps(nodes, indent=2, ensure_ascii=False) + "\n", changes


def _nodes(workflow: Path) -> dict[str, dict[str, Any]]:
    try:
        nodes = json_text.read(workflow)
    except Unreadable as error:
        raise RecipeError(f"{workflow} is no workflow that can be read: {error.why}") from error
    if isinstance(nodes, dict) and all(
        isinstance(node, dict) and "class_type" in node for node in nodes.values()
    ):
        return nodes
    hint = "In ComfyUI: Workflow > Export (API), and give that file."
    raise RecipeError(f"{workflow} is not in ComfyUI's API format.", hint=hint)


def _old_lora(workflow: Path, nodes: Mapping[str, Mapping[str, Any]], wanted: str) -> str:
    """The one that is meant: named, or the only one there is."""
    inputs = map(_inputs, nodes.values())
    found = list(dict.fromkeys(str(one["lora_name"]) for one in inputs if "lora_name" in one))
    if wanted and wanted not in found:
        what = f"{workflow}: no node in it loads {wanted}. {did_you_mean(wanted, found)}".rstrip()
        raise RecipeError(what, hint=f"It loads {', '.join(found) or 'none'}.")
    if not found:
        hint = "Add a LoraLoader node in ComfyUI and export again."
        raise RecipeError(f"{workflow}: no node in it loads a LoRA.", hint=hint)
    if len(found) > 1 and not wanted:
        hint = f"Say which one: --old-lora {found[-1]}"
        raise RecipeError(f"{workflow} loads {len(found)} LoRAs: {', '.join(found)}.", hint=hint)
    return wanted or found[0]


def _inputs(node: Mapping[str, Any]) -> dict[str, Any]:
    inputs = node.get("inputs")
    return inputs if isinstance(inputs, dict) else {}
