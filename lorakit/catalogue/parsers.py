"""Every option of every LoRA script, read out of a checkout of sd-scripts or musubi-tuner.

Only the functions that set up the argument parsers are run, cut out of the source by `ast`: no
torch, nothing of the checkout is imported. Every other name in those files is a stub, and a stub
that reaches an option is a ValueError. Help texts are not copied.
"""

import argparse
import ast
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lorakit.catalogue.ai_toolkit import read_ai_toolkit
from lorakit.catalogue.networks import read_networks
from lorakit.families import run_by

SCRIPTS = tuple(family.script for family in run_by("kohya").values())
MUSUBI = dict.fromkeys(
    family.script.removesuffix("_train_network.py") for family in run_by("musubi").values()
)
MUSUBI_SCRIPTS = tuple(
    f"{family}_{part}.py"
    for part in ("train_network", "cache_latents", "cache_text_encoder_outputs")
    for family in MUSUBI
)
# What a musubi recipe says in kohya's words and lorakit writes into dataset.toml instead.
MUSUBI_DATASET: Mapping[str, Mapping[str, Any]] = {
    "train_batch_size": {"type": "int", "default": 1},
    "resolution": {"type": "str"},
    "enable_bucket": {"type": "bool", "default": False},
    "bucket_no_upscale": {"type": "bool", "default": False},
    "caption_extension": {"type": "str", "default": None},
}
TYPES: dict[object, str] = {None: "str", str: "str", Path: "str", int: "int", float: "float"}
# The scripts' own converters, by name.
NAMED_TYPES = {"int_or_float": "number", "_int_or_float": "number"}
KEPT: dict[str, Any] = {
    "argparse": argparse,
    "pathlib": SimpleNamespace(Path=Path),
    "accelerate.utils": SimpleNamespace(DynamoBackend=()),  # choices that are accelerate's to know
}
PLAIN: dict[str, Any] = {"type": "str", "many": False, "choices": [], "default": None}


class Stub:
    """Stands for anything the parser set-up does not need: attributes and calls give more of it."""

    def __getattr__(self, name: str) -> "Stub":
        return Stub()

    def __call__(self, *_: Any, **__: Any) -> "Stub":
        return Stub()


class ParserSource:
    """The modules of a checkout, cut down to their functions, imports and literal constants."""

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout
        self.loaded: dict[str, SimpleNamespace] = {}

    def module(self, dotted: str) -> Any:
        if dotted in KEPT:
            return KEPT[dotted]
        path = self.checkout / (dotted.replace(".", "/") + ".py")
        inside = path.with_suffix("") / "__init__.py"
        path = inside if inside.is_file() and inside.stat().st_size else path
        if not path.is_file():
            return self.package(dotted) if path.with_suffix("").is_dir() else Stub()
        if dotted not in self.loaded:
            module = self.loaded[dotted] = SimpleNamespace()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their escapes are not ours to judge
                tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            self.fill(vars(module), tree)
        return self.loaded[dotted]

    def package(self, dotted: str) -> SimpleNamespace:
        names = (file.stem for file in (self.checkout / dotted.replace(".", "/")).glob("*.py"))
        return SimpleNamespace(**{name: Lazy(self, f"{dotted}.{name}") for name in names})

    def fill(self, names: dict[str, Any], tree: ast.Module) -> None:
        names["__builtins__"] = __builtins__
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                node.decorator_list = []
                code = ast.parse("from __future__ import annotations")
                code.body.append(node)
                exec(compile(code, node.name, "exec"), names)  # noqa: S102  (defines the function; its body runs only if a parser needs it)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    module = self.module(alias.name if alias.asname else first)
                    names[alias.asname or first] = module
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    names[alias.asname or alias.name] = self.member(node.module or "", alias.name)
            elif isinstance(node, ast.ClassDef):
                names[node.name] = Stub()
            elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        names[target.id] = literal(node.value)

    def member(self, module: str, name: str) -> Any:
        path = self.checkout / module.replace(".", "/")
        if (path / f"{name}.py").is_file():
            return Lazy(self, f"{module}.{name}")
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return Lazy(self, module, name)
        return getattr(KEPT[module], name, Stub()) if module in KEPT else Stub()


class Lazy:
    """A module or a member of one, looked up when it is used: the files import each other in
    circles.
    """

    def __init__(self, source: ParserSource, module: str, name: str = "") -> None:
        self.__dict__.update(_source=source, _module=module, _name=name)

    def _target(self) -> Any:
        module = self._source.module(self._module)
        return getattr(module, self._name) if self._name else module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._target()(*args, **kwargs)


def literal(node: ast.expr) -> Any:
    """Of a table whose values are made by calls, the keys alone."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {key.value: Stub() for key in node.keys if isinstance(key, ast.Constant)}
    return Stub()


def entry(action: argparse.Action) -> dict[str, Any]:
    """One option as the catalogue says it."""
    flag = action.nargs == 0
    named = NAMED_TYPES.get(getattr(action.type, "__name__", ""))
    kind = "bool" if flag else TYPES.get(action.type) or named
    found = {
        "type": kind,
        "many": not flag and action.nargs in {"*", "+"},
        "choices": list(action.choices or ()),
        "default": action.default,
    }
    plain = (str, int, float, bool, list, type(None))
    values = (found["default"], *found["choices"])
    if kind is None or not all(isinstance(value, plain) for value in values):
        what = f"{action.option_strings}: cannot be described: {found}."
        raise ValueError(f"{what} Teach {__name__} about it.")
    return found


def main_parser(source: ParserSource, dotted: str) -> argparse.ArgumentParser:
    """The parser that a script's main() puts together, for scripts without one function for it."""
    file = source.checkout / (dotted.replace(".", "/") + ".py")
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    functions = (one for one in tree.body if isinstance(one, ast.FunctionDef))
    body = next(one.body for one in functions if one.name == "main")
    steps = [one for one in body if isinstance(one, (ast.Assign, ast.Expr))]
    names = dict(vars(source.module(dotted)))
    for step in steps:
        words = ast.unparse(step)
        if "parse_args" in words:
            break
        if "parser" in words:
            exec(words, names)  # noqa: S102  (one line of theirs that sets the parser up)
    found: argparse.ArgumentParser = names["parser"]
    return found


def parser_options(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    return {action.dest: entry(action) for action in parser._actions if action.dest != "help"}  # noqa: SLF001  (argparse offers no list)


def read_catalogue(checkout: Path, commit: str = "") -> dict[str, Any]:
    """The catalogue of an sd-scripts checkout. A script that it has not is left out."""
    source = ParserSource(checkout)
    scripts = {
        script: parser_options(source.module(script[:-3]).setup_parser())
        for script in SCRIPTS
        if (checkout / script).is_file()
    }
    return {**_catalogue(scripts, commit), "networks": read_networks(checkout / "networks")}


def read_musubi(checkout: Path, commit: str = "") -> dict[str, Any]:
    source = ParserSource(checkout / "src")
    place = checkout / "src" / "musubi_tuner"
    scripts = {
        script: parser_options(main_parser(source, f"musubi_tuner.{script[:-3]}"))
        for script in MUSUBI_SCRIPTS
        if (place / script).is_file()
    }
    return {**_catalogue(scripts, commit), "dataset": MUSUBI_DATASET}


READERS = {"kohya": read_catalogue, "musubi": read_musubi, "ai-toolkit": read_ai_toolkit}


def _catalogue(scripts: Mapping[str, dict[str, dict[str, Any]]], commit: str) -> dict[str, Any]:
    """`options` holds each name once; `overrides` what a script says differently."""
    shared: dict[str, dict[str, Any]] = {}
    for options in scripts.values():
        for name, option in options.items():
            shared.setdefault(name, option)
    overrides = {
        script: {
            name: {key: option[key] for key in PLAIN if option[key] != shared[name][key]}
            for name, option in sorted(options.items())
            if option != shared[name]
        }
        for script, options in scripts.items()
    }
    short = {
        name: {
            key: value
            for key, value in shared[name].items()
            if key == "type" or value != PLAIN[key]
        }
        for name in sorted(shared)
    }
    return {
        "commit": commit,
        "options": short,
        "scripts": {script: sorted(options) for script, options in scripts.items()},
        "overrides": {script: changed for script, changed in overrides.items() if changed},
    }
