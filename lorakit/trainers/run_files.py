"""The texts of a run's files as kohya's scripts and the embedded one read them: train.toml,
dataset.toml, prompts.toml. Nothing is written here, only composed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.options import Option
from lorakit.dataset.buckets import WORDS
from lorakit.dataset.facts import DatasetFacts, SubsetFacts, controls_of, unordered
from lorakit.errors import Fault, LorakitError, RecipeError, counted, few
from lorakit.recipe.model import Section, Setting
from lorakit.recipe.options import Options
from lorakit.toml_text import proven, table_text
from lorakit.trainers.prompt_line import FROM_PICTURES, read_prompt
from lorakit.user_files import Unreadable

FILES = {"image_path", "control_image_path"}
SAMPLE_KEYS = {
    "width": "width",
    "height": "height",
    "steps": "sample_steps",
    "scale": "scale",
    "guidance": "guidance_scale",
    "negative": "negative_prompt",
    "seed": "seed",
}
SMALLEST = 64  # side of a sample
Texts = tuple[dict[str, str], list[Fault]]  # of files by their names; what cannot be said in them


def settings_for(options: Options) -> Section:
    """What the script gets: only options it has, floats where it wants floats, resolution as the
    text it insists on.
    """
    known = options.known
    return {
        key: Setting(_typed(options, known[key], setting.value), setting.source)
        for key, setting in options.resolved.train.items()
        if key in known and setting.value is not None and setting.value != ""
    }


def files(options: Options, settings: Section, facts: DatasetFacts) -> Texts:
    """Of a trainer that reads what sd-scripts reads."""
    faults: list[Fault] = []
    makers: Makers = {"train.toml": lambda: train_toml(options, settings)}
    if not options.folders:
        makers["dataset.toml"] = lambda: dataset_toml(options, facts)
    if options.prompts:
        makers["prompts.toml"] = lambda: prompts_toml(options, faults)
    return composed(makers, faults)


Makers = dict[str, Callable[[], str]]


def composed(makers: Makers, faults: list[Fault]) -> Texts:
    """The texts; one that its reader cannot take is a fault, not an exception."""
    texts: dict[str, str] = {}
    for name, maker in makers.items():
        try:
            texts[name] = maker()
        except RecipeError as error:
            faults += error.faults
    return texts, faults


def train_toml(options: Options, settings: Section) -> str:
    known = options.known
    meant = {key: one.value for key, one in settings.items() if not known[key].of_dataset}
    recipe = options.resolved.file.name
    head = f"# Written by lorakit from {recipe}. Edit the recipe, not this file.\n"
    return proven("train.toml", head + table_text(meant), meant)


def dataset_table(options: Options, resolution: tuple[int, int] | None = None) -> dict[str, Any]:
    """What one [[datasets]] says beside its subsets."""
    rules = options.bucket_rules_at(resolution or options.resolution)
    said = WORDS if rules.enable else ("enable",)
    buckets = {WORDS[name]: getattr(rules, name) for name in said}
    batch_size = options.integer("train_batch_size")
    return {"resolution": list(rules.resolution), "batch_size": batch_size, **buckets}


def dataset_toml(options: Options, facts: DatasetFacts) -> str:
    """Everything explicit: nothing is left to folder names, to the order of a directory listing,
    or to the script's defaults.
    """
    validation: dict[str, Any] = {}
    if (share := options.number("validation_split")) > 0:
        seed = options.integer("validation_seed")
        validation = {"validation_split": share, "validation_seed": seed}
    subsets = [_subset(options, subset) for subset in facts.subsets]
    below = "".join(f"\n[[datasets.subsets]]\n{table_text(subset)}" for subset in subsets)
    datasets = [dataset_table(options, size) | validation for size in options.resolutions]
    text = "\n".join(f"[[datasets]]\n{table_text(dataset)}{below}" for dataset in datasets)
    meant = [{**one, "subsets": subsets} if subsets else one for one in datasets]
    return proven("dataset.toml", text, {"datasets": meant})


def prompts_toml(
    options: Options, faults: list[Fault], renamed: Mapping[str, str] = MappingProxyType({})
) -> str:
    """`renamed`: keys for which its reader has other words."""
    prompts, problems = prompt_tables(options)
    faults += problems
    tables = [{renamed.get(key, key): value for key, value in one.items()} for one in prompts]
    text = "".join(f"\n[[prompt.subset]]\n{table_text(table)}" for table in tables)
    return proven("prompts.toml", f"[prompt]\n{text}", {"prompt": {"subset": tables}})


def prompt_tables(options: Options) -> tuple[list[dict[str, Any]], list[Fault]]:
    """Each prompt with its size, seed and the rest spelt out; prompt options in kohya's own way
    (`--w 512`) are understood.
    """
    width, height = options.resolution
    said = {word: setting.value for word, setting in options.resolved.sample.items()}
    common: dict[str, Any] = {"width": width, "height": height, "seed": options.seed}
    common |= {key: said[word] for word, key in SAMPLE_KEYS.items() if word in said}
    faults: list[Fault] = []
    subsets = []
    for prompt in options.prompts:
        about = options.about
        own, problems = read_prompt(prompt, FROM_PICTURES if about.films or about.controls else {})
        for key in FILES & own.keys():
            own[key] = options.resolved.path_of(own[key]).as_posix()
            own[key] = [own[key]] if key == "control_image_path" else own[key]
        for problem in problems:
            blamed = options.fault("prompts", problem, "", "prompt-option", section="sample")
            faults.append(blamed)
        subset = {"prompt": own.pop("prompt"), **common, **own}
        for side in ("width", "height"):
            if subset[side] < SMALLEST:
                what = f"{subset[side]}: the script would silently use {SMALLEST}."
                hint = f"Write {SMALLEST} or more."
                faults.append(options.fault(side, what, hint, "sample-size", section="sample"))
        subsets.append(subset)
    return subsets, faults


def _subset(options: Options, subset: SubsetFacts) -> dict[str, Any]:
    own, place = dict(options.subset(subset.path.name)), subset.path.absolute().as_posix()
    if subset.metadata:
        metadata = subset.metadata.absolute().as_posix()
        told = {"metadata_file": metadata, "num_repeats": subset.repeats}
        return {"image_dir": place, **own, **told}
    extension = str(own.pop("caption_extension", options.caption_extension))
    table: dict[str, Any] = {
        "image_dir": place,
        "num_repeats": own.pop("num_repeats", subset.repeats),
        "class_tokens": own.pop("class_tokens", subset.class_tokens),
        "caption_extension": extension if extension.startswith(".") else f".{extension}",
    }
    if subset.is_reg:
        table["is_reg"] = True
    if "conditioning_data_dir" in own:  # beside masks the script's schema allows no class tokens
        del table["class_tokens"]
    return {**table, **own}


def _typed(options: Options, option: Option, value: Any) -> Any:
    if option.name == "resolution":
        return ",".join(map(str, options.resolution))
    if isinstance(value, (list, tuple)):
        return [_typed(options, option, item) for item in value]
    if option.type == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


@dataclass(frozen=True)
class Grammar:
    """Of a trainer whose dataset file is not kohya's: what it has no words for."""

    title: str
    word: str  # in the names of rules
    of_a_folder: tuple[str, ...]  # what [dataset.subset.X] may say
    reg: str  # what it makes of regularisation images
    uncaptioned: str  # a picture without a caption file: "would be left out silently"

    def faults(self, options: Options, facts: DatasetFacts) -> Iterator[Fault]:
        if options.folders:
            what = f"{self.title} reads a dataset file of its own, no folders."
            rule, hint = f"{self.word}-folders", 'Set mode = "toml".'
            yield options.fault("mode", what, hint, rule, section="dataset")
        for subset in facts.subsets:
            where, name = str(subset.path), subset.path.name
            if subset.is_reg:
                hint = "Take reg_path out of the recipe."
                yield Fault(where, f"{self.title} {self.reg}.", hint, f"{self.word}-reg")
                continue
            if subset.metadata:
                what, hint = "reads no metadata file", "Write the captions beside the pictures."
                yield Fault(where, f"{self.title} {what}.", hint, f"{self.word}-metadata")
            for key in sorted(options.subset(name).keys() - {*self.of_a_folder}):
                place = f"{options.recipe} [dataset.subset.{name}] {key}"
                hint = f"Of one folder it takes {', '.join(self.of_a_folder)}."
                what = f"{self.title} has no such setting."
                yield Fault(place, what, hint, f"{self.word}-subset")
            if silent := [one for one in subset.images if one.caption_path is None]:
                many = f"{counted(len(silent), 'picture')} without a caption file"
                what = f"{many} {self.uncaptioned}, such as {silent[0].path.name}."
                hint = f"lorakit dataset caption {subset.path.parent.name} writes one for each."
                yield Fault(where, what, hint, f"{self.word}-no-caption")


def control_faults(
    options: Options, subset: SubsetFacts, most: int, *, needed: bool, numbered: bool
) -> Iterator[Fault]:
    """Of each picture what it is made from: at most so many, `numbered` or of its very name."""
    said = options.subset(subset.path.name).get("control_directory")
    where = options.where("control_directory", "dataset")
    pictures = [image.path for image in subset.images]
    if not said:
        if needed:
            what = "is not set, and this model learns to make one picture out of another."
            hint = 'Write control_directory = "datasets/NAME-before", of the same names.'
            yield Fault(where, what, hint, "controls")
        return
    if not most:
        what = "this version of the model takes no control pictures."
        yield Fault(where, what, "Take it out, or name another model_version.", "controls")
    elif not Path(said).is_dir():
        yield Fault(where, f"there is no folder {said}.", "", "controls")
    else:
        found = controls_of(pictures, Path(said), numbered=numbered)
        for rule, what, wrong in (
            ("controls-missing", "without a control picture", lambda _, own: not own),
            ("controls-many", f"with more than {most}", lambda _, own: len(own) > most),
            ("controls-order", "with some that are not numbered _0, _1, ...", unordered),
        ):
            if names := [one.name for one in pictures if wrong(one, found[one])]:
                text = f"{counted(len(names), 'picture')} {what} in {said}: {few(names, 3)}."
                hint = "A control picture has its picture's name, or that and _0, _1."
                yield Fault(str(subset.path), text, hint, rule)


def changed_toml(path: Path, changes: Mapping[str, Any]) -> str:
    """The script's settings with some replaced; None takes one away."""
    import toml  # the library the script reads it with

    try:
        data = tomllib.read(path)
    except Unreadable as error:
        hint = "The run cannot be resumed without its settings."
        raise LorakitError(str(error), hint=hint) from error
    flat = {key: value for key, value in data.items() if not isinstance(value, dict)}
    for table in data.values():
        flat |= table if isinstance(table, dict) else {}
    text: str = toml.dumps(
        {key: value for key, value in {**flat, **changes}.items() if value is not None}
    )
    return text
