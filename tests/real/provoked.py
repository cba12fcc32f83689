"""Failures of the real trainers, provoked: the fault in a recipe or in the files, and what lorakit must say before and after.

A recipe with such a fault would be refused, so the fault goes into the files of a sound plan, behind lorakit's back; then it is launched as it is.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import toml
from drawn_images import draw

from lorakit.plan.make import make_plan
from lorakit.plan.model import Plan
from lorakit.recipe.resolve import resolve
from lorakit.trainers.base import Command

RECIPE = """
family = "sd15"
name = "ball"
trigger = "ball_char"
trainer = "{trainer}"
[model]
base = "{base}"
[dataset]
path = "data"
[train]
network_dim = 4
network_alpha = 2
learning_rate = 1e-4
lr_scheduler = "constant"
optimizer_type = "AdamW"
mixed_precision = "no"
resolution = "64"
enable_bucket = true
min_bucket_reso = 64
max_bucket_reso = 256
max_train_steps = 4
cache_latents = true
sdpa = true
max_data_loader_n_workers = 0
seed = 5
"""
Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """`rule`: what the failure is called afterwards; `before`: the plan's rule that names it beforehand, empty where nothing can."""

    name: str
    rule: str
    before: str = ""
    train: Mapping[str, Any] = field(
        default_factory=dict
    )  # goes into train.toml, and with --set into the plan that must refuse it
    dataset: Mapping[str, Any] = field(default_factory=dict)  # goes into dataset.toml
    damage: Damage | None = None  # done to the project's folder after planning
    argv: tuple[str, ...] = ()  # put before the command
    more: tuple[str, ...] = ()  # put after it


def project(place: Path, model: Path, trainer: str) -> Path:
    place.mkdir()
    (place / "base.safetensors").symlink_to(model)
    draw(place / "data" / "2_ball", [(64, 64), (64, 64)])
    recipe = place / "ball.toml"
    recipe.write_text(RECIPE.format(base="base.safetensors", trainer=trainer), encoding="utf-8")
    return recipe


def planned(recipe: Path, sets: Mapping[str, Any] | None = None, run: str = "run") -> Plan:
    words = [f"{key}={json.dumps(value)}" for key, value in (sets or {}).items()]
    resolved, faults = resolve(recipe, sets=words)
    return make_plan(resolved, faults, run_dir=recipe.parent / "runs" / "ball" / run)


def spoilt(plan: Plan, case: Case) -> Plan:
    """The sound plan with the fault in its files."""
    settings = {**toml.loads(plan.files["train.toml"]), **case.train}
    data = toml.loads(plan.files["dataset.toml"])
    data["datasets"][0].update(case.dataset)
    files = {
        **plan.files,
        "train.toml": toml.dumps({k: v for k, v in settings.items() if v is not None}),
        "dataset.toml": toml.dumps(data),
    }
    return replace(plan, files=files, commands=(Command((*case.argv, *plan.argv, *case.more)),))


def image(place: Path) -> Path:
    return place / "data" / "2_ball" / "000.png"


def write(name: str, data: bytes) -> Damage:
    return lambda place: (place / "data" / "2_ball" / name).write_bytes(data)


def cut_body(place: Path) -> None:
    from PIL import Image

    noise = Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
    noise.save(image(place))
    image(place).write_bytes(image(place).read_bytes()[:6000])


def no_images(place: Path) -> None:
    for path in (place / "data" / "2_ball").iterdir():
        path.unlink()


def base(content: Callable[[Path], object]) -> Damage:
    """Another file in the place of the base model."""

    def damage(place: Path) -> None:
        (place / "base.safetensors").unlink()
        content(place / "base.safetensors")

    return damage


def with_keys(path: Path, *names: str) -> None:
    header = json.dumps(
        {
            name: {"dtype": "F16", "shape": [4, 4], "data_offsets": [32 * n, 32 * n + 32]}
            for n, name in enumerate(names)
        }
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(32 * len(names)))


CUT_ZIP = b"PK\x03\x04 a zip without its end"
HTML = b"<!DOCTYPE html><html><body>Access denied</body></html>"
SHARED = (  # both trainers must call these the same
    Case("optimizer-name", "optimizer-name", "optimizer-unknown", {"optimizer_type": "Adamm"}),
    Case(
        "missing-bitsandbytes",
        "missing-bitsandbytes",
        "package-missing",
        {"optimizer_type": "AdamW8bit"},
    ),
    Case("precision-name", "precision-name", "value", {"mixed_precision": "fp32"}),
    Case("no-images", "no-images", "nothing-to-train", damage=no_images),
    Case("model-missing", "model-missing", "weights-not-there", damage=base(lambda path: None)),
    Case(
        "model-html",
        "model-broken",
        "model-broken",
        damage=base(lambda path: path.write_bytes(HTML)),
    ),
    Case(
        "wrong-model",
        "wrong-model",
        "model-is-part",
        damage=base(lambda path: with_keys(path, "lora_unet_x.lora_down.weight")),
    ),
    Case(
        "caption-encoding",
        "caption-encoding",
        "caption-encoding",
        damage=write("000.txt", b"caf\xe9, drawn"),
    ),
    Case("no-image", "bad-image", "header", damage=write("000.png", b"not an image")),
    Case("cut-image", "bad-image", "undecodable", damage=cut_body),
    Case("unknown-option", "unknown-option", more=("--netwrok_dim", "8")),
    Case("disk-full", "disk-full", argv=("prlimit", "--fsize=300000"), train={"network_dim": 32}),
    Case("nan", "nan", train={"learning_rate": 1e30}),
)
KOHYA = (
    Case("caption-empty", "caption-empty", "caption-empty", damage=write("000.txt", b"")),
    Case(
        "unbucketed",
        "image-size",
        "",
        {"cache_latents": False},
        {"enable_bucket": False},
        lambda place: draw(place / "data" / "2_ball", [(128, 128)]),
    ),
    Case(
        "cut-image-in-a-worker",
        "bad-image",
        "undecodable",
        {"cache_latents": False, "max_data_loader_n_workers": 1},
        damage=cut_body,
    ),
    Case(
        "bucket-step",
        "bucket-step",
        "bucket-step",
        {"bucket_reso_steps": 32},
        {"bucket_reso_steps": 33},
    ),
    Case(
        "bucket-range",
        "bucket-range",
        "bucket-bounds",
        {"resolution": "128", "max_bucket_reso": 64},
        {"min_bucket_reso": 32, "max_bucket_reso": 32, "bucket_reso_steps": 32},
    ),
    Case("latent-cache", "latent-cache", "latent-cache-augment", {"color_aug": True}),
    Case(
        "cache-broken",
        "cache-broken",
        "cache-bucket",
        {"cache_latents_to_disk": True},
        damage=write("000_0064x0064_sd.npz", CUT_ZIP),
    ),
    Case("full-precision", "full-precision", "full-fp16", {"full_fp16": True}),
    Case("tokenizer", "tokenizer", "", {"tokenizer_cache_dir": "empty"}),
    Case("bad-config", "bad-config", dataset={"foo": 1}),
    Case("host-memory", "host-memory", argv=("prlimit", "--as=7000000000")),
    Case("xformers", "missing-xformers", "package-missing", {"xformers": True, "sdpa": None}),
    Case("dadaptation", "missing-package", "package-missing", {"optimizer_type": "DAdaptAdam"}),
    Case("warmup", "warmup", "warmup-constant", {"lr_warmup_steps": 1}),
    Case("min-lr", "min-lr", "min-lr-ratio", {"lr_scheduler": "cosine_with_min_lr"}),
    Case("scheduler-name", "scheduler-name", "scheduler-unknown", {"lr_scheduler": "cosin"}),
    Case(
        "workers-option",
        "workers-option",
        "workers-persistent",
        {"persistent_data_loader_workers": True},
    ),
    Case(
        "network-module", "network-module", "network-module", {"network_module": "networks.lorra"}
    ),
    Case("cpu-fp16", "cpu-fp16", "fp16-on-cpu", {"mixed_precision": "fp16"}),
    Case("sample-prompts", "sample-prompts", "ours", {"sample_every_n_steps": 1}),
    Case(
        "network-weights",
        "missing-file",
        "start-not-there",
        {"network_weights": "models/none.safetensors"},
    ),
    Case("resume", "missing-file", "", {"resume": "models/none"}),
    Case("resume-past-end", "resume-past-end", "", {"initial_step": 9}),
    Case("wandb", "missing-package", "package-missing", {"log_with": "wandb"}),
)
