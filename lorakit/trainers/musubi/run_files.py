"""train.toml, dataset.toml and prompts.toml in musubi-tuner's own grammar: no subsets, but a
dataset and a cache for each folder.
"""

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorakit.dataset.facts import DatasetFacts, SubsetFacts
from lorakit.errors import Fault
from lorakit.recipe import schema
from lorakit.recipe.model import Section
from lorakit.recipe.options import Options
from lorakit.toml_text import proven, table_text
from lorakit.trainers import run_files
from lorakit.trainers.musubi import caches

GRAMMAR = run_files.Grammar(
    "musubi-tuner",
    "musubi",
    of_a_folder=("num_repeats", *schema.FILMS, *schema.CONTROLS),
    reg="knows no regularisation images",
    uncaptioned="would be left out silently",
)
# How many control pictures a version takes for each picture.
CONTROLS = {"original": 0, "layered": 0, "edit": 1}
RENAMED = {"scale": "cfg_scale", "flow_shift": "discrete_flow_shift"}  # in a prompt's table


def files(options: Options, settings: Section, facts: DatasetFacts) -> run_files.Texts:
    faults = [*GRAMMAR.faults(options, facts), *_dataset_faults(options, facts)]
    run_dir = Path(str(settings["dataset_config"].value)).parent if settings else Path()
    if glob.escape(str(run_dir)) != str(run_dir):
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
        _table(options, subset, size, cache, films=films)
        for size in options.resolutions
        for subset in facts.trained
        for films in (False, True)
        if any(bool(image.frames) == films for image in subset.images)
    ]
    text = "[general]\n" + table_text(general)
    text += "".join(f"\n[[datasets]]\n{table_text(table)}" for table in tables)
    meant = {"general": general, **({"datasets": tables} if tables else {})}
    return proven("dataset.toml", text, meant)


def _table(
    options: Options, subset: SubsetFacts, size: tuple[int, int], cache: Path, *, films: bool
) -> dict[str, Any]:
    name, kind = subset.path.name, "video" if films else "image"
    place = cache / f"{name}-{size[0]}x{size[1]}{'-films' * films}"
    own = {"num_repeats": subset.repeats, **options.subset(name)}
    if sides := own.get("control_resolution"):
        own["control_resolution"] = [sides[0], sides[-1]]
    words = {"num_repeats", *(schema.FILMS if films else schema.CONTROLS)}
    return {
        f"{kind}_directory": subset.path.absolute().as_posix(),
        "resolution": list(size),
        "cache_directory": place.absolute().as_posix(),
        **{key: value for key, value in own.items() if key in words},
    }


def _dataset_faults(options: Options, facts: DatasetFacts) -> Iterator[Fault]:
    """What musubi would leave out or mix up silently."""
    version, i2v = options.text("model_version"), options.text("task").startswith("i2v")
    prompts, _ = run_files.prompt_tables(options)
    if i2v and not all("image_path" in prompt for prompt in prompts):
        what = "without a first frame: image to video draws from one."
        hint = 'Write "PROMPT --i pictures/first.png".'
        yield options.fault("prompts", what, hint, "musubi-i2v-prompt", section="sample")
    for subset in facts.trained:
        films = [image for image in subset.images if image.frames]
        one_frame = 1 in options.film_rules(subset.path).target_frames
        lone = [image for image in subset.images if one_frame or not image.frames]
        if i2v and lone:
            what = f"{lone[0].path.name} is one frame: image to video learns those behind it."
            hint = "Take films, with target_frames from 5 on."
            yield Fault(str(subset.path), what, hint, "musubi-i2v-frames")
        if films and options.batch_size > 1 and not options.bucket_rules.enable:
            what = "films are cached in buckets, and without them batches do not fit together."
            yield options.fault("enable_bucket", what, "Write true.", "musubi-film-buckets")
        if options.about.controls:
            kontext = options.family == "flux_kontext"
            most = 1 if kontext else CONTROLS.get(version, 9)
            needed = kontext or version.startswith("edit")
            yield from run_files.control_faults(options, subset, most, needed=needed, numbered=True)
