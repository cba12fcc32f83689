"""What commands take: each kind of argument is one line, and what many share is said once."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lorakit.files import at_home

Arguments = argparse.Namespace
A_RECIPE = "a recipe file, or the bare name of one in recipes/"
A_RUN = "name, date, path or latest"
A_DATASET = "a recipe, or the folder that holds the N_trigger folders"


class Parser(argparse.ArgumentParser):
    """Without abbreviations: `--set` must never turn into `--settings`."""

    def __init__(self, **how: Any) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(allow_abbrev=False, formatter_class=form, **how)

    def value(self, names: str, metavar: str, about: str = "", **how: Any) -> None:
        """By its name, or at its place where the name has no dashes. Text not given is empty."""
        how = how if "type" in how or names[0] != "-" else {"default": "", **how}
        self.add_argument(*names.split(), metavar=metavar, help=about, **how)

    def path(self, names: str, metavar: str, about: str = "", **how: Any) -> None:
        self.value(names, metavar, about, type=_path, **how)

    def number(self, names: str, metavar: str, about: str = "", **how: Any) -> None:
        self.value(names, metavar, about, type=int, **how)

    def choice(self, name: str, known: Iterable[str], about: str = "", **how: Any) -> None:
        self.add_argument(name, choices=list(known), help=about, **how)

    def many(self, name: str, metavar: str, about: str = "", **how: Any) -> None:
        self.value(name, metavar, about, action="append", default=[], **how)

    def flag(self, names: str, about: str, **how: Any) -> None:
        self.add_argument(*names.split(), action="store_true", help=about, **how)

    def json(self, about: str = "one JSON document") -> None:
        self.flag("--json", about)

    def run(self) -> None:
        about = "name, NAME/DATE, the beginning of a date, path or latest (the default)"
        self.value("run", "RUN", about, nargs="?", default="latest")

    def recipe(self) -> None:
        self.value("recipe", "RECIPE", A_RECIPE)
        self.overrides()

    def recipes(self) -> None:
        self.value("recipes", "RECIPE", A_RECIPE, nargs="+")
        self.overrides()

    def overrides(self) -> None:
        about = "last word on one key, such as network_dim=16 or model.base=models/x; repeatable"
        self.many("--set", "KEY=VALUE", about, dest="sets")
        about = "remove a key that the preset or the recipe sets; repeatable"
        self.many("--unset", "KEY", about, dest="unsets")

    def sweep(self) -> None:
        self.value("sweep", "NAME", "default: the newest", nargs="?", default="")

    def machine(self, name: str, metavar: str, about: str) -> None:
        self.value(name, metavar, about, dest="machine", type=_machine)

    def dataset(self, about: str = A_DATASET, **how: Any) -> None:
        self.value("target", "RECIPE|FOLDER", about, **how)

    def no_wait(self) -> None:
        about = "end with exit code 1 instead of waiting while another command writes in the"
        self.flag("--no-wait", f"{about} dataset")

    def parsed(self, words: Sequence[str]) -> Arguments:
        """Options and names in any order: `note RUN --rating 4 "the ears are good"`."""
        if "--" in words:  # nothing after it is an option; intermixed parsing would lose that
            return self.parse_args(words)
        try:
            return self.parse_intermixed_args(words)
        except TypeError:  # argparse raises it for a parser with subcommands, which cannot mix
            return self.parse_args(words)

    def error(self, message: str) -> NoReturn:
        """Tells whoever writes --epochs 5 how a setting of the recipe is written."""
        from lorakit.show import harmless

        unknown = message.startswith("unrecognized arguments: --")
        if unknown and "--set" in self._option_string_actions:
            message += "\nA setting of the recipe is written --set KEY=VALUE."
        super().error(harmless(message))


def _path(text: str) -> Path:
    return at_home(Path(text))


def _machine(text: str) -> Any:
    from lorakit.machine import machine_named

    try:
        return machine_named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
