"""What a run folder offers a sheet: its base, its checkpoints, its prompts, the samples it drew
while training. Reads only.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lorakit import tomllib
from lorakit.errors import LorakitError
from lorakit.families import FAMILIES
from lorakit.sheet.model import Checkpoint, Row, Source

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


def read_source(run_dir: Path) -> Source:
    """Everything from train.toml and prompts.toml, as the training script read them; record.json
    only for the family's name.
    """
    settings = _toml(run_dir / "train.toml")
    name = str(settings.get("output_name") or run_dir.parent.name)
    family = _family(run_dir, settings)
    rows, seed = _prompts(run_dir / "prompts.toml", settings, family)
    return Source(
        run_dir=run_dir,
        name=name,
        family=family,
        rows=rows,
        seed=seed,
        options={key: settings[key] for key in WEIGHTS if key in settings},
        checkpoints=tuple(find_checkpoints(run_dir / "output", name)),
    )


def find_checkpoints(folder: Path, name: str) -> list[Checkpoint]:
    """The LoRAs of one output name, in the order of the training; kohya's names say epoch or step."""
    found = []
    for path in folder.glob("*.safetensors"):
        match = re.fullmatch(rf"{re.escape(name)}(?:-(\d{{6}})|-step(\d{{8}}))?", path.stem)
        if match is None:
            continue
        epoch, step = match.groups()
        if epoch:
            found.append(Checkpoint(path, f"epoch {int(epoch)}", (0, int(epoch))))
        elif step:
            found.append(Checkpoint(path, f"step {int(step)}", (0, int(step))))
        else:
            found.append(Checkpoint(path, "final", LAST))
    return sorted(found, key=lambda checkpoint: checkpoint.order)


def samples(folder: Path, name: str) -> Iterator[tuple[tuple[int, int], str, int, Path]]:
    """Pictures that the training drew: order, label, number of the prompt, file; a repeated one
    counts in its newest version.
    """
    newest: dict[tuple[str, int], tuple[str, tuple[int, int], Path]] = {}
    pattern = re.compile(rf"{re.escape(name)}_(e?)(\d{{6}})_(\d{{2,}})_(\d{{14}})(?:_\d+)?")
    for path in folder.glob("*.png"):
        match = pattern.fullmatch(path.stem)
        if match is None:
            continue
        kind, count, prompt, stamp = match.groups()
        label = f"{'epoch' if kind else 'step'} {int(count)}"
        key = (label, int(prompt))
        if key not in newest or stamp > newest[key][0]:
            newest[key] = (stamp, (0, int(count)), path)
    for (label, prompt), (_, order, path) in sorted(
        newest.items(), key=lambda item: (item[1][1], item[0][1])
    ):
        yield order, label, prompt, path


def _prompts(path: Path, settings: Mapping[str, Any], family: str) -> tuple[tuple[Row, ...], int]:
    if not path.is_file():
        return (), int(settings.get("seed") or 42)
    table = _toml(path).get("prompt", {})
    shared = {key: value for key, value in table.items() if key != "subset"}
    entries = [{**shared, **entry} for entry in table.get("subset", [])]
    return tuple(row_of(entry, settings, family) for entry in entries), (
        int(entries[0].get("seed") or 42) if entries else 42
    )


def row_of(entry: Mapping[str, Any], settings: Mapping[str, Any], family: str) -> Row:
    """One sample prompt in kohya's words; what it leaves out is as kohya has it, its size the
    training's own.
    """
    width, height = _resolution(settings)
    steps, scale = (
        (20, entry.get("guidance_scale", 3.5))
        if family == "flux"
        else (30, entry.get("scale", 7.5))
    )
    return Row(
        prompt=str(entry.get("prompt", "")),
        negative=str(entry.get("negative_prompt", "")),
        steps=int(entry.get("sample_steps", steps)),
        width=int(entry.get("width", width)),
        height=int(entry.get("height", height)),
        scale=float(scale),
    )


def _resolution(settings: Mapping[str, Any]) -> tuple[int, int]:
    sides = [int(part) for part in re.findall(r"\d+", str(settings.get("resolution", "512")))]
    return sides[0], sides[-1]


def _family(run_dir: Path, settings: Mapping[str, Any]) -> str:
    try:
        family = json.loads((run_dir / "record.json").read_text(encoding="utf-8")).get("family")
        if family in FAMILIES:
            return str(family)
    except (OSError, ValueError, AttributeError):
        pass  # an unfinished or older run: the files it was started from say enough
    if str(settings.get("network_module", "")).endswith("_flux"):
        return "flux"
    return (
        "sdxl"
        if any(key in settings for key in ("network_train_text_encoder_2_only", "no_half_vae"))
        else "sd15"
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LorakitError(
            f"{path.parent} has no {path.name}; it is not a run of lorakit.",
            hint="lorakit runs lists them.",
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LorakitError(f"{path}: {error}") from error
