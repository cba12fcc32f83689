"""Completion in the shell: commands, options, recipes, presets, runs, sweeps.

eval "$(lorakit completions bash)"         # in ~/.bashrc
eval "$(lorakit completions zsh)"          # in ~/.zshrc, after compinit

Where lorakit knows no word, the shell completes names of files.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lorakit import cli
from lorakit.cli.main import module_of, parser_for
from lorakit.cli.terminal.arguments import Arguments, Parser
from lorakit.recipe import presets
from lorakit.runs.find import run_dirs, run_name
from lorakit.show import print_text

SHELLS = ("bash", "zsh")


def add_arguments(parser: Parser) -> None:
    parser.choice("shell", (*SHELLS, "words"))
    parser.value("words", "WORD", "as far as they are typed, for `words`", nargs="*")


def run(args: Arguments) -> None:
    if args.shell in SHELLS:
        path = Path(__file__).with_suffix(f".{args.shell}")
        print_text(path.read_text(encoding="utf-8"), end="")
    else:
        print_text("\n".join(sorted(set(completed(args.words)))))


def completed(words: Sequence[str]) -> list[str]:
    """What the last word may become."""
    *before, begun = words or [""]
    group, known = cli, list(cli.COMMANDS)
    while before:
        name, *before = before
        if name not in group.COMMANDS:
            return []
        module = module_of(group, name)
        if not hasattr(module, "COMMANDS"):
            known = list(_of_parser(parser_for("lorakit", module), before, begun))
            break
        group, known = module, list(module.COMMANDS)
    return [word for word in known if word.startswith(begun)]


def _of_parser(parser: Parser, before: Sequence[str], begun: str) -> Iterable[str]:
    options = {name: one for one in parser._actions for name in one.option_strings}  # noqa: SLF001
    if before and (taking := options.get(before[-1])) and taking.nargs != 0:
        return _values(taking)
    if begun.startswith("-"):
        return options
    return [word for one in parser._actions if not one.option_strings for word in _values(one)]  # noqa: SLF001


def _values(action: argparse.Action) -> Iterable[str]:
    if action.choices:
        return map(str, action.choices)
    return KINDS.get(action.dest, list)()


def _recipes() -> Iterable[str]:
    return (one.stem for one in Path("recipes").glob("*.toml") if ".lock" not in one.suffixes)


def _runs() -> Iterable[str]:
    return ("latest", *(word for one in run_dirs() for word in (one.parent.name, run_name(one))))


KINDS: dict[str, Callable[[], Iterable[str]]] = {  # by what an argument is called
    **dict.fromkeys(("recipe", "recipes", "target"), _recipes),
    **dict.fromkeys(("run", "runs"), _runs),
    "on": lambda: ("slurm", "sky", "ssh:"),
    "preset": lambda: presets.names(Path.cwd()),
    "sweep": lambda: (one.parent.name for one in Path("sweeps").glob("*/sweep.json")),
}
