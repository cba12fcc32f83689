"""sd-scripts as a `Trainer`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit.errors import Fault
from lorakit.families import FAMILIES
from lorakit.recipe.model import Resolved
from lorakit.recipe.options import Options
from lorakit.trainers import tokenizers
from lorakit.trainers.base import ANEW, Continuation, Paused, Script, Work, saves_after
from lorakit.trainers.checkout import CheckoutTrainer, Located, packages_of
from lorakit.trainers.kohya import rules
from lorakit.trainers.kohya.locate import HOME

WATCHED = ("diffusers", "transformers", "accelerate")  # whose insides the scripts reach into
_PIN = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==([\w.]+)", re.MULTILINE)

# accelerate restores the random states of Python, numpy, torch and CUDA (on a CPU it says that it
# could not, after having done so), but none of Apple's GPU; the data's order is shuffled only after
# each worker has drawn its first batch (library/train_util.py, collator).
FIRST_BATCH = (
    "the first batch of each data worker may be another one; noise and timesteps go on as they"
    " were, except on Apple GPUs"
)


class Kohya(CheckoutTrainer):
    HOME = HOME
    TITLE = HOME.title
    RULES = rules.RULES
    UNCHECKED_LATENTS = MappingProxyType({"sd15": "_sd.npz", "sdxl": "_sdxl.npz"})
    SPLIT_OVERLAPS = True
    PRINTS_MEAN_LOSS = True  # over an epoch, with three digits

    def find(self, family: str) -> Script:
        found = super().find(family)
        located = HOME.locate() if found.found else None
        more = version_faults(located) if located else ()
        return replace(found, faults=(*found.faults, *more))

    def settings(self, resolved: Resolved) -> Iterator[tuple[str, Any, str]]:
        names = FAMILIES[resolved.family].tokenizers
        if names and all(map(tokenizers.provides, names)) and not Options(resolved).flag("v2"):
            place = tokenizers.folder().absolute().as_posix()
            why = "lorakit's own copies, so that nothing is downloaded"
            yield "tokenizer_cache_dir", place, why

    def downloads(self, resolved: Resolved) -> list[str]:
        return tokenizers.missing(resolved)

    def prepare(self, work: Work) -> None:
        """Our copies of the tokenizers, where the run counts on them."""
        if Path(str(work.settings.get("tokenizer_cache_dir"))) == tokenizers.folder():
            tokenizers.ensure(FAMILIES[work.family].tokenizers)

    def continuation(self, at: Paused, settings: Mapping[str, Any]) -> Continuation:
        """Three cases: between two epochs; inside one; inside one with accumulation, where the
        script cannot skip. Read in train_network.py of the pinned commit: the resume code before
        the loop, and the two save rules in it.
        """
        step, total, per_epoch, accumulation = at
        save_every = settings.get("save_every_n_steps")
        epochs_done, inside = divmod(step, per_epoch)
        skips = bool(inside) and accumulation == 1
        offset = step - inside if skips else step
        changes: dict[str, Any] = {
            "initial_step": step,
            "skip_until_initial_step": True if skips else None,
        }
        inexact = [ANEW if inside else FIRST_BATCH]
        if skips:
            inexact.append(
                f"epoch {epochs_done + 1} skips as many batches as were seen, but some of its"
                " images come twice and some not at all"
            )
        elif inside:
            inexact.append(
                f"epoch {epochs_done + 1} begins again with its first image, because with"
                " accumulation the script cannot skip what was seen; epochs end"
                f" {inside} steps later than planned"
            )
        epochs = -(-total // per_epoch)
        begins_again = inside and not skips
        reaches = step + (epochs - epochs_done) * per_epoch if begins_again else epochs * per_epoch
        stop_after = total if reaches > total else 0
        saves = saves_after(save_every, offset, stop_after)
        changes |= saves.changes(save_every)
        return Continuation(
            changes, offset, step, stop_after, saves.phase, (*inexact, *saves.remarks)
        )


def version_faults(located: Located) -> Iterator[Fault]:
    """Whether its environment holds the versions that the checkout was written for."""
    try:
        text = (located.directory / "requirements.txt").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    wanted, found = dict(_PIN.findall(text)), packages_of(located.python)
    for name in WATCHED:
        version, there = wanted.get(name, ""), found.get(name, "")
        if version and there and version.split(".")[:2] != there.split(".")[:2]:
            what = f"{name} {there} is installed; these scripts were written for {version}."
            hint = f"{located.python} -m pip install {name}=={version}"
            yield Fault(str(located.python), what, hint, f"version-{name}", "warning")
