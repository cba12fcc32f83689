"""What a run's folder offers a sheet: base, checkpoints, prompts, samples. Reads only."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.catalogue.file_names import CheckpointName, SampleName
from lorakit.errors import LorakitError
from lorakit.families import FAMILIES
from lorakit.runs.record import read_record
from lorakit.user_files import Missing

WEIGHTS = (
    "pretrained_model_name_or_path",
    "vae",
    "clip_l",
    "t5xxl",
    "ae",
    "v_parameterization",
    "clip_skip",
    "max_token_length",
    "t5xxl_max_token_length",
    "apply_t5_attn_mask",
    "sample_sampler",
)
LAST = (sys.maxsize, sys.maxsize)
SEED = 42
Settings = Mapping[str, Any]  # train.toml


@dataclass(frozen=True)
class DrawnCheckpoint:
    """A LoRA of a run, with the place in the training it comes from."""

    path: Path
    label: str  # epoch 4, step 250, final
    order: tuple[int, int]  # sorts as the training went; the final one last


@dataclass(frozen=True)
class SheetRow:
    """One prompt, with everything its picture depends on but the seed."""

    prompt: str
    negative: str = ""
    width: int = 512
    height: int = 512
    steps: int = 30
    scale: float = 7.5


@dataclass(frozen=True)
class Source:
    """What a sheet needs to know of a run."""

    run_dir: Path
    name: str
    family: str
    options: Mapping[str, Any]  # kohya's, of the weights: pretrained_model_name_or_path, vae, ...
    checkpoints: tuple[DrawnCheckpoint, ...]  # oldest first
    rows: tuple[SheetRow, ...]  # the run's own sample prompts
    plain: SheetRow  # without a prompt: what another one takes of the training
    seed: int


def read_source(run_dir: Path) -> Source:
    """From the record, and from train.toml where that says no settings."""
    record = read_record(run_dir)
    family, said = record.family, record.settings.get("train", {})
    settings = {key: one.value for key, one in said.items()} or _toml(run_dir / "train.toml")
    name = str(settings.get("output_name") or run_dir.parent.name)
    rows, seed = _prompts(run_dir / "prompts.toml", settings, family)
    return Source(
        run_dir=run_dir,
        name=name,
        family=family,
        rows=rows,
        plain=row_of({}, settings, family),
        seed=seed,
        options={key: settings[key] for key in WEIGHTS if key in settings},
        checkpoints=tuple(find_checkpoints(run_dir / "output", name)),
    )


def find_checkpoints(folder: Path, name: str) -> list[DrawnCheckpoint]:
    """The LoRAs of one output name, in the order of the training."""
    found = []
    for path in folder.glob("*.safetensors"):
        parsed = CheckpointName.parse(path.name, name)
        if parsed and not parsed.best:
            count = parsed.epoch if parsed.step is None else parsed.step
            label = "final" if count is None else f"{parsed.kind} {count}"
            found.append(DrawnCheckpoint(path, label, LAST if count is None else (0, count)))
    return sorted(found, key=lambda checkpoint: (checkpoint.order, checkpoint.label))


def fits(point: DrawnCheckpoint, word: str) -> bool:
    """Whether a word names it: 40, step 40, final, a file; or "epoch 6 = final", of equal files."""
    said = {point.label, point.path.name, point.path.stem, str(point.order[1])}
    return word in said or point.label in word.split(" = ")


def checkpoint_file(folder: Path, name: str, word: str) -> str:
    """The name of the one file that a word names; the word itself where it names none."""
    if (folder / word).is_file():
        return word
    found = [point for point in find_checkpoints(folder, name) if fits(point, word)]
    if len(found) > 1 and " = " not in word:
        labels = " and ".join(point.label for point in found)
        raise LorakitError(f"{word} may be {labels}.", hint=f"Say which: '{found[0].label}'")
    return found[-1].path.name if found else word


def samples(folder: Path, name: str) -> list[tuple[int, str, int, Path]]:
    """Pictures that the training drew, in its order: count of epochs or steps, label, number of the
    prompt, file; the newest one where it drew the same step again.
    """
    newest: dict[tuple[int, str, int], tuple[str, Path]] = {}
    for path in folder.glob("*.png"):
        if drawn := SampleName.parse(path.name, name):
            by_step = drawn.epoch is None
            count = (drawn.step if by_step else drawn.epoch) or 0
            key = (count, f"{'step' if by_step else 'epoch'} {count}", drawn.prompt)
            newest[key] = max(newest.get(key, ("", path)), (drawn.time, path))
    return [(*key, path) for key, (_, path) in sorted(newest.items())]


def _prompts(path: Path, settings: Settings, family: str) -> tuple[tuple[SheetRow, ...], int]:
    if not path.is_file():
        return (), int(settings.get("seed") or SEED)
    table = _toml(path).get("prompt", {})
    shared = {key: value for key, value in table.items() if key != "subset"}
    entries = [{**shared, **entry} for entry in table.get("subset", [])]
    seed = entries[0].get("seed") if entries else None
    return tuple(row_of(entry, settings, family) for entry in entries), int(seed or SEED)


def row_of(entry: Mapping[str, Any], settings: Settings, family: str) -> SheetRow:
    """What a sample prompt leaves out is as kohya has it, its size the training's own."""
    sides = [int(part) for part in re.findall(r"\d+", str(settings.get("resolution", "512")))]
    facts = FAMILIES[family]
    scale = entry.get("guidance_scale" if facts.flow else "scale", facts.sample_scale)
    return SheetRow(
        prompt=str(entry.get("prompt", "")),
        negative=str(entry.get("negative_prompt", "")),
        steps=int(entry.get("sample_steps", facts.sample_steps)),
        width=int(entry.get("width", sides[0])),
        height=int(entry.get("height", sides[-1])),
        scale=float(scale),
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.read(path)
    except Missing:
        what = f"{path.parent} has no {path.name}; it is not a run of lorakit."
        raise LorakitError(what, hint="lorakit runs lists them.") from None
