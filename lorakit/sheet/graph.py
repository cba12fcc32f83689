"""ComfyUI's workflows, read in both forms in which it writes them. {prompt} in one stands for what
differs from picture to picture; so do {negative} and others, and every seed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakit import json_text
from lorakit.errors import RecipeError
from lorakit.user_files import Unreadable

Graph = dict[str, dict[str, Any]]  # in the API's form: number -> class_type and inputs
Takes = Callable[[str], Mapping[str, Any]]  # a class's inputs, in its order, as ComfyUI tells them
SEEDS = ("seed", "noise_seed")
AFTER = {"fixed", "increment", "decrement", "randomize"}  # saved behind a seed
ASIDE = {"PrimitiveNode", "Reroute", "Note", "MarkdownNote"}  # of the page alone
MUTED, BYPASSED = 2, 4


def read_graph(workflow: Path, takes: Takes) -> Graph:
    try:
        data = json_text.read(workflow)
        graph = dict(_saved(data, takes)) if "nodes" in data else data
        every = [node["inputs"] for node in graph.values()]
        for node in graph.values():
            if node["class_type"] == "SaveImage":  # nothing is left in ComfyUI's folder
                images = {"images": node["inputs"]["images"]}
                node |= {"class_type": "PreviewImage", "inputs": images}
    except Unreadable as error:
        raise RecipeError(f"{workflow} is no workflow that can be read: {error.why}") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        hint = "In ComfyUI: Workflow > Export (API), and give that file."
        raise RecipeError(f"{workflow} is no workflow that can be read.", hint=hint) from error
    if not any("{prompt}" in str(one) for inputs in every for one in inputs.values()):
        hint = "Write {prompt} in it where the prompt belongs, and save it again."
        raise RecipeError(f"{workflow} has no {{prompt}}.", hint=hint)
    for inputs in every:
        inputs |= {key: "{seed}" for key in SEEDS if isinstance(inputs.get(key), int)}
    return graph


def _saved(data: Mapping[str, Any], takes: Takes) -> Iterator[tuple[str, dict[str, Any]]]:
    """As it is saved ordinarily: values in the order of the class's inputs, links in a list."""
    nodes = {node["id"]: node for node in data["nodes"]}
    kept = [list(link.values()) if isinstance(link, dict) else link for link in data["links"]]
    links = {number: (nodes[origin], slot) for number, origin, slot, *_ in kept}

    def comes(number: int) -> Any:
        """What a link brings; None: nothing but what was typed in."""
        node, slot = links[number]
        if node["type"] == "Reroute" or node.get("mode") == BYPASSED:
            kind = node["outputs"][slot]["type"]
            like = [one for one in node["inputs"] if kind in (one["type"], "*") and one.get("link")]
            like = like or [one for one in node["inputs"] if node["type"] == "Reroute"]
            return comes(like[0]["link"]) if like else None
        gone = node.get("mode") == MUTED or node["type"] == "PrimitiveNode"
        return None if gone else [str(node["id"]), slot]

    for number, node in nodes.items():
        if node["type"] in ASIDE or node.get("mode") in (MUTED, BYPASSED):
            continue
        inputs, values = {}, list(node.get("widgets_values") or [])
        for name, told in takes(node["type"]).items():
            if _typed_in(*told) and values:
                inputs[name] = values.pop(0)
                if name in SEEDS and values and values[0] in AFTER:
                    values.pop(0)
        for one in node.get("inputs") or []:
            if one.get("link") is not None and (link := comes(one["link"])):
                inputs[one["name"]] = link
        yield str(number), {"class_type": node["type"], "inputs": inputs}


def _typed_in(kind: Any, how: Mapping[str, Any] | None = None, *_: Any) -> bool:
    typed = isinstance(kind, list) or kind in {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
    return typed and not (how or {}).get("forceInput")


def fill_places(value: Any, facts: Mapping[str, Any]) -> Any:
    """The same with facts for words."""
    if isinstance(value, dict):
        return {key: fill_places(one, facts) for key, one in value.items()}
    if isinstance(value, list):
        return [fill_places(one, facts) for one in value]
    if not isinstance(value, str):
        return value
    if value[1:-1] in facts and value == f"{{{value[1:-1]}}}":
        return facts[value[1:-1]]
    return re.sub(r"\{(\w+)\}", lambda found: str(facts.get(found[1], found[0])), value)


def loader_of(graph: Graph, names: Sequence[str]) -> str:
    """The node that our LoRA goes into: the only one that loads any, or the one with ours."""
    loads = {at: one["inputs"].get("lora_name") for at, one in graph.items()}
    found = {at: str(name) for at, name in loads.items() if name is not None}
    own = [at for at, name in found.items() if Path(name).name in names]
    if not found:
        hint = "Add a LoraLoader node in ComfyUI and save it again."
        raise RecipeError("No node of the workflow loads a LoRA.", hint=hint)
    if len(found) > 1 and len(own) != 1:
        what = f"The workflow loads {len(found)} LoRAs: {', '.join(found.values())}."
        hint = f"Choose {names[-1]} in the one that is meant, and save it again."
        raise RecipeError(what, hint=hint)
    return [*own, *found][0]


def put_on(graph: Graph, loader: str, worn: Sequence[tuple[str, float]]) -> Graph:
    """LoRAs at the place of one loader, one behind the other."""
    first, last, chain = graph[loader]["inputs"], loader, {}
    for place, (name, strength) in enumerate(worn):
        inputs = {**first, "lora_name": name}
        inputs |= dict.fromkeys({"strength_model", "strength_clip"} & inputs.keys(), strength)
        if place:
            links = (("model", [last, 0]), ("clip", [last, 1]))
            inputs |= {key: link for key, link in links if key in inputs}
            last = f"{loader}-{place}"
        chain[last] = {**graph[loader], "inputs": inputs}
    for node in graph.values():
        for key, link in node["inputs"].items():
            if isinstance(link, list) and str(link[0]) == loader:
                node["inputs"][key] = [last, link[1]]
    return {**graph, **chain}
