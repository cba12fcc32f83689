"""The optimisers and schedules of trainers with kohya's options, and what becomes of names."""

from collections.abc import Iterator, Mapping

from lorakit import tomllib
from lorakit.errors import Fault, did_you_mean
from lorakit.recipe.options import Options
from lorakit.trainers.signatures import Environment, Wanted, asks_something, class_faults

# What the scripts make of a name, which they compare without regard to case.
CLASSES: dict[str, str] = tomllib.page(__file__, "optimisers.toml")
# torch.optim's own, which must be spelt exactly.
TORCH = (
    *("Adam", "Adamax", "NAdam", "RAdam", "Adagrad", "Adadelta"),
    *("SGD", "ASGD", "RMSprop", "Rprop", "Muon"),
)
# They exist, and stop at the first step of any LoRA.
CANNOT = {
    "SparseAdam": "it takes sparse gradients only, and a LoRA's are dense",
    "LBFGS": "its step needs closure, which the script never passes",
}
SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "cosine_with_min_lr", "polynomial"),
    *("constant", "constant_with_warmup", "inverse_sqrt", "warmup_stable_decay"),
    "piecewise_constant",
)
BY_LOWER_NAME = {name.lower(): dotted for name, dotted in CLASSES.items()}


def optimizer_of(case: Options) -> str:
    """In lower case."""
    if case.flag("use_8bit_adam"):
        return "adamw8bit"
    if case.flag("use_lion_optimizer"):
        return "lion"
    return (case.text("optimizer_type") or "AdamW").lower()


def pace_faults(
    case: Options, where: Environment | None, classes: Mapping[str, str] = BY_LOWER_NAME
) -> Iterator[Fault]:
    """Optimiser and schedule are there and take their arguments: asked of `where` if it matters."""
    name, low = case.text("optimizer_type"), optimizer_of(case)
    dotted = classes.get(low) or (name if "." in name else f"torch.optim.{name}")
    cannot = any(fault.rule == "optimizer-cannot" for fault in optimizer_name(case))
    asks = where is not None and not cannot and asks_something(case, known=low in classes)
    if where is None or not asks or where.ask(dotted.rpartition(".")[0]) is None:
        yield from optimizer_name(case)
    if where is None:
        return
    if asks:
        given = ("lr", "nesterov") if low.startswith("sgdnesterov") else ("lr",)
        unknown = "optimiser-class" if "." in name else "optimizer-unknown"
        wanted = Wanted(dotted, "optimizer_type", "optimizer_args", given, "optimiser", unknown)
        yield from class_faults(case, where, wanted)
    schedule = case.text("lr_scheduler_type")
    if schedule and not low.endswith("schedulefree"):  # else the script never looks at it
        dotted = schedule if "." in schedule else f"torch.optim.lr_scheduler.{schedule}"
        args = "lr_scheduler_args"
        wanted = Wanted(dotted, "lr_scheduler_type", args, (), "schedule", "schedule-class")
        yield from class_faults(case, where, wanted)


def optimizer_name(case: Options) -> Iterator[Fault]:
    name = case.text("optimizer_type")
    if why := CANNOT.get(name.removeprefix("torch.optim.")):
        what = f"{name} cannot train here: {why}."
        hint = 'Set optimizer_type = "AdamW".'
        yield case.fault("optimizer_type", what, hint, "optimizer-cannot")
    elif name and name.lower() not in BY_LOWER_NAME and name not in TORCH and "." not in name:
        what = (
            f"no optimiser is called {name!r}; the script would find out after loading the model."
        )
        hint = did_you_mean(name, [*CLASSES, *TORCH])
        yield case.fault("optimizer_type", what, hint, "optimizer-unknown")
