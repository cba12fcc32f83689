"""The network: its module, rank, alpha and arguments. And what only the trainer's own environment
can say: its optimisers, schedules and networks of others. That is asked where a recipe names one or
hands it arguments; never for a plain recipe.
"""

import re
from collections.abc import Iterator, Mapping

from lorakit.catalogue.networks import OPEN, misread, turns
from lorakit.catalogue.options import networks
from lorakit.errors import Fault, did_you_mean
from lorakit.families import run_by
from lorakit.recipe.options import Options
from lorakit.trainers.kohya.locate import HOME
from lorakit.trainers.optimisers import pace_faults
from lorakit.trainers.rule import UNET, Case, Finder, Rule
from lorakit.trainers.signatures import Environment, import_fault, unasked

# What each module of sd-scripts is made for; one that is not named here may fit any family.
MADE_FOR: Mapping[str, tuple[str, ...]] = {
    **{family.network_module: (name,) for name, family in run_by("kohya").items()},
    **dict.fromkeys(("networks.lora", "networks.lora_fa", "networks.dylora", "networks.oft"), UNET),
    "networks.oft_flux": ("flux",),
}
BLOCKS = {"sd15": 25, "sdxl": 23}
SHAPED = ("cosine", "sine", "linear", "reverse_linear", "zeros")  # for down and up


def fitting_module(case: Case) -> Iterator[Fault]:
    name = case.network_module
    if not name.startswith("networks."):
        return
    own = [one for one, families in MADE_FOR.items() if case.family in families]
    use, families = f"Use {own[0]}.", MADE_FOR.get(name, (case.family,))
    if name not in networks():
        what, hint = f"sd-scripts has no {name}.", did_you_mean(name, own) or use
        yield case.fault("network_module", what, hint, "network-module")
    elif case.family not in families:
        what = f"{name} is for {' and '.join(families)}."
        yield case.fault("network_module", what, use, "network-module")


def network_words(case: Case) -> Iterator[Fault]:
    name, option = case.network_module, "network_args"
    known = networks().get(name)
    for word in case.words(option):
        key, equals, text = word.partition("=")
        if not equals or key != key.strip() or not key:
            what, hint = f'"{word}" is not of the form name=value.', "No spaces around the sign."
            yield case.fault(option, what, hint, "network-args-form")
        elif known and key not in known and OPEN not in known:
            what = f"{name} does not read {key}; it would be ignored silently."
            yield case.fault(option, what, did_you_mean(key, known), "network-args-unknown")
        elif known and known.get(key, "").endswith("switch"):
            yield from switch(case, key, text, any_case=known[key].startswith("any"))
        elif known and (wanted := misread(known.get(key, "text"), text) or misfit(case, key, text)):
            what = f"{key} takes {wanted}, not {text!r}."
            yield case.fault(option, what, "", "network-args-type")


def switch(case: Case, key: str, text: str, *, any_case: bool) -> Iterator[Fault]:
    said = text.lower() if any_case else text
    if said not in ({"true", "false"} if any_case else {"True", "False"}):
        what = f"{key} must be exactly True or False; {text!r} counts as False."
        hint = f'Write "{key}={text.lower() == "true"}".'
        yield case.fault("network_args", what, hint, "network-args-switch")


def misfit(case: Case, key: str, text: str) -> str:
    """What a module wants in place of a text that it takes apart itself."""
    lists = {"in_dims": 5, "emb_dims": 6, "embedder_dims": 3}
    if key in lists:
        return numbers(re.sub(r"^\s*\[|\]\s*$", "", text), int, lists[key])
    if key in {"down_lr_weight", "up_lr_weight", "mid_lr_weight"}:
        return weights(key, text)
    if key.removeprefix("conv_") in {"block_dims", "block_alphas"}:
        count = 25 if case.network_module == "networks.lora_fa" else BLOCKS.get(case.family, 25)
        return numbers(text, int if key.endswith("dims") else float, count)
    return ""


def weights(key: str, text: str) -> str:
    """Numbers, of which some may be left out; or the name of a curve, with what is added to it."""
    name, _, base = text.partition("+")
    if all(turns(one or "0", float) for one in text.split(",")) and (key[0] == "m" or "," in text):
        return ""
    if key[0] != "m" and name in SHAPED and turns(base or "0", float):
        return ""
    curve = "" if key[0] == "m" else f" or one of {', '.join(SHAPED)}"
    return f"numbers with commas between them{curve}"


def numbers(text: str, made: type, count: int) -> str:
    parts = text.split(",")
    right = len(parts) == count and all(turns(one, made) for one in parts)
    return "" if right else f"{count} {'integers' if made is int else 'numbers'}"


def said(case: Case, key: str) -> bool:
    return key in case.arguments("network_args")


def environment(case: Options) -> Environment | None:
    located = HOME.known()
    if located is None:
        return None
    own = case.said("launch", "python")
    python = case.resolved.path_of(own) if isinstance(own, str) and own else located.python
    return Environment(python, located.directory)


def foreign_network(case: Case) -> Iterator[Fault]:
    """A network module that is no part of sd-scripts."""
    name, where = case.network_module, environment(case)
    if name.startswith("networks."):
        return
    if where is None:
        what = f"{name} is not part of sd-scripts; its package must be installed in the trainer's"
        what += " environment."
        yield case.fault("network_module", what, "", "network-foreign", "warning")
        return
    answer = where.ask(name)
    if answer is None:
        yield unasked(case, "network_module", where, name)
    elif "error" in answer:
        yield import_fault(case, "network_module", where, name, answer)
    elif "create_network" not in answer["functions"]:
        what = f"{name} has no create_network, which the script calls."
        yield case.fault("network_module", what, "", "network-module")


RULES: tuple[Finder, ...] = (
    Rule(
        "split-rank-dropout",
        "network_args",
        lambda c: (
            said(c, "rank_dropout") and c.arguments("network_args").get("split_qkv") == "True"
        ),
        "rank_dropout stops at the first step where split_qkv=True has split the layers.",
        "Keep one; module_dropout goes with split_qkv.",
        families=("flux", "sd3"),
    ),
    Rule(
        "anima-rank-dropout",
        "network_args",
        lambda c: said(c, "rank_dropout"),
        "rank_dropout stops at the first step: it does not fit this model's layers.",
        "Use module_dropout or network_dropout.",
        families=("anima",),
    ),
    fitting_module,
    network_words,
    foreign_network,
    lambda c: pace_faults(c, environment(c)),
)
