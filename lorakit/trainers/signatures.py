"""What the classes of a trainer's own environment take: asked once through its Python (probe.py),
remembered until something is installed there.
"""

import ast
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit.config import cache_dir
from lorakit.errors import Fault, Severity, did_you_mean
from lorakit.memo import Memo
from lorakit.proc import ask
from lorakit.recipe.options import Options
from lorakit.trainers.probe import MARK

PROBE = Path(__file__).with_name("probe.py")
TIMEOUT_S = 20
# Asked together, because most of the time goes into torch.
COMMON = (
    *("torch.optim", "torch.optim.lr_scheduler"),
    *("prodigyopt", "schedulefree", "lion_pytorch"),
)
PIP = {  # where a package's name is not its module's
    "lycoris": "lycoris-lora",
    "lion_pytorch": "lion-pytorch",
    "prodigyplus": "prodigy-plus-schedule-free",
    "pytorch_optimizer": "pytorch-optimizer",
    "came_pytorch": "came-pytorch",
    "prodigy": "prodigyopt",
    "cv2": "opencv-python",
    "pil": "pillow",
    "skimage": "scikit-image",
}


def package_of(module: str) -> str:
    """What pip calls the package that holds it."""
    root = module.partition(".")[0]
    return PIP.get(root, root)


@dataclass(frozen=True)
class Environment:
    """A trainer's Python, and the folder in which it runs."""

    python: Path
    folder: Path

    def ask(self, module: str) -> Mapping[str, Any] | None:
        """What a module holds, or None where the answer did not come in time."""
        home, memo = self.python.parent.parent, Memo(cache_dir() / "signatures.json")
        sites = (*home.glob("lib/python3*/*-packages"), *home.glob("Lib/site-packages"))
        place = (*sites, self.python)[0]  # its change says that something was installed
        everything = memo.get(place) or {}
        known = everything.get(str(self.python), {})
        if module not in known:
            fresh = self._probed([module, *(one for one in COMMON if one not in known)])
            known = {**known, **fresh}
            memo.put(place, {**everything, str(self.python): known})
            memo.save()
        found: Mapping[str, Any] | None = known.get(module)
        return found

    def _probed(self, modules: Sequence[str]) -> dict[str, Any]:
        argv = [str(self.python), "-c", PROBE.read_text(encoding="utf-8"), *modules]
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        answer = ask(argv, cwd=self.folder, env=env, timeout_s=TIMEOUT_S)
        found: dict[str, Any] = {}
        for line in answer.out.splitlines():
            if line.startswith(MARK):
                with suppress(ValueError):  # cut off, or printed by somebody else
                    found.update(json.loads(line.removeprefix(MARK)))
        return found


@dataclass(frozen=True)
class Wanted:
    """A class that a setting names, and what the script itself hands to it."""

    dotted: str
    key: str  # the setting that names it
    arguments: str  # the setting with its arguments
    given: tuple[str, ...]
    kind: str  # "optimiser", "schedule"
    unknown: str  # the rule where there is none


def class_faults(case: Options, environment: Environment, wanted: Wanted) -> Iterator[Fault]:
    """Whether there is such a class, can train here, and takes its arguments."""
    module, _, name = wanted.dotted.rpartition(".")
    answer = environment.ask(module)
    if answer is None:
        yield unasked(case, wanted.key, environment, module)
    elif "error" in answer:
        yield import_fault(case, wanted.key, environment, module, answer)
    elif name not in answer["classes"]:
        what = f"{module} has no {name}; the script would find out after loading the model."
        usable = [one for one, about in answer["classes"].items() if about["steps"]]
        yield case.fault(wanted.key, what, did_you_mean(name, usable), wanted.unknown)
    else:
        yield from _fit(case, wanted, name, answer["classes"][name])


def unasked(case: Options, key: str, environment: Environment, module: str) -> Fault:
    said = f"{environment.python} did not say within {TIMEOUT_S} s what {module} holds"
    return case.fault(key, f"{said}, so nothing was checked against it.", "", "unasked", "note")


def import_fault(
    case: Options, key: str, environment: Environment, module: str, answer: Mapping[str, Any]
) -> Fault:
    missing, inside, _ = str(answer["missing"]).partition(".")
    if not missing:
        what = f"{module} cannot be imported by {environment.python}: {answer['error']}"
    elif inside and missing == module.partition(".")[0]:
        what = f"the package {missing} in {environment.python} has no {answer['missing']}."
    else:
        return missing_package(case, key, environment.python, missing)
    return case.fault(key, what, "", "package-missing")


def missing_package(case: Options, key: str, python: Path, module: str) -> Fault:
    package = package_of(module)
    what, hint = f"needs the package {package}, which {python} lacks.", "-m pip install"
    return case.fault(key, what, f"{python} {hint} {package}", "package-missing")


def _fit(case: Options, wanted: Wanted, name: str, about: Mapping[str, Any]) -> Iterator[Fault]:
    takes = about["takes"]
    if not about["steps"] or ("lr" in wanted.given and not {"lr", "**"} & set(takes)):
        what = f"{wanted.dotted} is no {wanted.kind}."
        yield case.fault(wanted.key, what, "", f"{wanted.kind}-class")
        return
    if about["needs"]:
        what = f"{name} cannot train here: its step needs {' and '.join(about['needs'])}, which"
        yield case.fault(wanted.key, f"{what} the script never passes.", "", "class-step")
        return
    pairs = dict(map(read, case.words(wanted.arguments)))
    for key, value in pairs.items():
        if key and (problem := _problem(key, value, takes, wanted, name)):
            rule, what, hint = problem
            severity: Severity = "warning" if rule == "args-swallowed" else "error"
            yield case.fault(wanted.arguments, what, hint, rule, severity)
    first = next(iter(takes), "")
    for key, default in takes.items():
        if default == "required" and key not in {first, *wanted.given, *pairs}:
            what = f"{name} cannot do without {key}."
            hint = f'Write {wanted.arguments} = ["{key}=..."].'
            yield case.fault(wanted.arguments, what, hint, "args-required")


def _problem(
    key: str, value: object, takes: Mapping[str, Any], wanted: Wanted, name: str
) -> tuple[str, str, str] | None:
    own = [word for word in takes if word not in {next(iter(takes)), "**", *wanted.given}]
    if key in {next(iter(takes), ""), *wanted.given}:
        return "args-given", f"{key} is handed to {name} by the script itself.", "Remove it."
    if key not in takes:
        near = did_you_mean(key, own)
        if "**" not in takes:
            rest = near or f"It takes {', '.join(own)}."
            return "args-unknown", f"{name} takes no {key}.", rest
        what = f"{name} does not name {key}, and swallows what it does not know."
        return ("args-swallowed", what, near) if near else None
    kind = takes[key]
    if isinstance(kind, int):  # a tuple of so many
        if not isinstance(value, (tuple, list)) or len(value) != kind:
            what = f"{key} takes {kind} numbers, not {value!r}."
            return "args-type", what, 'Such as "betas=(0.9, 0.99)".' if key == "betas" else ""
    elif kind in {"number", "bool"} and isinstance(value, (str, tuple, list, dict, set, bytes)):
        takes_what = "a number" if kind == "number" else "True or False"
        bare = isinstance(value, str) and not isinstance(read(f"k={value}")[1], (str, type(None)))
        hint = f'Write "{key}={value!s}".' if bare else ""
        return "args-type", f"{key} takes {takes_what}, not {value!r}.", hint
    elif kind == "text" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return "args-type", f"{key} takes a text, not {value!r}.", f"Write \"{key}='{value}'\"."
    return None


def asks_something(case: Options, known: bool) -> bool:
    """Whether an optimiser's signature matters: a class of others, or arguments that can be read
    at all (the rest is told without asking).
    """
    words = case.words("optimizer_args")
    return all(read(word)[0] for word in words) and (bool(words) or not known)


def read(word: str) -> tuple[str, object]:
    """A pair of optimizer_args as the scripts read it; no key where it cannot be read."""
    key, _, text = word.partition("=")
    if not key or "=" in text or key != key.strip():
        return "", None
    try:
        return key, ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return "", None
