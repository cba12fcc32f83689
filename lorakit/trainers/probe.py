"""Run by a trainer's own Python, never imported by lorakit: says what the modules named on the
command line hold, each as one line of JSON behind MARK.

`python -c <this text> torch.optim prodigyopt`; Python 3.8 and the standard library suffice.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

MARK = "LORAKIT "
KINDS = ((bool, "bool"), ((int, float), "number"), (str, "text"))


def default_of(parameter: inspect.Parameter) -> str | int:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "required"
    if isinstance(value, (tuple, list)):
        return len(value)
    return next((name for kind, name in KINDS if isinstance(value, kind)), "any")


def signature_of(function: Callable[..., Any], skip: int) -> dict[str, str | int]:
    """Parameter -> kind of its default, in order; "**" where any name is taken."""
    found: dict[str, str | int] = {}
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            found["**"] = "any"
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            found[parameter.name] = default_of(parameter)
    return found


def class_of(kind: type) -> dict[str, Any]:
    """What it is made with, and what its `step` cannot do without."""
    step = getattr(kind, "step", None)
    step = signature_of(step, 1) if callable(step) else None
    needed = [name for name, default in (step or {}).items() if default == "required"]
    made = signature_of(kind.__init__, 1)  # type: ignore[misc]
    return {"takes": made, "steps": step is not None, "needs": needed}


def module_of(name: str) -> dict[str, Any]:
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001  (whatever a package of others raises)
        last = (str(error).strip().splitlines() or [""])[-1]
        missing = getattr(error, "name", "") if isinstance(error, ModuleNotFoundError) else ""
        return {"error": f"{type(error).__name__}: {last}", "missing": missing or ""}
    classes = {}
    for word, value in vars(module).items():
        if inspect.isclass(value):
            try:
                classes[word] = class_of(value)
            except (TypeError, ValueError):  # made in C: no signature
                continue
    functions = [word for word, value in vars(module).items() if inspect.isfunction(value)]
    return {"classes": classes, "functions": functions}


if __name__ == "__main__":
    for module in sys.argv[1:]:
        sys.stdout.write(f"\n{MARK}{json.dumps({module: module_of(module)})}\n")
        sys.stdout.flush()
