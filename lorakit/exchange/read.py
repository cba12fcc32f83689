"""What a THING is, by its contents, and what it says: a config, a command, a LoRA. The one door."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.dataset.facts import parse_folder
from lorakit.errors import refused
from lorakit.exchange import command
from lorakit.exchange.command import NOT_NAMED, Said, Theirs, folder_of_images, options_of
from lorakit.exchange.foreign import family_word, from_gui, from_lora, from_onetrainer, from_toolkit
from lorakit.families import FAMILIES
from lorakit.json_text import leaves
from lorakit.trainers.prompt_line import prompt_line
from lorakit.user_files import Unreadable, read_text

SHELL = (".sh", ".bat", ".ps1", ".cmd", ".txt")
MUSUBI = {"dit", "image_directory", "video_directory", "cache_directory", "dit_high_noise"}
ONE_SIZE = "lorakit has one size for the whole dataset; the first counts."
OF_DATASET = {"batch_size": "train_batch_size"}
EVERYWHERE = {"pretrained_model_name_or_path", "dit", "vae"}
OF_SDXL = ("sdxl", "sd_xl", "pony", "illustrious", "noobai", "animagine")  # in a name


def read_thing(thing: str, folder: Path) -> Theirs:
    """`thing`: a path, or a pasted command. Raises with a sentence for what is none of it."""
    if command.pasted(thing):
        return replace(_from_command(thing, folder, "the command"), folder=folder)
    path = folder / Path(thing).expanduser()
    if path.is_dir():
        inside = [path / "train.sh", *sorted(path.glob("*.toml"))]
        found = next((one for one in inside if one.is_file()), None)
        if found is None:
            hint = "Pictures come in by `lorakit new` and `lorakit dataset add`."
            raise refused(str(path), "holds neither train.sh nor a TOML.", hint)
        path = found
    return replace(_read_file(path), folder=path.parent, stem=path.stem)


def _read_file(path: Path) -> Theirs:
    if path.suffix.lower() in {".safetensors", ".ckpt", ".pt", ".pth"}:
        return from_lora(path)
    text = read_text(path)
    try:
        return _read_text(text, path.suffix.lower(), path)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise Unreadable(path, f"cannot be read: {str(error).splitlines()[0]}.") from error


def _read_text(text: str, suffix: str, path: Path) -> Theirs:
    if suffix in SHELL or text.startswith("#!"):
        return _from_command(text, path.parent, str(path))
    if suffix in {".yaml", ".yml"}:
        data = _yaml(text, path)
    else:
        data = json_text.loads(text) if suffix == ".json" else tomllib.loads(text)
    if not isinstance(data, Mapping) or not data:
        raise refused(str(path), "says nothing that could be a config.")
    if "config" in data and "job" in data:
        return from_toolkit(data)
    if "training_method" in data or ("model_type" in data and "base_model_name" in data):
        return from_onetrainer(data)
    if {"LoRA_type", "max_resolution"} & set(data):
        return from_gui(data)
    return _from_kohya(data, path)


def _yaml(text: str, path: Path) -> Any:
    """By the safe loader. Anchors and tags, which no config needs, have been used for attacks."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            if getattr(event, "anchor", None) or getattr(event, "tag", None):
                what = "has an anchor or a tag (&, *, !), which lorakit does not read."
                at = f"{path}:{event.start_mark.line + 1}"
                raise refused(at, what, "Write the value out.")
        data = yaml.load(text, Loader=loader)  # noqa: S506  (the safe loader, in C)
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(path, f"is not valid YAML: {' '.join(str(error).split())}.") from error
    if json_text.deeper(data):
        raise Unreadable(path, "is nested too deeply.")
    return data


def _from_command(text: str, folder: Path, where: str) -> Theirs:
    if match := command.TOOLKIT.search(text):
        theirs = _read_file(folder / match[1])
        seeds = (Said("SEED", seed[1], "seed") for seed in re.finditer(r"\bSEED=(\d+)", text))
        return replace(theirs, said=(*seeds, *theirs.said))
    said, family = command.read_command(text, where)
    config = {one.key: str(one.value) for one in said}.get("config_file", "")
    theirs = _finished("a training command", [*_included(config, folder), *said], folder)
    if family and family not in FAMILIES:
        family = family_word(family)
    if family in {"", "sd15", "wan22"}:  # a script that several families share
        family = theirs.family or family
    return replace(theirs, family=family)


def _from_kohya(data: Mapping[str, Any], path: Path) -> Theirs:
    if _is_dataset(data):
        return _finished("a dataset config", list(_dataset(data)), path.parent)
    said = list(_flat(data))
    if not {*options_of(""), *MUSUBI} & {one.key for one in said}:
        raise refused(str(path), "holds no setting that lorakit knows.", "Is it a training config?")
    return _finished("a kohya config", said, path.parent)


def _is_dataset(data: Mapping[str, Any]) -> bool:
    datasets = data.get("datasets")
    return _tables(datasets) and all(_tables(one.get("subsets", [])) for one in datasets or ())


def _tables(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _flat(data: Mapping[str, Any]) -> Iterator[Said]:
    """Sections mean nothing to sd-scripts; keys are options."""
    for key, value in data.items():
        for path, one in leaves(value, key):
            inner = path.removeprefix(f"{key}.") if isinstance(value, Mapping) else path
            yield Said(path, one, inner)


def _included(name: str, folder: Path) -> list[Said]:
    """A config that another one names, where it is there."""
    for path in (folder / name, folder / Path(name).name):
        if path.is_file():
            return list(_flat(tomllib.read(path)))
    return []


def _finished(kind: str, said: list[Said], folder: Path) -> Theirs:
    """With the dataset and the prompts that it names, and the family that its words give away."""
    done = list[Said]()
    for one in said:
        done.append(_prompts(one, folder) if one.key == "sample_prompts" else one)
        if one.key in {"dataset_config", "train_data_dir"} and isinstance(one.value, str):
            done += _beside(one.key, one.value, folder)
    keys = {one.key: one.value for one in done}
    if MUSUBI & set(keys):
        kind = kind.replace("kohya", "musubi").replace("a training", "a musubi")
    return Theirs(kind, tuple(done), family_of(keys))


def _beside(key: str, value: str, folder: Path) -> list[Said]:
    path = folder / value
    if key == "dataset_config" and path.is_file():
        data = tomllib.read(path)
        return list(_dataset(data)) if _is_dataset(data) else []
    found = sorted(one.name for one in path.iterdir() if one.is_dir()) if path.is_dir() else []
    for name in found if key == "train_data_dir" else ():
        parsed = parse_folder(name)
        if parsed and parsed.class_tokens:
            return [Said(f"{value}/{name}", name, "trigger", parsed.class_tokens.split()[0])]
    return []


def _prompts(one: Said, folder: Path) -> Said:
    path = folder / str(one.value)
    if not path.is_file():
        return replace(one, key="", why=f"there is no {one.value} to read the prompts from.")
    if path.suffix == ".toml":
        table = tomllib.read(path).get("prompt", {})
        common = {key: value for key, value in table.items() if key != "subset"}
        lines = [prompt_line({**common, **one}) for one in table.get("subset", [])]
    else:
        lines = [line for line in read_text(path).splitlines() if line.strip() and line[0] != "#"]
    return replace(one, key="sample.prompts", meant=lines)


def _dataset(data: Mapping[str, Any]) -> Iterator[Said]:
    """Kohya's dataset file, or musubi's: what subsets share goes to [train]."""
    for key, value in leaves(data.get("general", {})):
        yield Said(f"general.{key}", value, OF_DATASET.get(key, key))
    rest = {key: one for key, one in data.items() if key not in {"general", "datasets"}}
    for key, value in leaves(rest):
        yield Said(key, value, why="sd-scripts does not read it.")
    sizes = _sizes(data.get("datasets", []))
    for number, dataset in enumerate(data.get("datasets", [])):
        at, own = f"datasets.{number}", ("image_directory", "num_repeats")
        musubi = "image_directory" in dataset
        apart = ("subsets", *own) if musubi else ("subsets",)
        for key, value in leaves({key: one for key, one in dataset.items() if key not in apart}):
            name, why = OF_DATASET.get(key, key), ONE_SIZE * bool(number)
            if key == "resolution" and sizes:
                yield Said(f"{at}.{key}", value, "dataset.resolutions", sizes)
                continue
            yield Said(f"{at}.{key}", value, "" if number else name, why=why)
        for index, subset in enumerate(dataset.get("subsets", [])):
            yield from _subset(f"{at}.subsets.{index}", subset)
        if musubi:
            yield from _subset(at, {key: dataset[key] for key in own if key in dataset})


def _sizes(datasets: Sequence[Mapping[str, Any]]) -> list[int]:
    """Several squares, where every folder is trained at each of them."""
    pairs = [
        (str(one.get("image_dir") or one.get("image_directory")), str(dataset.get("resolution")))
        for dataset in datasets
        for one in (dataset.get("subsets") or [dataset])
    ] or [("", "")]
    folders, texts = (dict.fromkeys(found) for found in zip(*pairs, strict=True))
    sizes = [re.findall(r"\d+", text) for text in texts]
    whole = len({*pairs}) == len(folders) * len(texts) and all(len({*one}) == 1 for one in sizes)
    return [int(one[0]) for one in sizes] if whole and len(sizes) > 1 else []


def _subset(at: str, subset: Mapping[str, Any]) -> Iterator[Said]:
    place = str(subset.get("image_dir") or subset.get("image_directory") or "")
    name, reg = Path(place).name, bool(subset.get("is_reg"))
    parsed = parse_folder(name)
    for key, value in leaves(subset):
        source = f"{at}.{key}"
        if "." in key:
            yield Said(source, value, why="a table, where lorakit takes one value.")
        elif key in {"image_dir", "image_directory"}:
            tokens = str(subset.get("class_tokens") or "")
            yield from folder_of_images(source, place, reg=reg, tokens=tokens)
        elif key == "is_reg":
            yield Said(source, value, why="[dataset] reg_path says it.")
        elif reg and not parsed:
            yield Said(source, value, why=NOT_NAMED)
        elif key in {"num_repeats", "class_tokens"} and value == getattr(
            parsed, key.removeprefix("num_"), None
        ):
            yield Said(source, value, why=f"the folder's name says it: {name}.")
        elif key == "caption_extension":
            yield Said(source, value, key)
        else:
            yield Said(source, value, "dataset.subset", {name: {key: value}})


def family_of(said: Mapping[str, Any]) -> str:
    """By the network module, by files that only one family has, by a word in a name, by whose
    options these are; "" where nothing tells.
    """
    module = str(said.get("network_module", ""))
    shared = {"networks.lora", "networks.lora_flux"}
    for name, family in FAMILIES.items():
        if module == family.network_module not in shared:
            old_wan = "task" in said and not re.search("A14B|5B", str(said["task"]))
            return "wan21" if name == "wan22" and old_wan else name
    own = {
        name: {one.option for one in family.weights if one.required} - EVERYWHERE
        for name, family in FAMILIES.items()
    }
    found = [name for name, files in own.items() if files and files <= set(said)]
    if len(found) == 1:
        return found[0]
    text = " ".join(str(value) for value in said.values() if isinstance(value, str)).lower()
    if any(word in text for word in OF_SDXL):
        return "sdxl"
    knows = {name: len(set(said) & set(options_of(name))) for name in FAMILIES}
    best = max(knows, key=lambda name: knows[name])  # the first in our order, where several do
    return best if knows[best] > max(knows["sd15"], knows["sdxl"]) else ""
