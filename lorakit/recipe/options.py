"""One typed view of a resolved recipe: every training option as the script will see it, the
catalogue's default where no layer sets it, and the few facts that follow from several options.

A value of the wrong type was reported before, and reads as if it were not set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lorakit.catalogue.options import DEFAULT_RANK, Option, options
from lorakit.dataset.buckets import CROP_LIMIT, BucketRules
from lorakit.dataset.facts import Stated
from lorakit.dataset.films import FilmRules
from lorakit.errors import Fault, Severity
from lorakit.families import FAMILIES
from lorakit.families.family import Family
from lorakit.files import below
from lorakit.recipe.model import Resolved, Section, Setting
from lorakit.recipe.schema import CONTROLS, FILMS

CAPTION_EXTENSION = ".txt"  # the script's own default is .caption, which nobody writes
SEED = 42  # written into every run: without one each process takes its own


@dataclass(frozen=True)
class Options:
    """Keys are kohya's names, in [train] unless a section is named."""

    resolved: Resolved

    @property
    def family(self) -> str:
        return self.resolved.family

    @property
    def about(self) -> Family:
        return FAMILIES[self.family].by(self.resolved.trainer)

    @cached_property
    def known(self) -> Mapping[str, Option]:
        return options(self.resolved.trainer, self.about.script)

    def is_set(self, key: str) -> bool:
        """Whether any layer sets it; an empty text sets nothing."""
        return self._set(key) is not None

    def _set(self, key: str) -> Setting | None:
        setting = self.resolved.train.get(key)
        return setting if setting and setting.value != "" else None

    def default(self, key: str) -> Any:
        option = self.known.get(key)
        return option.default if option else None

    def value(self, key: str) -> Any:
        """As it is set, of whatever type; else the script's own default."""
        setting = self._set(key)
        return setting.value if setting else self.default(key)

    def flag(self, key: str) -> bool:
        """Neither false nor 0 nor empty."""
        return bool(self.value(key))

    def integer(self, key: str) -> int:
        """0 where nothing is set and the script has no number of its own."""
        return self.maybe_integer(key) or 0

    def maybe_integer(self, key: str) -> int | None:
        value = self._typed(key, int)
        return None if value is None else int(value)

    def number(self, key: str) -> float:
        return self._typed(key, int, float) or 0.0

    def text(self, key: str) -> str:
        return self._typed(key, str) or ""

    def words(self, key: str) -> tuple[str, ...]:
        """A list option as texts: network_args and its like."""
        return tuple(map(str, self._typed(key, list, tuple) or ()))

    def arguments(self, key: str) -> dict[str, str]:
        """network_args and optimizer_args as the script reads them: split at the first `=`."""
        pairs = (word.partition("=") for word in self.words(key))
        return {name.strip(): value for name, _, value in pairs}

    def said(self, section: str, key: str) -> Any:
        """The value of a key in another section, or None."""
        setting = self.section(section).get(key)
        return setting.value if setting else None

    def section(self, name: str) -> Section:
        found: Section = getattr(self.resolved, name)
        return found

    def launch(self, key: str, default: int = 0) -> int:
        """An integer from [launch]."""
        value: int | None = self.said("launch", key)
        return default if value is None else value

    def _typed(self, key: str, *kinds: type) -> Any:
        setting = self._set(key)
        for value in ([setting.value] if setting else []) + [self.default(key)]:
            if isinstance(value, kinds) and not isinstance(value, bool):
                return value
        return None

    # Where a setting stands, and what is wrong with it.

    @property
    def recipe(self) -> str:
        """The recipe as people name it: from the project's root."""
        return below(self.resolved.file, self.resolved.root)

    def where(self, key: str, section: str = "train") -> str:
        """Where a setting was set, or would be."""
        setting = self.section(section).get(key)
        return f"{setting.source if setting else self.recipe} [{section}] {key}"

    def fault(
        self,
        key: str,
        what: str,
        hint: str = "",
        rule: str = "",
        severity: Severity = "error",
        *,
        section: str = "train",
    ) -> Fault:
        return Fault(self.where(key, section), what, hint, rule, severity, section, key)

    def everywhere(self, key: str) -> Iterator[tuple[str, Any]]:
        """The setting in [train] and in each [dataset.subset.*], each with where it stands."""
        if self.flag(key):
            yield self.where(key), self.value(key)
        subsets = self.resolved.dataset.get("subset")
        for folder in self.subsets:
            own = self.subset(folder)
            if subsets and own.get(key):
                yield f"{subsets.source} [dataset.subset.{folder}] {key}", own[key]

    def anywhere(self, key: str) -> bool:
        return any(True for _ in self.everywhere(key))

    # What follows from several options.

    @property
    def subsets(self) -> Mapping[str, Mapping[str, Any]]:
        return self.said("dataset", "subset") or {}

    def subset(self, folder: str) -> Mapping[str, Any]:
        """Of [dataset.subset.FOLDER]; about films and control pictures, of [dataset] too."""
        every = self.resolved.dataset.items()
        common = {key: one.value for key, one in every if key in {*FILMS, *CONTROLS}}
        found = {**common, **self.subsets.get(folder, {})}
        if place := found.get("control_directory"):
            found["control_directory"] = self.resolved.path_of(place).as_posix()
        return found

    def film_rules(self, folder: Path) -> FilmRules:
        return FilmRules.said(self.subset(folder.name))

    @property
    def stated(self) -> Mapping[str, Stated]:
        """The folders of which [dataset.subset] says what a name like 10_trigger would."""
        found: dict[str, Stated] = {}
        for folder in self.subsets:
            own = self.subset(folder)
            repeats, metadata = own.get("num_repeats"), own.get("metadata_file")
            if repeats is None and metadata is None:
                continue
            found[folder] = Stated(
                1 if repeats is None else repeats,
                own.get("class_tokens") or self.resolved.trigger,
                self.resolved.path_of(metadata) if metadata else None,
                own.get("caption_separator") or self.text("caption_separator") or ",",
            )
        return found

    @property
    def resolution(self) -> tuple[int, int]:
        """The largest, where there are several."""
        return max(self.resolutions, key=lambda size: size[0] * size[1])

    @property
    def resolutions(self) -> tuple[tuple[int, int], ...]:
        """Every image is trained at each: those of [dataset] resolutions, or the one of [train]."""
        sides = self.said("dataset", "resolutions")
        return tuple((side, side) for side in sides) if sides else (self._resolution,)

    @property
    def _resolution(self) -> tuple[int, int]:
        """Width and height; the family's usual square where none is set or it cannot be read."""
        value = self.value("resolution")
        parts = value.split(",") if isinstance(value, str) else value
        try:
            sides = [int(part) for part in (parts if isinstance(parts, (list, tuple)) else [parts])]
        except (TypeError, ValueError):
            sides = []
        if len(sides) not in (1, 2):
            sides = [self.about.default_resolution]
        return sides[0], sides[-1]

    @property
    def folders(self) -> bool:
        """Folder mode: kohya's script reads the folders itself, without a dataset file."""
        return bool(self.said("dataset", "mode") == "folders")

    @property
    def bucket_rules(self) -> BucketRules:
        return self.bucket_rules_at(self.resolution)

    def bucket_rules_at(self, resolution: tuple[int, int]) -> BucketRules:
        enable = self.flag("enable_bucket")
        if self.known and "bucket_reso_steps" not in self.known:  # musubi-tuner's are its own
            step, no_upscale = self.about.bucket_step, enable and self.flag("bucket_no_upscale")
            return BucketRules(resolution, enable, step=step, no_upscale=no_upscale, by_area=True)
        return BucketRules(
            resolution=resolution,
            enable=enable,
            min=self.integer("min_bucket_reso"),
            max=self.integer("max_bucket_reso"),
            step=self.integer("bucket_reso_steps"),
            no_upscale=self.flag("bucket_no_upscale"),
        )

    @property
    def crop_limit(self) -> float:
        """The share of a picture that its bucket may cut off: [dataset] rules."""
        limit = (self.said("dataset", "rules") or {}).get("crop_limit")
        return limit if isinstance(limit, (int, float)) else CROP_LIMIT

    @property
    def caption_extension(self) -> str:
        """With its dot, which kohya adds where it is left out."""
        extension: str = self.said("dataset", "caption_extension") or CAPTION_EXTENSION
        return extension if extension.startswith(".") else f".{extension}"

    @property
    def prompts(self) -> tuple[str, ...]:
        return tuple(filter(None, self.said("sample", "prompts") or ()))

    @property
    def batch_size(self) -> int:
        return max(1, self.integer("train_batch_size"))

    @property
    def accumulation(self) -> int:
        return max(1, self.integer("gradient_accumulation_steps"))

    @property
    def processes(self) -> int:
        return max(1, self.launch("processes", 1))

    @property
    def seed(self) -> int:
        seed = self.maybe_integer("seed")
        return SEED if seed is None else seed

    @property
    def rank(self) -> int:
        rank = self.maybe_integer("network_dim")
        return DEFAULT_RANK if rank is None else rank

    @property
    def network_module(self) -> str:
        return self.text("network_module") or self.about.network_module

    @property
    def output_name(self) -> str:
        return self.text("output_name") or self.resolved.name

    @property
    def token_limit(self) -> int:
        """How many tokens of a caption CLIP reads; 0 for families that read it otherwise."""
        return 0 if self.about.flow else self.integer("max_token_length") or 75

    @property
    def precision(self) -> str:
        return self.text("mixed_precision") or "no"

    @property
    def caches_latents(self) -> bool:
        return self.flag("cache_latents") or self.flag("cache_latents_to_disk")

    @property
    def caches_text(self) -> bool:
        key = "cache_text_encoder_outputs"
        return self.flag(key) or self.flag(f"{key}_to_disk")

    @property
    def fp8(self) -> bool:
        return self.flag("fp8_base") or self.flag("fp8_base_unet")
