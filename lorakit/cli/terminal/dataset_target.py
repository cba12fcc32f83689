"""Every dataset command takes a recipe or a dataset folder: this finds out which, and what is
known from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lorakit.dataset.buckets import BucketRules, Chooser
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.lock import hold_dataset
from lorakit.dataset.stated import Stated
from lorakit.errors import RecipeError
from lorakit.recipe.model import Resolved
from lorakit.show import say


@dataclass(frozen=True)
class Target:
    root: Path  # the dataset folder, absolute
    resolved: Resolved | None  # None: a folder was given, so nothing is known beyond what it holds
    reg: Path | None = None

    @property
    def trigger(self) -> str:
        return self.resolved.trigger if self.resolved else ""

    @property
    def caption_extension(self) -> str:
        """With its dot, which kohya adds where it is left out."""
        from lorakit.recipe.options import CAPTION_EXTENSION, Options

        return Options(self.resolved).caption_extension if self.resolved else CAPTION_EXTENSION

    @property
    def stated(self) -> Mapping[str, Stated]:
        from lorakit.recipe.options import Options

        return Options(self.resolved).stated if self.resolved else {}

    @property
    def rules_off(self) -> tuple[str, ...]:
        setting = self.resolved.dataset.get("rules_off") if self.resolved else None
        return tuple(setting.value) if setting else ()

    @property
    def bucket_rules(self) -> BucketRules | None:
        from lorakit.recipe.options import Options

        return Options(self.resolved).bucket_rules if self.resolved else None

    def chooser(self) -> Chooser | None:
        """The buckets that the recipe's settings give; None for a bare folder, or where they give
        none (`plan` says why).
        """
        try:
            return Chooser(self.bucket_rules) if self.bucket_rules else None
        except ValueError:
            return None

    def scan(self) -> DatasetFacts:
        from lorakit.dataset.scan import scan

        return scan(
            self.root,
            reg=self.reg,
            caption_extension=self.caption_extension,
            off=self.rules_off,
            stated=self.stated,
        )


def add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "target",
        metavar="RECIPE|FOLDER",
        help="a recipe, or the folder that holds the N_trigger folders",
    )


def add_no_wait(parser: argparse.ArgumentParser) -> None:
    about = "end with exit code 1 instead of waiting while another command writes in the dataset"
    parser.add_argument("--no-wait", action="store_true", help=about)


@contextmanager
def writing(args: argparse.Namespace, root: Path, command: str, *, when: bool) -> Iterator[None]:
    """Our turn to write in the dataset; `when` not, nothing is held."""
    turn = hold_dataset(
        root,
        command,
        wait_s=0 if args.no_wait else -1,
        waiting=lambda owner: say(f"waiting for {owner}..."),
    )
    with turn if when else nullcontext():
        yield


def read_target(args: argparse.Namespace, *, must_exist: bool = True) -> Target:
    """A folder is taken as it is; anything else is read as a recipe."""
    path = Path(args.target)
    if path.is_dir():
        return Target(path.resolve(), None)
    from lorakit.cli.terminal.recipe_arguments import recipe_path
    from lorakit.recipe.resolve import resolve

    resolved, _faults = resolve(recipe_path(args.target))
    if "path" not in resolved.dataset:
        raise RecipeError(
            f"{args.target}: no [dataset] path.",
            hint='Say path = "datasets/NAME" there, or give the folder itself.',
        )
    root = resolved.path_of(str(resolved.dataset["path"].value))
    if must_exist and not root.is_dir():
        raise RecipeError(
            f"{root}: no such folder (from {resolved.dataset['path'].source}).",
            hint=f"`lorakit dataset add {args.target} PHOTOS --repeats 10` makes it.",
        )
    reg = resolved.dataset.get("reg_path")
    return Target(root, resolved, resolved.path_of(str(reg.value)) if reg else None)
