"""The files of kohya_ss's window, ai-toolkit and OneTrainer, and a LoRA's metadata, in kohya's
words: by words.toml, and the few values that need more than a table.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from lorakit import json_text, tomllib
from lorakit.catalogue.ai_toolkit import PLACES
from lorakit.catalogue.options import sections
from lorakit.dataset.facts import parse_folder
from lorakit.exchange.command import (
    Said,
    Theirs,
    folder_of_images,
    number_in,
    options_in,
    options_of,
)
from lorakit.families import FAMILIES, run_by
from lorakit.json_text import leaves
from lorakit.trainers.ai_toolkit.config_file import GRAMMAR, PROMPT
from lorakit.trainers.prompt_line import prompt_line
from lorakit.weights.keys import read_lora
from lorakit.weights.lora_facts import trigger_of

NAME = "ai-toolkit"
HISTORY = "it tells how the training went, not how to train."
WORDS = tomllib.page(__file__, "words.toml")


def family_word(text: str) -> str:
    """The family that another program's word means; its own word where we know none."""
    return next((ours for word, ours in WORDS["family"].items() if word in text), text)


def from_gui(data: Mapping[str, Any]) -> Theirs:
    kind = str(data.get("LoRA_type") or "Standard")
    network = re.split("[/ ]", kind)[0]
    arguments = WORDS["network"].get(network if network != "LoCon" else "LyCORIS", ())
    said, module = list[Said](), "lycoris.kohya" if "Ly" in kind or kind == "LoCon" else ""
    boxes = {"flux1_checkbox": "flux", "sd3_checkbox": "sd3", "lumina_checkbox": "lumina"}
    boxes |= {"anima_checkbox": "anima", "sdxl": "sdxl"}
    family = next((one for box, one in boxes.items() if data.get(box)), "")
    others = {word for kind in WORDS["network"].values() for word in kind} - {*arguments}
    steps = number_in(data.get("max_train_steps"))
    for key, value in leaves(data):
        unset = str(value) in {"", "0", "0.0", "None", "none", "False", "[]"}
        if key == "LoRA_type":
            why = "" if module else "the family's own network module says it."
            said.append(Said(key, value, "network_module" * bool(module), module, why))
            algorithm = re.split("[/ ]", kind.lower().replace("native", "full"))[-1]
            said += [Said(key, value, "network_args", [f"algo={algorithm}"])] if module else []
        elif key in boxes:
            said.append(Said(key, value, why="the recipe's family says it."))
        elif unset:
            said.append(Said(key, value, why="kohya_ss hands on nothing that is empty or 0."))
        elif key.startswith(("sdxl_", "flux1_")) and not key.startswith(family or "sd15"):
            said.append(Said(key, value, why="it counts for another family alone."))
        elif key in others:
            said.append(Said(key, value, why="it belongs to another kind of LoRA."))
        elif key == "lr_warmup" and data.get("lr_scheduler") == "constant":
            said.append(Said(key, value, why="a constant schedule has no warm-up."))
        elif key == "lr_warmup" and number_in(value) is not None:
            share = (number_in(value) or 0) / 100
            said.append(Said(key, value, "lr_warmup_steps", share, "a percentage there"))
        elif key == "epoch" and steps:
            said.append(Said(key, value, why="max_train_steps is set too, and counts."))
        elif key in arguments:
            said.append(Said(key, value, "network_args", [f"{key}={value}"]))
        elif key == "xformers":
            word = "sdpa" if value == "sdpa" else "xformers"
            said.append(Said(key, value, word, meant=True))
        elif key == "sample_prompts":
            lines = [line for line in str(value).splitlines() if line.strip() and line[0] != "#"]
            said.append(Said(key, value, "sample.prompts", lines))
        elif key == "additional_parameters":
            said.append(Said(key, "...", why="its options are read one by one."))
            said += options_in(str(value), key)
        else:
            said.append(_by_table(WORDS["gui"], key, value) or Said(key, value, key))
    if str(data.get("text_encoder_lr")) in {"0", "0.0"} and "text_encoder_lr" in data:
        said.append(Said("text_encoder_lr", 0, "network_train_unet_only", meant=True))
    return Theirs("kohya_ss's window", _joined(said), family)


def from_toolkit(data: Mapping[str, Any]) -> Theirs:
    """For ai-toolkit itself, in its own words, too, where it trains a family of ours; else for
    that family's own trainer.
    """
    at = "config.process.0."
    flat = {path.removeprefix(at): value for path, value in leaves(data)}
    flags = {"is_flux": "flux", "is_xl": "sdxl", "is_v3": "sd3", "is_lumina2": "lumina"}
    marked = (one for flag, one in flags.items() if flat.get(f"model.{flag}"))
    arch = str(flat.get("model.arch") or next(marked, ""))
    family = family_word(arch) if arch else ""
    own = family in run_by(NAME)
    words, off = _toolkits_words() if own else WORDS["toolkit"], _off(flat, family)
    said = list[Said]()
    for key, value in flat.items():
        if key.endswith(".folder_path"):
            repeats = flat.get(f"{key.removesuffix('folder_path')}num_repeats", 1)
            found = folder_of_images(key, str(value), repeats=repeats)
            said += (one for one in found if one.key != "trigger" or "trigger_word" not in flat)
        elif why := next((off[head] for head in off if key.startswith(head)), ""):
            said.append(Said(key, value, why=why))
        else:
            one = _of_one(key, value, flat, words) or _by_table(words, key, value)
            said.append(one or _unknown(key, value, NAME))
    for key, value in WORDS["unsaid"].items() if own else ():
        one = _by_table(words, key, value) if key not in flat else None
        said += [replace(one, source=f"{key}, unsaid", why="its own default")] if one else []
    theirs = dict(leaves(data))
    said = [replace(one, source=at * (one.source not in theirs) + one.source) for one in said]
    return Theirs(NAME, _joined(said), family, NAME if own else "")


def _off(flat: Mapping[str, Any], family: str) -> dict[str, str]:
    """How keys begin that change nothing there -> why."""
    off: dict[str, str] = {}
    if flat.get("train.disable_sampling"):
        heads = ("sample.prompts", "sample.samples", "train.skip_first_sample")
        off |= dict.fromkeys(heads, "no samples are drawn there.")
    if not flat.get("train.ema_config.use_ema"):
        off["train.ema_config."] = "no average is kept there."
    frames = (key for key, one in flat.items() if key.endswith(".num_frames") and one == 1)
    off |= dict.fromkeys(frames, "a picture is one frame.")
    about = FAMILIES.get(family)
    usual = (
        {"guidance_scale": about.sample_scale, "sample_steps": about.sample_steps} if about else {}
    )
    as_usual = [f"sample.{word}" for word in usual if flat.get(f"sample.{word}") == usual[word]]
    return off | dict.fromkeys(as_usual, "the family has it anyway.")


@cache
def _toolkits_words() -> Mapping[str, str]:
    """With kohya's name for what has one, and its own ("=", whose values stay as they are)."""
    inside = {"datasets": "datasets.N", "ema_config": "train.ema_config"}
    inside["model_kwargs"] = "model.model_kwargs"
    own = {(place, name): f"={name}" for place, names in sections(NAME).items() for name in names}
    own |= {
        place: name for name, place in PLACES.items() if name != "pretrained_model_name_or_path"
    }
    words: Mapping[str, str] = WORDS["toolkit"]
    ours = {f"{inside.get(place, place)}.{name}": word for (place, name), word in own.items()}
    return {**words, **ours, "model.arch": words["model.arch"]}


def _of_one(key: str, value: Any, flat: Mapping[str, Any], words: Mapping[str, str]) -> Said | None:
    """What one folder or one sample has for itself; None for what all of its kind share."""
    found = re.fullmatch(r"((datasets|sample\.samples)\.\d+)\.(\w+)", key)
    if not found:
        return None
    here, kind, name = found.groups()
    every = {match[0] for one in flat if (match := re.match(rf"{kind}\.\d+", one))}

    def alike(word: str) -> bool:
        return len({str(flat.get(f"{one}.{word}")) for one in every}) == 1

    kohyas = {word: kohya for kohya, word in PROMPT.items()}
    if name == "prompt":
        own = {word: flat[f"{here}.{word}"] for word in kohyas if f"{here}.{word}" in flat}
        rest = {kohyas[word]: one for word, one in own.items() if not alike(word)}
        return Said(key, value, "sample.prompts", [prompt_line({**rest, "prompt": _prompt(value)})])
    if kind != "datasets":
        in_prompt = name in kohyas and not alike(name)
        return Said(key, value, "sample.prompts", []) if in_prompt else None
    folder = Path(str(flat.get(f"{here}.folder_path"))).name
    parsed, word = parse_folder(folder), words.get(f"datasets.N.{name}", "")
    if parsed is None:
        return None
    if name == "num_repeats":
        word = "" if value == parsed.repeats else name
    elif word not in GRAMMAR.of_a_folder or alike(name):
        word = ""
    return Said(key, value, "dataset.subset", {folder: {word: value}}) if word else None


def from_onetrainer(data: Mapping[str, Any]) -> Theirs:
    said = [
        _by_table(WORDS["onetrainer"], path, value) or _unknown(path, value, "OneTrainer")
        for path, value in leaves(data)
    ]
    return Theirs("OneTrainer", _joined(said), family_word(str(data.get("model_type", ""))))


def from_lora(path: Path) -> Theirs:
    """What a LoRA says of its own training: ss_* of kohya and musubi, ModelSpec, training_info."""
    lora = read_lora(path)
    metadata, said = lora.header.metadata, list[Said]()
    known = options_of("")
    for key, value in metadata.items():
        option = key.removeprefix("ss_")
        if key in WORDS["lora"]:
            said.append(Said(key, value, WORDS["lora"][key]))
        elif key == "ss_optimizer":
            name, _, rest = value.partition("(")
            said.append(Said(key, value, "optimizer_type", name.rpartition(".")[2]))
            found = re.findall(r"(\w+)=\(?([^()=]*[^()=,\s])\)?(?=,|\)|$)", rest)
            given = [f"{word}={''.join(one.split())}" for word, one in found]
            said += [Said(key, value, "optimizer_args", given)] if given else []
        elif key == "ss_network_args":
            said.append(_arguments(key, value))
        elif option in known and option != key:
            meant = re.sub(r"[()\s]", "", value) if option == "resolution" else value
            said.append(Said(key, value, option, meant))
        else:
            said.append(Said(key, value, why=HISTORY))
    if "ss_network_dim" not in metadata:
        rank = max(map(lora.rank, lora.modules))
        said.append(Said("the rank of its modules", rank, "network_dim"))
    if trigger := trigger_of(metadata):
        said.append(Said("the trigger, a guess", trigger, "trigger"))
    return Theirs("a LoRA's metadata", tuple(said), lora.family)


def _arguments(key: str, value: str) -> Said:
    try:
        table = json_text.loads(value)
    except ValueError:
        table = None
    if not isinstance(table, dict):
        return Said(key, value, why="it is no table of arguments.")
    return Said(key, value, "network_args", [f"{name}={one}" for name, one in table.items()])


def _by_table(found: Mapping[str, str], path: str, value: Any) -> Said | None:
    """By the table's word for this place, the nearest pattern first."""
    plain = re.sub(r"(^|\.)\d+(?=\.|$)", r"\1N", path)
    word = found.get(plain)
    if word is None:
        patterns = {one: re.escape(one).replace(r"\*", ".*") for one in found if "*" in one}
        match = (one for one, pattern in patterns.items() if re.fullmatch(pattern, plain))
        word = found.get(next(match, ""))
    if word is None:
        return None
    if word.startswith("!"):
        return Said(path, value, why=word[1:])
    if word.startswith("="):
        return Said(path, value, word[1:])
    meant = WORDS["values"].get(word, {}).get(value) if isinstance(value, str) else None
    if word in {"network_train_unet_only", "sample.at_first"}:
        meant = not value
    elif word == "optimizer_args":
        plain = ",".join(map(str, value)) if isinstance(value, list) else value
        meant = [f"{path.rpartition('.')[2]}={plain}"]
    elif word == "resolution" and isinstance(value, list) and value:
        if len(value) > 1:
            return Said(path, value, "dataset.resolutions")
        meant = value[0]
    elif word == "caption_extension":
        meant = f".{str(value).lstrip('.')}"
    elif word.startswith("sample.") and "prompt" in word:
        meant = [_prompt(text) for text in (value if isinstance(value, list) else [value])]
    return Said(path, value, word, meant)


def _prompt(text: object) -> str:
    return str(text).replace("[trigger]", "{trigger}")


def _unknown(path: str, value: Any, program: str) -> Said:
    return Said(path, value, why=f"{program} has a word for it that has no counterpart here.")


def _joined(said: list[Said]) -> tuple[Said, ...]:
    """Values that are one list with us: network_args, optimizer_args, prompts."""
    lists = {"network_args", "optimizer_args", "sample.prompts"}
    so_far: dict[str, list[Any]] = {}
    done = []
    for one in said:
        if one.key in lists and isinstance(one.ours, list):
            so_far[one.key] = [*so_far.get(one.key, []), *one.ours]
            done.append(Said(one.source, one.value, one.key, so_far[one.key], one.why))
        else:
            done.append(one)
    return tuple(done)
