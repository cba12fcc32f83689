"""What dataset commands work on: a recipe or a dataset folder, and what is known from it."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lorakit.cli.terminal.arguments import Arguments
from lorakit.cli.terminal.meant import recipe_path
from lorakit.dataset.buckets import Chooser
from lorakit.dataset.facts import DatasetFacts
from lorakit.dataset.lock import hold_dataset
from lorakit.dataset.scan import scan
from lorakit.errors import RecipeError
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import CAPTION_EXTENSION, Options
from lorakit.recipe.resolve import resolve
from lorakit.show import say


@dataclass(frozen=True)
class Target:
    root: Path  # the dataset folder, absolute
    typed: str  # the recipe or the folder, as whoever asks calls it
    resolved: Resolved | None = None  # None: a folder, so nothing is known beyond what it holds
    reg: Path | None = None

    @cached_property
    def options(self) -> Options | None:
        return Options(self.resolved) if self.resolved else None

    @property
    def trigger(self) -> str:
        return self.resolved.trigger if self.resolved else ""

    @property
    def caption_extension(self) -> str:
        """With its dot, which kohya adds where it is left out."""
        return self.options.caption_extension if self.options else CAPTION_EXTENSION

    @property
    def rules_off(self) -> tuple[str, ...]:
        return tuple(self.options.said("dataset", "rules_off") or ()) if self.options else ()

    def chooser(self) -> Chooser | None:
        """None for a bare folder, or where the settings give no buckets (`plan` says why)."""
        try:
            return Chooser(self.options.bucket_rules) if self.options else None
        except ValueError:
            return None

    def scan(self) -> DatasetFacts:
        return scan(
            self.root,
            reg=self.reg,
            caption_extension=self.caption_extension,
            off=self.rules_off,
            films=self.options is None or self.options.about.films,
            stated=self.options.stated if self.options else {},
        )


def writing(
    args: Arguments, root: Path, command: str, *, when: bool = True
) -> AbstractContextManager[object]:
    """Our turn to write in the dataset; `when` not, nothing is held."""
    if not when:
        return nullcontext()
    return hold_dataset(
        root,
        command,
        wait_s=0 if args.no_wait else -1,
        waiting=lambda owner: say(f"waiting for {owner}..."),
    )


def read_target(text: str, *, new: bool = False) -> Target:
    """A folder as it is, else a recipe. The folder of a `new` dataset need not be there yet."""
    path = Path(text)
    if path.is_dir():
        return Target(path.resolve(), text)
    if new and not path.exists() and path.suffix != ".toml" and len(path.parts) > 1:
        return Target(path.absolute(), text)
    resolved, _faults = resolve(recipe_path(text))
    if "path" not in resolved.dataset:
        hint = 'Say path = "datasets/NAME" there, or give the folder itself.'
        raise RecipeError(f"{text}: no [dataset] path.", hint=hint)
    root = resolved.path_of(str(resolved.dataset["path"].value))
    if not new and not root.is_dir():
        what = f"{root}: no such folder (from {resolved.dataset['path'].source})."
        raise RecipeError(what, hint=f"`lorakit dataset add {text} PHOTOS --repeats 10` makes it.")
    reg = resolved.dataset.get("reg_path")
    return Target(root, text, resolved, resolved.path_of(str(reg.value)) if reg else None)
