"""train.toml, dataset.toml and prompts.toml in musubi-tuner's own grammar: no subsets, but a
dataset and a cache for each folder.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorakit.dataset.facts import DatasetFacts, SubsetFacts
from lorakit.errors import Fault
from lorakit.recipe.model import Section
from lorakit.recipe.options import Options
from lorakit.toml_text import proven, table_text
from lorakit.trainers import run_files
from lorakit.trainers.musubi import caches

GRAMMAR = run_files.Grammar(
    "musubi-tuner",
    "musubi",
    of_a_folder=("num_repeats", "control_directory", "no_resize_control"),
    reg="knows no regularisation images",
    uncaptioned="would be left out silently",
)
FILMS = frozenset((".mp4", ".webm", ".avi", ".mkv", ".mov"))
RENAMED = {"scale": "cfg_scale", "flow_shift": "discrete_flow_shift"}  # in a prompt's table


def files(
    options: Options, settings: Section, facts: DatasetFacts
) -> tuple[dict[str, str], list[Fault]]:
    faults = [*GRAMMAR.faults(options, facts), *_dataset_faults(facts)]
    run_dir = Path(str(settings["dataset_config"].value)).parent if settings else Path()
    if caches.is_awkward(run_dir):
        what = f"{run_dir} has brackets in it; musubi-tuner takes them for a pattern."
        hint = "Rename the folder: its training would find no caches."
        faults.append(Fault(options.recipe, what, hint, "musubi-brackets"))
    makers: run_files.Makers = {
        "train.toml": lambda: run_files.train_toml(options, settings),
        "dataset.toml": lambda: dataset_toml(options, facts, caches.folder(run_dir)),
    }
    if options.prompts:
        makers["prompts.toml"] = lambda: run_files.prompts_toml(options, faults, RENAMED)
    return run_files.composed(makers, faults)


def dataset_toml(options: Options, facts: DatasetFacts, cache: Path) -> str:
    """Each folder at each resolution is a dataset, with a cache of its own."""
    rules = options.bucket_rules
    general: dict[str, Any] = {
        "caption_extension": options.caption_extension,
        "batch_size": options.batch_size,
        "enable_bucket": rules.enable,
        "bucket_no_upscale": rules.no_upscale,
    }
    tables = [
        _table(options, subset, size, cache)
        for size in options.resolutions
        for subset in facts.subsets
        if not subset.is_reg
    ]
    text = "[general]\n" + table_text(general)
    text += "".join(f"\n[[datasets]]\n{table_text(table)}" for table in tables)
    meant = {"general": general, **({"datasets": tables} if tables else {})}
    return proven("dataset.toml", text, meant)


def _table(
    options: Options, subset: SubsetFacts, size: tuple[int, int], cache: Path
) -> dict[str, Any]:
    own, name = dict(options.subset(subset.path.name)), f"{subset.path.name}-{size[0]}x{size[1]}"
    repeats = own.pop("num_repeats", subset.repeats)
    if "control_directory" in own:
        place = options.resolved.path_of(str(own["control_directory"]))
        own["control_directory"] = place.as_posix()
    return {
        "image_directory": subset.path.absolute().as_posix(),
        "resolution": list(size),
        "cache_directory": (cache / name).absolute().as_posix(),
        "num_repeats": repeats,
        **{key: value for key, value in own.items() if key in GRAMMAR.of_a_folder},
    }


def _dataset_faults(facts: DatasetFacts) -> Iterator[Fault]:
    """What musubi would leave out or mix up silently."""
    for subset in facts.subsets:
        where = str(subset.path)
        if subset.is_reg:
            continue
        planned = {image.path for image in subset.images}
        if unseen := [one for one in caches.pictures(subset.path) if one not in planned]:
            what = f"{unseen[0].name} would be trained, and lorakit does not read it."
            yield Fault(where, what, "Convert it to .png, or take it out.", "musubi-unseen")
        if films := sorted(one.name for one in subset.path.iterdir() if one.suffix in FILMS):
            what = f"{films[0]} is a film, and lorakit plans with pictures only: it would be left"
            hint = "Take it out, or put some of its frames there as pictures."
            yield Fault(where, f"{what} out silently.", hint, "musubi-film")
        twins = Counter(image.path.stem for image in subset.images)
        for stem in sorted(stem for stem, count in twins.items() if count > 1):
            what = (
                f"{stem} is there twice; both would share one cache, and one of them would train."
            )
            yield Fault(where, what, "Rename one of them.", "musubi-twins")
