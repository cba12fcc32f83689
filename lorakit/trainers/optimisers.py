"""Names of optimisers that every trainer with kohya's options knows."""

from __future__ import annotations

from collections.abc import Iterator

from lorakit.errors import Fault, did_you_mean
from lorakit.recipe.options import Options

# Names the scripts compare without regard to case, and torch.optim's own, which must be spelt
# exactly.
BUILT_IN = (
    *("AdamW", "Lion", "SGDNesterov", "Prodigy", "Adafactor"),
    *("AdamW8bit", "Lion8bit", "SGDNesterov8bit"),
    *("PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit", "PagedLion8bit"),
    *("DAdaptation", "DAdaptAdamPreprint", "DAdaptAdaGrad", "DAdaptAdam"),
    *("DAdaptAdan", "DAdaptAdanIP", "DAdaptLion", "DAdaptSGD"),
    *("RAdamScheduleFree", "AdamWScheduleFree", "SGDScheduleFree"),
)
TORCH = (
    *("Adam", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta"),
    *("SGD", "ASGD", "RMSprop", "Rprop", "Muon"),
)
# They exist, and stop at the first step of any LoRA.
CANNOT = {
    "SparseAdam": "it takes sparse gradients only, and a LoRA's are dense",
    "LBFGS": "its step needs closure, which the script never passes",
}
LOWER = {name.lower() for name in BUILT_IN}


def cannot(name: str) -> str | None:
    """Why this one cannot train a LoRA."""
    return CANNOT.get(name.removeprefix("torch.optim."))


def optimizer_name(case: Options) -> Iterator[Fault]:
    name = case.text("optimizer_type")
    if why := cannot(name):
        what = f"{name} cannot train here: {why}."
        hint = 'Set optimizer_type = "AdamW".'
        yield case.fault("optimizer_type", what, hint, "optimizer-cannot")
    elif name and name.lower() not in LOWER and name not in TORCH and "." not in name:
        what = (
            f"no optimiser is called {name!r}; the script would find out after loading the model."
        )
        hint = did_you_mean(name, [*BUILT_IN, *TORCH])
        yield case.fault("optimizer_type", what, hint, "optimizer-unknown")
