"""Which images are trained on, how often, in which bucket and under which caption: from a dataset
TOML or an `N_trigger` tree.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lorakit.dataset.buckets import BucketRules, Chooser, Placement, UnfitError
from lorakit.dataset.captions.read import read_words
from lorakit.dataset.facts import image_files
from lorakit.dataset.split import hold_out, match_reg
from lorakit.embedded.data.dataset_config import Subset, read_blueprint
from lorakit.errors import Fault, RecipeError, raise_on_errors, refused
from lorakit.pictures.open import RefusedError
from lorakit.pictures.size import read_header
from lorakit.trainers.embedded.options import HOW_MASKS, NO_MASKS
from lorakit.user_files import Unreadable


@dataclass(frozen=True)
class Image:
    path: Path
    subset: Subset
    caption: str  # all lines; the rules choose
    size: tuple[int, int]  # as stored: EXIF orientation is not applied
    placement: Placement
    repeats: int
    mask: Path | None = None

    @property
    def bucket(self) -> tuple[int, int]:
        return self.placement.bucket

    @property
    def masked(self) -> bool:
        return self.mask is not None or self.subset.alpha_mask


@dataclass(frozen=True)
class Dataset:
    batch_size: int
    rules: BucketRules
    subsets: tuple[Subset, ...]
    images: tuple[Image, ...]  # reg images among them
    validation: tuple[Image, ...] = ()

    @property
    def train_count(self) -> int:
        return sum(image.repeats for image in self.images if not image.subset.is_reg)

    @property
    def reg_count(self) -> int:
        """As kohya prints it: the reg images that there are, with their repeats, used or not."""
        reg = [subset for subset in self.subsets if subset.is_reg]
        return sum(len(image_files(one.image_dir)) * one.num_repeats for one in reg)

    @property
    def buckets(self) -> dict[tuple[int, int], list[int]]:
        """Bucket -> indices of images, as often as each repeats; sorted against a disk's order."""
        found: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(self.images):
            found.setdefault(image.bucket, []).extend([index] * image.repeats)
        return dict(sorted(found.items()))


def read_datasets(args: argparse.Namespace, seed: int) -> tuple[Dataset, ...]:
    """Every dataset with its images; raises one error with every fault."""
    faults: list[Fault] = []
    datasets = tuple(_read(blueprint, seed, faults) for blueprint in read_blueprint(args, faults))
    subsets = [subset for dataset in datasets for subset in dataset.subsets]
    if args.masked_loss and not any(s.alpha_mask or s.conditioning_data_dir for s in subsets):
        faults.append(Fault("masked_loss", NO_MASKS, HOW_MASKS))
    for subset in subsets:
        if subset.conditioning_data_dir and not args.masked_loss:
            where = f"{subset.image_dir} conditioning_data_dir"
            faults.append(Fault(where, "needs masked_loss.", "Set masked_loss = true."))
    if not faults and not any(dataset.images for dataset in datasets):
        where = str(args.dataset_config or args.train_data_dir)
        hint = "train_data_dir must be the parent of folders such as 10_trigger."
        faults.append(Fault(where, "holds no images.", hint))
    raise_on_errors(faults)
    return datasets


def _read(blueprint: dict[str, Any], seed: int, faults: list[Fault]) -> Dataset:
    get = blueprint.__getitem__
    rules = BucketRules.said(get("resolution"), blueprint)
    try:
        chooser = Chooser(rules)
    except ValueError as error:
        faults.append(Fault("buckets", str(error)))
        return Dataset(1, rules, (), ())
    subsets: tuple[Subset, ...] = get("subsets")
    split, own_seed = float(get("validation_split")), get("validation_seed")
    train: list[Image] = []
    reg: list[Image] = []
    held_out: list[Image] = []
    for subset in subsets:
        images = _images(subset, chooser, faults)
        if subset.is_reg:
            reg += images
            continue
        kept, held = hold_out(images, split, seed if own_seed is None else own_seed)
        train += kept
        steady = _steady(subset)
        held_out += [replace(image, repeats=1, subset=steady) for image in held]
    repeats = match_reg([one.repeats for one in reg], sum(image.repeats for image in train))
    used = (replace(one, repeats=n) for one, n in zip(reg, repeats, strict=True) if n)
    return Dataset(int(get("batch_size")), rules, subsets, (*train, *used), tuple(held_out))


def _steady(subset: Subset) -> Subset:
    """For validation: nothing by chance."""
    return replace(
        subset,
        flip_aug=False,
        color_aug=False,
        random_crop=False,
        shuffle_caption=False,
        caption_dropout_rate=0.0,
        caption_dropout_every_n_epochs=0,
        caption_tag_dropout_rate=0.0,
        token_warmup_step=0,
    )


def _images(subset: Subset, chooser: Chooser, faults: list[Fault]) -> list[Image]:
    images = []
    for path in image_files(subset.image_dir):
        try:
            size = read_header(path).as_kohya_reads
            caption, placement = _caption(path, subset), chooser.choose(*size)
            mask = _mask(path, subset, size) if subset.conditioning_data_dir else None
            images.append(Image(path, subset, caption, size, placement, subset.num_repeats, mask))
        except (OSError, RefusedError, UnfitError) as error:
            hint = "Take the file out of the folder or fix it."
            faults.append(Fault(str(path), f"{error}.", hint))
        except Unreadable as error:
            faults.append(error.fault)
        except RecipeError as error:
            faults += error.faults
    return images


def _mask(path: Path, subset: Subset, size: tuple[int, int]) -> Path:
    """The picture of the same name in the folder of masks, of the same size."""
    folder = subset.conditioning_data_dir
    assert folder is not None
    found = [one for one in image_files(folder) if one.stem == path.stem] if folder.is_dir() else []
    if not found:
        raise refused(str(path), f"has no mask in {folder}.", f"Expected {folder / path.stem}.png.")
    other = read_header(found[0]).as_kohya_reads
    if other != size:
        what = f"is {other[0]}x{other[1]}, its picture {size[0]}x{size[1]}."
        raise refused(str(found[0]), f"this mask {what}", "Make them equal.")
    return found[0]


def _caption(path: Path, subset: Subset) -> str:
    """The caption file's lines; class tokens where there is no file."""
    file = path.with_suffix(f".{subset.caption_extension.removeprefix('.')}")
    words = read_words(file)
    if words is None:
        return subset.class_tokens or ""
    if words.problem:
        raise refused(str(file), words.problem)
    lines = words.text.split("\n")
    if not subset.enable_wildcard:
        return lines[0].strip()
    return "\n".join(line.strip() for line in lines if line.strip())
