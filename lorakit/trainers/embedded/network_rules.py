"""What the embedded trainer's networks take as network_args."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lorakit.catalogue.networks import Words, misread
from lorakit.errors import Fault, did_you_mean
from lorakit.trainers.embedded import options


def lycoris_faults(values: Mapping[str, Any]) -> Iterator[Fault]:
    for name in options.NOT_LYCORIS:
        if values.get(name):
            yield Fault(name, f"is not implemented for {options.LYCORIS}.", f"Remove {name}.")
    extra = dict(str(one).partition("=")[::2] for one in values.get("network_args") or [])
    for name in options.OF_LOKR:
        if name in extra and extra.get("algo") != "lokr":
            yield Fault(f"network_args {name}", "has no effect without algo=lokr.")
    if "rs_lora" in extra and extra.get("algo") == "lokr":
        what = "LyCORIS reads such files at another strength than it trained them."
        yield Fault("network_args rs_lora", what, "Leave it out for lokr.")
    if {"module_dropout", "dora_wd"} <= extra.keys():
        yield Fault("network_args module_dropout", "is not implemented beside dora_wd.")


def argument_faults(known: Words, arguments: list[str]) -> Iterator[Fault]:
    for argument in arguments:
        name, equals, text = str(argument).partition("=")
        where = f"network_args {name}"
        if not equals:
            yield Fault(f"network_args {argument!r}", "must read name=value.")
        elif name not in known:
            hint = "Write network_dropout." if name == "dropout" else did_you_mean(name, known)
            yield Fault(where, "the embedded trainer does not know it.", hint, "not-implemented")
        elif wanted := misread(known[name], text):
            yield Fault(where, f"takes {wanted}, not {text!r}.")
        elif name in ("rank_dropout", "module_dropout") and not 0 <= float(text) < 1:
            yield Fault(where, f"{text} must be at least 0 and below 1.")
    names = [str(argument).partition("=")[0] for argument in arguments]
    if "conv_alpha" in names and "conv_dim" not in names and "algo" not in known:
        yield Fault("network_args conv_alpha", "has no effect without conv_dim.")
